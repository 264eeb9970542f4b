"""Frames of a block, in order and inside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.tap import HeardFrame, pack_block
from firmware.core.block import frames
from firmware.core.errors import BadItem

HEARD = st.lists(
    st.builds(
        lambda stamp, data: HeardFrame(stamp, data, len(data)), st.integers(0, (1 << 32) * 10**9 - 1), st.binary(max_size=99)
    ),
    min_size=1,
    max_size=9,
)


@given(HEARD)
def test_what_was_packed_comes_out(heard: list[HeardFrame]) -> None:
    """The layout of drivers/tap.py read back: stamps, bytes, lengths, order."""
    data = memoryview(pack_block(heard, sequence=3))

    assert heard == [HeardFrame(row.stamp_ns, bytes(row.data), row.wire_bytes) for row in frames(data, len(heard))]


@given(HEARD, st.integers(0, 400), st.binary(min_size=1, max_size=4), st.integers(0, 20))
def test_a_broken_block_is_refused_or_read(heard: list[HeardFrame], at: int, garbage: bytes, count: int) -> None:
    """Whatever the offsets say, no byte outside the block is read, and it ends."""
    data = bytearray(pack_block(heard, sequence=3))
    at = min(at, len(data) - 1)
    data[at : at + len(garbage)] = garbage
    try:
        rows = list(frames(memoryview(data), count))
    except BadItem:
        return

    assert count == len(rows)


def test_more_frames_promised_than_there_are() -> None:
    """A count that is too large is an error, not a loop."""
    data = memoryview(pack_block([HeardFrame(1, b"x" * 20, 20)], sequence=0))
    with pytest.raises(BadItem):
        list(frames(data, 2))
