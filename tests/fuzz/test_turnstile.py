"""The turnstile's C against the entrance in Python: what it lets through is the same to the byte, what it does not comes back untouched."""

import struct
from collections import Counter

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from drivers.tap import Block, HeardFrame, pack_block
from firmware.core.certificate import DeviceOffset, Method
from firmware.core.entrance import entry_of, message_of
from firmware.core.frame import ip_text
from firmware.core.hearing import Hearing
from firmware.core.turnstile import Turnstile
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings

NOW = Now(Monotonic(5), Timestamp(1_795_342_537_000_000_000, 50_000, "ptp", ClockState.LOCKED))
STAMP = NOW.utc_ns - 3_000_000
SOURCES = (bytes([10, 0, 0, 5]), bytes([10, 0, 0, 6]), bytes([0xFD, *range(15)]))
OFFSETS = {
    SOURCES[0]: None,
    SOURCES[1]: DeviceOffset("10.0.0.6", Method.QUERIED, -12_345, 987_654, NOW.timestamp.tai_ns - 7_000_000_000),
    SOURCES[2]: DeviceOffset("x", Method.BOUNDED, -5, None, 1),
}
RULES = tuple(
    rules_of(IntakeSettings(**changes))
    for changes in (
        {},
        {"subscribe": ("!* noisy*", "10.0.0.* *"), "devices": ("10.0.0.5=robot-1",), "p2_ports": (47001, 47002)},
        {"stated_priorities": ("0=1", "urgent=1", "5=3"), "event_words": ("患者受伤=patient-injury", "tool broken=tool-failure")},
        {"event_words": ("Straße zu=road-closed",), "sensitive_fields": ("bed", "x")},
    )
)


def pieces(letters: str, size: int) -> st.SearchStrategy[str]:
    """Texts of these letters; st.text would look through all of Unicode first, which takes seconds."""
    return st.lists(st.sampled_from(letters), max_size=size).map("".join)


PLACES = ["process", "arm-3", "noisy-1", "patient-injury", "wear", "robot-1", "10.0.0.5", "published", "health", "a b", "", "ptp"]
TEXTS = st.sampled_from(
    [*PLACES, "joint 2 torque above its limit", "torque=4.2 Nm at 10:15:00", "Patient: Jane Doe", "bed=4", "https://x/y", "it's 'so': x", "#phi x",
     "see #3", "a|b|c", "Doe^Jane", "<x>", "MSH then", " fhs|", "关节2: 过热", "患者受伤", "patient患者: x", "PATIENT INJURY!", "tool\u00a0broken",
     "\u017ftop", "K\u0131nd: x", "x" * 300, "1999/xhtml", "say \"hi\"", "say \"hi\" = x", "straße zu", "mrn\u3000= 5", "\x00\x01", "line\nnext: 4",
     "cGF0aWVudF9uYW1lPUphbmUgRG9l", "x 50617469656e743a204a616e65", "ok YXJtIDMgc3RvcHBlZCBhdCAxMiBO", "&lt;mrn&gt;4711", "m\\u0072n: 4711",
     "P\0a\0t\0i\0e\0n\0t\0:\0 \0J\0", "?patient+id=4711", "mrn;bed\n4711;4", "t (mrn) values (4711)", "MRN 4711", "x Patient Jane admitted", "patient Dr. Roe",
     "patient side cart 4711", "born 1961-02-03", "patient id 4711", "http://hl7.org/fhir/StructureDefinition/patient-x",
     "Patient/4711", "/Practitioner/4711", "topic /PSM1/setpoint_js/Controller9"]
) | pieces("abKxMSHfh12 :=/.-_é患\u3000\u0131'\"#p|&+\\;u0", 24)  # fmt: skip
NAMES = st.sampled_from(
    ["version", "process", "sequence", "severity", "priority", "kind", "event", "time_utc_ns", "time_tai_ns", "time", "clock", "device",
     "text", "fields", "attachment", "x", "patient_name", "torque_nm", "joint", "arm/2/t", "claimed_clock", "claimed_priority", "a#phi", "é"]
)  # fmt: skip
LEAVES = (
    TEXTS | st.integers(-2, 30) | st.integers() | st.floats() | st.floats(width=16) | st.floats(width=32) | st.booleans() | st.none() | st.binary(max_size=3)
    | st.integers(1_795_342_400_000_000_000, 1_795_342_600_000_000_000) | st.sampled_from(["warning", "P1", "WARN", "debug", 1, 3])
)  # fmt: skip
GOOD = st.fixed_dictionaries(
    {},
    optional={
        "version": st.just(1), "process": st.sampled_from(PLACES), "sequence": st.integers(0, 1 << 63), "severity": st.sampled_from([0, 3, 7, 8, "warning", "x"]),
        "priority": st.integers(0, 5) | st.just("P2"), "kind": st.sampled_from(PLACES), "event": st.sampled_from(PLACES), "text": TEXTS,
        "time_utc_ns": st.integers(1_795_342_400_000_000_000, 1_795_342_600_000_000_000), "time_tai_ns": st.integers(0, 1 << 63), "device": TEXTS, "clock": TEXTS,
        "fields": st.dictionaries(NAMES, LEAVES | st.lists(LEAVES, max_size=2), max_size=6), "x": LEAVES,
    },
)  # fmt: skip
ANY = st.dictionaries(NAMES | pieces("ab/é#", 3), LEAVES | st.dictionaries(NAMES, LEAVES, max_size=3), max_size=6)


def checksum(data: bytes) -> int:
    words = sum(struct.unpack(f"!{len(data) // 2 + len(data) % 2}H", data + b"\0" * (len(data) % 2)))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return ~words & 0xFFFF


