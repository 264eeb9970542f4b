"""The frame parser: right about what is well formed, bounded about what is not."""

from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from firmware.core.errors import BadItem
from firmware.core.frame import Frame, ip_text, mac_text, parsed
from simulator.capture_file import BadCaptureFile, frames

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "pcap"
ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def payload(data: bytes) -> bytes:
    frame = parsed(data)
    return data[frame.payload_start : frame.payload_end]


def test_udp_over_ipv4() -> None:
    """Addresses, ports and payload of the plainest frame; Ethernet padding is not payload. (S2-091)"""
    data = bytes(ETHERNET / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1000, dport=47001) / b"stop") + bytes(14)
    frame = parsed(data)

    assert "02:00:00:00:00:01" == mac_text(frame.source_mac)
    assert "02:00:00:00:00:02" == mac_text(frame.destination_mac)
    assert ("10.0.0.1", "10.0.0.2") == (ip_text(frame.source_ip), ip_text(frame.destination_ip))
    assert (0x0800, 17, 1000, 47001) == (frame.ethertype, frame.protocol, frame.source_port, frame.destination_port)
    assert b"stop" == payload(data)
    assert None is frame.trouble


def test_tcp_with_options() -> None:
    """TCP's payload begins behind its options."""
    data = bytes(ETHERNET / IP() / TCP(sport=104, dport=2000, options=[("MSS", 1460), ("Timestamp", (1, 2))]) / b"dicom")

    assert b"dicom" == payload(data)


def test_two_vlan_tags() -> None:
    """802.1ad outside, 802.1Q inside; the ethertype is what is behind both."""
    data = bytes(ETHERNET / Dot1AD(vlan=7) / Dot1Q(vlan=4000) / IP(src="10.0.0.1") / UDP(dport=5) / b"x")
    frame = parsed(data)

    assert ((7, 4000), 7, 0x0800, 5) == (frame.vlans, frame.vlan, frame.ethertype, frame.destination_port)


def test_ipv6_with_extension_headers() -> None:
    """Ports are found behind hop-by-hop and destination options."""
    data = bytes(
        ETHERNET / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(dport=514) / b"y"
    )
    frame = parsed(data)

    assert ("fd00::1", 17, 514) == (ip_text(frame.source_ip), frame.protocol, frame.destination_port)
    assert b"y" == payload(data)


def test_fragments_have_ports_only_at_the_beginning() -> None:
    """The first fragment shows its ports, a later one none; both say where they belong."""
    first = parsed(bytes(ETHERNET / IP(id=9, flags="MF") / UDP(dport=47001, len=100) / (b"a" * 16)))
    later = parsed(bytes(ETHERNET / IP(id=9, frag=3, proto=17) / Raw(b"b" * 8)))
    sixth = parsed(bytes(ETHERNET / IPv6() / IPv6ExtHdrFragment(id=77, offset=2, m=0, nh=17) / Raw(b"c" * 8)))

    assert (47001, 9, 0, True) == (
        first.destination_port,
        first.fragment.identification,
        first.fragment.offset,
        first.fragment.more,
    )  # type: ignore[union-attr]
    assert (None, 9, 24, False) == (
        later.destination_port,
        later.fragment.identification,
        later.fragment.offset,
        later.fragment.more,
    )  # type: ignore[union-attr]
    assert (None, 77, 16, False) == (
        sixth.destination_port,
        sixth.fragment.identification,
        sixth.fragment.offset,
        sixth.fragment.more,
    )  # type: ignore[union-attr]


def test_frames_without_ports() -> None:
    """ARP has no IP, ICMP no ports, 802.3 a length that bounds its payload."""
    arp = parsed(bytes(ETHERNET / ARP()))
    icmp = parsed(bytes(ETHERNET / IP() / ICMP() / b"z"))
    llc = parsed(b"\1\x80\xc2\0\0\0" + b"\2\0\0\0\0\1" + b"\x00\x03" + b"BBB" + bytes(43))

    assert (0x0806, None, b"") == (arp.ethertype, arp.protocol, arp.source_ip)
    assert (1, None) == (icmp.protocol, icmp.source_port)
    assert (14, 17) == (llc.payload_start, llc.payload_end)


@pytest.mark.parametrize(
    ("expected", "data"),
    [
        ("ipv4", bytes(ETHERNET / IP())[:30]),
        ("ipv4", bytes(ETHERNET / IP(ihl=3))),
        ("ipv4", bytes(ETHERNET / IP(ihl=15))),
        ("ipv6", bytes(ETHERNET / IPv6())[:50]),
        ("udp", bytes(ETHERNET / IP() / UDP())[:40]),
        ("udp", bytes(ETHERNET / IP() / UDP(len=7))),
        ("tcp", bytes(ETHERNET / IP() / TCP(dataofs=15))),
        ("tcp", bytes(ETHERNET / IP() / TCP(dataofs=1))),
        ("vlan", bytes(ETHERNET)[:12] + b"\x81\x00\x00\x01" * 9),
    ],
)
def test_a_broken_header_is_named(expected: str, data: bytes) -> None:
    """The first header that does not hold together is named; those before it stay usable."""
    frame = parsed(data)

    assert expected == frame.trouble
    assert b"\2\0\0\0\0\1" == frame.source_mac


def test_too_short_for_ethernet() -> None:
    """Thirteen bytes are no frame."""
    with pytest.raises(BadItem, match="at least 14 bytes, got 13"):
        parsed(bytes(13))


@pytest.mark.parametrize("folder", ["malformed-tcpdump", "malformed-zeek", "vlan-frag-jumbo", "services"])
def test_hostile_recordings(folder: str) -> None:
    """Captures that crashed other parsers: every prefix rule holds for every frame."""
    if not DATA.exists():
        pytest.skip(f"no recordings at {DATA}")
    count = 0
    for path in sorted((DATA / folder).iterdir()):
        try:
            for heard in frames(path):
                count += 1
                _is_bounded(bytes(heard.data))
        except BadCaptureFile:
            continue

    assert count > 50


def _is_bounded(data: bytes) -> None:
    if len(data) < 14:
        return
    frame: Frame = parsed(data)

    assert 14 <= frame.payload_start <= frame.payload_end <= len(data)
    assert 14 <= frame.transport_start <= len(data)
