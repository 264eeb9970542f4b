"""A segment: a sealed stretch of frames, a directory of three files.

    segments/20261122T101500Z-000042/frames.pcapng.lz4    firmware/core/lz4chain.py, firmware/core/pcapng.py
                                     index                firmware/core/index.py
                                     seal                 firmware/core/seal.py

An old one may have `frames.cold` and `cold` instead of frames.pcapng.lz4: the same frames in less room (firmware/core/cold.py).
Who reads through Segment does not see the difference.

While it is written its name begins with a dot and it has no seal; it may already be read. What is known to be lost meanwhile lies beside
it in `losses` (firmware/core/noted.py). It is published by one rename.
What a power cut leaves behind is put right by firmware/core/recovery.py.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from drivers.disk import AppendFile, Disk
from drivers.identity import Identity
from firmware.core import index, lz4chain, pcapng, seal
from firmware.core._kernel import Stretch, scan
from firmware.core.digest import PIECE_BYTES, pieces
from firmware.core.errors import BadItem, Corrupt, DiskFailed, DiskFull, Missing
from firmware.core.index import Header, Probed, Record
from firmware.core.layout import COLD, COLD_SEAL, FRAMES, INDEX, NOTED, SEAL, name_of, sequence_of
from firmware.core.query import UNTIL_MAX, Terms
from firmware.core.seal import Gap, Seal
from firmware.core.timestamp import Now, compact

if TYPE_CHECKING:
    from firmware.core.certificate import TimeQuality
    from firmware.core.cold import Cold

BY_HARDWARE = " (hardware stamps)"
TITLE_JOINT = "+"  # between the interfaces in a seal; the names themselves are read from the section, for a name may hold it
_TAG_BYTES = 4  # IEEE 802.1Q
T = TypeVar("T")


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


def by_hardware(interface: str) -> str:
    """What an interface is called where the frames it stamped itself come from; no name of Linux has a space."""
    return f"{interface}{BY_HARDWARE}"


def is_by_hardware(name: str) -> bool:
    """Whether an interface of a section is the second description of one, as `by_hardware` calls it."""
    return name.endswith(BY_HARDWARE)


def apart_of(described: Sequence[str]) -> int:
    """Source.apart of a section in which these interfaces are described."""
    return next((number for number, name in enumerate(described) if is_by_hardware(name)), 0)


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


class Segment:
    """One segment to read from, sealed or still open. What it holds may be cut short or altered; then Corrupt."""

    def __init__(self, disk: Disk, path: str, name: str) -> None:
        """name: without the dot."""
        self.name = name
        self._disk = disk
        self._path = path
        self._cold: Cold | None = None
        self._turn = threading.Lock()  # of whoever reads the cold form: what it holds restored is held once
        self._rooms: list[bytearray] = []  # to unpack in, from the first search on: of each that searches at once

    def seal(self) -> Seal | None:
        """Its seal, None while it is open. Raises Corrupt, Missing."""
        sealed = f"{self._path}/{self.name}"
        # Twice: it may be sealed between the look for its seal and the look for its hidden name.
        for _ in range(2):
            try:
                return seal.unpacked(self._disk.read(f"{sealed}/{SEAL}"))
            except Missing:
                if self._disk.exists(f"{self._path}/.{self.name}"):
                    return None
            except BadItem as problem:
                raise Corrupt(f"segment {self.name}: {problem}") from None
        if self._disk.exists(sealed):
            raise Corrupt(f"segment {self.name}: expected a seal, there is none")
        raise Missing(f"expected segment {self.name}, it is gone")

    def is_of_another_time(self, since_ns: int, until_ns: int) -> bool:
        """Whether its seal says at a glance that all its frames are older or younger. UTC ns.

        False where it says nothing of the kind, is not there, or contradicts the name, which holds when the segment began: one of the
        two is wrong then, and who searches looks for himself.
        """
        try:
            times = seal.times_of(self._disk.read(f"{self._path}/{self.name}/{SEAL}", size=seal.SEAL_BYTES_MAX))
        except (Missing, DiskFailed, BadItem):
            return False
        if times is None:
            return True
        first_ns, last_ns = times
        return (last_ns < since_ns or first_ns > until_ns) and compact(first_ns) <= self.name[:16] <= compact(last_ns)

    def records(self) -> list[Record]:
        """Its stretches: of a sealed one as its index says, of an open one also what the index does not list yet, from the frames.

        Raises Corrupt when a sealed index does not hold together, Missing when the segment is gone.
        """
        try:
            data, is_open = self._whole(INDEX)
        except Missing:
            # Recovery that found the disk full while it wrote the index anew leaves none until there is room (storm seed 597).
            return self._survey(0)
        index.unpacked_header(data)
        records, end = index.unpacked_records(data)
        if end != len(data) and not is_open:
            raise Corrupt(f"segment {self.name}: expected whole index records, stopped at byte {end} of {len(data)}")
        if is_open:
            # Its writer may have ended between a stretch and the record of it, and the index is not synced with the frames:
            # until recovery has come, the index of an open segment may end early (storm seed 250).
            listed = records[-1].offset + records[-1].stored_bytes if records else 0
            records += self._survey(listed)
        return records

    def records_from_frames(self) -> list[Record]:
        """The same, made again from the frames; slow, and true. What is cut short or altered ends it."""
        return self._survey(0)

    def probed(self, terms: Terms) -> Iterator[Probed]:
        """What its index leaves possible, a piece at a time. Raises Corrupt where it is no index of this segment, Missing, DiskFailed."""
        return index.probed(self._index_reader(), terms.packed, terms.since_ns, terms.until_ns)

    def index_pieces(self) -> Iterator[Probed]:
        """All of its index with the keys, a piece at a time, of stretches that hold frames. Raises as `probed` does."""
        return index.probed(self._index_reader(), b"", 0, UNTIL_MAX, with_keys=True)

    def links(self, start: int) -> Iterator[tuple[int, int, bytes | None]]:
        """(offset, stored size, pcapng blocks) of each link of its frames from `start` on; None for blocks that are altered.

        Ends where no link follows: at the end of the frames, or where they were cut or are no chain. Raises Missing, DiskFailed.
        """
        if self.is_cold():
            yield from _cold_links(self._cold_form(), start)
            return
        for at, stored in lz4chain.spans(lambda at, size: self._piece(FRAMES, start + at, size), self.frames_size() - start):
            try:
                raw = lz4chain.decompressed(self._piece(FRAMES, start + at, stored))
            except Corrupt:
                raw = None
            yield start + at, stored, raw

    def frames_size(self) -> int:
        """Bytes of its frames as they lie, or as its cold form restores them. Raises Missing."""
        for name in (self.name, f".{self.name}", self.name):
            try:
                return self._disk.size(f"{self._path}/{name}/{FRAMES}")
            except Missing:
                continue
        return self._cold_form().seal.frames_bytes

    def is_there(self) -> bool:
        """Whether it is, sealed or open: what is missing of one that is gone was deleted with it."""
        return self._disk.exists(f"{self._path}/{self.name}") or self._disk.exists(f"{self._path}/.{self.name}")

    def stretch(self, record: Record) -> bytes:
        """The pcapng blocks of one stretch. Raises Corrupt, Missing."""
        return self._of(
            record, lambda link: self._all_of(lz4chain.decompressed(link, raw_bytes=record.raw_bytes), record), lambda raw: raw
        )

    def scanned(self, record: Record, terms: Terms) -> tuple[bytes, int, int, int, bool]:
        """What of one stretch matches, as kernel.c's `scan` says it; several threads may ask at once. Raises Corrupt, Missing."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = lz4chain.room()
        try:
            return self._of(
                record,
                lambda link: lz4chain.scanned(link, terms, raw_bytes=record.raw_bytes, room=room),
                lambda raw: scan(raw, terms.packed, terms.since_ns, terms.until_ns),
            )
        finally:
            self._rooms.append(room)

    def is_cold(self) -> bool:
        """Whether its frames are in the cold form now."""
        return self._disk.exists(f"{self._path}/{self.name}/{COLD_SEAL}") and not self._disk.exists(
            f"{self._path}/{self.name}/{FRAMES}"
        )

    def _cold_form(self) -> "Cold":
        # Here, because most segments searched are as they were recorded: of what `find` begins with, a twentieth.
        from firmware.core.cold import Cold

        return Cold(self._disk, f"{self._path}/{self.name}")

    def cold_bytes(self) -> int:
        """The size of its cold form. Raises Missing."""
        return self._disk.size(f"{self._path}/{self.name}/{COLD}")

    def _of(self, record: Record, hot: Callable[[bytes], T], cold: Callable[[bytes], T]) -> T:
        """What is made of one stretch: of its link where the segment is as it was recorded, else of its pcapng blocks."""
        # It may be rewritten between one call and the next: what was hot is then cold, and after a thaw the other way round.
        if self._cold is None:
            try:
                return hot(self._piece(FRAMES, record.offset, record.stored_bytes))
            except Missing:
                pass
        raw: bytes | None = None
        with self._turn:
            try:
                self._cold = self._cold or self._cold_form()
                raw = self._cold.stretch(record.offset)
            except Missing:
                self._cold = None
        if raw is not None:
            return cold(self._all_of(raw, record))
        return hot(self._piece(FRAMES, record.offset, record.stored_bytes))

    def _all_of(self, raw: bytes, record: Record) -> bytes:
        if len(raw) != record.raw_bytes:
            raise Corrupt(f"segment {self.name}: expected a stretch of {record.raw_bytes} bytes, got {len(raw)}")
        return raw

    def _survey(self, start: int) -> list[Record]:
        if self.is_cold():
            return surveyed_cold(self._cold_form())
        try:
            return [record for record, _, _ in surveyed(self._disk, self._frames_path(), start=start)]
        except Missing:
            # Sealed meanwhile, or gone.
            return [record for record, _, _ in surveyed(self._disk, self._frames_path(), start=start)]

    def _frames_path(self) -> str:
        sealed = f"{self._path}/{self.name}"
        return f"{sealed if self._disk.exists(sealed) else f'{self._path}/.{self.name}'}/{FRAMES}"

    def _index_reader(self) -> lz4chain.Read:
        header = index.unpacked_header(self._piece(INDEX, 0, index.HEADER_SIZE))
        if header.sequence != sequence_of(self.name):
            raise Corrupt(f"segment {self.name}: expected its own index, this is another's")
        return lambda at, size: self._piece(INDEX, at, size)

    def _piece(self, file: str, offset: int, size: int) -> bytes:
        # It may be sealed between one call and the next: the open name is the second try, and then the sealed one once more.
        for name in (self.name, f".{self.name}"):
            try:
                return self._disk.read(f"{self._path}/{name}/{file}", offset=offset, size=size)
            except Missing:
                continue
        return self._disk.read(f"{self._path}/{self.name}/{file}", offset=offset, size=size)

    def _whole(self, file: str) -> tuple[bytes, bool]:
        try:
            return self._disk.read(f"{self._path}/{self.name}/{file}"), False
        except Missing:
            pass
        try:
            return self._disk.read(f"{self._path}/.{self.name}/{file}"), True
        except Missing:
            return self._disk.read(f"{self._path}/{self.name}/{file}"), False


