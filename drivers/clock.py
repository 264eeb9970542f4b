"""The clock: three kinds of time that do not mix, and how good the middle one is.

Monotonic is for waiting, Timestamp (TAI) for everything recorded, Utc only for people and file names.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Monotonic:
    """Time since some start that only ever grows; for waiting. ns, never negative."""

    ns: int

    def after(self, ns: int) -> "Monotonic":
        """The moment this many ns later (earlier when negative)."""
        return Monotonic(self.ns + ns)

    def since(self, earlier: "Monotonic") -> int:
        """ns from `earlier` to this."""
        return self.ns - earlier.ns


class ClockState(Enum):
    """Whether the source is being followed. Values are those stored in seals and messages."""

    LOCKED = "locked"  # following its source now
    HOLDOVER = "holdover"  # has lost its source; uncertainty grows
    FREE = "free"  # never had one since start


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A moment, as well as it is known.

    tai_ns: International Atomic Time, ns since 1970-01-01 00:00:00 TAI (PTP's scale, IEEE 1588 §7.2).
    uncertainty_ns: half width of the interval the truth is claimed to lie in.
    source: what the clock follows: "ptp", "ntp", "device", "rtc".
    """

    tai_ns: int
    uncertainty_ns: int
    source: str
    state: ClockState


@dataclass(frozen=True, slots=True)
class Now:
    """What a station receives at each step, so that nobody asks a clock of their own.

    tai_offset_s: TAI minus UTC in force, s (37 since 2017); frames are stamped in UTC by the kernel.
    """

    monotonic: Monotonic
    timestamp: Timestamp
    tai_offset_s: int = 37

    @property
    def utc_ns(self) -> int:
        """UTC, ns since 1970; for file names and for frames' own stamps."""
        return self.timestamp.tai_ns - self.tai_offset_s * 1_000_000_000


class Clock(Protocol):
    """Tells the time. Reading it has no side effect and never blocks."""

    def now(self) -> Now:
        """All kinds of time, read as close together as the machine allows."""
        ...
