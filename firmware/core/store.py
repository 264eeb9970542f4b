"""The store: all segments of a box, oldest first, to search; verify.py verifies them.

Reading needs no lock and no word from the writer: a segment that is deleted meanwhile is passed over, one that is sealed
meanwhile is found under its new name, and the open one is searched as far as it is on the disk.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet

from drivers.disk import Disk
from firmware.core.ahead import Ahead
from firmware.core.hit import Hit
from firmware.core.layout import sequence_of
from firmware.core.look import Damage, Step, looked_into
from firmware.core.merge import Merge
from firmware.core.query import UNTIL_MAX, Query, Terms, terms_of
from firmware.core.segment import Segment
from firmware.core.summary import Summary
from firmware.core.timestamp import SECOND, compact

__all__ = ["Damage", "Hit", "Query", "Step", "Store", "Walk"]

# Of a directory's names one behind the other; no name holds a NUL. One by one would take twice as long.
_NAMES = re.compile(r"(?:(?<=\0)|\A)(\.?)(\d{8}T\d{6}Z-(\d{6,18}))(?=\0|\Z)")
LOOKS_IN_VAIN = 8  # Seals of segments of another time, before the caller gets its turn: a millisecond.


class Store:
    """The segments below `path`."""

    def __init__(self, disk: Disk, path: str = "segments", *, summary: Summary | None = None) -> None:
        """summary: what is known of whole segments; without it each seal is read."""
        self._disk = disk
        self._path = path
        self._summary = summary

    def names(self) -> list[str]:
        """Sealed segments, in the order they were recorded (by sequence; a clock may have been set back between two)."""
        return self.all_names()[0]

    def open_names(self) -> list[str]:
        """Segments without a seal, without their dots: the one being written is the last; any before it recovery has yet to seal."""
        return self.all_names()[1]

    def all_names(self) -> tuple[list[str], list[str]]:
        """(`names`, `open_names`) by one look at the directory."""
        return _sorted(self._disk.list(self._path))

    def names_beyond(self, known: Collection[str]) -> list[str]:
        """Sealed segments that are not among these, as `names` has them: for who looks once more, and mostly in vain."""
        return _sorted([name for name in self._disk.list(self._path) if name not in known])[0]

    def changes(self, known: AbstractSet[str]) -> tuple[list[str], set[str]]:
        """By one look at the directory: sealed segments that are not among these, as `names` has them, and those of these that are gone.

        For who keeps the names: to sort a hundred thousand again, of which one is new, takes longer than to read the directory.
        """
        listed = self._disk.list(self._path)
        return _sorted([name for name in listed if name not in known])[0], set(known - set(listed))

    def possible(self, query: Query) -> list[str]:
        """Sealed segments that may hold frames that match, as far as the summary knows; without one all of them."""
        return self.left_by(self.names(), terms_of(query))

    def left_by(self, names: Sequence[str], terms: Terms) -> list[str]:
        """Those of these that the summary does not exclude."""
        return list(names) if self._summary is None else self._summary.left(names, terms)

    def segment(self, name: str) -> Segment:
        """One segment, sealed or open, by its name without a dot."""
        return Segment(self._disk, self._path, name)

    def search(self, query: Query) -> Iterator[Hit]:
        """Every frame that matches, and no other, stretch by stretch; lazily, so that a caller may stop or spread it over steps.

        Raises BadItem at once for a query that cannot be understood. What cannot be read is passed over: `walk` names it.
        """
        return (step for step in self.walk(query) if isinstance(step, Hit))

    def walk(self, query: Query, *, newest_first: bool = False, ahead: Ahead | None = None) -> "Walk":
        """As `search`, with the damage, and None after what was read in vain: for a station, whose steps are bounded.

        ahead: who unpacks the stretches and looks into them; without it the caller's own thread.
        """
        return Walk(self, terms_of(query), ahead or Ahead(), newest_first=newest_first)


class Walk(Iterator[Step]):
    """A search under way. Its figures are for whoever shows how far it is; `segments` grows when new ones are sealed meanwhile."""

    def __init__(self, store: Store, terms: Terms, ahead: Ahead, *, newest_first: bool) -> None:
        self.segments = self.segments_done = 0
        self._store = store
        self._terms = terms
        self._ahead = ahead
        self._newest_first = newest_first
        self._merge = Merge()
        self._steps = self._newest() if newest_first else self._oldest()

    @property
    def share(self) -> float:
        """How much of the store is behind us, 0 to 1, by segments."""
        return self.segments_done / self.segments if self.segments else 0.0

    def __next__(self) -> Step:
        return next(self._steps)

    def _oldest(self) -> Iterator[Step]:
        sealed, opened = self._store.all_names()
        names = [*sealed, *opened]
        yield from self._all(self._possible(names))
        searched = set(names)
        # Sealed, and the next one opened, while we were reading.
        new = [name for name in self._store.names_beyond(searched) if not sealed or _after(name, sealed[-1])]
        yield from self._all(new)
        yield from self._merge.end()

    def _newest(self) -> Iterator[Step]:
        sealed, opened = self._store.all_names()
        names = [*sealed, *opened]
        yield from self._all(self._possible(names)[::-1])
        # What was sealed while we looked for it may have shown neither of its names; what is newer than that look is not asked for.
        missed = [name for name in self._store.names_beyond(set(names)) if not sealed or _after(name, sealed[-1])]
        yield from self._all([name for name in missed if _after(opened[-1], name)] if opened else missed[:1])
        yield from self._merge.end()

    def _possible(self, names: list[str]) -> list[str]:
        """What has to be looked into, likely ones first: of a hundred thousand segments a question is mostly about one or two.

        A segment's name says when it began, and only that; stamps may lie. So the name decides what comes first, and a summary or
        the seal what is left out.
        """
        names = self._store.left_by(names, self._terms)
        since, until = self._terms.since_ns, self._terms.until_ns
        if since == 0 or len(names) < 2:
            return names
        earliest, latest = compact(since - SECOND), compact(min(until, (1 << 63) - 1))
        likely: list[str] = []
        others: list[str] = []
        for name, following in zip(names, [*names[1:], "9"], strict=True):
            (likely if name[:16] <= latest and following[:16] >= earliest else others).append(name)
        return [*others, *likely] if self._newest_first else [*likely, *others]

    def _all(self, names: Sequence[str]) -> Iterator[Step]:
        self.segments += len(names)
        has_time = self._terms.since_ns > 0 or self._terms.until_ns < UNTIL_MAX
        in_vain = 0
        for name in names:
            segment = self._store.segment(name)
            if has_time and segment.is_of_another_time(self._terms.since_ns, self._terms.until_ns):
                in_vain += 1
                if in_vain % LOOKS_IN_VAIN == 0:
                    yield None
            else:
                yield from looked_into(segment, self._terms, self._merge, self._ahead, newest_first=self._newest_first)
                yield None
            self.segments_done += 1


def _sorted(listed: Sequence[str]) -> tuple[list[str], list[str]]:
    """(sealed, open) segments among the names of a directory, by their sequences, without their dots."""
    found = [(int(sequence), name, dot) for dot, name, sequence in _NAMES.findall("\0".join(listed))]
    found.sort()
    sealed = [name for _, name, dot in found if not dot]
    # A large directory is not read in one moment: what is renamed meanwhile may be in it with both its names, or with none.
    return sealed, [name for _, name, dot in found if dot and name not in sealed]


def _after(name: str, other: str) -> bool:
    return (sequence_of(name) or 0) > (sequence_of(other) or 0)
