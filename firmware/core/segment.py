"""A segment: a sealed stretch of frames, a directory of three files.

    segments/20261122T101500Z-000042/frames.pcapng.lz4    firmware/core/lz4chain.py, firmware/core/pcapng.py
                                     index                firmware/core/index.py
                                     seal                 firmware/core/seal.py

An old one may have `frames.cold` and `cold` instead of frames.pcapng.lz4: the same frames in less room (firmware/core/cold.py).
Who reads through Segment does not see the difference.

While it is written (segment_writer.py) its name begins with a dot and it has no seal; it may already be read. What is known to be lost
meanwhile lies beside it in `losses` (firmware/core/noted.py). It is published by one rename.
What a power cut leaves behind is put right by firmware/core/recovery.py.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from drivers.disk import Buffer, Disk
from firmware.core import index, lz4chain, pcapng
from firmware.core._kernel import Stretch, scan
from firmware.core.errors import BadItem, Corrupt, DiskFailed, Missing
from firmware.core.glance import SEAL_BYTES_MAX, Glance, glanced_at
from firmware.core.index import Probed, Record
from firmware.core.layout import COLD, COLD_SEAL, FRAMES, INDEX, SEAL, sequence_of
from firmware.core.query import UNTIL_MAX, Terms
from firmware.core.timestamp import compact

if TYPE_CHECKING:
    from firmware.core.cold import Cold
    from firmware.core.seal import Seal

BY_HARDWARE = " (hardware stamps)"
TITLE_JOINT = "+"  # between the interfaces in a seal; the names themselves are read from the section, for a name may hold it
T = TypeVar("T")


def by_hardware(interface: str) -> str:
    """What an interface is called where the frames it stamped itself come from; no name of Linux has a space."""
    return f"{interface}{BY_HARDWARE}"


def is_by_hardware(name: str) -> bool:
    """Whether an interface of a section is the second description of one, as `by_hardware` calls it."""
    return name.endswith(BY_HARDWARE)


def apart_of(described: Sequence[str]) -> int:
    """Source.apart of a section in which these interfaces are described."""
    return next((number for number, name in enumerate(described) if is_by_hardware(name)), 0)


class Segment:
    """One segment to read from, sealed or still open. What it holds may be cut short or altered; then Corrupt."""

    def __init__(self, disk: Disk, path: str, name: str) -> None:
        """name: without the dot."""
        self.name = name
        self._disk = disk
        self._path = path
        self._cold: Cold | None = None
        self._turn = threading.Lock()  # of whoever reads the cold form: what it holds restored is held once
        self._rooms: list[lz4chain.Room] = []  # from the first search on, of each that searches at once

    def seal(self) -> "Seal | None":
        """Its seal, None while it is open. Raises Corrupt, Missing, DiskFailed."""
        # Here, because who searches only glances at it.
        from firmware.core import seal

        return self._of_seal(seal.unpacked)

    def glance(self) -> Glance | None:
        """What its seal says of its frames, nothing else of it looked at; None while it is open. Raises Corrupt, Missing, DiskFailed."""
        return self._of_seal(glanced_at)

    def _of_seal(self, read: Callable[[bytes], T]) -> T | None:
        sealed = f"{self._path}/{self.name}"
        # Twice: it may be sealed between the look for its seal and the look for its hidden name.
        for _ in range(2):
            try:
                return read(self._disk.read(f"{sealed}/{SEAL}"))
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
            seen = glanced_at(self._disk.read(f"{self._path}/{self.name}/{SEAL}", size=SEAL_BYTES_MAX + 1))
        except (Missing, DiskFailed, BadItem):
            return False
        if seen.first_ns is None or seen.last_ns is None:
            return True
        is_as_named = compact(seen.first_ns) <= self.name[:16] <= compact(seen.last_ns)
        return is_as_named and seen.is_outside(since_ns, until_ns)

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
            room = lz4chain.Room()
        try:
            return self._of(
                record,
                lambda link: lz4chain.scanned(link, terms, raw_bytes=record.raw_bytes, room=room),
                lambda raw: scan(raw, terms.packed, terms.since_ns, terms.until_ns),
                room=room.link,
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

        form = Cold(self._disk, f"{self._path}/{self.name}")
        if form.seal.name != self.name:
            raise Corrupt(f"segment {self.name}: expected its own cold form, this is another's")
        return form

    def cold_bytes(self) -> int:
        """The size of its cold form. Raises Missing."""
        return self._disk.size(f"{self._path}/{self.name}/{COLD}")

    def _of(self, record: Record, hot: Callable[[Buffer], T], cold: Callable[[bytes], T], *, room: memoryview | None = None) -> T:
        """What is made of one stretch: of its link where the segment is as it was recorded, else of its pcapng blocks.

        room: to read a link into, where that is not to be kept.
        """

        def link() -> Buffer:
            if room is None or record.stored_bytes > len(room):
                return self._piece(FRAMES, record.offset, record.stored_bytes)
            return self._piece_in(room[: record.stored_bytes], FRAMES, record.offset)

        # It may be rewritten between one call and the next: what was hot is then cold, and after a thaw the other way round.
        if self._cold is None:
            try:
                return hot(link())
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
        return hot(link())

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
        return self._at(file, lambda path: self._disk.read(path, offset=offset, size=size))

    def _piece_in(self, room: memoryview, file: str, offset: int) -> memoryview:
        return room[: self._at(file, lambda path: self._disk.read_into(path, room, offset=offset))]

    def _at(self, file: str, read: Callable[[str], T]) -> T:
        # It may be sealed between one call and the next: the open name is the second try, and then the sealed one once more.
        for name in (self.name, f".{self.name}"):
            try:
                return read(f"{self._path}/{name}/{file}")
            except Missing:
                continue
        return read(f"{self._path}/{self.name}/{file}")

    def _whole(self, file: str) -> tuple[bytes, bool]:
        try:
            return self._disk.read(f"{self._path}/{self.name}/{file}"), False
        except Missing:
            pass
        try:
            return self._disk.read(f"{self._path}/.{self.name}/{file}"), True
        except Missing:
            return self._disk.read(f"{self._path}/{self.name}/{file}"), False


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
