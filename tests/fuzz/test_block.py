"""A block from the tap may be any bytes: the walk over it never crashes, never reads outside, and accounts for every frame."""

import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.tap import BLOCK_HEADER, FRAME_HEADER, STATUS_VLAN_VALID, HeardFrame, pack_block
from firmware.core import lz4chain, pcapng
from firmware.core._kernel import Stretch

numbers = st.integers(0, 2**32 - 1)
heard = st.builds(
    HeardFrame, stamp_ns=st.integers(0, (2**32 - 1) * 10**9), data=st.binary(max_size=200), wire_bytes=st.integers(0, 2**32 - 1)
)


def walked(block: bytes, index: int = 0, offset: int = 0, cut: int = 0, mad: int = 0) -> Stretch:
    """Through the whole block, whatever it says; every frame written is sound, and packed as any LZ4 reader unpacks it."""
    stretch = Stretch(1 << 19)
    for _ in range(100_000):
        index, offset, why = stretch.add(block, index, offset, cut, mad)
        assert len(stretch) <= 1 << 19
        written = list(pcapng.packets(pcapng.section_header() + pcapng.interface("x") + bytes(stretch)))
        assert stretch.frames == len(written)
        if written:
            assert bytes(stretch) == lz4chain.decompressed(stretch.packed())
        if why != 1:
            break
        stretch.clear()
    else:
        raise AssertionError("expected the walk to end")
    return stretch


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=2000), numbers, st.integers(0, 2**64 - 1))
def test_any_bytes(data, index, offset):
    """Bytes that are no block at all."""
    walked(data, index, offset)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(heard, min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_damaged_block(frames, damage):
    """A real block with some bytes overwritten; the count it announces is at most a block's worth."""
    data = bytearray(pack_block(frames, sequence=0))
    for at, value in damage:
        at %= len(data)
        data[at : at + len(value)] = value[: len(data) - at]
    struct.pack_into("<I", data, 12, min(struct.unpack_from("<I", data, 12)[0], 1000))
    count = struct.unpack_from("<I", data, 12)[0]
    stretch = Stretch(1 << 19)
    stretch.add(bytes(data), 0, 0, 0, 0)

    assert count == stretch.frames + stretch.malformed
    walked(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.lists(heard, min_size=1, max_size=20))
def test_sound_block_is_written_as_heard(frames):
    """Every frame of a sound block comes out with its bytes, its stamp and at least its captured length on the wire."""
    stretch = walked(pack_block(frames, sequence=0))
    written = list(pcapng.packets(pcapng.section_header() + pcapng.interface("x") + bytes(stretch)))

    assert [(f.stamp_ns, f.data, max(f.wire_bytes, len(f.data))) for f in frames] == [
        (packet.stamp_ns, packet.data, packet.wire_bytes) for packet in written
    ]
    assert 0 == stretch.malformed


@settings(max_examples=200, deadline=None)
@given(st.lists(heard, min_size=1, max_size=8), numbers, st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1))
def test_vlan_fields(frames, status, identifier, control):
    """Whatever the status word claims about VLAN tags, what is written is sound."""
    data = bytearray(pack_block(frames, sequence=0))
    at = BLOCK_HEADER.size
    struct.pack_into("<I", data, at + 20, status)
    struct.pack_into("<IH", data, at + 32, control, identifier)
    stretch = walked(bytes(data))

    assert len(frames) == stretch.frames


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(heard, min_size=1, max_size=6), min_size=1, max_size=5),
    st.integers(0, 64),
    st.one_of(st.none(), st.integers(0, (2**32 - 1) * 10**9)),
)
def test_several_blocks_are_as_one_after_the_other(blocks, padding, cut_ns):
    """S2-090: handed over at once they leave the same stretch and the same place to go on from, also where a cut lies in the midst."""
    packed = [pack_block(frames, sequence=number) for number, frames in enumerate(blocks)]
    stride = max(map(len, packed)) + padding
    together, apart = Stretch(1 << 19), Stretch(1 << 19)
    cut = (1, 2**64 - 1) if cut_ns is None else (max(1, cut_ns), 2**64 - 1)
    expected, before = (0, 0), 0
    for number, data in enumerate(packed):
        index, offset, why = apart.add(data, 0, 0, *cut)
        expected = before + index, why
        if why:
            break
        before += len(blocks[number])
    data = b"".join(block.ljust(stride, b"\0") for block in packed)
    index, offset, why = together.add(data, 0, 0, *cut, 0, 0, stride)

    assert (expected, bytes(apart), apart.keys()) == ((index, why), bytes(together), together.keys())
    rest = sum(map(len, blocks)) - index
    assert (index + rest, 0) == together.add(data, index, offset, 0, 0, 0, 0, stride)[::2]
    assert (sum(map(len, blocks)), 0) == (together.frames, together.malformed)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000), numbers, st.integers(0, 2**64 - 1), st.integers(0, 2500))
def test_any_bytes_as_several_blocks(data, index, offset, stride):
    """Wherever they are said to begin: nothing outside is read, and the walk ends."""
    stretch = Stretch(1 << 19)
    for _ in range(5000):
        index, offset, why = stretch.add(data, index, offset, 0, 0, 0, 0, stride)
        if why != 1:
            break
        stretch.clear()

    assert why == 0


def test_headers_fit():
    """The layout in kernel.c and in drivers/tap.py is one."""
    assert (48, 48) == (BLOCK_HEADER.size, FRAME_HEADER.size)


def test_frame_longer_than_any_tap_keeps():
    """A frame that claims more than 256 KiB is no frame."""
    data = bytearray(pack_block([HeardFrame(1, bytes(300_000), 300_000)], sequence=0))
    stretch = Stretch(1 << 19)
    stretch.add(bytes(data), 0, 0, 0, 0)

    assert (0, 1) == (stretch.frames, stretch.malformed)


@pytest.mark.parametrize("size", range(pcapng.SNAP_MAX - 5, pcapng.SNAP_MAX + 1))
def test_the_longest_frames_with_their_tag_put_back(size):
    """A frame with the tag the card took out is no longer than what the section says and any reader takes; what is cut off is stated."""
    frame = bytes(12) + b"\x88\xb5" + Random(size).randbytes(size - 14)
    data = bytearray(pack_block([HeardFrame(1, frame, size)], sequence=0))
    struct.pack_into("<I", data, BLOCK_HEADER.size + 20, STATUS_VLAN_VALID)
    struct.pack_into("<I", data, BLOCK_HEADER.size + 32, 7)
    written = list(pcapng.packets(pcapng.section_header() + pcapng.interface("x") + bytes(walked(bytes(data)))))

    tagged = frame[:12] + b"\x81\x00\x00\x07" + frame[12:]
    assert [(tagged[: pcapng.SNAP_MAX], size + 4)] == [(packet.data, packet.wire_bytes) for packet in written]
