"""Recorded frames as they may leave: headers, time, clean messages, and nothing more."""

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet import fragment as cut
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, LLC, STP, Dot1Q, Dot3, Ether

from firmware.deidentify.frames import FrameRules, kept_size
from firmware.intake.publisher import datagram
from simulator.capture_file import BadCaptureFile, frames

DATA = Path(__file__).parents[2].parent / "shared" / "data"
RULES = FrameRules(message_ports=frozenset({47001, 514}), payload_ports=frozenset({7400}), payload_ethertypes=frozenset({0x88CC}))
PTP = bytes([0, 2, 0, 44]) + bytes(40)


def kept(packet: Any, *, wire_bytes: int | None = None) -> bytes:
    data = bytes(packet)
    return data[: kept_size(data, wire_bytes or len(data), RULES)]


@pytest.mark.parametrize(
    "packet",
    [
        Ether() / IP() / TCP(flags="A"),
        Ether() / Dot1Q(vlan=5) / IP() / TCP(flags="S", options=[("MSS", 1460)]),
        Ether() / ARP() / bytes(18),
        Ether(type=0x88F7) / PTP,
        Ether() / IP() / UDP(sport=319, dport=319) / PTP,
        Ether() / IP() / UDP(dport=47001) / datagram("stopped", process="arm", fields={"torque": 4}),
        Ether() / IPv6() / UDP(dport=514) / b"<11>1 - - arm - - - stopped",
        Ether() / IP() / UDP(dport=7400) / b"RTPS",
        Ether() / IP() / TCP(sport=7400) / b"anything the site allows",
        Ether(type=0x88CC) / b"switch 3, port 4",
        Ether() / IP() / ICMP(),
        Ether() / IPv6() / ICMPv6ND_NS(),
        Dot3(dst="01:80:c2:00:00:00") / LLC() / STP() / bytes(8),
    ],
)
def test_leaves_whole(packet: Any) -> None:
    """Headers without payload, time, clean messages, what the site has listed; padding of zeros does not matter. (S2-089)"""
    assert bytes(packet) == kept(packet)


@pytest.mark.parametrize(
    "packet",
    [
        Ether() / IP() / TCP(dport=104) / b"SECRET",
        Ether() / Dot1Q() / IPv6() / TCP(dport=2575) / b"MSH|SECRET",
        Ether() / IP() / UDP() / DNS(qd=DNSQR(qname="SECRET.example")),
        Ether() / IP() / ICMP() / b"SECRET",
        Ether() / IP() / ICMP(type=3, code=3) / IP() / UDP() / b"SECRET",
        Ether() / IPv6() / ICMPv6EchoRequest(data=b"SECRET"),
        Ether() / IP() / UDP(dport=47001) / b"for #phi SECRET",
        Ether() / IP() / UDP(dport=514) / b"<11>Patient: SECRET",
        Ether() / IP() / UDP(dport=47001) / datagram("x", fields={"patient_name": "SECRET"}),
        Ether() / IP() / UDP(dport=47001) / datagram("x", attachment=("text/plain", b"SECRET")),
        Ether() / IP() / UDP(dport=47001) / b"MSH|^~\\&|SECRET",
        Ether() / IP() / UDP(dport=47001) / b'{"patient": "SECRET", broken',
        Ether() / IP() / UDP(dport=47001) / b"\xff SECRET",
        Ether() / IP() / UDP(sport=47001, dport=5000) / b"SECRET",
        Ether() / IP() / TCP(dport=47001) / b"SECRET",
        Ether() / IP() / UDP(dport=7400) / b"#PHI SECRET",
        Ether() / IP() / UDP(dport=319) / b"SECRET in no time message",
        Ether(type=0x88F7) / PTP / b"TLV with SECRET",
        Ether(type=0x88B5) / b"SECRET",
        Ether() / ARP() / b"SECRET",
        Ether() / IP() / TCP() / b"",
        Ether() / IP(proto=47) / b"SECRET",
        Dot3() / LLC() / b"SECRET",
    ],
)
def test_payload_stays(packet: Any) -> None:
    """Everything else is cut behind the last header. (S2-085, S2-089)"""
    data = kept(packet)

    assert b"SECRET" not in data
    assert len(data) >= 14


def test_a_message_that_says_something_twice_stays() -> None:
    """Of two texts under one name the second is read, and the first stands in the frame as well. (S2-089)"""
    twice = b"\xa2\x64text\x70patient=Jane Doe\x64text\x62ok"
    frame = bytes(Ether() / IP() / UDP(dport=47001) / twice)

    assert len(frame) - len(twice) == len(kept(frame))


def test_padding_with_memory_stays() -> None:
    """A card that pads with what it had in memory (CVE-2003-0001) tells nothing."""
    frame = Ether() / IP() / TCP(flags="A")

    assert bytes(frame) == kept(bytes(frame) + b"SECRET")


def test_fragments_are_cut_to_headers() -> None:
    """No fragment can be judged by itself, the first least."""
    for part in cut(IP() / UDP(dport=47001) / (b"SECRET" * 50), fragsize=120):
        assert b"SECRET" not in kept(Ether() / part)


def test_a_message_cut_by_snapping_stays() -> None:
    """What is not whole cannot be judged."""
    frame = bytes(Ether() / IP() / UDP(dport=47001) / b"for  ")

    assert len(frame) - 5 == len(kept(frame, wire_bytes=len(frame) + 100))


