"""A segment while it is written, until its seal and its name are durable. What its files are: segment.py, which reads them."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.disk import AppendFile, Disk
from drivers.identity import Identity
from firmware.core import index, lz4chain, pcapng, seal
from firmware.core._kernel import Stretch
from firmware.core.digest import PIECE_BYTES, pieces
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.index import Header
from firmware.core.layout import FRAMES, INDEX, NOTED, SEAL, name_of
from firmware.core.seal import Gap, Seal
from firmware.core.segment import TITLE_JOINT, by_hardware, record_of
from firmware.core.timestamp import Now

if TYPE_CHECKING:
    from firmware.core.certificate import TimeQuality

_TAG_BYTES = 4  # IEEE 802.1Q


@dataclass(frozen=True, slots=True)
class Source:
    """Where the frames come from. snap_bytes: longest part of a frame kept, a tag put back not counted. link_type: LINKTYPE_*.

    further: the other interfaces whose frames are in the same segment, numbered from 1 as in its Enhanced Packet Blocks.
    stamps_itself: whether one of them may stamp frames by its own clock. Then each is described twice, and a frame it stamped itself has
    the number of the second: pcapng has no other place in which a frame could say so.
    """

    interface: str
    link_type: int = pcapng.LINK_ETHERNET
    snap_bytes: int = pcapng.SNAP_MAX
    further: tuple[str, ...] = ()
    stamps_itself: bool = False

    @property
    def apart(self) -> int:
        """What is added to the number of an interface for the frames it stamped itself; 0: they are not told apart."""
        return len(self.interfaces) if self.stamps_itself else 0

    @property
    def interfaces(self) -> tuple[str, ...]:
        """All of them, by their number."""
        return (self.interface, *self.further)

    @property
    def title(self) -> str:
        """As the seal names them."""
        return TITLE_JOINT.join(self.interfaces)


@dataclass(frozen=True, slots=True)
class Losses:
    """What a segment has to say about frames it does not hold. drops: frames by cause.

    Where several interfaces are recorded, the cause of a loss at one of them ends in @ and its name (`cause_at`).
    """

    drops: Mapping[str, int]
    gaps: tuple[Gap, ...] = ()


def cause_at(cause: str, interface: str) -> str:
    """The cause of a loss at one of several interfaces, as drops and gaps name it."""
    return f"{cause}@{interface}"


class SegmentWriter:
    """The segment being written. Nobody else writes it."""

    def __init__(self, disk: Disk, path: str, *, sequence: int, first_utc_ns: int, source: Source, now: Now) -> None:
        """Open segment `sequence` in directory `path`, which is there. first_utc_ns: for its name. Raises DiskFull, DiskFailed."""
        self.disk = disk
        self.path = path
        self.sequence = sequence
        self.source = source
        self.opened = now
        self.name = name_of(first_utc_ns, sequence)
        self.hidden = f"{path}/.{self.name}"
        self.frames = self.frames_hardware = self.bytes_wire = self.bytes_captured = 0
        self.heard_by_interface = [(0, 0)] * len(source.interfaces)  # frames, and of these stamped by the hardware
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._digest = pieces()
        self._index_digest = hashlib.sha256()
        self._unindexed: list[bytes] = []
        self._closed_off = False
        self._sync_begun = 0  # bytes of frames the last sync was for
        disk.mkdir(self.hidden)
        self._frames = disk.create(f"{self.hidden}/{FRAMES}")
        self._index = disk.create(f"{self.hidden}/{INDEX}")
        self._note_index(index.packed_header(Header(sequence, now.timestamp, now.tai_offset_s)))
        # Without these, frames that were synced would still be lost with the name of the directory they are in.
        disk.sync_dir(self.hidden)
        disk.sync_dir(path)

    @property
    def size(self) -> int:
        """Bytes of frames handed to the disk."""
        return self._frames.size

    @property
    def is_cached_only(self) -> bool:
        """Whether the file system has refused to take stretches past the page cache."""
        return self._frames.is_cached_only

    def write(self, stretch: Stretch) -> None:
        """Hand a stretch to the disk; it can be searched at once, and survives a power cut after `sync`.

        Raises DiskFull (nothing of it was written) or DiskFailed (nothing is known).
        """
        if stretch.frames == 0:
            return
        if self._frames.size == 0:
            self._append(self._section(stretch))
        offset, link = self._frames.size, stretch.packed(False)
        digest = self._digest.after_link(link)
        self._frames.append([link])
        self._digest = digest
        self._note_index(stretch.record(offset, len(link)))
        self._note_written(stretch)

    def _note_written(self, stretch: Stretch) -> None:
        frames, hardware, first_ns, last_ns = stretch.frames, stretch.hardware, stretch.first_ns, stretch.last_ns
        self.frames += frames
        self.frames_hardware += hardware
        if len(self.heard_by_interface) == 1:
            self.heard_by_interface = [(self.frames, self.frames_hardware)]
        else:
            self.heard_by_interface = [
                (heard + more, stamped + of_these)
                for (heard, stamped), (more, of_these) in zip(self.heard_by_interface, stretch.by_interface, strict=False)
            ]
        self.bytes_wire += stretch.bytes_wire
        self.bytes_captured += stretch.bytes_captured
        if self.first_ns is None or first_ns < self.first_ns:
            self.first_ns = first_ns
        if self.last_ns is None or last_ns > self.last_ns:
            self.last_ns = last_ns

    def start_sync(self) -> bool:
        """Begin what `sync` does and return at once; whether there was anything to begin. Raises DiskFailed when the last one failed."""
        if self._frames.size == self._sync_begun or self.is_syncing():
            return False
        self._sync_begun = self._frames.size
        with _lost_when_full():
            self._frames.start_sync()
        return True

    def is_syncing(self) -> bool:
        """Whether a sync that was begun is not over. Raises DiskFailed when it failed."""
        with _lost_when_full():
            return self._frames.is_syncing()

    def sync(self) -> None:
        """Every stretch written so far survives a power cut. The index is not synced: it can be made again. Raises DiskFailed."""
        _synced(self._frames)

    def seal(
        self,
        identity: Identity,
        *,
        previous: bytes | None,
        losses: Losses,
        cause: str,
        now: Now,
        time: "TimeQuality | None" = None,
    ) -> tuple[Seal, bytes]:
        """Finish, sign and publish; returns the seal and its digest.

        After DiskFull it may be called again when there is room, after DiskFailed the segment is for recovery.
        """
        if not self._closed_off:
            if self._frames.size == 0:
                self._append(self._section(None))
            self._append(self._statistics(losses, now), is_last=True)
            self._closed_off = True
        self._flush_index()
        _synced(self._frames)
        _synced(self._index)
        made = Seal(
            box=identity.name, name=self.name, sequence=self.sequence, first_ns=self.first_ns, last_ns=self.last_ns,
            tai_offset_s=now.tai_offset_s, frames=self.frames, frames_hardware=self.frames_hardware, bytes_wire=self.bytes_wire,
            bytes_captured=self.bytes_captured, drops=losses.drops, gaps=losses.gaps, opened=self.opened.timestamp,
            made=now.timestamp, interface=self.source.title, frames_bytes=self._frames.size,
            frames_digest=self._digest.digest(), piece_bytes=PIECE_BYTES, index_digest=self._index_digest.digest(), previous=previous, cause=cause,
            public_key=identity.public_key(), time=time,
        )  # fmt: skip
        made = made.signed(identity.sign(made.body()))
        digest = publish(self.disk, self.path, made)
        self.close()
        return made, digest

    def discard(self) -> None:
        """Give it up with all in it."""
        self.close()
        self.disk.remove(self.hidden)

    def close(self) -> None:
        """Let go of the files; what is written stays for recovery."""
        self._frames.close()
        self._index.close()

    def _section(self, stretch: Stretch | None) -> bytes:
        counts = stretch.by_interface if stretch is not None else ((0, 0),) * len(self.source.interfaces)
        # With the tag that a card took out and kernel.c puts back: libpcap refuses a file with a frame longer than it says.
        longest = min(self.source.snap_bytes + _TAG_BYTES, pcapng.SNAP_MAX)
        described = [
            pcapng.interface(
                name,
                link_type=self.source.link_type,
                snap_bytes=longest,
                comment=f"time stamps: {_stamped(frames, hardware)}",
            )
            for name, (frames, hardware) in zip(self.source.interfaces, counts, strict=False)
        ]
        if self.source.apart:
            described = [
                pcapng.interface(name, link_type=self.source.link_type, snap_bytes=longest, comment=f"time stamps: {stamps}")
                for stamps, names in (("software", self.source.interfaces), ("hardware", map(by_hardware, self.source.interfaces)))
                for name in names
            ]  # fmt: skip
        return pcapng.section_header() + b"".join(described)

    def _statistics(self, losses: Losses, now: Now) -> bytes:
        """A block for each interface. What was lost behind several of them, by the disk, is nobody's; the seal says it."""
        names = self.source.interfaces
        dropped = [sum(losses.drops.values())] if len(names) == 1 else [_lost_at(name, losses) for name in names]
        apart = self.source.apart
        rows = [
            (number, frames - (hardware if apart else 0), lost)
            for number, ((frames, hardware), lost) in enumerate(zip(self.heard_by_interface, dropped, strict=True))
        ]
        if apart:
            rows += [(apart + number, hardware, 0) for number, (_, hardware) in enumerate(self.heard_by_interface)]
        return b"".join(
            pcapng.statistics(
                max(0, now.utc_ns), received=heard + lost, dropped=lost, start_ns=max(0, self.opened.utc_ns), interface=number
            )
            for number, heard, lost in rows
        )

    def _append(self, raw: bytes, *, is_last: bool = False) -> None:
        """Blocks around the frames. Those are packed while they pass (kernel.c); only these few bytes are left to the library."""
        offset = self._frames.size
        link = lz4chain.compressed(raw, is_first=offset == 0, is_last=is_last)
        self._frames.append([link])
        self._digest.update(link)
        self._note_index(index.packed_record(record_of(None, offset=offset, stored=len(link), raw=len(raw))))

    def _note_index(self, entry: bytes) -> None:
        self._unindexed.append(entry)
        try:
            self._flush_index()
        except DiskFull:
            # The frames are written; that is what counts. The index catches up with the next stretch or at the seal.
            pass

    def _flush_index(self) -> None:
        if self._unindexed:
            self._index.append(self._unindexed)
            for entry in self._unindexed:
                self._index_digest.update(entry)
            self._unindexed.clear()


