"""A file on its way to a box, piece by piece: the box asks, and gets what it asked for. Nothing comes down that was not asked for.

    wanted/<SHA-256, hexadecimal>      a wish: which file this machine is to have         {0: 1, 1: digest, 2: size}
    downloads/<SHA-256, hexadecimal>   the file, whole and of that digest

    topic want    box → hub   {0: 1, 1: digest, 2: size of the whole, 3: offset, 4: bytes}
    topic piece   hub → box   {0: 1, 1: digest, 2: size of the whole, 3: offset, 4: bytes of it}

Who asks decides how much is on its way and when: behind its alarms, in its window, at its own pace, from the byte it has. Who answers
remembers nothing; killed in between, it is asked again. Deterministic CBOR; envelope.cddl describes it.
"""

from dataclasses import dataclass

import cbor2

from firmware.core.cbor import decoded_cbor
from firmware.core.errors import BadItem

WANTED, DOWNLOADS = "wanted", "downloads"
VERSION = 1
DIGEST_SIZE = 32
DOWNLOAD_BYTES_MAX = 1 << 30  # An operating system is 110 MB.
WISH_BYTES_MAX = 256
# One publication each. On a link of 2 Mbit/s it is 65 ms of it.
PIECE_BYTES_MAX = 16_384
WANT_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """A file by its SHA-256. size: bytes of it."""

    digest: bytes
    size: int

    @property
    def name(self) -> str:
        """What it is called in both directories."""
        return self.digest.hex()


@dataclass(frozen=True, slots=True)
class Want:
    """A stretch of it, please."""

    wish: Wish
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of it."""

    wish: Wish
    offset: int
    data: bytes


def wish_packed(wish: Wish) -> bytes:
    """As it lies in wanted/."""
    return cbor2.dumps({0: VERSION, 1: wish.digest, 2: wish.size}, canonical=True)


def wish_unpacked(data: bytes) -> Wish:
    """Raises BadItem."""
    if len(data) <= WISH_BYTES_MAX:
        match decoded_cbor(data):
            case {0: 1, 1: bytes(digest), 2: int(size)} if _is_file(digest, size):
                return Wish(digest, size)
    raise BadItem(f"expected a wish of version {VERSION} (envelope.cddl)")


def want_packed(want: Want) -> bytes:
    """As published."""
    return cbor2.dumps({0: VERSION, 1: want.wish.digest, 2: want.wish.size, 3: want.offset, 4: want.count}, canonical=True)


def want_unpacked(data: bytes) -> Want:
    """Raises BadItem; what is wanted lies within the file."""
    if len(data) <= WISH_BYTES_MAX:
        match decoded_cbor(data):
            case {0: 1, 1: bytes(digest), 2: int(size), 3: int(offset), 4: int(count)} if (
                _is_file(digest, size) and 0 <= offset < size and 0 < count <= min(WANT_BYTES_MAX, size - offset)
            ):
                return Want(Wish(digest, size), offset, count)
    raise BadItem(f"expected a want of version {VERSION} (envelope.cddl)")


def piece_packed(piece: Piece) -> bytes:
    """As published."""
    return cbor2.dumps({0: VERSION, 1: piece.wish.digest, 2: piece.wish.size, 3: piece.offset, 4: piece.data}, canonical=True)


def piece_unpacked(data: bytes) -> Piece:
    """Raises BadItem; a piece lies within its file."""
    if len(data) <= PIECE_BYTES_MAX + WISH_BYTES_MAX:
        match decoded_cbor(data):
            case {0: 1, 1: bytes(digest), 2: int(size), 3: int(offset), 4: bytes(piece)} if (
                _is_file(digest, size) and piece and offset >= 0 and offset + len(piece) <= size
            ):
                return Piece(Wish(digest, size), offset, piece)
    raise BadItem(f"expected a piece of version {VERSION} (envelope.cddl)")


def _is_file(digest: bytes, size: int) -> bool:
    return len(digest) == DIGEST_SIZE and type(size) is int and 0 < size <= DOWNLOAD_BYTES_MAX
