"""The digest of a file in pieces: SHA-256 over the SHA-256 of each 64 KiB, the last piece shorter.

Two pieces at a time are 1.7 times as fast as one file after the other, where the processor has SHA instructions (digest.c), and as
many at a time as there are cores are when somebody has them. It is as hard to forge as SHA-256 itself, the file's size is sealed
beside it, and nobody needs us to check it:

    split -b 64K --filter='openssl dgst -sha256 -binary' frames.pcapng.lz4 | sha256sum
"""

import hashlib
from typing import Protocol

from drivers.disk import Buffer
from firmware.core import _digest

PIECE_BYTES = (
    64 << 10
)  # The first and the last piece of an append are begun and ended one by one: a sixteenth of half a megabyte.


class Hash(Protocol):
    """What hashlib's hashes and Pieces have in common."""

    def update(self, data: Buffer, /) -> None:
        """Bytes that follow."""
        ...

    def digest(self) -> bytes:
        """32 bytes, of all so far; more may follow."""
        ...


class Pieces:
    """The digest of a file in pieces, as its bytes come."""

    def __init__(self) -> None:
        self._root = hashlib.sha256()
        self._piece = hashlib.sha256()  # the one begun
        self._piece_bytes = 0

    def update(self, data: Buffer, /) -> None:
        with memoryview(data) as view, view.cast("B") as rest:
            at = min(-self._piece_bytes % PIECE_BYTES, len(rest))
            self._begin(rest[:at])
            end = at + (len(rest) - at) // PIECE_BYTES * PIECE_BYTES
            self._root.update(digests(rest[at:end]))
            self._begin(rest[end:])

    def digest(self) -> bytes:
        root = self._root.copy()
        if self._piece_bytes:
            root.update(self._piece.digest())
        return root.digest()

    def _begin(self, data: memoryview) -> None:
        self._piece.update(data)
        self._piece_bytes += len(data)
        if self._piece_bytes == PIECE_BYTES:
            self._root.update(self._piece.digest())
            self._piece, self._piece_bytes = hashlib.sha256(), 0


def digests(data: Buffer) -> bytes:
    """The SHA-256 of each of some whole pieces, one after the other."""
    if _digest.is_fast:
        return _digest.pieces(data, PIECE_BYTES)
    with memoryview(data) as view:
        return b"".join(hashlib.sha256(view[at : at + PIECE_BYTES]).digest() for at in range(0, len(view), PIECE_BYTES))


def of_file(piece_bytes: int | None) -> Hash:
    """For the bytes of a file that was sealed so: in pieces, or (None) as one."""
    return hashlib.sha256() if piece_bytes is None else Pieces()
