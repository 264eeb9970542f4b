"""One order being carried out, a bounded piece at a time: first the frames, then what of the interval is not held."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from drivers.disk import Disk
from firmware.core.envelope import Order
from firmware.core.errors import BadItem, Corrupt, DiskFailed, Missing
from firmware.core.hit import Hit, Numbering
from firmware.core.layout import sequence_of
from firmware.core.look import Damage, Damages
from firmware.core.query import Query, terms_of
from firmware.core.receipt import SUM, sum_unpacked
from firmware.core.request import Request
from firmware.core.sift import Sift, sifted, split
from firmware.core.store import Store
from firmware.core.streams.unrelated import Unrelated
from firmware.core.streams.wish import note
from firmware.core.summary import Summary
from firmware.core.timestamp import SECOND, compact, parse_utc
from firmware.retrieval.coverage import Held, Hole, held_by, not_held
from firmware.retrieval.parts import Part, Parts
from firmware.retrieval.thinning import FRAMES_A_PIECE, Thinning

LOOKS_A_PIECE = 8  # Stretches read in vain, or seals, before the loop gets its turn back: some milliseconds.
NEIGHBOURS = 2  # Segments before and behind an interval that are asked what they held: silence belongs to the one before it.
DAY_NS = 86_400 * SECOND  # The longest segment.


@dataclass(frozen=True, slots=True)
class Plan:
    """An order with its request understood. from_ns, until_ns: the interval asked for, UTC ns, both ends included.

    query, sift: the request in the words of the index, and what is asked of each frame beyond it.
    """

    order: Order
    request: Request
    from_ns: int
    until_ns: int
    query: Query
    sift: Sift


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it. segments: how many held something. truncated: more was there than may be sent. cancelled: it was ended early.

    damaged: stretches of time in which frames cannot be read; they are among the holes as well.
    left_out: frames that the order itself wanted left out, by rule; left_out_bytes: of their blocks.
    """

    frames: int
    size: int
    segments: int
    truncated: bool
    holes: tuple[Hole, ...]
    damaged: int = 0
    cancelled: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)
    left_out_bytes: int = 0


