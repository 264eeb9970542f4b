"""What crosses the broker is read back as written, and refused when it is not ours."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core import envelope
from firmware.core.envelope import Ack, Chunk, Command, Order, content_of, sealed_envelope
from firmware.core.errors import BadItem
from firmware.core.message import Priority


def an_envelope(content: bytes = b"content" * 100):
    return sealed_envelope(
        box="box-1", kind="group", priority=Priority.P1, first_tai_ns=1, last_tai_ns=2, content=content, facts={"messages": 1}
    )


@given(st.binary(max_size=2_000), st.integers(0, 1))
def test_content_comes_back(content, repeat):
    """Whatever the codec, the content is read back byte for byte."""
    content = content * (1 if repeat == 0 else 100)

    assert content == content_of(envelope.unpacked(envelope.packed(an_envelope(content))))


def test_codec_follows_the_content():
    """Small groups by deflate, long ones by LZ4, what does not shrink is left alone (S2-062)."""
    codecs = [an_envelope(content).codec for content in (b"abc" * 100, b"abc" * 50_000, bytes(range(256))[:64])]

    assert ["deflate", "lz4", "none"] == codecs


@pytest.mark.parametrize("change", [{"priority": Priority.P2}, {"box": "box-2"}, {"first_tai_ns": 7}, {"kind": "evidence"}])
def test_identity_binds_head_to_content(change):
    """An envelope whose head was altered does not give its content."""
    with pytest.raises(BadItem, match="identity"):
        content_of(dataclasses.replace(an_envelope(), **change))


def test_bomb_is_not_inflated():
    """A body that inflates beyond what it says is refused without being inflated."""
    honest = an_envelope(bytes(10_000_000))

    with pytest.raises(BadItem):
        content_of(dataclasses.replace(honest, raw_size=100))


def test_the_others_come_back():
    """Chunks, acknowledgements, orders and commands are read back as written."""
    chunk = Chunk(5, 10, bytes(32), b"hello")
    ack = Ack((bytes(16),), {b"x" * 16: 7})
    order = Order(bytes(16), "hub-1", "box-1", "retrieval", 3, -1, 5, {"hosts": "10.0.0.1", "about": None})
    command = Command(envelope.order_packed(order), bytes(64))

    assert chunk == envelope.chunk_unpacked(envelope.chunk_packed(chunk))
    assert ack == envelope.ack_unpacked(envelope.ack_packed(ack))
    assert order == envelope.order_unpacked(envelope.order_packed(order))
    assert command == envelope.command_unpacked(envelope.command_packed(command))


@pytest.mark.parametrize("value", [1 << 64, -1 << 40_000, "x" * 4097], ids=["65 bits", "40,000 bits", "4,097 characters"])
def test_order_of_long_parameters(value):
    """A parameter is an integer of 64 bits or a text of 4,096 characters; one of a million digits is refused, not written out."""
    order = Order(bytes(16), "hub-1", "box-1", "retrieval", 3, 1, 5, {"since": value})

    with pytest.raises(BadItem, match="order"):
        envelope.order_unpacked(envelope.order_packed(order))


@pytest.mark.parametrize("chunk", [Chunk(8, 10, bytes(32), b"hello"), Chunk(0, 10, bytes(31), b"x"), Chunk(0, 0, bytes(32), b"")])
def test_chunk_beyond_its_envelope(chunk):
    """A chunk that reaches beyond its envelope, or has no sense, is refused."""
    with pytest.raises(BadItem):
        envelope.chunk_unpacked(envelope.chunk_packed(chunk))


@given(st.binary(max_size=300))
def test_any_bytes(data):
    """Any bytes are what they should be or a BadItem, nothing else, for each of the five."""
    readers = (
        envelope.unpacked,
        envelope.chunk_unpacked,
        envelope.ack_unpacked,
        envelope.order_unpacked,
        envelope.command_unpacked,
    )
    for read in readers:
        try:
            read(data)
        except BadItem:
            continue