def _stamped(frames: int, hardware: int) -> str:
    if not hardware:
        return "software"
    return "hardware" if hardware == frames else "hardware and software"


def _lost_at(interface: str, losses: Losses) -> int:
    return sum(frames for cause, frames in losses.drops.items() if cause.partition("@")[2] == interface)


def record_of(stretch: Stretch | None, *, offset: int, stored: int, raw: int) -> Record:
    """The index record of a stretch; None for blocks without frames."""
    if stretch is None or stretch.frames == 0:
        return Record(offset, stored, raw, 0, 0, 0, 0, 0, False, b"")
    return Record(
        offset, stored, raw, stretch.first_ns, stretch.last_ns, stretch.bytes_wire, stretch.bytes_captured, stretch.frames,
        stretch.overflow, stretch.keys(),
    )  # fmt: skip


def surveyed(disk: Disk, frames_path: str, *, start: int = 0) -> Iterable[tuple[Record, bytes, int]]:
    """(record, stored bytes, frames the hardware stamped) of each link of a frames file that is whole, unaltered and pcapng; ends at
    the first that is not.

    start: where a link begins; only from the first one on is it known who stamped a frame.
    """
    size = disk.size(frames_path) - start
    if size <= 0:
        return
    stretch = Stretch(pcapng.SNAP_MAX * 2)
    apart = 0
    for at, stored in lz4chain.spans(lambda at, count: disk.read(frames_path, offset=start + at, size=count), size):
        offset = start + at
        link = disk.read(frames_path, offset=offset, size=stored)
        try:
            raw = lz4chain.decompressed(link)
        except Corrupt:
            return
        stretch.clear()
        if not stretch.survey(raw, apart):
            return
        if offset == 0:
            apart = apart_of([name for name, _ in described(link)])
        yield record_of(stretch, offset=offset, stored=stored, raw=len(raw)), link, stretch.hardware


def described(link: bytes) -> list[tuple[str, str]]:
    """(name, comment) of each interface in the first link of a frames file; none where it is no such link."""
    try:
        return pcapng.interfaces(lz4chain.decompressed(link))
    except BadItem:
        return []


def _cold_links(form: "Cold", start: int) -> Iterator[tuple[int, int, bytes | None]]:
    for run in form.runs:
        try:
            pieces: Sequence[bytes | None] = form.restored(run)
        except Corrupt:
            pieces = [None] * len(run.links)
        for link, raw in zip(run.links, pieces, strict=True):
            if link.offset >= start:
                yield link.offset, link.stored_bytes, raw


def surveyed_cold(form: "Cold") -> list[Record]:
    """The records of a cold form, from its frames; ends at the first run that is altered."""
    stretch = Stretch(pcapng.SNAP_MAX * 2)
    records: list[Record] = []
    for run in form.runs:
        try:
            pieces = form.restored(run)
        except Corrupt:
            break
        for link, raw in zip(run.links, pieces, strict=True):
            stretch.clear()
            if not stretch.survey(raw):
                return records
            records.append(record_of(stretch, offset=link.offset, stored=link.stored_bytes, raw=len(raw)))
    return records


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
