"""One segment from its hot form to its cold form, in pieces, so that whoever is interrupted has lost nothing.

    frames.pcapng.lz4 ─▶ .frames.cold ─▶ read back, restored, compared with the seal ─▶ .cold ─▶ both renamed ─▶ hot form removed

As long as frames.pcapng.lz4 is there it is the truth, and anything cold beside it is a leftover. Its removal is the last deed, after
everything before it lasts: wherever the power goes, one of the two forms is whole.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import lz4

from drivers.disk import AppendFile, Disk
from drivers.identity import Identity
from firmware.core import cold, dense, lz4chain, seal
from firmware.core.cold import Cold, ColdSeal, Link, Run
from firmware.core.digest import of_file
from firmware.core.errors import BadItem, Corrupt
from firmware.core.layout import COLD, COLD_SEAL, FRAMES, SEAL
from firmware.core.seal import Seal
from firmware.core.timestamp import Timestamp

# The file is as long as a segment; synced in one go at its end, a gigabyte on a busy disk took longer than the watchdog waits.
SYNC_BYTES = 16 << 20

HIDDEN = (f".{COLD}", f".{COLD_SEAL}")


class StaysHot(Exception):
    """This segment has no cold form. cause: a counter's name."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(slots=True)
class Progress:
    """How far a rewriting is. hot_bytes, cold_bytes: of the frames files, complete when `done`. kept_links: stored as they were."""

    hot_bytes: int = 0
    cold_bytes: int = 0
    kept_links: int = 0
    done: bool = False


def leftovers(disk: Disk, directory: str) -> None:
    """Remove what an interrupted rewriting left beside a hot form, or an interrupted thawing beside a cold one."""
    files = set(disk.list(directory))
    gone = [name for name in (*HIDDEN, f".{FRAMES}") if name in files]
    if FRAMES in files:
        # The seal first: without it the other is no cold form, whatever happens.
        gone += [name for name in (COLD_SEAL, COLD) if name in files]
    for name in gone:
        disk.remove(f"{directory}/{name}")
    if gone:
        disk.sync_dir(directory)


def rewriting(
    disk: Disk, directory: str, *, identity: Identity, made: Timestamp, level: int, progress: Progress
) -> Iterator[None]:
    """Rewrite one sealed, hot segment; a piece is a stretch, or what zstd does with one stream of a run. Raises StaysHot, Missing when it is deleted meanwhile,

    DiskFull, DiskFailed. After any of these, and after a crash, `leftovers` and the segment is as it was.
    """
    data = disk.read(f"{directory}/{SEAL}")
    try:
        sealed = seal.unpacked(data)
    except BadItem:
        raise StaysHot("altered") from None
    if not sealed.is_signed_by(identity.public_key()):
        raise StaysHot("not_ours")
    leftovers(disk, directory)
    writer = _Writer(disk, directory, sealed, level, progress)
    try:
        yield from writer.write()
    finally:
        writer.file.close()
    progress.cold_bytes = writer.file.size
    if writer.file.size >= sealed.frames_bytes:
        raise StaysHot("not_denser")
    word = ColdSeal(
        box=identity.name, name=sealed.name, sequence=sealed.sequence, seal_digest=seal.digest(data),
        frames_bytes=sealed.frames_bytes, frames_digest=sealed.frames_digest, raw_bytes=writer.raw_bytes,
        raw_digest=writer.raw_digest.digest(), cold_bytes=writer.file.size, cold_digest=writer.digest.digest(),
        table_at=writer.table_at, library=f"lz4 {lz4.library_version_string()}, kernel.c {cold.PACKER}", made=made, public_key=identity.public_key(),
    )  # fmt: skip
    word = word.signed(identity.sign(word.body()))
    disk.write(f"{directory}/.{COLD_SEAL}", word.packed())
    disk.sync(f"{directory}/.{COLD_SEAL}")
    yield from _read_back(disk, directory, sealed)
    disk.rename(f"{directory}/.{COLD}", f"{directory}/{COLD}")
    disk.rename(f"{directory}/.{COLD_SEAL}", f"{directory}/{COLD_SEAL}")
    disk.sync_dir(directory)
    disk.remove(f"{directory}/{FRAMES}")
    disk.sync_dir(directory)
    progress.done = True


