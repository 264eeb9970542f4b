"""One order being carried out, a bounded piece at a time: first the frames, then what of the interval is not held."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from drivers.disk import Disk
from firmware.core.envelope import Order
from firmware.core.errors import Corrupt, Missing
from firmware.core.hit import Numbering
from firmware.core.request import Request
from firmware.core.segment import sequence_of
from firmware.core.store import Hit, Store
from firmware.core.streams.unrelated import Unrelated
from firmware.core.streams.wish import note
from firmware.core.timestamp import parse_utc
from firmware.retrieval.coverage import Held, Hole, held_by, not_held
from firmware.retrieval.parts import Part, Parts
from firmware.retrieval.thinning import Thinning

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
    """What came of it. segments: how many held something. truncated: more was there than may be sent.

    left_out: frames that the order itself wanted left out, by rule; left_out_bytes: of their blocks.
    """

    frames: int
    size: int
    segments: int
    truncated: bool
    holes: tuple[Hole, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    left_out_bytes: int = 0


class Search:
    """One search. `work` until `found`; the parts it gives out are in order, and the last one is marked."""

    def __init__(self, plan: Plan, disk: Disk, *, interface: str, evidence_bytes_max: int, unrelated: Unrelated) -> None:
        self.plan = plan
        self.found: Found | None = None
        self._disk = disk
        self._store = Store(disk)
        self._bytes_max = evidence_bytes_max
        less = plan.request.less
        self._thinning = Thinning(less, unrelated) if less.mode != "none" else None
        self._numbering = Numbering()
        self._parts = Parts(interface, note=note(less.mode))
        self._walk: Iterator[Hit | None] = self._store.walk(plan.request.query)
        self._survey: Iterator[Held] | None = None
        self._held: list[Held] = []
        self._segments: set[str] = set()
        self._frames = self._size = 0
        self._truncated = self._is_thinned = False

    def work(self) -> list[tuple[Part, bool]]:
        """One piece of it; the parts that are ready, each with whether it is the last."""
        if self._survey is None and self._thinning is not None and self._thinning.busy:
            hit = self._thinning.piece()
            return self._take(hit) if hit is not None else []
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
                return self._all_found()
            if hit is not None:
                hit = self._numbering.of(hit)
                self._segments.update(hit.segments)
                if self._thinning is None:
                    return self._take(hit)
                self._thinning.begin(hit)
                return []
        return []

    def _all_found(self) -> list[tuple[Part, bool]]:
        if self._thinning is not None and not self._is_thinned:
            self._is_thinned = True
            self._thinning.finish()
        else:
            self._survey = self._seals()
        return []

    def _take(self, hit: Hit) -> list[tuple[Part, bool]]:
        if self._size + len(hit.blocks) > self._bytes_max:
            self._truncated = True
            self._survey = self._seals()
            return []
        self._size += len(hit.blocks)
        self._frames += hit.frame_count
        return [(part, False) for part in self._parts.add(hit)]

    def _finish(self) -> list[tuple[Part, bool]]:
        holes = not_held(self._held, self._deleted(), from_ns=self.plan.from_ns, until_ns=self.plan.until_ns)
        self.found = Found(
            self._frames, self._size, len(self._segments), self._truncated, tuple(holes),
            dict(self._thinning.left_out) if self._thinning is not None else {},
            self._thinning.left_out_bytes if self._thinning is not None else 0,
        )  # fmt: skip
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
        for opened in self._store.open_names():
            sequence, begin = sequence_of(opened), _begin_of(opened)
            if opened not in names and sequence is not None and begin is not None:
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
