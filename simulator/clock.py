"""Virtual time: one true timeline, and clocks that are as wrong about it as the world wishes."""

from dataclasses import dataclass

from drivers.clock import ClockState, Monotonic, Now, Timestamp

START_TAI_NS = 1_795_342_537_000_000_000  # 2026-11-22T10:15:00Z
TAI_OFFSET_S = 37


@dataclass(slots=True)
class Timeline:
    """What time it really is, TAI ns. Only the world moves it."""

    tai_ns: int = START_TAI_NS

    def advance(self, ns: int) -> None:
        """This much later."""
        assert ns >= 0, "time does not run backwards; clocks do"
        self.tai_ns += ns


class SimulatedClock:
    """One machine's clock. Attributes are the world's to change; whoever reads it sees only `now`.

    offset_ns: how far it is ahead of the truth. uncertainty_ns, source, state: what it claims about itself. tai_offset_s: TAI minus UTC,
    as far as its kernel was told.
    """

    def __init__(self, timeline: Timeline | None = None) -> None:
        self.timeline = timeline or Timeline()
        self.offset_ns = 0
        self.uncertainty_ns = 50_000
        self.source = "ptp"
        self.state = ClockState.LOCKED
        self.tai_offset_s = TAI_OFFSET_S
        self._booted_ns = self.timeline.tai_ns

    def now(self) -> Now:
        stamp = Timestamp(self.timeline.tai_ns + self.offset_ns, self.uncertainty_ns, self.source, self.state)
        return Now(Monotonic(self.timeline.tai_ns - self._booted_ns), stamp, self.tai_offset_s)

    def advance(self, ns: int) -> None:
        """Virtual time passes, for every clock on this timeline."""
        self.timeline.advance(ns)

    def step(self, ns: int) -> None:
        """Somebody sets the clock: it jumps by this much. Monotonic time does not notice."""
        self.offset_ns += ns

    def leap(self) -> None:
        """A leap second is inserted: UTC, by which frames are stamped, shows a second twice; TAI goes on."""
        self.tai_offset_s += 1

    def restart(self) -> None:
        """The machine boots: monotonic time begins again."""
        self._booted_ns = self.timeline.tai_ns

    def moment(self, monotonic: Monotonic) -> int:
        """The true time, TAI ns, at which this machine's monotonic clock shows `monotonic`."""
        return self._booted_ns + monotonic.ns
