"""What is known of whole segments, so that a question to a hundred thousand of them opens the one or two that may answer it.

An index whose stretches are segments: the same format and the same probe (firmware/core/index.py), a record for each sealed segment.

    offset        which segment: lower 32 bits of its sequence, then CRC-32 of its name
    first, last   lowest and highest stamp in it    frames, bytes    as its index counts them
    keys          of all its stretches together; more than a record holds: "anything"

A help and not the truth, as the index is: a segment it does not know is asked itself, one that could not be read is "anything".
It speaks of what a segment held when it was sealed, and sealed segments do not change; who exchanges one behind the box's back is
found by `verify`. Rows of deleted segments stay until the file is written anew. Nothing is synced: it can be made again.
"""

import zlib
from array import array
from collections.abc import Collection, Iterator, Sequence

from drivers.disk import Disk
from firmware.core import index
from firmware.core._kernel import probe
from firmware.core.durable import make_directory
from firmware.core.errors import Corrupt, DiskFailed, DiskFull, Missing
from firmware.core.index import Header, Record, packed_header, packed_record
from firmware.core.query import UNTIL_MAX, Terms
from firmware.core.segment import Segment
from firmware.core.timestamp import ClockState, Timestamp

SUMMARY = "summary"
_FILE = f"{SUMMARY}/segments"
_HEADER = packed_header(Header(0, Timestamp(0, 0, "summary", ClockState.FREE), 0))
_MASK = (1 << 32) - 1


class Summary:
    """The file summary/segments; it need not be there. Written by one, read by anybody."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def left(self, names: Sequence[str], terms: Terms) -> list[str]:
        """These segments less the sealed ones that certainly hold no frame that matches."""
        known: set[int] = set()
        possible: set[int] = set()
        try:
            for piece in index.probed(self._read, terms.packed, terms.since_ns, terms.until_ns):
                known.update(array("Q", piece.offsets))
                possible.update(record.offset for record in piece.records)
        except (Missing, Corrupt, DiskFailed):
            pass  # What was read until then holds; the rest is asked itself.
        out = known - possible
        return [name for name in names if key_of(name) not in out] if out else list(names)

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Those of these that have no row yet."""
        known: set[int] = set()
        try:
            for piece in index.probed(self._read, b"", 1, 0):
                known.update(array("Q", piece.offsets))
        except (Missing, Corrupt):
            pass
        return [name for name in names if key_of(name) not in known]

    def start(self, names: Collection[str]) -> None:
        """For its writer: make the directory, cut off what is torn, and write it anew when most of its rows are of deleted segments."""
        make_directory(self._disk, SUMMARY)
        end = rows = 0
        try:
            index.unpacked_header(self._disk.read(_FILE, size=index.HEADER_SIZE))
            for _, count, until in self._pieces():
                rows += count
                end = until
        except (Missing, Corrupt):
            self._disk.write(_FILE, _HEADER)
            return
        if rows > 2 * len(names) + index.KEYS_MAX:
            self._write_anew({key_of(name) for name in names})
        elif self._disk.size(_FILE) != end:
            self._disk.reopen(_FILE, size=end).close()

    def add(self, row: Record) -> None:
        """One more row, at its end. Raises DiskFull, DiskFailed."""
        file = self._disk.reopen(_FILE, size=self._disk.size(_FILE))
        try:
            file.append([packed_record(row)])
        finally:
            file.close()

    def _write_anew(self, wanted: Collection[int]) -> None:
        hidden = f"{SUMMARY}/.segments"
        file = self._disk.create(hidden)
        try:
            file.append([_HEADER])
            for data, _, _ in self._pieces():
                file.append([row for key, row in index.rows(data) if key in wanted])
        except (DiskFull, DiskFailed):
            self._disk.remove(hidden)
            return
        finally:
            file.close()
        self._disk.rename(hidden, _FILE)

    def _pieces(self) -> Iterator[tuple[bytes, int, int]]:
        """(whole records, how many, where they end in the file)"""
        at = index.HEADER_SIZE
        yield b"", 0, at
        while piece := self._read(at, index.PIECE_BYTES):
            _, offsets, end, _, _ = probe(piece, b"", 1, 0)
            if not end:
                return
            at += end
            yield piece[:end], len(offsets) // 8, at

    def _read(self, at: int, size: int) -> bytes:
        return self._disk.read(_FILE, offset=at, size=size)


def key_of(name: str) -> int:
    """What stands for a segment in the summary. name: as `sequence_of` takes it, without the dot."""
    # Its sequence lies behind the moment and a dash; to look for it anew in a hundred thousand names would be half of a search.
    return (int(name[17:]) & _MASK) << 32 | zlib.crc32(name.encode())


def summed_up(segment: Segment) -> Iterator[Record | None]:
    """The row of a sealed segment; None after each piece of its index until then. Raises Missing when it is gone meanwhile."""
    keys: set[int] = set()
    first, last, wire, captured, frames, raw, anything = UNTIL_MAX, 0, 0, 0, 0, 0, False
    try:
        seal = segment.seal()
        described = 0
        for piece in segment.index_pieces():
            for record in piece.records:
                first, last = min(first, record.first_ns), max(last, record.last_ns)
                wire, captured, frames = wire + record.bytes_wire, captured + record.bytes_captured, frames + record.frames
                anything = anything or record.anything
                if not anything:
                    keys.update(array("Q", record.keys))
                    anything = len(keys) > index.KEYS_MAX
            described = piece.described
            yield None
        if seal is None or not piece.is_whole or described != seal.frames_bytes or frames != seal.frames:
            raise Corrupt("expected an index of all frames that were sealed")
    except (Corrupt, DiskFailed, Missing):
        if not segment.is_there():
            raise Missing(f"expected segment {segment.name}, it is gone") from None
        # Whatever is asked, this one has to be looked into.
        yield Record(key_of(segment.name), 0, 0, 0, UNTIL_MAX, 0, 0, 1, True, b"")
        return
    packed = b"" if anything else array("Q", sorted(keys)).tobytes()
    yield Record(key_of(segment.name), 0, raw, first, last, wire, captured, min(frames, _MASK), anything and frames > 0, packed)
