"""Whatever is in it, what was marked or named as sensitive does not come through the door."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.core.message import packed
from firmware.deidentify.evidence import Counts, cleaned
from firmware.deidentify.frames import FrameRules, kept_size
from firmware.deidentify.words import WordRules
from firmware.deidentify.words import cleaned as cleaned_message
from firmware.intake.entrance import message_of, rules_of
from firmware.intake.publisher import datagram
from firmware.intake.settings import IntakeSettings

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
