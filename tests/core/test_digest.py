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
from firmware.core.digest import PIECE_BYTES, Pieces

SIZES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES, 1_000_000]


def plainly(data: bytes) -> bytes:
    return hashlib.sha256(
        b"".join(hashlib.sha256(data[at : at + PIECE_BYTES]).digest() for at in range(0, len(data), PIECE_BYTES))
    ).digest()


@pytest.mark.parametrize("size", SIZES)
def test_it_is_sha256_over_sha256s(size):
    """Whole pieces, one begun, none: what hashlib says of them."""
    data = Random(size).randbytes(size)
    made = Pieces()
    made.update(data)

    assert plainly(data) == made.digest() == made.digest()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * PIECE_BYTES), max_size=8), st.integers(0, 2**32))
def test_how_it_came_does_not_matter(sizes, seed):
    """In any parts, asked in between or not."""
    data, made, at = Random(seed).randbytes(sum(sizes)), Pieces(), 0
    for size in sizes:
        made.update(memoryview(data)[at : at + size])
        at += size

        assert plainly(data[:at]) == made.digest()


def test_without_the_instructions_it_is_the_same(monkeypatch):
    """A processor that has none lets OpenSSL do it."""
    data = Random(1).randbytes(5 * PIECE_BYTES + 77)
    expected = plainly(data)
    monkeypatch.setattr(_digest, "is_fast", False)
    made = Pieces()
    made.update(data)

    assert expected == made.digest()


@pytest.mark.skipif(not _digest.is_fast, reason="this processor has no SHA instructions")
def test_two_at_a_time():
    """FIPS 180-4 by the instructions, for piece sizes of every ending, an odd and an even number of pieces."""
    for size in (64, 128, 192, 4096, PIECE_BYTES):
        for count in range(6):
            data = Random(size + count).randbytes(size * count)

            assert b"".join(hashlib.sha256(data[at : at + size]).digest() for at in range(0, len(data), size)) == _digest.pieces(
                data, size
            )


@pytest.mark.parametrize(("size", "piece"), [(100, 64), (64, 0), (64, -64), (64, 65), (65, 65), (64, 1 << 62)])
def test_parts_of_pieces_are_refused(size, piece):
    """Only whole pieces of whole blocks; anything else is a mistake of ours, and nothing is read outside."""
    with pytest.raises(ValueError):
        _digest.pieces(bytes(size), piece)


def test_nobody_needs_us_to_check_it(tmp_path: Path):
    """The command in the docstring says the same on any machine with coreutils and OpenSSL."""
    if shutil.which("openssl") is None or shutil.which("split") is None:
        pytest.skip("no openssl, or no split")
    data = Random(2).randbytes(700_001)
    (tmp_path / "frames.pcapng.lz4").write_bytes(data)
    command = next(line for line in (digest.__doc__ or "").splitlines() if "sha256sum" in line).strip()
    told = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert plainly(data).hex() == told.split()[0]
