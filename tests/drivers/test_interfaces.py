"""What can be listened to: the list as the system has it, on interfaces of the test's own."""

import select
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from drivers.linux import interfaces as driver
from drivers.linux.ethtool import stamping_of
from drivers.linux.interfaces import Interface, interfaces
from firmware.capture.options import table

from . import wire

REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]


@pytest.fixture
def line() -> Iterator[wire.Wire]:
    with wire.Wire() as made:
        yield made


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


def found() -> dict[str, Interface]:
    return {row.name: row for row in interfaces()}


def test_each_interface_as_it_is(line):
    """Of this namespace and no other: state, addresses, kind, size, and that a silent port is one."""
    limit = monotonic() + 30
    while found()[wire.HEARS].state != "up":  # The kernel says so a moment after the other end is up.
        assert monotonic() < limit, found()
        select.select([], [], [], 0.01)
    rows = found()
    hears = rows[wire.HEARS]

    assert {"lo", wire.HEARS, wire.SENDS} == set(rows)
    assert ("up", (), "veth", 9000, "software", True) == (
        hears.state, hears.addresses, hears.driver, hears.mtu, hears.stamps, hears.is_silent,
    )  # fmt: skip
    assert 17 == len(hears.mac) and hears.is_ethernet
    assert "down" == rows["lo"].state


def test_states_and_addresses(line):
    """No carrier when the other end is down, down when it is itself; addresses with their prefixes; who has one may be heard."""
    line.set(wire.SENDS, "down")
    assert ("no carrier", "down") == (found()[wire.HEARS].state, found()[wire.SENDS].state)
    line.set(wire.SENDS, "up")
    line.set(wire.HEARS, "arp", "on")
    ip("addr", "add", "10.9.8.7/24", "dev", wire.HEARS)
    ip("addr", "add", "10.9.9.7/16", "dev", wire.HEARS)
    hears = found()[wire.HEARS]

    assert ("10.9.8.7/24", "10.9.9.7/16") == hears.addresses
    assert (True, False) == (hears.answers_arp, hears.is_silent)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("bridge", ("link", "set", wire.HEARS, "master", "above")), ("macvlan", ("link", "set", "above", "up"))],
)
def test_a_port_of_another_is_not_silent(line, kind, words):
    """Without an address and without ARP itself, it sends for the bridge it is a port of, and for what is set up on top of it. (S2-008)"""
    below = () if kind == "bridge" else ("link", wire.HEARS)
    if subprocess.run(["ip", "link", "add", *below, "name", "above", "type", kind], check=False, timeout=10).returncode:
        pytest.skip(f"this kernel has no {kind}")
    ip(*words)
    hears = found()[wire.HEARS]

    assert (False, ("above",)) == (hears.is_silent, hears.sends_for)
    assert (True, ()) == (found()[wire.SENDS].is_silent, found()[wire.SENDS].sends_for)
    assert "sends for above" in next(row for row in table(interfaces()) if row.startswith(wire.HEARS))


@pytest.mark.skipif(not Path("/proc/sys/net/ipv6").is_dir(), reason="this kernel has no IPv6, and asks for no address by it")
def test_ipv6_will_be_heard(line):
    """Without a cable there is no address yet; with one the kernel gives itself one and asks for routers, unless told not to. (S2-008)"""
    line.set(wire.SENDS, "down")
    switch = Path(f"/proc/sys/net/ipv6/conf/{wire.HEARS}/disable_ipv6")
    switch.write_text("0")
    asks = found()[wire.HEARS]
    line.set(wire.HEARS, "addrgenmode", "none")
    asks_not = found()[wire.HEARS]
    line.set(wire.HEARS, "addrgenmode", "eui64")
    switch.write_text("1")

    assert [(True, False), (False, True), (False, True)] == [
        (row.asks_by_ipv6, row.is_silent) for row in (asks, asks_not, found()[wire.HEARS])
    ]
    assert "asks by IPv6" in table([asks])[1]


@pytest.mark.skipif(shutil.which("ethtool") is None, reason="ethtool is not installed: not compared with it")
def test_ethtool_says_the_same(line):
    """Speed and driver as the tool that everybody has says them."""
    told = subprocess.run(["ethtool", wire.HEARS], capture_output=True, text=True, timeout=10, check=True).stdout
    kind = subprocess.run(["ethtool", "-i", wire.HEARS], capture_output=True, text=True, timeout=10, check=True).stdout
    hears = found()[wire.HEARS]

    assert f"Speed: {hears.speed_mbit_per_s}Mb/s" in told
    assert f"driver: {hears.driver}\n" in kind


def test_who_stamps():
    """Hardware that stamps every frame, hardware that stamps PTP only, and none, told apart by what the driver says of itself."""
    answer = lambda flags, filters: (0x41, flags, 0, 0, 0, 0, 0, filters, 0, 0, 0)  # noqa: E731

    assert "hardware" == driver._stamps(stamping_of(answer(0x5F, 1 | 1 << 1)))
    assert "hardware (PTP only)" == driver._stamps(stamping_of(answer(0x5F, 1 | 1 << 12)))
    assert "software" == driver._stamps(stamping_of(answer(0x18, 0))) == driver._stamps(stamping_of(None))
    assert 40_000 == driver._speed(driver._SPEED.unpack(struct.pack("=IIIHBBBBBBIIHBBI2I", 1, 0, 0, 40_000, *[0] * 14)))
    assert 100_000 == driver._speed(
        driver._SPEED.unpack(struct.pack("=IIIHBBBBBBIIHBBI2I", 1, 0, 0, 100_000 & 0xFFFF, *[0] * 8, 1, 0, 0, 0, 0, 0))
    )


def test_the_table(line):
    """A row for each, and what this machine itself may say there."""
    ip("addr", "add", "10.9.8.7/24", "dev", wire.SENDS)
    rows = {row.split()[0]: row for row in table(interfaces())}

    assert rows[wire.HEARS].endswith("silent")
    assert rows[wire.SENDS].endswith("10.9.8.7/24")
    assert len({row.index("veth") for name, row in rows.items() if name in (wire.HEARS, wire.SENDS)}) == 1
