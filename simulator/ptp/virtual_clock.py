"""A task device's own clock: wrong from the start, wrong by more every second, corrected by whoever disciplines it; and the truth about it.

    reads(t) = reads₀ + (t − t₀) × (1 + drift + correction)          t: true time

All hosts of a machine share one kernel clock, so programs that only use that one have nothing to synchronise. A virtual clock is
laid over it: the kernel's stamps are read through it, and how wrong it is, is known exactly, at every moment, also afterwards.
"""

import json
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from typing import IO

PPM = 1e-6
REMEMBERED = (
    64  # changes back that a stamp may be read: eight seconds of a servo that acts on each Sync, a minute of one in the storm
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """How a clock went from one change of it to the next. since_ns: true time; reads_ns: what it showed then.

    gain: seconds it gains in each true second, drift and correction together.
    """

    since_ns: int
    reads_ns: int
    gain: float

    def reads(self, true_ns: int) -> int:
        """What the clock shows, ns."""
        passed = true_ns - self.since_ns
        return self.reads_ns + passed + round(passed * self.gain)


class VirtualClock:
    """A clock that can be read, adjusted and set. true_ns: when it starts, `offset_ns` ahead of the truth; drift: gain of its crystal.

    changed: told of each new stretch, the first one included.
    """

    def __init__(
        self, *, true_ns: int, offset_ns: int = 0, drift: float = 0.0, changed: Callable[[Stretch], None] | None = None
    ) -> None:
        self.drift = drift
        self.correction = 0.0
        self._changed = changed
        self._stretches: deque[Stretch] = deque(maxlen=REMEMBERED)
        self._begin(Stretch(true_ns, true_ns + offset_ns, drift))

    def reads(self, true_ns: int) -> int:
        """What it shows, or showed, at this true moment, ns: a stamp is taken when a frame arrives and read when there is time."""
        for stretch in reversed(self._stretches):
            if stretch.since_ns <= true_ns:
                return stretch.reads(true_ns)
        return self._stretches[0].reads(true_ns)

    def error_ns(self, true_ns: int) -> int:
        """How far it is ahead of the truth. Nobody in the room can know this."""
        return self.reads(true_ns) - true_ns

    def stretches(self, since_ns: int, until_ns: int) -> list[Stretch]:
        """How it went between two true moments, as far as is remembered."""
        rows = list(self._stretches)
        ends = [row.since_ns for row in rows[1:]] + [until_ns + 1]
        return [row for row, end_ns in zip(rows, ends, strict=True) if row.since_ns <= until_ns and end_ns > since_ns]

    def adjust(self, true_ns: int, correction: float) -> None:
        """From now on it is slewed by this gain, besides its drift."""
        self.correction = correction
        self._change(true_ns)

    def drift_by(self, true_ns: int, drift: float) -> None:
        """Its crystal changes: another temperature, another age."""
        self.drift = drift
        self._change(true_ns)

    def step(self, true_ns: int, ns: int) -> None:
        """It is set: it jumps by this much."""
        self._change(true_ns, ns)

    def _change(self, true_ns: int, jump_ns: int = 0) -> None:
        reads_ns = self._stretches[-1].reads(true_ns)
        self._begin(Stretch(true_ns, reads_ns + jump_ns, self.drift + self.correction))

    def _begin(self, stretch: Stretch) -> None:
        self._stretches.append(stretch)
        if self._changed is not None:
            self._changed(stretch)


class Truth:
    """What a clock showed, over its whole life: the judge's knowledge. Stretches in the order they began."""

    def __init__(self, stretches: Iterable[Stretch]) -> None:
        self._stretches = list(stretches)
        self._since = [stretch.since_ns for stretch in self._stretches]

    @property
    def first_ns(self) -> int:
        """True time from which anything is known; raises IndexError of a clock that never ran."""
        return self._since[0]

    def error_ns(self, true_ns: int) -> int:
        """How far the clock was ahead at this moment. Asked of a moment before it ran, it answers for its first."""
        return self._stretches[max(0, bisect_right(self._since, true_ns) - 1)].reads(true_ns) - true_ns

    def bounds(self, since_ns: int, until_ns: int) -> tuple[int, int]:
        """The smallest and the largest error between two moments: it is linear between changes, so the ends of stretches say all."""
        first = max(0, bisect_right(self._since, since_ns) - 1)
        last = max(0, bisect_right(self._since, until_ns) - 1)
        errors = [self.error_ns(since_ns), self.error_ns(until_ns)]
        for stretch, following in zip(self._stretches[first:last], self._stretches[first + 1 : last + 1], strict=True):
            errors.append(stretch.reads(following.since_ns) - following.since_ns)
            errors.append(following.reads_ns - following.since_ns)
        return min(errors), max(errors)


def line(stretch: Stretch) -> str:
    """A stretch as a line of a truth file; `float.hex`, so that it is read back to the last bit."""
    return json.dumps([stretch.since_ns, stretch.reads_ns, stretch.gain.hex()]) + "\n"


def stretch(row: str) -> Stretch:
    """A line of a truth file. Raises ValueError for anything else."""
    since_ns, reads_ns, gain = json.loads(row)
    return Stretch(since_ns, reads_ns, float.fromhex(gain))


def whole_lines(file: IO[str]) -> Iterator[str]:
    """What was written since the last look. A line that is just being written is read by the next one."""
    while True:
        start = file.tell()
        row = file.readline()
        if not row.endswith("\n"):
            file.seek(start)
            return
        yield row


def truth(text: str) -> Truth:
    """A truth file's contents, up to its last whole line."""
    return Truth(stretch(row) for row in whole_lines(StringIO(text)))
