"""Messages: stored and read back the same, joined by identity, and refused when they are not what they say."""

import hashlib
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.cbor import stamp_as_list
from firmware.core.errors import BadItem
from firmware.core.message import Message, Priority, Severity, Tag, joined, packed, packed_single, unpacked
from firmware.core.timestamp import ClockState, Timestamp

TOKENS = st.from_regex(r"[A-Za-z0-9._:/-]{1,64}", fullmatch=True)
STAMPS = st.builds(
    Timestamp,
    st.integers(-(1 << 62), 1 << 62),
    st.integers(0, 1 << 62),
    st.sampled_from(["ptp", "ntp", "device"]),
    st.sampled_from(ClockState),
)
FIELDS = st.dictionaries(
    st.text(min_size=1, max_size=20),
    st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.floats(allow_nan=False) | st.text(max_size=40),
    max_size=5,
)
MESSAGES = st.builds(
    Message, device=TOKENS, process=TOKENS, kind=TOKENS, priority=st.sampled_from(Priority), severity=st.sampled_from(Severity),
    origin_time=STAMPS, received_time=STAMPS, sequence=st.none() | st.integers(0, 1 << 60), event=st.none() | TOKENS,
    text=st.none() | st.text(max_size=80), fields=FIELDS, attachment=st.none() | st.tuples(st.just("image/png"), st.binary(max_size=40)),
    tags=st.lists(st.builds(lambda start, more: Tag("text", start, start + more, "marker"), st.integers(0, 9), st.integers(0, 9)), max_size=2).map(tuple),
)  # fmt: skip

ONE = Message(
    device="robot-1", process="arm", kind="published", priority=Priority.P1, severity=Severity.ERROR,
    origin_time=Timestamp(1, 2, "device", ClockState.FREE), received_time=Timestamp(3, 4, "ptp", ClockState.LOCKED), text="stopped",
)  # fmt: skip


@given(st.lists(MESSAGES, min_size=1, max_size=4))
def test_read_back_the_same(messages: list[Message]) -> None:
    """What was packed comes out equal. (S2-023)"""
    assert messages == unpacked(packed(messages))


@given(MESSAGES)
def test_bytes_are_those_of_a_cbor_library(message: Message) -> None:
    """Put together by hand, and the same: deterministic CBOR of the agreed map, and its identity."""
    parts: dict[int, object] = {
        2: message.device, 3: message.process, 4: message.sequence, 5: message.kind, 6: int(message.priority), 7: int(message.severity),
        8: message.event, 9: message.origin_time.tai_ns, 11: message.text, 12: dict(message.fields) or None,
        13: None if message.attachment is None else list(message.attachment),
    }  # fmt: skip
    said = {key: value for key, value in parts.items() if value is not None}
    identity = hashlib.sha256(cbor2.dumps(said, canonical=True)).digest()[:16]
    row = said | {0: 1, 1: identity, 9: stamp_as_list(message.origin_time), 10: stamp_as_list(message.received_time)}
    if message.tags:
        row[14] = [[tag.path, tag.start, tag.end, tag.why] for tag in message.tags]

    assert (identity, cbor2.dumps([row], canonical=True)) == packed_single(message)


@given(st.lists(MESSAGES, min_size=1, max_size=30))
def test_joined_is_packed(messages: list[Message]) -> None:
    """Batches of one, joined, are the bytes of the batch, whatever their number."""
    assert packed(messages) == joined([packed([message]) for message in messages])


def test_joined_beyond_one_byte_headers() -> None:
    """CBOR's array headers of 2 and 3 bytes."""
    for count in (23, 24, 255, 256, 300):
        assert packed([ONE] * count) == joined([packed([ONE])] * count)


@given(MESSAGES, STAMPS)
def test_a_copy_has_the_same_identity(message: Message, received: Timestamp) -> None:
    """When it was received, how good its clock is thought to be and what was tagged do not make another message of it."""
    other = replace(
        message,
        received_time=received,
        tags=(),
        origin_time=replace(message.origin_time, uncertainty_ns=7, state=ClockState.FREE),
    )

    assert message.identity == other.identity


@pytest.mark.parametrize(
    "change",
    [
        {"device": "robot-2"},
        {"process": "leg"},
        {"priority": Priority.P2},
        {"sequence": 0},
        {"text": "moved"},
        {"fields": {"a": 1}},
        {"event": "e"},
    ],
)
def test_another_message_has_another_identity(change: dict[str, object]) -> None:
    """Each thing said counts."""
    assert ONE.identity != replace(ONE, **change).identity  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (0, 2, "version 1"),
        (1, bytes(16), "identity"),
        (2, "robot 1", "device"),
        (3, "", "process"),
        (4, -1, "sequence"),
        (5, "x" * 65, "kind"),
        (6, 5, "priority"),
        (6, True, "priority"),
        (7, 8, "severity"),
        (8, "#phi", "event"),
        (9, [1, -1, "ptp", "locked"], "stamp"),
        (10, [1, 1, "ptp", "lost"], "stamp"),
        (11, b"bytes", "text"),
        (12, {"a": [1]}, "fields"),
        (12, {"": 1}, "field names"),
        (12, {"a": float("nan")}, "not-a-number"),
        (13, ["x"], "attachment"),
        (14, [["text", 4, 3, "marker"]], "tag"),
    ],
)
def test_refused_with_what_was_expected(key: int, value: object, expected: str) -> None:
    """A message that breaks the format is refused by the rule's name, and without its contents."""
    row = cbor2.loads(packed([ONE]))[0] | {key: value}
    with pytest.raises(BadItem, match=expected) as caught:
        unpacked(cbor2.dumps([row]))

    assert "stopped" not in str(caught.value)
