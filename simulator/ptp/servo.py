"""The servo of a task device: offsets in, corrections out. Two offsets give the crystal's drift, the rest is a PI controller."""

from dataclasses import dataclass

# Per second of offset, as gain. With eight Syncs a second this settles in a few seconds and passes on a third of the kernel's
# stamping noise (5 µs here); linuxptp's constants for software stamps (pi.c: 0.1 and 0.001 a Sync) settle in half a minute,
# longer than most of our tests.
PROPORTIONAL = 0.3
INTEGRAL = 0.05
# Two stamps of 5 µs noise tell the drift to 7 ppm when they are a second apart, and to 57 when they are one Sync apart.
CAPTURE_NS = 1_000_000_000
STEP_NS = 1_000_000  # Beyond this it is quicker to set the clock than to slew it: a millisecond takes 10 s at 100 ppm.
GAIN_MAX = 500e-6  # What Linux slews by at most (MAXFREQ, kernel/time/ntp.c)


@dataclass(frozen=True, slots=True)
class Correction:
    """What to do to the clock: jump by step_ns (0: do not), then run with this gain besides its own drift."""

    step_ns: int
    gain: float


class Servo:
    """Follows a master by offsets that are measured now and then."""

    def __init__(self) -> None:
        self._gain = 0.0  # what the drift needs, learnt
        self._first: tuple[int, int] | None = None
        self._last_ns: int | None = None
        self.is_locked = False

    def sample(self, offset_ns: int, local_ns: int) -> Correction | None:
        """offset_ns: how far the clock is ahead of its master, at the moment local_ns of that clock. None: nothing to do yet."""
        if not self.is_locked or abs(offset_ns) > STEP_NS:
            return self._capture(offset_ns, local_ns)
        assert self._last_ns is not None
        passed_s = min(max(0.0, (local_ns - self._last_ns) / 1e9), 1.0)
        self._last_ns = local_ns
        self._gain = _bounded(self._gain - INTEGRAL * offset_ns * 1e-9 * passed_s)
        return Correction(0, _bounded(self._gain - PROPORTIONAL * offset_ns * 1e-9))

    def _capture(self, offset_ns: int, local_ns: int) -> Correction | None:
        """Two offsets some time apart, at an unchanged rate: their difference is the drift, and the second is jumped over."""
        self.is_locked = False
        if self._first is None or local_ns <= self._first[1]:
            self._first = (offset_ns, local_ns)
            # Between the two the clock must go evenly, or the slewing is taken for drift.
            return Correction(0, self._gain)
        first_ns, since_ns = self._first
        if local_ns - since_ns < CAPTURE_NS:
            return None
        drift = (offset_ns - first_ns) / (local_ns - since_ns)
        if abs(drift) > GAIN_MAX:
            # No crystal drifts like that: one of the two was a stray, or the master jumped between them. From this one on again.
            self._first = (offset_ns, local_ns)
            return None
        self._first = None
        self._gain = _bounded(self._gain - drift)
        self._last_ns = local_ns
        self.is_locked = True
        return Correction(-offset_ns, self._gain)


def _bounded(gain: float) -> float:
    return min(max(gain, -GAIN_MAX), GAIN_MAX)
