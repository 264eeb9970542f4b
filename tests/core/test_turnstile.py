"""What is plain goes through as the entrance would have made it; what could be sensitive, or is of another form, comes back for it."""

import struct

import pytest

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from drivers.tap import Block, HeardFrame, pack_block
from firmware.core.certificate import DRIFT_PPM, DeviceOffset, Method
from firmware.core.entrance import AHEAD_NS_MAX, YEAR_2000_TAI_NS, Entry, Rules, entry_of, message_of
from firmware.core.timestamp import SECOND
from firmware.core.turnstile import Row, Turnstile
from firmware.intake.publisher import datagram
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings

NOW = Now(Monotonic(5), Timestamp(1_795_342_537_000_000_000, 50_000, "ptp", ClockState.LOCKED))
SOURCE = bytes([10, 0, 0, 5])
RULES = rules_of(IntakeSettings())


def frame(payload: bytes, port: int = 47002) -> bytes:
    """UDP over IPv4 without a checksum, which it may (RFC 768)."""
    udp = struct.pack("!HHHH", 5000, port, 8 + len(payload), 0) + payload
    return bytes(12) + b"\x08\x00" + struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 9, 0, 64, 17, 0, SOURCE, bytes(4)) + udp


class Gate:
    """A turnstile, and the entrance that teaches it."""

    def __init__(self, offset: DeviceOffset | None = None, rules: Rules = RULES) -> None:
        self.rules = rules
        self.turnstile = Turnstile(rules)
        self.offset = offset

    def hear(self, *payloads: bytes) -> list[Row]:
        frames = [HeardFrame(NOW.utc_ns, frame(payload), len(frame(payload))) for payload in payloads]
        rows, _, is_whole = self.turnstile.hear(Block(memoryview(pack_block(frames, sequence=0)), 0, len(frames)), NOW)
        assert is_whole
        return rows

    def entry(self, payload: bytes) -> Entry:
        """What the entrance makes of it; and the turnstile has been told."""
        message = message_of(
            payload,
            source_ip=SOURCE,
            port=47002,
            stamp_utc_ns=NOW.utc_ns,
            now=NOW,
            rules=self.rules,
            count=lambda name: None,
            offset=self.offset,
        )
        self.turnstile.learn(payload, message, source_ip=SOURCE, address="10.0.0.5", offset=self.offset)
        return entry_of(message)

    def is_same(self, payload: bytes) -> bool:
        """Whether it is plain once it is known, and then what the entrance makes of it."""
        entry = self.entry(payload)
        ((device, priority, key, single, _),) = self.hear(payload)
        assert device is None or (entry.key, entry.single, entry.message.priority) == (key, single, priority)
        return device is not None


def test_what_a_publisher_sends_is_plain_from_the_second_on() -> None:
    """Device, priority, key and bytes are the entrance's; the first of a kind is the entrance's own, which teaches the rest. (S2-028)"""
    gate = Gate()
    payload = datagram(
        "00000001 joint 2 torque above its limit", process="arm-3", sequence=7, severity="warning", event="wear", time_utc_ns=NOW.utc_ns,
        clock="ptp", fields={"torque_nm": 4.2, "joint": 2, "state": "at 10:15 load=high", "ok": True, "none": None},
    )  # fmt: skip
    ((before, *_),) = gate.hear(payload)
    entry = gate.entry(payload)

    assert before is None
    assert [("10.0.0.5", 2, entry.key, entry.single, NOW.utc_ns)] * 3 == gate.hear(payload, payload, payload)


def test_the_order_of_a_block_is_kept() -> None:
    """Plain or not, frames come back as they were heard."""
    gate = Gate()
    plain, other = datagram("stopped", process="arm"), b"only text"
    gate.entry(plain)

    assert [True, False, False, True] == [row[0] is not None for row in gate.hear(plain, other, other, plain)]


