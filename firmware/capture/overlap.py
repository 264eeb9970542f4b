"""What a ring hands out again after its recorder ended: frames that were written, and whose blocks were not given back yet.

A block is given back only when its frames are with the disk, so a new life reads from the oldest block that was not. If the end came
between the two, some of it was recorded. Which, the recording says itself: nothing needs to be remembered, no counter kept in step
with a file. Within one ring frames lie in the order heard, in the recording too, so what comes again is a run at the recording's end
that is also the beginning of what the ring holds. Compared are stamp, length and bytes: the kernel's stamps are of nanoseconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from drivers.disk import Disk
from firmware.capture.ears import Heard, offset_of
from firmware.core import pcapng
from firmware.core._kernel import Stretch
from firmware.core.errors import Corrupt, DiskFailed, Missing
from firmware.core.pcapng import Packet
from firmware.core.report import Report
from firmware.core.store import Store

# Of blocks; as much as a ring of the default size. With one ring it is a stretch and what was taken as one; with several a slow ring's
# block is taken in slices for as long as twice its time, and the quick ring fills stretches meanwhile.
LOOKED_BACK_BYTES_MAX = 64 << 20


class Overlap:
    """Of one interface. recorded: its last frames, in order."""

    def __init__(self, recorded: Sequence[Packet]) -> None:
        self._recorded = recorded
        self._place: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come that was recorded."""
        return self._place == len(self._recorded)

    def known(self, frames: Sequence[Packet]) -> int:
        """How many of these, the next that the ring holds, from the first one on, are recorded already."""
        rest = self._recorded
        if self._place is None:
            starts = range(len(rest)) if frames else ()
            self._place = next((place for place in starts if _agree(rest, place, frames)), len(rest))
        elif not _agree(rest, self._place, frames):
            self._place = len(rest)
        count = min(len(rest) - self._place, len(frames))
        self._place += count
        if count < len(frames):
            self._place = len(rest)
        return count


class Repeats:
    """Of all interfaces. path: the store's directory; interfaces: how many are recorded."""

    def __init__(self, disk: Disk, path: str, report: Report, *, interfaces: int) -> None:
        self._disk = disk
        self._path = path
        self._report = report
        self._interfaces = interfaces
        self._overlaps: dict[int, Overlap | None] = {}  # until it is known that nothing comes twice; None: not looked yet
        self._skips: dict[int, tuple[int, int]] = {}  # block sequence, frames of it recorded by an earlier life

    @property
    def may_come(self) -> bool:
        """Whether any interface may still hand out what was recorded; then blocks are to be taken one by one."""
        return bool(self._overlaps)

    def look_for(self, numbers: Sequence[int]) -> None:
        """These interfaces' rings are an earlier life's."""
        self._overlaps = dict.fromkeys(numbers)

    def first_new(self, heard: Heard) -> tuple[int, int]:
        """(index, offset) of the first frame of it that an earlier life did not record: where this one begins."""
        block, number = heard.block, heard.interface
        if number not in self._overlaps:
            return heard.index, heard.offset
        sequence, skip = self._skips.get(number, (-1, 0))
        if sequence != block.sequence:
            frames = in_block(block.data, number)
            if not frames:
                # Its recorder ended while it gave it back (RingTap.release): it says nothing of those behind it.
                return heard.index, heard.offset
            skip = self._overlap(number, frames).known(frames)
            self._skips[number] = block.sequence, skip
            self._report.count("frames_recorded_before", skip)
        overlap = self._overlaps[number]
        assert overlap is not None
        if overlap.is_over and heard.index >= skip:
            del self._overlaps[number]
        return (heard.index, heard.offset) if heard.index >= skip else (skip, offset_of(block, skip))

    def _overlap(self, number: int, frames: Sequence[Packet]) -> Overlap:
        overlap = self._overlaps[number]
        if overlap is None:
            since_ns = frames[0].stamp_ns
            found = recorded(self._disk, self._path, interface=number, interfaces=self._interfaces, since_ns=since_ns)
            overlap = self._overlaps[number] = Overlap(found)
        return overlap


def recorded(disk: Disk, path: str, *, interface: int, interfaces: int, since_ns: int) -> list[Packet]:
    """The last frames of this interface in the store, from the first stretch on that holds a stamp of since_ns, UTC, or later.

    interfaces: how many are recorded; a number beyond is one of them again, of the frames it stamped itself (segment.py).
    """
    pieces: list[list[Packet]] = []
    looked_at = 0
    for raw in _backwards(disk, path, since_ns):
        looked_at += len(raw)
        described = pcapng.section_header() + pcapng.interface("") * pcapng.DESCRIBED_INTERFACES_MAX
        rows = pcapng.packets(described + raw)
        pieces.append([replace(packet, interface=interface) for packet in rows if packet.interface % interfaces == interface])
        if looked_at > LOOKED_BACK_BYTES_MAX:
            break
    return [packet for piece in reversed(pieces) for packet in piece]


def in_block(data: memoryview, interface: int) -> list[Packet]:
    """The frames of a block, as the recorder writes them."""
    stretch = Stretch(2 * len(data) + pcapng.SNAP_MAX)
    stretch.add(data, 0, 0, 0, 0, interface)
    described = pcapng.section_header() + pcapng.interface("") * pcapng.RECORDED_INTERFACES_MAX
    return list(pcapng.packets(described + bytes(stretch)))


def _backwards(disk: Disk, path: str, since_ns: int) -> Iterator[bytes]:
    store = Store(disk, path)
    # Where the disk gives nothing back, verify names it; recording what may be recorded already is the lesser evil.
    try:
        sealed, opened = store.all_names()
    except (DiskFailed, Missing):
        return
    for name in reversed([*sealed, *opened]):
        segment = store.segment(name)
        try:
            records = [record for record in segment.records() if record.frames]
            for record in reversed(records):
                if record.last_ns < since_ns:
                    return
                yield segment.stretch(record)
        except (Corrupt, DiskFailed, Missing):
            return


def _agree(recorded: Sequence[Packet], place: int, frames: Sequence[Packet]) -> bool:
    count = min(len(recorded) - place, len(frames))
    return recorded[place : place + count] == frames[:count]
