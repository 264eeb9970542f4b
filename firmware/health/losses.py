"""When losing something begins and ends, from counters that only grow until their process starts anew."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.clock import Monotonic
from firmware.core.state import SILENT_NS, Heard, ProcessState

SILENT = "silent"  # The cause for a process that does not report; its count is 1.


@dataclass(frozen=True, slots=True)
class Change:
    """A loss began (lost: so far) or ended (lost: in all since it began). where: the station, or the process that is silent."""

    where: str
    cause: str
    began: bool
    lost: int


@dataclass(slots=True)
class _Loss:
    lost: int
    seen: Monotonic


class Losses:
    """Remembers the last counters and which losses are going on."""

    def __init__(self, *, quiet_ns: int) -> None:
        self._quiet_ns = quiet_ns
        self._before: dict[str, Mapping[tuple[str, str], int] | None] = {}  # by process; None: there, and never read
        self._is_first = True
        self._going_on: dict[tuple[str, str], _Loss] = {}
        self._heard = Heard()

    @property
    def going_on(self) -> int:
        """How many losses have begun and not ended."""
        return len(self._going_on)

    def look(self, states: Sequence[ProcessState], now: Monotonic, *, tai_ns: int) -> list[Change]:
        """What changed since the last look. What was lost before the first look is history and no change."""
        grown = self._grown(states)
        grown |= {
            (state.process, SILENT): 1
            for state in states
            if self._heard.age_ns(state, now, tai_ns=tai_ns) > SILENT_NS or not state.readable
        }
        return [*self._beginnings(grown, now), *self._endings(now)]

    def _grown(self, states: Sequence[ProcessState]) -> dict[tuple[str, str], int]:
        """By process, for some stations are in several. One that cannot be read now is compared with what it said before."""
        grown: Counter[tuple[str, str]] = Counter()
        for state in states:
            if not state.readable:
                if self._is_first:
                    self._before[state.process] = None
                continue
            counters = {(row.station, cause): count for row in state.stations for cause, count in row.drops.items()}
            before = self._before.get(state.process, None if self._is_first else {})
            self._before[state.process] = counters
            for key, count in counters.items():
                former = count if before is None else before.get(key, 0)
                by = count - former if count >= former else count  # Smaller than before: its process started anew, at 0.
                if by > 0:
                    grown[key] += by
        self._is_first = False
        return dict(grown)

    def _beginnings(self, grown: Mapping[tuple[str, str], int], now: Monotonic) -> list[Change]:
        changes = []
        for (where, cause), by in grown.items():
            loss = self._going_on.get((where, cause))
            if loss is None:
                self._going_on[where, cause] = _Loss(by, now)
                changes.append(Change(where, cause, True, by))
            else:
                loss.lost += by
                loss.seen = now
        return changes

    def _endings(self, now: Monotonic) -> list[Change]:
        over = [key for key, loss in self._going_on.items() if now.since(loss.seen) >= self._quiet_ns]
        return [Change(*key, False, self._going_on.pop(key).lost) for key in over]
