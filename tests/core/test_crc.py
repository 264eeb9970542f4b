"""What stands in a record of an index, against zlib's: whatever the processor has for it."""

import zlib
from random import Random

import pytest

from firmware.core._kernel import crc32


@pytest.mark.parametrize("is_plain", [False, True], ids=["as the processor can", "plain"])
def test_it_is_zlib_s(is_plain: bool) -> None:
    """For every length around a step, at every place in memory, and for a long one."""
    data = Random(32).randbytes(1 << 16)
    for size in (*range(340), 4095, 4096, 4097, 65_000):
        for start in range(0, 17, 3):
            piece = data[start : start + size]
            assert zlib.crc32(piece) == crc32(memoryview(data)[start : start + size], is_plain), (size, start)
    for same in (b"\0", b"\xff"):
        assert zlib.crc32(same * 1000) == crc32(same * 1000, is_plain)