@pytest.mark.parametrize(
    ("is_plain", "text"),
    [
        (True, "arm 3 stopped"),
        (True, "torque=4.2 at 10:15:00, see #3"),
        (True, "关节2: 过热"),
        (True, "can't reach https://x/y"),
        (False, "stopped for #phi Jane Doe #end"),
        (False, "Patient: Jane Doe"),
        (False, "mrn=12345"),
        (False, "mrn \t = 12345"),
        (False, "mrn\n: 12345"),
        (True, "mrn\n\n: 12345"),
        (True, "torque   = 12345"),
        (False, "id: 12345"),
        (False, "(0010,0020) LO"),
        (True, "moved to (10,2048)"),
        (False, "--mrn=4711"),
        (False, "Patient 1: Jane"),
        (False, "Patient 1" + " " * 70 + ": Jane"),
        (False, "Patient (MRN): 4711"),
        (False, "Patient (4711, bed 4) = Jane"),
        (False, "Number (MRN): 4711"),
        (False, "MRN# 4711"),
        (False, "MRN #A-4711"),
        (False, "MRN#١arm"),
        (False, "mrn #: A4711"),
        (True, "joint #2, #3 of arm # 4: ok, x #: y, MRN #"),
        (True, "arm (left, 3): ok, state[3] = 4, (x): y, ): z"),
        (False, "\x1b[1mPatient: Jane"),
        (False, "x\\nPatient: Jane"),
        (False, "patient%3DJane"),
        (False, "/Patient/4711"),
        (False, "MRN 4711 moved"),
        (False, "+MRN 4711"),
        (False, "the Patient Jane Doe was admitted"),
        (False, "patients ID 4711"),
        (False, "patient-no. 4711"),
        (False, 'patient "Jane"'),
        (False, "surgeon Dr. Roe"),
        (False, "patient 欧阳 admitted"),
        (False, "born 1961-02-03"),
        (False, "date of birth 1961-02-03"),
        (False, "medical record 4711"),
        (True, "patient side cart ready, surgeon console in, patient 2 of 4711, unborn, xmrn 4711, impatient Jane, patient"),
        (False, "mrn,bed\n4711,4"),
        (False, "mrn\tbed\n4711\t4"),
        (False, "INSERT INTO t (mrn) VALUES (4711)"),
        (True, "arm 3\nmoved, ready; f(x) and (v)"),
        (False, "http://hl7.org/fhir/StructureDefinition/patient-x"),
        (False, "Patient/4711"),
        (False, "/Practitioner/roe, relatedPersons\\roe"),
        (False, "GET /w?patient+id=4711"),
        (False, "&lt;mrn&gt;4711"),
        (False, "mrn&#58; 4711"),
        (False, "p\\u0061tient"),
        (False, "P\0a\0t\0i\0e\0n\0t\0"),
        (False, "raw cGF0aWVudF9uYW1lPUphbmUgRG9l"),
        (False, "50617469656e743a204a616e65"),
        (False, "0x50617469656E743A"),
        (True, "R&D, a & b, +a +4 c\\d, NullPointerExceptionInController, 1795342537123456789"),
        (True, "topic /PSM1/setpoint_js/joint_trajectory_Controller9, 0x12ab34cd, ABCDEFGHIJKLMNOPQRST12"),
        (True, "arm 3: --speed=4, 40% of c/d\\e"),
        (False, "ｐatient：Jane"),
        (False, "ｍｒｎ: 12345"),
        (False, "patient关节: x"),
        (False, '{"resourceType": "Patient"}'),
        (False, "'patient' = x"),
        (False, "PID|1||Doe^Jane"),
        (False, " MSH then"),
        (False, "<ClinicalDocument>"),
        (False, "http://www.w3.org/1999/xhtml"),
        (False, "#ph\u0131 Jane"),
        (False, "INJURED! PATIENT injured, patient injured"),
    ],
)
def test_texts_in_which_something_could_be_sensitive_are_the_entrances(is_plain: bool, text: str) -> None:
    """In the text and in a field: whatever a pattern of the finder could begin in, and words that tell of an event. (S2-082)"""
    gate = Gate()

    assert is_plain == gate.is_same(datagram(text, process="arm"))
    assert (is_plain or "INJURED" in text) == gate.is_same(datagram(process="arm", fields={"note": text}))


def test_a_site_that_lists_names_in_ideographs_has_them_judged() -> None:
    """Without such names they are plain. (S2-081)"""
    text = datagram("患者: 欧阳", process="arm")

    assert Gate().is_same(text)
    assert not Gate(rules=rules_of(IntakeSettings(sensitive_fields=("患者",)))).is_same(text)


def test_a_name_that_ends_a_longer_one_is_never_learned_from_a_text() -> None:
    """`arm id: 3` teaches nothing of `Patient ID: 4711`; a field may be called so all the same. (S2-082)"""
    gate = Gate()

    assert gate.is_same(datagram("stopped", process="arm", fields={"id": 3, "date": "today"}))
    gate.entry(datagram("arm id: 3", process="arm"))
    assert not gate.is_same(datagram("Patient ID: 4711", process="arm"))


@pytest.mark.parametrize("name", ["patient_name", "Patient-ID", "robot/mrn", "a#phi", "resourceType", "é"])
def test_fields_with_such_names_are_the_entrances(name: str) -> None:
    """However often they come. (S2-081)"""
    gate = Gate()

    assert [False, False] == [gate.is_same(datagram("x", process="arm", fields={name: 1})) for _ in range(2)]


@pytest.mark.parametrize(
    ("is_plain", "tai_ns"),
    [
        (True, YEAR_2000_TAI_NS),
        (False, YEAR_2000_TAI_NS - 1),
        (True, NOW.timestamp.tai_ns + AHEAD_NS_MAX),
        (False, NOW.timestamp.tai_ns + AHEAD_NS_MAX + 1),
    ],
)
def test_absurd_times_are_the_entrances(is_plain: bool, tai_ns: int) -> None:
    """The edges are entrance.py's."""
    assert is_plain == Gate().is_same(datagram("x", time_tai_ns=tai_ns))


@pytest.mark.parametrize("age_s", [0, 1, 3_600, 10_000_000])
def test_a_measured_clock_says_how_far_its_stamp_may_be_off(age_s: int) -> None:
    """As certificate.py has it, drift included. (S2-012)"""
    offset = DeviceOffset("10.0.0.5", Method.QUERIED, -3_001, 2_999, NOW.timestamp.tai_ns - age_s * SECOND - 1)

    assert DRIFT_PPM == 100  # turnstile.c has it as a number
    assert Gate(offset).is_same(datagram("x", time_tai_ns=NOW.timestamp.tai_ns))


def test_an_offset_that_changes_is_learned_again() -> None:
    """Until then the sender's messages are the entrance's."""
    gate, payload = Gate(), datagram("x", process="arm", time_tai_ns=NOW.timestamp.tai_ns)
    assert gate.is_same(payload)
    gate.turnstile.forget_sources()

    assert gate.hear(payload)[0][0] is None
    assert gate.is_same(payload)


def test_who_makes_up_names_costs_no_memory_and_hides_nothing() -> None:
    """Five thousand names from one sender: what is learned has a ceiling, and those in use are learned again."""
    gate, usual = Gate(), datagram("x", process="arm", fields={"torque_nm": 4.2})
    for first in range(0, 5_000, 50):
        gate.entry(datagram("x", process="arm", fields={f"n{number}": 1 for number in range(first, first + 50)}))

    assert gate.is_same(usual)
