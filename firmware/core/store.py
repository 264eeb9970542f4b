"""The store: all segments of a box, oldest first, to search and to verify.

Reading needs no lock and no word from the writer: a segment that is deleted meanwhile is passed over, one that is sealed
meanwhile is found under its new name, and the open one is searched as far as it is on the disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core._kernel import may_contain, scan
from firmware.core.errors import Corrupt, Missing
from firmware.core.index import Record
from firmware.core.query import Query, Terms, terms_of
from firmware.core.segment import Segment, sequence_of
from firmware.core.verify import Finding, Verdict, verify

__all__ = ["Finding", "Hit", "Query", "Store", "Verdict", "verify"]


@dataclass(frozen=True, slots=True)
class Hit:
    """Frames of one stretch that match, in the order heard. blocks: pcapng Enhanced Packet Blocks of interface 0, ns."""

    segment: str
    blocks: bytes
    frame_count: int
    first_utc_ns: int
    last_utc_ns: int


class Store:
    """The segments below `path`."""

    def __init__(self, disk: Disk, path: str = "segments") -> None:
        self._disk = disk
        self._path = path

    def names(self) -> list[str]:
        """Sealed segments, in the order they were recorded (by sequence; a clock may have been set back between two)."""
        return self._sorted(hidden=False)

    def open_names(self) -> list[str]:
        """Segments without a seal, without their dots: the one being written is the last; any before it recovery has yet to seal."""
        return self._sorted(hidden=True)

    def segment(self, name: str) -> Segment:
        """One segment, sealed or open, by its name without a dot."""
        return Segment(self._disk, self._path, name)

    def search(self, query: Query) -> Iterator[Hit]:
        """Every frame that matches, and no other, stretch by stretch; lazily, so that a caller may stop or spread it over steps.

        Raises BadItem at once for a query that cannot be understood. A stretch that cannot be read is passed over: `verify` names it.
        """
        return (hit for hit in self.walk(query) if hit is not None)

    def walk(self, query: Query) -> Iterator[Hit | None]:
        """As `search`, with None after each segment and after each stretch read in vain: for a station, whose steps are bounded."""
        terms = terms_of(query)
        return self._search(terms)

    def _search(self, terms: Terms) -> Iterator[Hit | None]:
        searched: set[str] = set()
        names = self.names()
        for name in [*names, *self.open_names()]:
            searched.add(name)
            yield from self._search_segment(self.segment(name), terms)
            yield None
        for name in self.names():  # sealed, and the next one opened, while we were reading
            if name not in searched and (not names or _after(name, names[-1])):
                yield from self._search_segment(self.segment(name), terms)

    def _search_segment(self, segment: Segment, terms: Terms) -> Iterator[Hit | None]:
        try:
            records = self._records(segment, terms)
        except Missing:
            return
        for record in records:
            if not record.frames or record.last_ns < terms.since_ns or record.first_ns > terms.until_ns:
                continue
            if not record.anything and not may_contain(record.keys, terms.packed):
                continue
            try:
                raw = segment.stretch(record)
            except (Corrupt, Missing):
                continue
            blocks, count, first, last, _ = scan(raw, terms.packed, terms.since_ns, terms.until_ns)
            yield Hit(segment.name, blocks, count, first, last) if count else None

    def _records(self, segment: Segment, terms: Terms) -> list[Record]:
        try:
            seal = segment.seal()
            if seal is not None and (
                seal.first_ns is None or seal.last_ns is None or seal.last_ns < terms.since_ns or seal.first_ns > terms.until_ns
            ):
                return []
            return segment.records()
        except Corrupt:
            return segment.records_from_frames()

    def _sorted(self, *, hidden: bool) -> list[str]:
        found = []
        for name in self._disk.list(self._path):
            sequence = sequence_of(name)
            if sequence is not None and name.startswith(".") is hidden:
                found.append((sequence, name.removeprefix(".")))
        return [name for _, name in sorted(found)]


def _after(name: str, other: str) -> bool:
    return (sequence_of(name) or 0) > (sequence_of(other) or 0)