def _read_back(disk: Disk, directory: str, sealed: Seal) -> Iterator[None]:
    """Restore the sealed bytes from what was written. Raises StaysHot when they are others."""
    digest = of_file(sealed.piece_bytes)
    try:
        written = Cold(disk, directory, hidden=True)
        for run in written.runs:
            for _, _, link in written.links(run):
                digest.update(link)
                yield
    except Corrupt:
        raise StaysHot("read_back") from None
    if digest.digest() != sealed.frames_digest:
        raise StaysHot("read_back")


@dataclass(slots=True)
class _Writer:
    """Writes .frames.cold from the links of the hot form."""

    disk: Disk
    directory: str
    sealed: Seal
    level: int
    progress: Progress
    file: AppendFile = field(init=False)
    raw_bytes: int = 0
    table_at: int = 0
    raw_digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _runs: list[Run] = field(default_factory=list)
    _links: list[Link] = field(default_factory=list)
    _held: list[bytes] = field(default_factory=list)
    _held_bytes: int = 0
    _kept_bytes: int = 0
    _sync_begun: int = 0

    def __post_init__(self) -> None:
        self.file = self.disk.create(f"{self.directory}/.{COLD}")

    def write(self) -> Iterator[None]:
        """All of it, a stretch at a time, and the table; synced on return."""
        path = f"{self.directory}/{FRAMES}"
        whole = of_file(self.sealed.piece_bytes)
        size = self.disk.size(path)
        for offset, stored in lz4chain.spans(lambda at, count: self.disk.read(path, offset=at, size=count), size):
            link = self.disk.read(path, offset=offset, size=stored)
            whole.update(link)
            try:
                raw = lz4chain.decompressed(link)
            except Corrupt:
                raise StaysHot("altered") from None
            packer = _packer_of(raw, link, is_first=offset == 0)
            self.raw_bytes += len(raw)
            self.raw_digest.update(raw)
            row = Link(offset, stored, len(raw), packer or 0, hashlib.sha256(raw).digest())
            if packer is None:
                yield from self._flush()
                self._append(link, cold.AS_IT_WAS, (row,))
                self.progress.kept_links += 1
                self._kept_bytes += stored
                if self._kept_bytes > self.sealed.frames_bytes // 4:
                    raise StaysHot("packed_by_others")  # Mostly kept as they were, there is nothing to gain.
                yield
                continue
            if self._held_bytes + len(raw) > cold.RUN_BYTES:
                yield from self._flush()
            yield
            self._links.append(row)
            self._held.append(raw)
            self._held_bytes += len(raw)
            self.progress.hot_bytes = offset + stored
        yield from self._flush()
        if size != self.sealed.frames_bytes or whole.digest() != self.sealed.frames_digest:
            raise StaysHot("altered")
        self.table_at = self.file.size
        self._put(cold.table_packed(self._runs))
        self.file.sync()

    def _flush(self) -> Iterator[None]:
        if self._held:
            run = yield from dense.packing(b"".join(self._held), level=self.level)
            self._append(run, cold.DENSE, tuple(self._links))
            self._held.clear()
            self._links.clear()
            self._held_bytes = 0

    def _append(self, stored: bytes, kind: int, links: tuple[Link, ...]) -> None:
        self._runs.append(Run(self.file.size, len(stored), kind, links))
        self._put(stored)

    def _put(self, data: bytes) -> None:
        self.file.append([data])
        self.digest.update(data)
        if self.file.size - self._sync_begun >= SYNC_BYTES:
            self._sync_begun = self.file.size
            self.file.start_sync()


def _packer_of(raw: bytes, link: bytes, *, is_first: bool) -> int | None:
    """Which of our packers makes this link again, byte for byte; None when none does."""
    is_last = lz4chain.is_last(link)
    for packer in (cold.BY_KERNEL, cold.BY_LIBRARY):
        try:
            if cold.recompressed(raw, packer, is_first=is_first, is_last=is_last) == link:
                return packer
        except Corrupt:
            continue
    return None
