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
from firmware.core._kernel import checksum

PIECE_BYTES = 64 << 10  # Small, so that a link of a megabyte is nearly all whole pieces, of which two are made at a time.
LINK_HEAD, LINK_TAIL = 4, 4  # lz4chain.py: a size word, and the checksum of what is in between


class Hash(Protocol):
    """What hashlib's hashes and Pieces have in common."""

    def update(self, data: Buffer, /) -> None:
        """Bytes that follow."""
        ...

    def digest(self) -> bytes:
        """32 bytes, of all so far; more may follow."""
        ...


class Pieces(Hash, Protocol):
    """The digest of a file in pieces, as its bytes come."""

    def after_link(self, link: memoryview, /) -> "Pieces":
        """What it is when this link of the chain follows, whose checksum is filled in on the way. Itself it stays as it is.

        One look at the bytes for both, and before they are written: where the disk refuses them, nothing has happened.
        """
        ...


def pieces() -> Pieces:
    """Of no bytes yet; made by digest.c where the processor can."""
    return _digest.Pieces() if _digest.is_fast else _Plainly()


class _Plainly:
    """By OpenSSL, one piece after the other."""

    def __init__(self) -> None:
        self._root = hashlib.sha256()
        self._piece = hashlib.sha256()  # the one begun
        self._piece_bytes = 0

    def update(self, data: Buffer, /) -> None:
        with memoryview(data) as view, view.cast("B") as rest:
            at = 0
            while at < len(rest):
                with rest[at : at + PIECE_BYTES - self._piece_bytes] as taken:
                    self._piece.update(taken)
                    self._piece_bytes += len(taken)
                    at += len(taken)
                if self._piece_bytes == PIECE_BYTES:
                    self._root.update(self._piece.digest())
                    self._piece, self._piece_bytes = hashlib.sha256(), 0

    def after_link(self, link: memoryview, /) -> Pieces:
        link[-LINK_TAIL:] = checksum(link[LINK_HEAD:-LINK_TAIL]).to_bytes(LINK_TAIL, "little")
        after = _Plainly()
        after._root, after._piece, after._piece_bytes = self._root.copy(), self._piece.copy(), self._piece_bytes
        after.update(link)
        return after

    def digest(self) -> bytes:
        root = self._root.copy()
        if self._piece_bytes:
            root.update(self._piece.digest())
        return root.digest()


def of_file(piece_bytes: int | None) -> Hash:
    """For the bytes of a file that was sealed so: in pieces, or (None) as one."""
    return hashlib.sha256() if piece_bytes is None else pieces()
