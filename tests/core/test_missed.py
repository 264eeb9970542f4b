"""A missed stretch as it lies in missed/, byte for byte; anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.errors import BadItem
from firmware.core.missed import Missed, packed, unpacked

GOLDEN = bytes.fromhex(
    "a4 00 01 01 1b 18 ea 46 50 5e 35 48 00 02 1b 18 ea 46 51 aa 6e dc 00 03 69 72 69 6e 67 5f 66 75 6c 6c".replace(" ", "")
)


def test_golden_bytes() -> None:
    """Version 1: {0: 1, 1: from, 2: until, 3: cause}, UTC ns."""
    made = unpacked(GOLDEN)

    assert "ring_full" == made.cause and made.from_utc_ns < made.until_utc_ns
    assert GOLDEN == packed(made)


@given(st.integers(0, 1 << 62), st.integers(0, 1 << 61), st.sampled_from(["start", "disk_full"]))
def test_read_back_the_same(begin: int, length: int, cause: str) -> None:
    """As it was packed."""
    made = Missed(begin, begin + length, cause)

    assert made == unpacked(packed(made))


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """A stretch or BadItem."""
    try:
        unpacked(data)
    except BadItem:
        pass


@pytest.mark.parametrize("row", [(5, 4, "x"), (-1, 4, "x"), (1, 1 << 63, "x"), (1, 2, "x" * 65)])
def test_what_is_no_stretch(row: tuple[int, int, str]) -> None:
    """An end before its beginning, a time before 1970, one beyond what a stamp can say, a cause that is a story."""
    with pytest.raises(BadItem):
        unpacked(packed(Missed(*row)))
