"""Whatever is in it, what was marked or named as sensitive does not come through the door."""

import json

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet import fragment as cut
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, LLC, Dot1Q, Dot3, Ether

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from firmware.core import pcapng
from firmware.core.entrance import message_of
from firmware.core.errors import BadItem
from firmware.core.message import Message, packed, unpacked
from firmware.deidentify.evidence import Counts, cleaned
from firmware.deidentify.frames import FrameRules, kept_size
from firmware.deidentify.words import WordRules
from firmware.deidentify.words import cleaned as cleaned_message
from firmware.intake.backlog import Waiting
from firmware.intake.publisher import datagram
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings
from firmware.intake.station import IntakeStation
from simulator.board import SimulatedBoard

NOW = Now(Monotonic(5), Timestamp(1_795_342_537_000_000_000, 50_000, "ptp", ClockState.LOCKED))
ENTRANCE = rules_of(IntakeSettings())
FRAMES = FrameRules(frozenset({47001}), frozenset(), frozenset())
AROUND = st.text(max_size=20).filter(lambda text: "#" not in text)
NAMES = st.sampled_from(["patient_name", "PatientName", "robot/patient/id", "MRN", "birthDate", "a.b/Phone", "patient-ID"])
SECTION = (
    pcapng.section_header()
    + pcapng.interface("eth1")
    + pcapng.enhanced_packet(1, bytes(Ether() / IP() / UDP(dport=5) / b"SECRET"), 60)
)


@settings(max_examples=300)
@given(AROUND, AROUND, NAMES, st.sampled_from(["#phi", "#PHI", "#Phi"]), st.booleans())
def test_nothing_marked_or_named_leaves(before: str, after: str, name: str, marker: str, closed: bool) -> None:
    """From the publisher through the entrance and the door, as message and as recorded frame."""
    text = f"{before}{marker} SECRET-1 {'#end ' if closed else ''}{after}"
    payload = datagram(text, fields={name: "SECRET-2", "note": text, "torque": 4.5})
    message = message_of(
        payload, source_ip=bytes(4), port=47001, stamp_utc_ns=NOW.utc_ns, now=NOW, rules=ENTRANCE, count=lambda name: None
    )
    clean, _ = cleaned_message(message, WordRules())
    frame = bytes(Ether() / IP() / UDP(dport=47001) / payload)

    assert b"SECRET" in packed([message])
    assert b"SECRET" not in packed([clean])
    assert 4.5 == clean.fields["torque"]
    assert b"SECRET" not in frame[: kept_size(frame, len(frame), FRAMES)]


@settings(max_examples=300)
@given(st.integers(0, len(SECTION) - 1), st.binary(min_size=1, max_size=4), st.integers(0, len(SECTION)))
def test_damaged_evidence(at: int, garbage: bytes, end: int) -> None:
    """A section with some bytes changed and its end missing: cleaned or refused."""
    data = bytearray(SECTION)
    data[at : at + len(garbage)] = garbage
    for section in (bytes(data), bytes(data[:end])):
        try:
            list(cleaned(section, FRAMES, Counts()))
        except BadItem:
            continue


# Planted names, and what may go wrong with a frame on its way. Frames as devices make them, with checksums.

NAME = "Zebulon Quackenbush"
PLANTED = (*(NAME.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")), "欧阳震华".encode("utf-16-le"))
PIECES = frozenset(word[at : at + 4] for word in PLANTED for at in range(len(word) - 3))
DOOR = FrameRules(frozenset({47001, 47002, 47003, 47004, 514}), frozenset(), frozenset())
ETHERNET = Ether(src="02:53:4a:00:00:01", dst="02:53:4a:00:00:02")
V4, V6 = IP(src="10.77.0.1", dst="10.77.0.2"), IPv6(src="fe80::1", dst="fe80::2", hlim=255)
STAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))]


def carrying(name: bytes) -> list[bytes]:
    """A frame of each kind with the name where that kind has room for one."""
    marked = datagram("arm 3", fields={"patient_name": NAME}), b"stopped for #phi " + name + b" #end at 12 N"
    tagged = ETHERNET / Dot1Q(vlan=20)
    packets = [
        *(layer / V4 / UDP(sport=5004, dport=port) / name for layer in (ETHERNET, tagged) for port in (5004, 47000, 47005, 318, 514 + 8)),
        *(ETHERNET / layer / TCP(sport=40001, dport=104, options=options) / name for layer in (V4, V6) for options in ([], STAMPS)),
        *(ETHERNET / layer / UDP(sport=40000, dport=47002) / message for layer in (V4, V6) for message in marked),
        ETHERNET / V6 / UDP(sport=5004, dport=5004) / name,
        ETHERNET / V6 / IPv6ExtHdrDestOpt() / UDP(sport=5004, dport=5004) / name,
        ETHERNET / V6 / IPv6ExtHdrFragment(id=7, m=1) / UDP(sport=5004, dport=47002, len=999) / name,
        ETHERNET / IP(src="10.77.0.1", dst="10.77.0.2", flags="MF", id=7) / UDP(sport=5004, dport=47002, len=999) / name,
        ETHERNET / V4 / ICMP() / name,
        ETHERNET / V4 / ICMP(type=3, code=3) / V4 / UDP(dport=5004) / name,
        ETHERNET / V6 / ICMPv6EchoRequest(data=name),
        ETHERNET / V6 / ICMPv6EchoReply(data=name),
        *(Ether(bytes(ETHERNET / IP(src="10.77.0.1", dst="10.77.0.2", proto=number) / name)) for number in (2, 3, 4, 47, 132)),
        ETHERNET / ARP() / name,
        Ether(src="02:53:4a:00:00:01", type=0x88F7) / bytes([0x0D, 2, 0, 54 + len(name)]) / bytes(50) / name,
        *(Ether(src="02:53:4a:00:00:01", type=number) / name for number in (0x0900, 0x8900, 0x88B5, 0x8870)),
        Dot3(src="02:53:4a:00:00:01") / LLC() / name,
    ]  # fmt: skip
    return [bytes(packet) for packet in packets]