def frame(payload: bytes, *, source: bytes, port: int, vlans: int = 0, checked: str = "right") -> bytes:
    """checked: "right", "none", "part" (the pseudo-header's, as a kernel leaves it to its card) or "wrong"."""
    to, size = bytes(len(source)), 8 + len(payload)
    pseudo = source + to + struct.pack("!II", size, 17)
    head = struct.pack("!HHH", 5000, port, size)
    value = {
        "right": checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF,
        "none": 0,
        "part": ~checksum(pseudo) & 0xFFFF,
        "wrong": 7,
    }[checked]
    udp = head + struct.pack("!H", value) + payload
    if len(source) == 4:
        packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + size, 9, 0, 64, 17, 0, source, to) + udp
    else:
        packet = struct.pack("!IHBB16s16s", 6 << 28, size, 17, 64, source, to) + udp
    return bytes(12) + b"\x81\x00\x00\x07" * vlans + (b"\x08\x00" if len(source) == 4 else b"\x86\xdd") + packet


def heard(turnstile: Turnstile, data: bytes, frame_count: int = 1):
    return turnstile.hear(Block(memoryview(data), 0, frame_count), NOW)


def check(payload: bytes, *, rules, source: bytes, port: int, vlans: int = 0, checked: str = "right") -> bool:
    """Whether it was plain the second time, when the turnstile knows what the entrance knows; and that it is the same."""
    turnstile, counts = Turnstile(rules), Counter()
    data = frame(payload, source=source, port=port, vlans=vlans, checked=checked)
    block = pack_block([HeardFrame(STAMP, data, len(data))], sequence=0)
    ((first, wire_bytes, same, *_),), _, sound = heard(turnstile, block)
    assert (None, len(data), data, True) == (first, wire_bytes, same, sound), "nothing is plain to who was taught nothing"
    datagram = Hearing(rules.ports, drop=lambda cause: None, count=lambda cause: None).datagram(data, STAMP)
    if datagram is None:
        return False
    message = message_of(
        datagram.payload, source_ip=source, port=port, stamp_utc_ns=STAMP, now=NOW, rules=rules, count=lambda name: counts.update([name]),
        is_altered=datagram.is_altered, offset=OFFSETS[source],
    )  # fmt: skip
    turnstile.learn(datagram.payload, message, source_ip=source, address=ip_text(source), offset=OFFSETS[source])
    (row,), notes, _ = heard(turnstile, block)
    if row[0] is None:
        assert (len(data), data) == (row[1], row[2])
        return False
    entry = entry_of(message)
    assert (message.device, int(message.priority), entry.key, entry.single, STAMP) == row
    assert not counts and not message.tags and rules.subscription.wants(message.device, message.process)
    expected = (
        [(ip_text(source), message.origin_time.tai_ns, message.received_time.tai_ns)]
        if message.origin_time.source == "device"
        else []
    )
    assert expected == notes
    return True


CASES = {
    "rules": st.sampled_from(RULES),
    "source": st.sampled_from(SOURCES),
    "port": st.sampled_from([47001, 47002, 47004, 514, 9]),
}


@settings(max_examples=300, deadline=None)
@given(row=GOOD, is_tagged=st.booleans(), **CASES)
def test_messages_as_publishers_make_them(row, is_tagged, **case):
    """The agreed names with values that mostly are what they should be."""
    check(cbor2.dumps(cbor2.CBORTag(55799, row) if is_tagged else row), **case)


@settings(max_examples=300, deadline=None)
@given(
    row=ANY,
    is_canonical=st.booleans(),
    vlans=st.integers(0, 5),
    checked=st.sampled_from(["right", "none", "part", "wrong"]),
    **CASES,
)
def test_any_values_in_any_frame(row, is_canonical, **case):
    """Any map in any wrapping."""
    check(cbor2.dumps(row, canonical=is_canonical), **case)


@settings(max_examples=200, deadline=None)
@given(row=GOOD, at=st.integers(0, 200), garbage=st.binary(min_size=1, max_size=4), **CASES)
def test_damaged_messages(row, at, garbage, **case):
    """Good CBOR with some bytes changed, cut off or added."""
    data = bytearray(cbor2.dumps(row))
    data[min(at, len(data) - 1) : at + len(garbage) - 1] = garbage
    check(bytes(data), **case)


@settings(max_examples=200, deadline=None)
@given(rules=st.sampled_from(RULES), data=st.binary(max_size=400), frame_count=st.integers(0, 9))
def test_any_bytes_for_a_block(rules, data, frame_count):
    """Nothing that is no block is read beyond its end."""
    rows, _, sound = heard(Turnstile(rules), data, frame_count)

    assert len(rows) <= frame_count and (sound or len(rows) < max(1, frame_count) + 1)


@settings(max_examples=200, deadline=None)
@given(row=GOOD, at=st.integers(0, 300), garbage=st.binary(min_size=1, max_size=6), frame_count=st.integers(0, 3))
def test_damaged_frames(row, at, garbage, frame_count):
    """A block around a good message with some bytes of its headers or lengths changed: what is let through was what was sent."""
    turnstile, payload = Turnstile(RULES[0]), cbor2.dumps(row)
    whole = frame(payload, source=SOURCES[0], port=47001)
    block = bytearray(pack_block([HeardFrame(STAMP, whole, len(whole))] * 2, sequence=0))
    message = message_of(
        payload, source_ip=SOURCES[0], port=47001, stamp_utc_ns=STAMP, now=NOW, rules=RULES[0], count=lambda name: None
    )
    turnstile.learn(payload, message, source_ip=SOURCES[0], address="10.0.0.5", offset=None)
    block[at : at + len(garbage)] = garbage
    for device, _, _, single, _ in heard(turnstile, bytes(block), frame_count)[0]:
        assert device is None or message.text is None or message.text.encode() in single
