"""Datagrams of any bytes become messages that can be stored and read back, in any of the forms."""

import json

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from firmware.core.entrance import message_of
from firmware.core.message import packed, unpacked
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings

NOW = Now(Monotonic(5), Timestamp(1_795_342_537_000_000_000, 50_000, "ptp", ClockState.LOCKED))
RULES = rules_of(IntakeSettings())
NAMES = st.sampled_from(
    ["version", "process", "sequence", "severity", "priority", "kind", "event", "time_utc_ns", "time_tai_ns", "time", "clock", "device",
     "text", "fields", "attachment", "x", "patient_name"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(0, 7) | st.floats() | st.text(max_size=12) | st.just("#phi x"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
SYSLOG = st.lists(
    st.sampled_from(["<13>", "<191>", "1 ", "- ", "2026-11-22T10:15:00Z ", "host ", "[a@1 b=\"c\"]", "[a x=\"\\\"]", "\n", "Oct 11 22:14:15 ",
                     "tag[1]: ", "text", "\x00", "é", "[", "\""]), max_size=12,
).map("".join)  # fmt: skip


def check(payload: bytes) -> None:
    for port in (47001, 514):
        message = message_of(
            payload,
            source_ip=bytes([10, 0, 0, 5]),
            port=port,
            stamp_utc_ns=NOW.utc_ns,
            now=NOW,
            rules=RULES,
            count=lambda name: None,
        )
        (again,) = unpacked(packed([message]))
        assert (message.identity, message.tags) == (again.identity, again.tags)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes(payload: bytes) -> None:
    """Bytes from nowhere."""
    check(payload)


@settings(max_examples=300)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_values(row: dict[str, object]) -> None:
    """The agreed names with any value, as CBOR and as JSON."""
    check(cbor2.dumps(row))
    check(json.dumps(row).encode())


@settings(max_examples=200)
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.integers(0, 99), st.binary(min_size=1, max_size=4))
def test_damaged_messages(row: dict[str, object], at: int, garbage: bytes) -> None:
    """Good CBOR and JSON with some bytes changed."""
    for whole in (cbor2.dumps(row), json.dumps(row).encode()):
        data = bytearray(whole)
        at = min(at, len(data) - 1)
        data[at : at + len(garbage)] = garbage
        check(bytes(data))


@settings(max_examples=300)
@given(SYSLOG)
def test_any_syslog(text: str) -> None:
    """Pieces of syslog in any order."""
    check(text.encode())
    check(text.encode("latin-1"))
