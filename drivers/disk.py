"""The disk: the few operations a spool, a segment and a store need, each with its promise about a power cut.

Paths are relative to the store's root, `/`-separated, no `..`. A name that begins with a dot is hidden.
Promises: `write` and `append` reach every reader at once, and the disk in any order or not at all; `sync` puts a file's bytes on the disk; `rename`, `link`, `remove`
and `mkdir` are atomic for readers at once, and survive a power cut only after `sync_dir` of the directory concerned.
Raises DiskFull, DiskFailed or Missing (drivers/errors.py), never a bare OSError.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
NAME_BYTES_MAX = 255  # of one name; Linux file systems agree on it


def parts(path: str) -> tuple[str, ...]:
    """The names a path consists of; () for the root ("" or "."). Every disk takes its paths through here.

    Raises ValueError for a path that is absolute, climbs ("..") or holds what cannot be a name: that is a mistake of ours, not
    a trouble of the world's, and whoever makes names of foreign words has to have looked at them first.
    """
    if path in ("", "."):
        return ()
    names = tuple(path.split("/"))
    for name in names:
        if name in ("", ".", "..") or "\0" in name or len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
            raise ValueError("expected a path relative to the store, of plain names separated by single slashes")
    return names


class AppendFile(Protocol):
    """One file being written from its beginning. Only its opener writes it."""

    @property
    def size(self) -> int:
        """Bytes accepted so far. After DiskFull or DiskFailed it is what really was accepted."""
        ...

    @property
    def is_cached_only(self) -> bool:
        """Whether the file system has refused to take anything past the page cache: large appends cost more than twice as much then."""
        ...

    def append(self, parts: Sequence[Buffer]) -> None:
        """All parts, in order; all or nothing: what was written of them is cut off again before DiskFull.

        One large part is written without a copy where it lies in memory as it will in the file: at an address that is `size` modulo
        4,096 (kernel.c, Stretch.clear).
        """
        ...

    def sync(self) -> None:
        """Returns when every byte appended so far would survive a power cut."""
        ...

    def start_sync(self) -> None:
        """Begin what `sync` does and return at once, however long the disk takes; nothing, while one is under way.

        For who must not wait: bytes appended meanwhile are accepted, and are for the next sync.
        """
        ...

    def is_syncing(self) -> bool:
        """Whether a sync that was begun is still under way.

        Raises DiskFailed or DiskFull when one failed, as does every sync after it: bytes that were accepted may be lost.
        """
        ...

    def close(self) -> None:
        """Give the file up, after a sync that is under way; closing twice is as good as once. Does not sync."""
        ...


class Disk(Protocol):
    """A directory tree with known behaviour under power cuts."""

    def write(self, path: str, data: Buffer) -> None:
        """A whole file, replaced if there; not yet durable. On DiskFull the file is removed again."""
        ...

    def create(self, path: str) -> AppendFile:
        """A new empty file to append to; replaces one that is there."""
        ...

    def reopen(self, path: str, *, size: int) -> AppendFile:
        """An existing file, cut to `size` bytes, to append to; for recovery after a power cut."""
        ...

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes of a file from `offset`, at most `size` (None: to the end). Short at the end of the file."""
        ...

    def read_into(self, path: str, room: memoryview, *, offset: int = 0) -> int:
        """Fill `room`, which is writable, with bytes of a file from `offset`. Returns how many: fewer only at the end of the file.

        For who reads much, piece after piece: fresh memory for each costs as much as the reading.
        """
        ...

    def size(self, path: str) -> int:
        """Bytes in a file."""
        ...

    def exists(self, path: str) -> bool:
        """Whether a file or directory has this name now."""
        ...

    def list(self, path: str) -> list[str]:
        """Names in a directory, hidden ones too, sorted; empty when there is no such directory."""
        ...

    def mkdir(self, path: str) -> None:
        """A directory with its parents; one that is there is fine."""
        ...

    def sync(self, path: str) -> None:
        """Returns when the file's bytes would survive a power cut."""
        ...

    def sync_dir(self, path: str) -> None:
        """Returns when every rename, link, removal and creation in this directory would survive a power cut."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Atomic; replaces a file called `new`. Works for directories whose new name is free."""
        ...

    def link(self, old: str, new: str) -> None:
        """A second name for the same file; a file already called `new` is left as it is."""
        ...

    def remove(self, path: str) -> None:
        """A file, or a directory with all in it; Missing when it is not there."""
        ...

    def free_bytes(self) -> int:
        """Room left for an unprivileged writer; where names (inodes) run out before the bytes do, the share of the size that is left of them."""
        ...

    def total_bytes(self) -> int:
        """The size of the file system."""
        ...
