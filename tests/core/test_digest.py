"""The digest of a file in pieces: as anybody computes it, however the bytes came, with the processor's help and without."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core import _digest, digest
from firmware.core._kernel import checksum
from firmware.core.digest import PIECE_BYTES, pieces

SIZES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES, 1_000_000]


def plainly(data: bytes) -> bytes:
    return hashlib.sha256(
        b"".join(hashlib.sha256(data[at : at + PIECE_BYTES]).digest() for at in range(0, len(data), PIECE_BYTES))
    ).digest()


@pytest.mark.parametrize("size", SIZES)
def test_it_is_sha256_over_sha256s(size):
    """Whole pieces, one begun, none: what hashlib says of them."""
    data = Random(size).randbytes(size)
    made = pieces()
    made.update(data)

    assert plainly(data) == made.digest() == made.digest()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * PIECE_BYTES), max_size=8), st.integers(0, 2**32))
def test_how_it_came_does_not_matter(sizes, seed):
    """In any parts, asked in between or not."""
    data, made, at = Random(seed).randbytes(sum(sizes)), pieces(), 0
    for size in sizes:
        made.update(memoryview(data)[at : at + size])
        at += size

        assert plainly(data[:at]) == made.digest()


def test_without_the_instructions_it_is_the_same(monkeypatch):
    """A processor that has none lets OpenSSL do it."""
    data = Random(1).randbytes(5 * PIECE_BYTES + 77)
    expected = plainly(data)
    monkeypatch.setattr(_digest, "is_fast", False)
    made = pieces()
    made.update(data)

    assert expected == made.digest()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(8, 4 * PIECE_BYTES)), min_size=1, max_size=5), st.integers(0, 2**32))
def test_a_link_is_summed_and_digested_at_once(sizes, seed):
    """S2-090: its checksum is that of the LZ4 frame format, the digest that of the link with it, wherever in a piece it begins."""
    random, made, data = Random(seed), pieces(), b""
    for before, size in sizes:
        around, link = random.randbytes(before), bytearray(random.randbytes(size))
        made.update(around)
        unchanged = made.digest()
        after = made.after_link(memoryview(link))

        assert unchanged == made.digest()
        assert checksum(link[4:-4]) == int.from_bytes(link[-4:], "little")
        made, data = after, data + around + link
        assert plainly(data) == made.digest()


def test_a_link_without_the_instructions(monkeypatch):
    """A processor that has none: the same link, the same digest."""
    links = [bytearray(Random(3).randbytes(2 * PIECE_BYTES + 13)) for _ in range(2)]
    by_processor = pieces().after_link(memoryview(links[0]))
    monkeypatch.setattr(_digest, "is_fast", False)
    by_openssl = pieces().after_link(memoryview(links[1]))

    assert links[0] == links[1]
    assert by_processor.digest() == by_openssl.digest()


@pytest.mark.skipif(not _digest.is_fast, reason="this processor has no SHA instructions")
def test_what_is_no_link_is_refused():
    """Too short for its words, or not to be written to: a mistake of ours, and nothing is read or written outside."""
    with pytest.raises(ValueError):
        pieces().after_link(memoryview(bytearray(7)))
    with pytest.raises(BufferError):
        pieces().after_link(memoryview(bytes(100)))


def test_nobody_needs_us_to_check_it(tmp_path: Path):
    """The command in the docstring says the same on any machine with coreutils and OpenSSL."""
    if shutil.which("openssl") is None or shutil.which("split") is None:
        pytest.skip("no openssl, or no split")
    data = Random(2).randbytes(700_001)
    (tmp_path / "frames.pcapng.lz4").write_bytes(data)
    command = next(line for line in (digest.__doc__ or "").splitlines() if "sha256sum" in line).strip()
    told = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert plainly(data).hex() == told.split()[0]
