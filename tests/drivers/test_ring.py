"""What only a real ring on a real interface shows: frames longer than any cable carries, and that nothing is ever sent."""

import select
import socket
import subprocess
from collections.abc import Iterator

import pytest

from drivers.linux.tap import RingTap, link_counters
from drivers.tap import Block, TapRequest
from firmware.core import pcapng
from firmware.core._kernel import Stretch
from firmware.core.pcapng import Packet

from . import wire

REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
REQUEST = TapRequest(wire.HEARS, block_bytes=1 << 20, block_count=8, retire_ms=10)
ETH_P_ALL = 3


@pytest.fixture
def line() -> Iterator[wire.Wire]:
    with wire.Wire() as made:
        yield made


def blocks(tap: RingTap) -> Iterator[Block]:
    """Until the wire is silent for half a second."""
    ready = select.poll()
    ready.register(tap.fileno(), select.POLLIN | select.POLLERR)
    while (block := tap.next()) is not None or ready.poll(500):
        if block is not None:
            yield block
            tap.release(block)


def heard(tap: RingTap) -> list[Packet]:
    stretch = Stretch(1 << 22)
    for block in blocks(tap):
        stretch.add(block.data, 0, 0, 0, 0)
    return list(pcapng.packets(pcapng.section_header() + pcapng.interface("x") + bytes(stretch)))


@pytest.mark.parametrize(("mtu", "size"), [(9000, 9014), (65_535, 65_549)], ids=["jumbo", "as long as GRO makes them"])
def test_long_frames_are_whole(line, mtu, size):
    """A jumbo frame, and one as long as the kernel joins several into, are recorded to the last byte. (S2-090)"""
    for end in (wire.HEARS, wire.SENDS):
        subprocess.run(["ip", "link", "set", end, "mtu", str(mtu)], check=True, timeout=10)
    tap = RingTap(REQUEST)
    sent = [bytes.fromhex("020000000001 020000000002 88b5") + bytes([n]) * (size - 14) for n in range(20)]
    line.send(sent)
    rows = heard(tap)
    tap.close()

    assert [size] * 20 == [row.wire_bytes for row in rows]
    assert sent == [row.data for row in rows]


def test_nothing_is_sent(line):
    """While the ring listens, asked by ARP, IPv6 neighbour solicitation and ping: the far end of the cable hears not one frame. (S2-008)"""
    far = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    far.bind((wire.SENDS, ETH_P_ALL))
    tap = RingTap(REQUEST)
    mac = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    mac.bind((wire.HEARS, 0))
    own = mac.getsockname()[4]
    mac.close()
    other = bytes.fromhex("020000000002")
    arp = (
        b"\xff" * 6
        + other
        + bytes.fromhex("0806 0001 0800 06 04 0001")
        + other
        + bytes([10, 0, 0, 2])
        + bytes(6)
        + bytes([10, 0, 0, 1])
    )
    ping = own + other + bytes.fromhex("0800 4500001c00000000400166df0a0000020a000001 0800f7ff00000000") + bytes(18)
    solicitation = bytes.fromhex(
        "3333ff000001 020000000002 86dd 6000000000183aff fe800000000000000000000000000002 ff0200000000000000000001ff000001"
        "8700000000000000 fe800000000000000000000000000001"
    )
    line.send([arp, ping, solicitation] * 100)
    rows = heard(tap)
    tap.close()
    answers = []
    while select.select([far], [], [], 0)[0]:
        data, address = far.recvfrom(65_535)
        if address[2] != socket.PACKET_OUTGOING:
            answers.append(data)
    far.close()

    assert 300 == len(rows)
    assert [] == answers


def test_the_interface_s_own_losses_are_watched(line):
    """What the card counts as damaged or missed is counted with the ring's drops; on a sound wire it is nothing."""
    before = link_counters(wire.HEARS)
    tap = RingTap(REQUEST)
    line.send([bytes.fromhex("020000000001 020000000002 88b5") + bytes(46)] * 100)
    rows = heard(tap)
    counters = tap.counters()
    tap.close()

    after = link_counters(wire.HEARS)
    assert before is not None and after is not None
    assert 100 == len(rows) == counters.received == after.received - before.received
    assert {"ring_full": 0, "interface_errors": 0, "interface_missed": 0} == counters.dropped
    assert link_counters("nosuch0") is None
