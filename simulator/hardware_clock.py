"""A simulated interface's clock: wrong from the start, wrong by more every second; and what it costs to look at it."""

from drivers.errors import NotConnected
from drivers.hardware_clock import Comparison
from simulator.clock import SimulatedClock
from simulator.ptp.virtual_clock import PPM, VirtualClock

LOOK_NS = 400  # half of what reading a card's register over PCIe takes


class SimulatedHardwareClock:
    """clock: the machine's, beside which it is looked at. `shown` is the world's to set and to slew; is_there: until it is pulled out.

    offset_ns: ahead of TAI at the start, as a card that nobody set is by half a century; drift_ppm: of its oscillator.
    """

    def __init__(self, clock: SimulatedClock, *, offset_ns: int = 0, drift_ppm: float = 0.0) -> None:
        self._clock = clock
        self.shown = VirtualClock(true_ns=clock.timeline.tai_ns, offset_ns=offset_ns, drift=drift_ppm * PPM)
        self.is_there = True

    def stamp(self, utc_ns: int) -> int:
        """What it shows when the machine's clock shows this, of late or now."""
        return self.shown.reads(utc_ns + self._clock.tai_offset_s * 1_000_000_000 - self._clock.offset_ns)

    def compare(self) -> Comparison:
        if not self.is_there:
            raise NotConnected("expected the interface's clock, it is gone")
        utc_ns = self._clock.now().utc_ns
        return Comparison(self.stamp(utc_ns), utc_ns, LOOK_NS)

    def close(self) -> None:
        return
