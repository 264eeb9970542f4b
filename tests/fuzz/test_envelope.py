"""Whatever bytes arrive as envelope, chunk, acknowledgement or presence: a value that packs to the same, or BadItem. Nothing else."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware.core import envelope, presence
from firmware.core.envelope import Ack, Chunk, Envelope, content_of, sealed_envelope
from firmware.core.errors import BadItem
from firmware.core.message import Priority

READERS: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = [
    (envelope.unpacked, envelope.packed),
    (envelope.chunk_unpacked, envelope.chunk_packed),
    (envelope.ack_unpacked, envelope.ack_packed),
    (presence.unpacked, presence.packed),
]
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20) | st.binary(max_size=40)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 12) | st.text(max_size=4), inner, max_size=8), max_leaves=12)  # fmt: skip
ENVELOPES = st.builds(
    sealed_envelope,
    box=st.just("box-1"), kind=st.sampled_from(["group", "evidence"]), priority=st.sampled_from(list(Priority)),
    first_tai_ns=st.integers(-(2**62), 2**62), last_tai_ns=st.integers(-(2**62), 2**62), content=st.binary(max_size=2000),
    asked_by=st.none() | st.binary(min_size=16, max_size=16),
    facts=st.dictionaries(st.text(max_size=10), st.integers(-(2**62), 2**62) | st.text(max_size=20), max_size=4),
)  # fmt: skip


@pytest.mark.parametrize(("read", "write"), READERS)
@given(
    data=st.binary(max_size=300)
    | VALUES.map(cbor2.dumps)
    | st.dictionaries(st.integers(0, 10), VALUES).map(lambda row: cbor2.dumps({**row, 0: 1}))
)
@example(data=b"\xc2\x41\x01")
@example(data=b"\x9f" * 100)
@example(data=cbor2.dumps({0: 1, 1: [b"x" * 16] * 5000}))
@example(data=cbor2.dumps({0: True, 1: 0}))
@settings(max_examples=150, deadline=None)
def test_any_bytes(read: Callable[[bytes], Any], write: Callable[[Any], bytes], data: bytes) -> None:
    """Refused with BadItem, or understood so that writing and reading it again gives the same."""
    try:
        value = read(data)
    except BadItem:
        return
    assert value == read(write(value))


@given(value=ENVELOPES)
@settings(max_examples=100, deadline=None)
def test_an_envelope_comes_back(value: Envelope) -> None:
    """Packed and unpacked it is the same, and its content follows from its identity."""
    assert value == envelope.unpacked(envelope.packed(value))
    content_of(value)


@given(value=ENVELOPES, position=st.integers(0, 1 << 20), byte=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_one_byte_changed(value: Envelope, position: int, byte: int) -> None:
    """A flipped byte never gives another content under the same identity."""
    data = bytearray(envelope.packed(value))
    data[position % len(data)] ^= byte
    try:
        found = envelope.unpacked(bytes(data))
        content = content_of(found)
    except BadItem:
        return
    assert found.identity != value.identity or content == content_of(value)


@pytest.mark.parametrize("codec", ["deflate", "lz4"])
def test_a_bomb_does_not_inflate(codec: str) -> None:
    """A body that would become far more than it says is refused without being inflated."""
    import zlib

    import lz4.frame

    bomb = zlib.compress(bytes(64 << 20)) if codec == "deflate" else lz4.frame.compress(bytes(64 << 20))
    row = {0: 1, 1: bytes(16), 2: "box-1", 3: "group", 4: 1, 5: [0, 0], 6: codec, 7: 10, 8: bomb}
    with pytest.raises(BadItem):
        content_of(envelope.unpacked(cbor2.dumps(row)))


@given(
    offset=st.integers(-5, 2**64),
    size=st.integers(-5, 2**64),
    data=st.binary(max_size=50),
    digest=st.binary(min_size=30, max_size=34),
)
@settings(max_examples=200, deadline=None)
def test_a_chunk_never_reaches_beyond_its_envelope(offset: int, size: int, data: bytes, digest: bytes) -> None:
    """Offset and size are bounded by the whole, the whole by what an envelope may be."""
    try:
        chunk = envelope.chunk_unpacked(cbor2.dumps({0: 1, 1: offset, 2: size, 3: digest, 4: data}))
    except BadItem:
        return
    assert 0 <= chunk.offset < chunk.offset + len(chunk.data) <= chunk.size <= envelope.ENVELOPE_BYTES_MAX
    assert Chunk(offset, size, digest, data) == chunk


def test_an_empty_acknowledgement_is_a_greeting() -> None:
    """{0: 1} and nothing else: the hub is here."""
    assert Ack() == envelope.ack_unpacked(cbor2.dumps({0: 1}))
