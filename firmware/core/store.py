"""The store: all segments of a box, oldest first, to search and to verify.

Reading needs no lock and no word from the writer: a segment that is deleted meanwhile is passed over, one that is sealed
meanwhile is found under its new name, and the open one is searched as far as it is on the disk.
"""

from collections.abc import Iterator, Sequence

from drivers.disk import Disk
from firmware.core import pcapng
from firmware.core._kernel import may_contain, scan
from firmware.core.errors import BadItem, Corrupt, Missing
from firmware.core.hit import Hit
from firmware.core.index import Record
from firmware.core.merge import Merge, complete_before
from firmware.core.query import Query, Terms, terms_of
from firmware.core.segment import TITLE_JOINT, Segment, sequence_of
from firmware.core.verify import Finding, Verdict, verify

__all__ = ["Finding", "Hit", "Query", "Store", "Verdict", "verify"]


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

        One interface's frames come as they were heard, several interfaces' in time order (firmware/core/merge.py).
        Raises BadItem at once for a query that cannot be understood. A stretch that cannot be read is passed over: `verify` names it.
        """
        return (hit for hit in self.walk(query) if hit is not None)

    def walk(self, query: Query) -> Iterator[Hit | None]:
        """As `search`, with None after each segment and after each stretch read in vain: for a station, whose steps are bounded."""
        terms = terms_of(query)
        return self._search(terms)

    def _search(self, terms: Terms) -> Iterator[Hit | None]:
        merge = Merge()
        searched: set[str] = set()
        names = self.names()
        for name in [*names, *self.open_names()]:
            searched.add(name)
            yield from self._search_segment(self.segment(name), terms, merge)
            yield None
        for name in self.names():  # sealed, and the next one opened, while we were reading
            if name not in searched and (not names or _after(name, names[-1])):
                yield from self._search_segment(self.segment(name), terms, merge)
        yield from merge.end()

    def _search_segment(self, segment: Segment, terms: Terms, merge: Merge) -> Iterator[Hit | None]:
        try:
            interfaces, records = self._records(segment, terms)
        except Missing:
            return
        for place, record in enumerate(records):
            if not record.frames or record.last_ns < terms.since_ns or record.first_ns > terms.until_ns:
                continue
            if not record.anything and not may_contain(record.keys, terms.packed):
                continue
            try:
                raw = segment.stretch(record)
            except (Corrupt, Missing):
                continue
            blocks, count, first, last, _ = scan(raw, terms.packed, terms.since_ns, terms.until_ns)
            if not count:
                yield None
            elif len(interfaces) == 1:
                yield from merge.end()
                yield Hit(segment.name, blocks, count, first, last, interfaces)
            else:
                hit = Hit(segment.name, blocks, count, first, last, interfaces)
                yield from merge.add(hit, before_ns=complete_before(records, place))

    def _records(self, segment: Segment, terms: Terms) -> tuple[tuple[str, ...], list[Record]]:
        """What is recorded in it, and where; nothing when it is of another time."""
        title = ""
        try:
            seal = segment.seal()
            if seal is not None:
                if (
                    seal.first_ns is None
                    or seal.last_ns is None
                    or seal.last_ns < terms.since_ns
                    or seal.first_ns > terms.until_ns
                ):
                    return (), []
                title = seal.interface
            records = segment.records()
        except Corrupt:
            records = segment.records_from_frames()
        if title and TITLE_JOINT not in title:
            return (title,), records
        return _interfaces(segment, records), [record for record in records if record.frames]

    def _sorted(self, *, hidden: bool) -> list[str]:
        found = []
        for name in self._disk.list(self._path):
            sequence = sequence_of(name)
            if sequence is not None and name.startswith(".") is hidden:
                found.append((sequence, name.removeprefix(".")))
        return [name for _, name in sorted(found)]


def _after(name: str, other: str) -> bool:
    return (sequence_of(name) or 0) > (sequence_of(other) or 0)


def _interfaces(segment: Segment, records: Sequence[Record]) -> tuple[str, ...]:
    """The names in its section, by number. Where that cannot be read any more, as many as there may be: a frame keeps its number."""
    try:
        described = pcapng.interfaces(segment.stretch(records[0])) if records else []
    except (BadItem, Corrupt, Missing):
        described = [("", "")] * pcapng.RECORDED_INTERFACES_MAX
    return tuple(name for name, _ in described) or ("",)