class Search:
    """One search. `work` until `found`; the parts it gives out are in order, and the last one is marked."""

    def __init__(
        self, plan: Plan, disk: Disk, *, interface: str, evidence_bytes_max: int, unrelated: Unrelated, first_part: int = 0
    ) -> None:
        self.plan = plan
        self.found: Found | None = None
        self._disk = disk
        self._summary = Summary(disk)
        self._store = Store(disk, summary=self._summary)
        self.bytes_max = evidence_bytes_max
        less = plan.request.less
        self._thinning = Thinning(less, unrelated) if less.mode != "none" else None
        self._numbering = Numbering()
        self._parts = Parts(interface, note=note(less.mode), first_number=first_part)
        self._walk = self._store.walk(plan.query)
        self._to_sift: deque[Hit] = deque()
        self._damages = Damages()
        self._survey: Iterator[Held | None] | None = None
        self._held: list[Held] = []
        self._segments: set[str] = set()
        self._frames = self._size = 0
        self._truncated = self._is_thinned = False

    @property
    def percent(self) -> int:
        """How much of the store was searched."""
        return 100 if self._survey is not None else int(100 * self._walk.share)

    def work(self) -> list[tuple[Part, bool]]:
        """One piece of it; the parts that are ready, each with whether it is the last.

        Raises DiskFailed, and is of no use after that: gone on with, it would pass for one that has seen everything.
        """
        if self._survey is None and self._thinning is not None and self._thinning.busy:
            hit = self._thinning.piece()
            return self._take(hit) if hit is not None else []
        if self._survey is None and self._to_sift:
            hit = sifted(self._to_sift.popleft(), self.plan.sift)
            return self._thin_or_take(hit) if hit is not None else []
        if self._survey is None:
            return self._search_on()
        for _ in range(LOOKS_A_PIECE):
            try:
                held = next(self._survey)
            except StopIteration:
                return self._finish()
            if held is not None:
                self._held.append(held)
        return []

    def cancel(self) -> list[tuple[Part, bool]]:
        """Somebody has thought better of it: the last part, with what was found and not given out yet."""
        assert self.found is None, "what is over cannot be ended"
        self.found = Found(
            self._frames, self._size, len(self._segments), self._truncated, (), len(self._damages.all()), cancelled=True
        )
        return [(self._parts.last(), True)]

    def _search_on(self) -> list[tuple[Part, bool]]:
        for _ in range(LOOKS_A_PIECE):
            try:
                step = next(self._walk)
            except StopIteration:
                return self._all_found()
            if isinstance(step, Damage):
                self._damages.add(step)
            elif step is not None:
                hit = self._numbering.of(self.plan.sift.completed(step, self._store))
                if not self.plan.sift.asks_nothing:
                    self._to_sift.extend(split(hit, FRAMES_A_PIECE))
                    return []
                return self._thin_or_take(hit)
        return []

    def _thin_or_take(self, hit: Hit) -> list[tuple[Part, bool]]:
        self._segments.update(hit.segments)
        if self._thinning is None:
            return self._take(hit)
        self._thinning.begin(hit)
        return []

    def _all_found(self) -> list[tuple[Part, bool]]:
        if self._thinning is not None and not self._is_thinned:
            self._is_thinned = True
            self._thinning.finish()
        else:
            self._survey = self._seals()
        return []

    def _take(self, hit: Hit) -> list[tuple[Part, bool]]:
        if self._size + len(hit.blocks) > self.bytes_max:
            self._truncated = True
            self._survey = self._seals()
            return []
        self._size += len(hit.blocks)
        self._frames += hit.frame_count
        return [(part, False) for part in self._parts.add(hit)]

    def _finish(self) -> list[tuple[Part, bool]]:
        plan, damaged = self.plan, self._damages.all()
        holes = not_held(self._held, self._deleted(), from_ns=plan.from_ns, until_ns=plan.until_ns)
        for row in damaged:
            first = plan.from_ns if row.first_utc_ns is None else max(plan.from_ns, row.first_utc_ns)
            last = plan.until_ns if row.last_utc_ns is None else min(plan.until_ns, row.last_utc_ns)
            holes.append(Hole(first, max(first, last), f"not readable ({row.cause})"))
        self.found = Found(
            self._frames, self._size, len(self._segments), self._truncated,
            tuple(sorted(holes, key=lambda hole: (hole.from_ns, hole.until_ns))), len(damaged),
            left_out=dict(self._thinning.left_out) if self._thinning is not None else {},
            left_out_bytes=self._thinning.left_out_bytes if self._thinning is not None else 0,
        )  # fmt: skip
        return [(self._parts.last(), True)]

    def _seals(self) -> Iterator[Held | None]:
        """What each segment near the interval held; None while it is found out which those are."""
        names = self._store.names()
        yield None
        for name in self._near(names):
            try:
                seal = self._store.segment(name).seal()
            except Missing:
                continue
            except (Corrupt, DiskFailed):
                yield from self._without_seal(name)
                continue
            if seal is not None:
                yield held_by(seal)
        for opened in self._store.open_names():
            sequence, begin = sequence_of(opened), _begin_of(opened)
            if opened not in names and sequence is not None and begin is not None:
                yield Held(sequence, begin, max(begin, self.plan.until_ns), goes_on=False)

    def _without_seal(self, name: str) -> Iterator[Held | None]:
        """What a segment held whose seal nobody can read: from the moment in its name to its last frame. That it was there is known."""
        sequence, begin = sequence_of(name), _begin_of(name)
        last = 0
        try:
            for piece in self._store.segment(name).index_pieces():
                last = max([last, *(record.last_ns for record in piece.records)])
                yield None
        except (Corrupt, DiskFailed, Missing):
            pass
        if sequence is not None and begin is not None:
            yield Held(sequence, begin, max(begin, last), goes_on=False)

    def _near(self, names: list[str]) -> list[str]:
        """Those whose seals have something to say: by their names and their neighbours', and all that hold frames of the interval.

        Without it, the answer to a question about a minute would read the seals of years.
        """
        terms = terms_of(Query(self.plan.from_ns, self.plan.until_ns))
        left = set(self._summary.left(names, terms))
        earliest, latest = compact(self.plan.from_ns), compact(self.plan.until_ns)
        inside = [at for at, name in enumerate(names) if earliest <= name[:16] <= latest]
        before = max((at for at, name in enumerate(names) if name[:16] < earliest), default=0)
        first = max(0, min([before, *inside[:1]]) - NEIGHBOURS)
        last = max([before, *inside[-1:]]) + NEIGHBOURS
        return [name for at, name in enumerate(names) if first <= at <= last or name in left]

    def _deleted(self) -> Mapping[int, int]:
        """The first moment of each deleted segment that may have held something of the interval, from the receipts' names: <number>-<segment>."""
        earliest, latest = compact(self.plan.from_ns - DAY_NS), compact(self.plan.until_ns + DAY_NS)
        names = self._disk.list("receipts")  # before the sum, which is there before they go
        deleted = self._summed()
        for name in names:
            segment = name.partition("-")[2]
            if earliest <= segment[:16] <= latest:
                sequence, begin = sequence_of(segment), _begin_of(segment)
                if sequence is not None and begin is not None:
                    deleted[sequence] = begin
        return deleted

    def _summed(self) -> dict[int, int]:
        """Likewise of those of which only a sum is kept: from the earliest to the latest as one, in places no segment has, and the latest."""
        try:
            made = sum_unpacked(self._disk.read(f"receipts/{SUM}"))
        except (Missing, BadItem, DiskFailed):
            return {}  # verify names it; an answer is not held back for it
        begin, end = map(_begin_of, made.segments)
        last = sequence_of(made.segments[1])
        return {-2: begin, -1: end, last: end} if begin is not None and end is not None and last is not None else {}


def _begin_of(segment: str) -> int | None:
    try:
        return parse_utc(segment.partition("-")[0])
    except ValueError:
        return None
