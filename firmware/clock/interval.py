"""What measurements so far allow a device's offset to be: intervals intersected, with an allowance for how clocks drift.

    one probe        ├───────────────┤            as wide as the way there and back
    a second later        ├──────────────┤        both hold, so the truth lies in both
    together             ├──────────┤
                      ◀──┤  until the next ├──▶  the intersection widens with time

Only those of the last WINDOW_NS are intersected. A device that is set by less than the width of an interval contradicts none of them, and
an old one would then be wrong for ever: 4 ms more one way than back, and a servo's step of 2 ms, were (tests/clock/test_lab.py).

Every interval holds for its own moment. Between moments two crystals drift apart: by DRIFT_PPM at most, and once some seconds have
been measured by the rate they showed, give or take WANDER_PPM, because a device that follows a master is steered all the time.
"""

from collections import deque
from dataclasses import dataclass

from drivers.clock import Monotonic
from firmware.core.certificate import DRIFT_PPM
from firmware.core.timestamp import MS, SECOND

# linuxptp's servo with its defaults steers by 0.7 of the offset in a second: with the 20 µs that software stamps scatter, 14 ppm.
WANDER_PPM = 20
WINDOW_NS = 1_600 * MS  # Four bursts at the default: queues had their chance to be empty, and what it hides is over soon.
_WINDOW_MAX = 64
# A servo that is far off steers hard: by its offset in about a second, and a kernel's clock by 500 ppm at most (adjtimex(2)). What the
# device says of its own offset is believed for this, because it can only widen what is claimed.
RESTLESS_PPM_MAX = 500
_RESTLESS_REMEMBERED = 16
RATE_EVERY_NS = SECOND
RATE_OVER_NS = 4 * SECOND  # Two probes 40 µs wide say less than 10 ppm about a rate before that.
_HISTORY = 16


@dataclass(frozen=True, slots=True)
class Interval:
    """The offset lies between these two, ns, at this moment of the box's monotonic clock."""

    low_ns: int
    high_ns: int
    at: Monotonic

    @property
    def width_ns(self) -> int:
        return self.high_ns - self.low_ns


class OffsetTrack:
    """One device."""

    def __init__(self) -> None:
        self._window: deque[Interval] = deque(maxlen=_WINDOW_MAX)
        self._slow_ppm, self._fast_ppm = float(-DRIFT_PPM), float(DRIFT_PPM)
        self._history: deque[Interval] = deque(maxlen=_HISTORY)
        self._restless: deque[float] = deque(maxlen=_RESTLESS_REMEMBERED)

    @property
    def measured_at(self) -> Monotonic | None:
        """When it was last measured."""
        return self._window[-1].at if self._window else None

    def forget(self) -> None:
        """The box's own clock was stepped, or the device's may have been: nothing measured before says anything now."""
        self._window.clear()
        self._restart()

    def measure(self, seen: Interval, *, believed_ns: int = 0) -> int:
        """One more measurement. Returns 0, or by how much the device's clock jumped, at least: ns, positive forward.

        believed_ns: how far off the device believes to be, which it will now correct.
        """
        jumped_ns = 0
        self._restless.append(min(abs(believed_ns) / 1000, RESTLESS_PPM_MAX))
        expected = self.at(seen.at)
        if expected is not None and _intersected(expected, seen) is None:
            # Either the rate was not what it had been, which is no jump, or no crystal can do that.
            most_ppm = DRIFT_PPM + max(self._restless)
            widest = _grown(self._window[-1], seen.at, -most_ppm, most_ppm)
            jumped_ns = max(0, seen.low_ns - widest.high_ns) + min(0, seen.high_ns - widest.low_ns)
            self.forget()
        self._window.append(seen)
        while seen.at.since(self._window[0].at) > WINDOW_NS:
            self._window.popleft()
        self._learn(seen)
        return jumped_ns

    def at(self, moment: Monotonic) -> Interval | None:
        """Where the offset lies at this moment, no earlier than the last measurement; None before the first."""
        if not self._window:
            return None
        more_ppm = max(0.0, max(self._restless) - WANDER_PPM)
        slow_ppm, fast_ppm = self._slow_ppm - more_ppm, self._fast_ppm + more_ppm
        *earlier, last = (_grown(interval, moment, slow_ppm, fast_ppm) for interval in self._window)
        for interval in reversed(earlier):
            both = _intersected(last, interval)
            if both is None:
                break  # A rate was learnt since by which the two contradict each other; the newer one is right.
            last = both
        return last

    def _learn(self, seen: Interval) -> None:
        history = self._history
        if history and seen.at.since(history[-1].at) < RATE_EVERY_NS:
            if seen.width_ns < history[-1].width_ns:
                history[-1] = seen  # the best of a burst
            return
        history.append(seen)
        first = history[0]
        passed_ns = seen.at.since(first.at)
        if passed_ns < RATE_OVER_NS:
            return
        slow = (seen.low_ns - first.high_ns) * 1e6 / passed_ns
        fast = (seen.high_ns - first.low_ns) * 1e6 / passed_ns
        self._slow_ppm = min(max(slow - WANDER_PPM, -DRIFT_PPM), DRIFT_PPM - WANDER_PPM)
        self._fast_ppm = max(min(fast + WANDER_PPM, DRIFT_PPM), WANDER_PPM - DRIFT_PPM)

    def _restart(self) -> None:
        self._history.clear()
        self._slow_ppm, self._fast_ppm = float(-DRIFT_PPM), float(DRIFT_PPM)


def _intersected(one: Interval, other: Interval) -> Interval | None:
    low, high = max(one.low_ns, other.low_ns), min(one.high_ns, other.high_ns)
    return Interval(low, high, other.at) if low <= high else None


def _grown(interval: Interval, moment: Monotonic, slow_ppm: float, fast_ppm: float) -> Interval:
    passed_ns = max(0, moment.since(interval.at))
    low = interval.low_ns + int(passed_ns * slow_ppm / 1e6) - (passed_ns > 0)
    high = interval.high_ns + int(passed_ns * fast_ppm / 1e6) + (passed_ns > 0)
    return Interval(low, high, moment)
