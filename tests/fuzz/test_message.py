"""Batches of any bytes: messages or BadItem, nothing else, and never with their contents in the reason."""

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core.errors import BadItem
from firmware.core.message import Message, Priority, Severity, packed, unpacked
from firmware.core.release import unpacked as unpacked_release
from firmware.core.timestamp import ClockState, Timestamp

STAMP = Timestamp(1, 2, "ptp", ClockState.LOCKED)
GOOD = packed([Message("a", "b", "c", Priority.P1, Severity.ERROR, STAMP, STAMP, text="SECRET", fields={"x": "SECRET"})])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=20) | st.just("SECRET"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(0, 15) | st.text(max_size=5), inner, max_size=6),
    max_leaves=20,
)


def check(data: bytes) -> None:
    for reader in (unpacked, unpacked_release):
        try:
            reader(data)
        except BadItem as trouble:
            assert "SECRET" not in str(trouble)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Bytes from nowhere."""
    check(data)


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=6), st.integers(0, len(GOOD)))
def test_a_damaged_batch(at: int, garbage: bytes, end: int) -> None:
    """Some bytes of a good one changed, its end missing."""
    data = bytearray(GOOD)
    data[at : at + len(garbage)] = garbage
    check(bytes(data))
    check(bytes(data[:end]))


@settings(max_examples=300)
@given(st.dictionaries(st.integers(0, 15), ANYTHING, max_size=6))
def test_any_values(changes: dict[int, object]) -> None:
    """Well formed CBOR with any value anywhere."""
    row = cbor2.loads(GOOD)[0]
    check(cbor2.dumps([row | changes]))
    check(cbor2.dumps(changes))
