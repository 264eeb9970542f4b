"""The listening ports are brought up in silence: what the box's network file says, done to a real interface with IPv6 at its default."""

import configparser
import importlib.util
import re
import select
import socket
import subprocess
import time
from pathlib import Path

import pytest

from firmware.cli import main

ROOT = Path(__file__).parents[2]
FILE = ROOT / "rootfs/usr/lib/systemd/network/10-scrubjay-capture.network"
_spec = importlib.util.spec_from_file_location("wire", ROOT / "tests/drivers/wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()
HAS_IPV6 = Path("/proc/sys/net/ipv6/conf").is_dir()
LISTEN_S = 4.0  # Duplicate address detection and router solicitation come within two seconds of a port that is up.
# What networkd does for each of these settings, in iproute2's words.
SAME_AS = {
    ("Link", "ARP", "no"): ("arp", "off"),
    ("Link", "Multicast", "no"): ("multicast", "off"),
    ("Link", "AllMulticast", "no"): ("allmulticast", "off"),
    ("Network", "LinkLocalAddressing", "no"): ("addrgenmode", "none"),
}


def settings() -> dict[tuple[str, str], str]:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    parser.read_string(FILE.read_text())
    return {(section, key): value for section in parser.sections() for key, value in parser[section].items()}


def test_nothing_speaks_for_the_port():
    """No address of any kind, and none of the services that announce themselves on a port that networkd manages. (S2-008)"""
    made = settings()

    assert {"no"} == {
        made["Network", key]
        for key in ("DHCP", "LinkLocalAddressing", "IPv6AcceptRA", "IPv6SendRA", "LLDP", "EmitLLDP", "LLMNR", "MulticastDNS")
    }
    assert not any(key in ("Address", "Gateway", "DNS", "DHCPServer") for _, key in made)
    assert "eth1" in made["Match", "Name"].split()


def test_no_sample_asks_on_a_silent_port():
    """What the shipped settings name for who speaks in the room is no port that was made unable to."""
    shipped = (ROOT / "rootfs/etc/scrubjay/scrubjay.toml").read_text()
    clock = re.search(r"^\[clock\]\n.*?interface = \"(\S+)\"", shipped, re.MULTILINE | re.DOTALL)
    doors = re.search(r"listen_interface = \"(\S+)\"", shipped)
    assert clock is not None and doors is not None

    assert set() == {clock[1], doors[1]} & set(settings()["Match", "Name"].split())


def test_a_sites_files_are_given_to_networkd_at_each_start(tmp_path, capsys):
    """As the unit says it, below another root: beside the silent ports'; what the site took away is gone, and a full disk costs only the words."""
    unit = (ROOT / "rootfs/usr/lib/systemd/system/scrubjay-network.service").read_text()
    command = re.search(r"^ExecStart=\S+/scrubjay (.*)$", unit, re.MULTILINE)
    assert command is not None
    words = [re.sub(r"^/", f"{tmp_path}/", word) for word in command[1].split()] + ["--shipped", str(FILE)]
    site, given, said = (
        tmp_path / path for path in ("etc/scrubjay/network", "run/systemd/network", "var/lib/scrubjay/state/network")
    )
    site.mkdir(parents=True)
    said.parent.mkdir(parents=True)
    (tmp_path / "etc/scrubjay/scrubjay.toml").write_text('[capture]\ninterface = "eth4"\n')
    (site / "room.network").write_text("[Match]\nName=eth3\n")
    (site / "elsewhere.network").symlink_to(FILE)
    (site / ".room.network.swp").write_text("")

    assert 0 == main(words)
    assert {FILE.name, "15-site-room.network"} == {path.name for path in given.iterdir()}
    assert "Name=eth1 eth2 eth4\n" in (given / FILE.name).read_text()
    assert capsys.readouterr().out == said.read_text()
    assert "room.network: used\n" in said.read_text() and "elsewhere.network: not used" in said.read_text()

    (site / "room.network").unlink()
    said.unlink()
    said.mkdir()
    assert 0 == main(words)
    assert {FILE.name} == {path.name for path in given.iterdir()}
    assert "expected it to be written" in capsys.readouterr().err


def test_the_images_own_files_give_way():
    """What lies in /etc wins over what is made in /run at each start (systemd.network(5)); and the uplink's comes after a site's."""
    assert [] == list((ROOT / "rootfs/etc").rglob("*.network"))
    assert FILE.name < "15-site-" < min(path.name for path in FILE.parent.iterdir() if path != FILE)


@pytest.mark.lab
@pytest.mark.skipif(REASON is not None or not HAS_IPV6, reason=REASON or "this kernel has no IPv6, which is what would speak")
@pytest.mark.parametrize("as_the_box_does", [True, False])
def test_a_port_that_comes_up_is_silent(as_the_box_does):
    """Listened to at the far end from before it is up: not one frame. Without the file it speaks: the test would notice. (S2-008)"""
    with wire.Wire() as line:
        line.set(wire.HEARS, "down")
        Path(f"/proc/sys/net/ipv6/conf/{wire.HEARS}/disable_ipv6").write_text("0")
        line.set(wire.HEARS, "arp", "on", "multicast", "on")
        if as_the_box_does:
            done = [words for (section, key, value), words in SAME_AS.items() if settings()[section, key] == value]
            assert len(SAME_AS) == len(done)
            for words in done:
                line.set(wire.HEARS, *words)
        far = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(wire.ETH_P_ALL))
        far.bind((wire.SENDS, wire.ETH_P_ALL))
        line.set(wire.HEARS, "up")
        said = 0
        end = time.monotonic() + LISTEN_S
        while (left := end - time.monotonic()) > 0 and select.select([far], [], [], left)[0]:
            _, address = far.recvfrom(65_535)
            said += address[2] != socket.PACKET_OUTGOING
            if said and not as_the_box_does:
                break
        far.close()
        addresses = subprocess.run(
            ["ip", "-o", "addr", "show", wire.HEARS], capture_output=True, text=True, timeout=10, check=True
        ).stdout

    assert as_the_box_does is (said == 0)
    assert as_the_box_does is ("inet" not in addresses)
