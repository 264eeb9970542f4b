"""The clock of an interface, by which it stamps frames itself (a PTP hardware clock): read and compared here, set and steered by phc2sys.

It shows whatever it was set to: TAI where phc2sys keeps it, the time since its card was switched on where nobody does. So its stamps are
worth something only beside the system's clock, looked at again and again:

    card     ──┼────────────┼──────▶  it showed this            ahead = card minus UTC, and how fast that grows
    system   ──┼────────────┼──────▶  when it was that, UTC     UTC of a stamp = stamp minus what the card was ahead then
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

_BILLION = 1_000_000_000
TRACK_NS = 4 * _BILLION  # Long enough to see a rate through the microsecond a look costs, short enough to follow whoever steers.
TRACK_COUNT = 16
STEP_NS = 1_000_000  # No oscillator and no servo moves a clock by this between two looks a second apart; setting it does.


@dataclass(frozen=True, slots=True)
class Comparison:
    """One look at both clocks. hardware_ns: what the interface's showed; utc_ns: the system's then, give or take uncertainty_ns."""

    hardware_ns: int
    utc_ns: int
    uncertainty_ns: int

    @property
    def ahead_ns(self) -> int:
        """How far the interface's clock is ahead of UTC."""
        return self.hardware_ns - self.utc_ns


class HardwareClock(Protocol):
    """One interface's clock. Reading it has no effect, takes some microseconds and never waits."""

    def compare(self) -> Comparison:
        """Both clocks now. Raises NotConnected when the clock is gone, with its interface."""
        ...

    def close(self) -> None:
        """Look no more; closing twice is as good as once."""
        ...


@dataclass(frozen=True, slots=True)
class Translation:
    """From the interface's time to UTC, about one moment. at_ns: that moment, by the interface's clock.

    ahead_ns: how far it was ahead of UTC then; gain_ppb: by how much it gains on UTC.
    """

    at_ns: int
    ahead_ns: int
    gain_ppb: int

    def utc_ns(self, hardware_ns: int) -> int:
        """What UTC was when the interface's clock showed this."""
        gained_ns = (hardware_ns - self.at_ns) * self.gain_ppb // _BILLION
        return hardware_ns - self.ahead_ns - gained_ns


class HardwareTrack:
    """What the looks of the last seconds say together."""

    def __init__(self) -> None:
        self._seen: deque[Comparison] = deque(maxlen=TRACK_COUNT)

    def take(self, seen: Comparison) -> None:
        """One more look. One that no drift explains is of a clock that was set, and the former ones are forgotten."""
        if self._seen and abs(self.translation.utc_ns(seen.hardware_ns) - seen.utc_ns) > STEP_NS + seen.uncertainty_ns:
            self._seen.clear()
        self._seen.append(seen)
        while seen.utc_ns - self._seen[0].utc_ns > TRACK_NS:
            self._seen.popleft()

    @property
    def translation(self) -> Translation:
        """As of the last look; there was one."""
        first, last = self._seen[0], self._seen[-1]
        passed_ns = last.hardware_ns - first.hardware_ns
        # Over less than a second the look itself, some microseconds wide, would be taken for a rate.
        gain_ppb = (last.ahead_ns - first.ahead_ns) * _BILLION // passed_ns if passed_ns >= _BILLION else 0
        return Translation(last.hardware_ns, last.ahead_ns, gain_ppb)
