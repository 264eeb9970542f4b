"""CBOR (RFC 8949) as we store it: foreign bytes read within bounds, stamps, and the head of an item put together by hand."""

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import cbor2

from firmware.core.errors import BadItem
from firmware.core.timestamp import ClockState, Timestamp

INT64 = 1 << 63
_STATES: Mapping[str, ClockState] = {state.value: state for state in ClockState}
_HEAD_16, _HEAD_32, _HEAD_64 = struct.Struct(">BH"), struct.Struct(">BI"), struct.Struct(">BQ")


def decoded_cbor(data: bytes) -> Any:  # Any: foreign CBOR is anything until somebody has looked at it
    """One CBOR item and nothing after it, from foreign bytes. Raises BadItem."""
    stream = BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream, max_depth=16).decode()
    except (
        cbor2.CBORError,
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        MemoryError,
        AttributeError,
    ) as problem:
        raise BadItem(f"expected CBOR, the decoder stopped with {type(problem).__name__}") from None
    if stream.read(1):
        raise BadItem("expected one CBOR item, more bytes follow it")
    return value


def decoded_record(data: bytes) -> Any:  # Any: as decoded_cbor
    """As `decoded_cbor`, for what is signed and shown to people: no number of it has more than 64 bits. Raises BadItem.

    CBOR has numbers of any length. Ours have not, and Python neither divides nor prints the longest.
    """
    value = decoded_cbor(data)
    waiting, left = [value], len(data)
    while waiting:
        left -= 1
        if left < 0:
            raise BadItem("expected at most an item a byte, some refer to others")  # or to themselves
        match waiting.pop():
            case int(number) if abs(number) >= INT64 * 2:
                raise BadItem("expected numbers of at most 64 bits")
            case list(rows) | tuple(rows):
                waiting += rows
            case dict(rows):
                waiting += [*rows, *rows.values()]
    return value


def stamp_as_list(stamp: Timestamp) -> list[int | str]:
    """A timestamp as stored in messages, seals and envelopes."""
    return [stamp.tai_ns, stamp.uncertainty_ns, stamp.source, stamp.state.value]


def stamp_from_list(row: object) -> Timestamp:
    """The reverse; raises BadItem."""
    # Not `match`, and not `ClockState(state)`: two stamps a message, at ten thousand messages a second.
    if isinstance(row, list) and len(row) == 4:
        tai, uncertainty, source, word = row
        if isinstance(tai, int) and isinstance(uncertainty, int) and isinstance(source, str) and isinstance(word, str):
            state = _STATES.get(word)
            if state is not None and uncertainty >= 0 and len(source) <= 16 and abs(tai) < INT64:
                return Timestamp(tai, uncertainty, source, state)
    raise BadItem("expected a stamp [tai, uncertainty, source, state]")


def cbor_head(major: int, count: int) -> bytes:
    """The first bytes of a CBOR item in the shortest form (RFC 8949 §3): its major type and its value or length, below 2**64."""
    if count < 24:
        return bytes((major << 5 | count,))
    if count < 1 << 8:
        return bytes((major << 5 | 24, count))
    if count < 1 << 16:
        return _HEAD_16.pack(major << 5 | 25, count)
    if count < 1 << 32:
        return _HEAD_32.pack(major << 5 | 26, count)
    return _HEAD_64.pack(major << 5 | 27, count)