def _stamped(frames: int, hardware: int) -> str:
    if not hardware:
        return "software"
    return "hardware" if hardware == frames else "hardware and software"


def _lost_at(interface: str, losses: Losses) -> int:
    return sum(frames for cause, frames in losses.drops.items() if cause.partition("@")[2] == interface)


def publish(disk: Disk, path: str, made: Seal) -> bytes:
    """Put the seal into the hidden directory, make all of it durable, and give it its name. Returns the seal's digest."""
    data = seal.packed(made)
    hidden = f"{path}/.{made.name}"
    disk.write(f"{hidden}/{SEAL}", data)
    disk.sync(f"{hidden}/{SEAL}")
    for name in (f".{NOTED}", NOTED):
        if disk.exists(f"{hidden}/{name}"):
            disk.remove(f"{hidden}/{name}")  # The seal says it now.
    disk.sync_dir(hidden)
    disk.rename(hidden, f"{path}/{made.name}")
    try:
        disk.sync_dir(path)
    except DiskFull:
        # It has its name already, so this cannot be tried again as it was: somebody must look what is there.
        raise DiskFailed("expected the directory to be synced, the disk is full") from None
    return seal.digest(data)


def _synced(file: AppendFile) -> None:
    with _lost_when_full():
        file.sync()


@contextmanager
def _lost_when_full() -> Iterator[None]:
    """A disk that finds itself full only now has lost bytes it had accepted; to the caller that is a failure, not a refusal."""
    try:
        yield
    except DiskFull:
        raise DiskFailed("expected the bytes to be synced, the disk is full") from None
