"""Ranges of a file of ten bytes, as RFC 9110 has them."""

import pytest

from firmware.hub.download import Part, part

TAG = '"0123"'
WHOLE = Part(0, 10)


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-", 0, 10), ("bytes=4-", 4, 10), ("bytes=9-", 9, 10), ("bytes=0-0", 0, 1), ("bytes=2-5", 2, 6), ("bytes=2-9", 2, 10),
        ("bytes=2-10", 2, 10), ("bytes=9-" + "9" * 5000, 9, 10), ("bytes=-3", 7, 10), ("bytes=-10", 0, 10), ("bytes=-11", 0, 10),
        ("bytes=-" + "9" * 5000, 0, 10), ("bytes=" + "0" * 5000 + "4-5", 4, 6), ("Bytes = 4-", 4, 10),
    ],
)  # fmt: skip
def test_one_range(asked: str, begin: int, end: int) -> None:
    """From, from and to, and so many of the end; what reaches beyond the end ends there."""
    assert Part(begin, end, is_whole=False) == part(asked, only_of=None, tag=TAG, size=10)


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=" + "9" * 5000 + "-"])
def test_beyond_the_end(asked: str) -> None:
    """Nothing of it is there: 416, so that who has all of it already is told."""
    assert part(asked, only_of=None, tag=TAG, size=10) is None


@pytest.mark.parametrize(
    "asked", [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,4-5", "bytes=a-b", "bytes=+1-2", "bytes=1--2", "lines=1-2", "bytes=٣-"]
)  # fmt: skip
def test_what_is_no_range(asked: str | None) -> None:
    """Is not heard, as the RFC has it: the whole."""
    assert WHOLE == part(asked, only_of=None, tag=TAG, size=10)


@pytest.mark.parametrize("only_of", ['"4567"', f"W/{TAG}", "0123", "", "Sun, 22 Nov 2026 10:15:00 GMT", "*"])
def test_of_another_file(only_of: str) -> None:
    """Who has begun with other bytes, or cannot say with which, gets all of these."""
    assert WHOLE == part("bytes=4-", only_of=only_of, tag=TAG, size=10)
    assert WHOLE == part("bytes=10-", only_of=only_of, tag=TAG, size=10)


def test_of_this_file() -> None:
    """Where the tag is this file's the rest is sent; a file without one has no rest to somebody's beginning."""
    assert Part(4, 10, is_whole=False) == part("bytes=4-", only_of=TAG, tag=TAG, size=10)
    assert WHOLE == part("bytes=4-", only_of=TAG, tag=None, size=10)