def test_broken_frames_are_cut_where_understanding_ends() -> None:
    """A header that does not hold together counts as payload."""
    assert 14 == len(kept(Ether() / IP(ihl=3) / b"SECRET"))
    assert b"" == kept(b"SECRET")


def test_real_traffic() -> None:
    """A room and a hospital nobody here wrote: no HL7, no DICOM, no DNS payload leaves."""
    lab = DATA / "pcap" / "lab"
    if not lab.exists():
        pytest.skip(f"no recordings at {lab}")
    whole = cut_count = 0
    for name in ("hl7_mllp.pcap", "dicom_mwl_store.pcap", "ptp4l_l2_e2e_1gm_3slaves.pcap"):
        for heard in frames(lab / name):
            data = bytes(heard.data)
            size = kept_size(data, heard.wire_bytes, RULES)
            whole, cut_count = whole + (size == len(data)), cut_count + (size < len(data))
            assert size <= 66 + 64
            assert b"PID|" not in data[:size] and b"DICM" not in data[:size]

    assert min(whole, cut_count) > 50


def test_hostile_frames() -> None:
    """Captures that crashed other parsers: a size, never an error."""
    folder = DATA / "pcap"
    if not folder.exists():
        pytest.skip(f"no recordings at {folder}")
    for path in [*sorted((folder / "malformed-tcpdump").iterdir()), *sorted((folder / "malformed-zeek").iterdir())]:
        try:
            for heard in frames(path):
                assert 0 <= kept_size(bytes(heard.data), heard.wire_bytes, RULES) <= len(heard.data)
        except BadCaptureFile:
            continue


PATIENT = b"Zebulon Quackenbush, born 1961-02-03, and more of him"


@pytest.mark.parametrize(
    ("packet", "position", "value", "headers"),
    [(Ether() / IP() / UDP(dport=5004) / PATIENT, 14, 0x4A, 14), (Ether() / IP() / TCP(dport=104) / PATIENT, 46, 0xF0, 34)],
    ids=["IP options", "TCP options"],
)
def test_a_wrong_header_length_is_no_way_out(packet: Any, position: int, value: int, headers: int) -> None:
    """A header length wrong by a bit makes options of the payload: its checksum shows it, and nothing of that header leaves."""
    data = bytearray(bytes(packet))
    data[position] = value

    assert headers == kept_size(bytes(data), len(data), RULES)


def test_options_are_no_way_out() -> None:
    """Payload as options with a checksum that fits: IP's never leave, TCP's only where they are options."""
    tcp = Ether() / IP() / TCP(dport=104, dataofs=15) / PATIENT
    ip = bytearray(bytes(Ether() / IP() / UDP(dport=5004) / PATIENT))
    ip[14], ip[24:26] = 0x4A, bytes(2)
    ip[24:26] = (0xFFFF - int.from_bytes(ip[14:54], "big") % 0xFFFF).to_bytes(2, "big")

    assert 54 == len(kept(tcp))
    assert 34 == len(kept(bytes(ip)))


@pytest.mark.parametrize(
    ("packet", "size"),
    [
        (Ether() / IP(chksum=1) / UDP(dport=47001) / b"stopped", 14),
        (Ether() / IP() / UDP(dport=47001, chksum=1) / b"stopped", 34),
        (Ether() / IP() / TCP(dport=104, chksum=1), 34),
        (Ether() / IP() / ICMP(chksum=1), 34),
        (Ether() / IPv6() / UDP(dport=47001, chksum=1) / b"stopped", 14),
        (Ether() / IPv6() / ICMPv6ND_NS(cksum=1), 14),
        (Ether() / Dot1Q(vlan=5, type=0x88B5) / b"or no tag at all", 14),
    ],
)
def test_headers_leave_where_their_checksums_hold(packet: Any, size: int) -> None:
    """What was altered on its way may be payload taken for a header; IPv6's own header is only as good as what it carries. (S2-085)"""
    assert size == len(kept(packet))


@pytest.mark.parametrize("transport", [UDP(dport=47001) / b"stopped", TCP(dport=104)])
def test_a_checksum_left_to_the_card_will_do(transport: Any) -> None:
    """With the half of it that a sending kernel leaves to its card, headers and clean messages leave."""
    data = bytearray(bytes(Ether() / IP() / transport))
    pseudo = data[26:34] + bytes([0, data[23]]) + (len(data) - 34).to_bytes(2, "big")
    offset = 50 if data[23] == 6 else 40
    data[offset : offset + 2] = (int.from_bytes(pseudo, "big") % 0xFFFF).to_bytes(2, "big")

    assert bytes(data) == kept(bytes(data))


def test_without_a_checksum_headers_and_time_leave() -> None:
    """UDP over IPv4 may go without (RFC 768): a message in it cannot be judged, a time message can."""
    message, time = (Ether() / IP() / UDP(dport=port, chksum=0) / body for port, body in ((47001, b"stopped"), (319, PTP)))

    assert 42 == len(kept(message))
    assert bytes(time) == kept(time)


def test_usual_tcp_options_leave() -> None:
    """What Wireshark computes round trips and losses from stays with the frame."""
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]
    packet = Ether() / IP() / TCP(dport=104, options=options) / PATIENT

    assert bytes(packet)[: -len(PATIENT)] == kept(packet)
