"""One order being carried out, a bounded piece at a time: first the frames, then what of the interval is not held."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core.envelope import Order
from firmware.core.errors import Corrupt, Missing
from firmware.core.request import Request
from firmware.core.segment import sequence_of
from firmware.core.store import Hit, Store
from firmware.core.timestamp import parse_utc
from firmware.retrieval.coverage import Held, Hole, held_by, not_held
from firmware.retrieval.parts import Part, Parts

LOOKS_A_PIECE = 8  # Stretches read in vain, or seals, before the loop gets its turn back: some milliseconds.


@dataclass(frozen=True, slots=True)
class Plan:
    """An order with its request understood. from_ns, until_ns: the interval asked for, UTC ns, both ends included."""

    order: Order
    request: Request
    from_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it. segments: how many held something. truncated: more was there than may be sent."""

    frames: int
    size: int
    segments: int
    truncated: bool
    holes: tuple[Hole, ...]


class Search:
    """One search. `work` until `found`; the parts it gives out are in order, and the last one is marked."""

    def __init__(self, plan: Plan, disk: Disk, *, interface: str, evidence_bytes_max: int) -> None:
        self.plan = plan
        self.found: Found | None = None
        self._disk = disk
        self._store = Store(disk)
        self._bytes_max = evidence_bytes_max
        self._parts = Parts(interface)
        self._walk: Iterator[Hit | None] = self._store.walk(plan.request.query)
        self._survey: Iterator[Held] | None = None
        self._held: list[Held] = []
        self._segments: set[str] = set()
        self._frames = self._size = 0
        self._truncated = False

    def work(self) -> list[tuple[Part, bool]]:
        """One piece of it; the parts that are ready, each with whether it is the last."""
        if self._survey is None:
            return self._search_on()
        for _ in range(LOOKS_A_PIECE):
            held = next(self._survey, None)
            if held is None:
                return self._finish()
            self._held.append(held)
        return []

    def _search_on(self) -> list[tuple[Part, bool]]:
        for _ in range(LOOKS_A_PIECE):
            try:
                hit = next(self._walk)
            except StopIteration:
                self._survey = self._seals()
                return []
            if hit is not None:
                return self._take(hit)
        return []

    def _take(self, hit: Hit) -> list[tuple[Part, bool]]:
        if self._size + len(hit.blocks) > self._bytes_max:
            self._truncated = True
            self._survey = self._seals()
            return []
        self._size += len(hit.blocks)
        self._frames += hit.frame_count
        self._segments.add(hit.segment)
        return [(part, False) for part in self._parts.add(hit)]

    def _finish(self) -> list[tuple[Part, bool]]:
        holes = not_held(self._held, self._deleted(), from_ns=self.plan.from_ns, until_ns=self.plan.until_ns)
        self.found = Found(self._frames, self._size, len(self._segments), self._truncated, tuple(holes))
        return [(self._parts.last(), True)]

    def _seals(self) -> Iterator[Held]:
        names = self._store.names()
        for name in names:
            try:
                seal = self._store.segment(name).seal()
            except (Corrupt, Missing):
                continue
            if seal is not None:
                yield held_by(seal)
        opened = self._store.open_name()
        if opened is not None and opened not in names:
            sequence, begin = sequence_of(opened), _begin_of(opened)
            if sequence is not None and begin is not None:
                yield Held(sequence, begin, max(begin, self.plan.until_ns), goes_on=False)

    def _deleted(self) -> Mapping[int, int]:
        """The first moment of each deleted segment, from the receipts' names: <number>-<segment>."""
        deleted = {}
        for name in self._disk.list("receipts"):
            segment = name.partition("-")[2]
            sequence, begin = sequence_of(segment), _begin_of(segment)
            if sequence is not None and begin is not None:
                deleted[sequence] = begin
        return deleted


def _begin_of(segment: str) -> int | None:
    try:
        return parse_utc(segment.partition("-")[0])
    except ValueError:
        return None