CORPUS = [frame for name in PLANTED for frame in carrying(name)]
CHECKED = [frame for frame in CORPUS if frame[12:14] not in (b"\x08\x06", b"\x88\xf7")]  # ARP and PTP over Ethernet are not


def leaked(frame: bytes, wire_bytes: int | None = None) -> bytes:
    """What leaves of it, when a piece of the name is in that; else nothing."""
    left = frame[: kept_size(frame, len(frame) if wire_bytes is None else wire_bytes, DOOR)]
    return left if any(left[at : at + 4] in PIECES for at in range(14, len(left) - 3)) else b""


@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_one_bit_flipped_frees_no_name(number: int) -> None:
    """Every bit of every kind of frame: one that flipped makes no header, no time and no clean message of a payload. (S2-085)"""
    frame = bytearray(CORPUS[number])
    assert b"" == leaked(bytes(frame))
    for bit in range(8 * len(frame)):
        frame[bit // 8] ^= 1 << bit % 8
        assert b"" == leaked(bytes(frame)), f"bit {bit % 8} of byte {bit // 8}"
        frame[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_a_frame_cut_or_shortened_frees_no_name(number: int) -> None:
    """Cut anywhere, by snapping or on its way; and with bytes lost anywhere behind the Ethernet header. (S2-085)

    But for ARP, which has neither length nor checksum: what moves up into it cannot be told from it.
    """
    frame = CORPUS[number]
    for end in range(len(frame)):
        assert b"" == leaked(frame[:end]), f"cut at {end}"
        assert b"" == leaked(frame[:end], len(frame)), f"snapped at {end}"
    for start in range(14, len(frame)) if frame in CHECKED else ():
        for size in (1, 2, 4, 8, 12, 20, 28, 40):
            assert b"" == leaked(frame[:start] + frame[start + size :]), f"{size} bytes lost at {start}"


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(CHECKED), st.sampled_from(CORPUS), st.integers(14, 80), st.integers(14, 80))
def test_two_frames_spliced_free_no_name(first: bytes, second: bytes, until: int, since: int) -> None:
    """The beginning of one frame and the end of another."""
    assert b"" == leaked(first[:until] + second[since:])


class Heard:
    """Intake's backlog, caught before it is written."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def add(self, priority: object, waiting: Waiting, now: object) -> None:
        self.messages += unpacked(waiting.single)


def said(*heard: bytes) -> bytes:
    """What leaves of the messages intake makes of these frames."""
    board = SimulatedBoard()
    station, backlog = IntakeStation(board, IntakeSettings()), Heard()
    station._taking._backlog = backlog  # type: ignore[assignment]
    for frame in heard:
        station._hear_frame(frame, 10**18, board.clock.now())
    return packed([cleaned_message(message, WordRules())[0] for message in backlog.messages])


PUBLISHED = [
    bytes(ETHERNET / layer / UDP(sport=40000, dport=47002) / payload)
    for layer in (V4, V6)
    for payload in (
        cbor2.dumps({"process": "arm", "patient_name": NAME}),
        cbor2.dumps(
            {"process": "arm", "sequence": 7, "text": f"stopped for #phi {NAME} #end", "fields": {"mrn": NAME, "t": 4.5}}
        ),
        json.dumps({"process": "arm", "text": "x", "patient": {"address": {"street": NAME}}}).encode(),
        f"stopped for #phi a #phi {NAME} #end b #end end".encode(),
        f'<131>1 - arm 3 - - [p patient_name="{NAME}"] x'.encode(),
        b"MSH|^~\\&|MON|OR3\rPID|1||7||Quackenbush^Zebulon\r",
    )
]


V4_SAME = IP(src="10.77.0.1", dst="10.77.0.2", id=9)


def test_published_names_do_not_leave_by_a_wrong_bit() -> None:
    """From the wire through intake and the door: every bit of a message flipped, and every way to cut it short. (S2-085)"""
    for frame in PUBLISHED:
        altered = bytearray(frame)
        assert b"Quack" not in said(frame) and said(frame) != packed([])
        for bit in range(14 * 8, 8 * len(frame)):
            altered[bit // 8] ^= 1 << bit % 8
            assert b"Quack" not in said(bytes(altered)), f"bit {bit % 8} of byte {bit // 8}"
            altered[bit // 8] ^= 1 << bit % 8
        for end in range(14, len(frame)):
            assert b"Quack" not in said(frame[:end]), f"cut at {end}"


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(PUBLISHED[:6]), st.sampled_from(PUBLISHED[:6]), st.integers(1, 12), st.booleans(), st.booleans())
def test_fragments_of_two_messages_free_no_name(first: bytes, second: bytes, eighths: int, swapped: bool, is_whole: bool) -> None:
    """Two senders' fragments with one identification, put together as one datagram; with a checksum, as senders make them."""
    parts = [
        [bytes(ETHERNET / part) for part in cut(V4_SAME / UDP(frame[34:]), fragsize=8 * eighths)] for frame in (first, second)
    ]
    mixed = [*parts[swapped][:1], *parts[not swapped][1:]]
    assert b"Quack" not in said(*mixed, *(parts[0] if is_whole else ()))
