"""When a segment ends. By the frames' stamps, so that what belongs to an interval lies in its segment however late it came;
by the box's clock when nothing is heard or the stamps are mad; by monotonic time when the clock itself was set. Pure.
"""

from dataclasses import dataclass

from drivers.clock import Monotonic, Now
from firmware.core.timestamp import SECOND

MAD_NS = 60 * SECOND  # A stamp further than this from the box's clock decides nothing: no ring holds a frame that long.
GRACE_NS = 2 * SECOND  # Frames of the old interval may still be in the ring when the clock enters the new one.
NEVER = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Cut:
    """One segment's end. at_ns: first stamp, UTC ns, that belongs to the next. opened, length_ns: for the clock that was set."""

    at_ns: int
    opened: Monotonic
    length_ns: int

    def stamps(self, now: Now) -> tuple[int, int]:
        """(from, before): a stamp in between ends the segment; as kernel.c takes them."""
        return max(1, min(self.at_ns, NEVER)), max(0, min(now.utc_ns + MAD_NS, NEVER))

    def is_due(self, now: Now) -> bool:
        """Whether the segment ends now, whatever the stamps say."""
        return now.utc_ns >= self.at_ns + GRACE_NS or now.monotonic.since(self.opened) >= self.length_ns + GRACE_NS

    def wake(self, now: Now) -> Monotonic:
        """When `is_due` should be asked again."""
        by_clock = now.monotonic.after(max(0, self.at_ns + GRACE_NS - now.utc_ns))
        return min(by_clock, self.opened.after(self.length_ns + GRACE_NS))


def first_moment(stamp_ns: int | None, now: Now) -> int:
    """What a segment is named after, UTC ns: the stamp it begins with if that is sane, else the box's clock."""
    return stamp_ns if stamp_ns is not None and abs(stamp_ns - now.utc_ns) <= MAD_NS else now.utc_ns


def cut_after(moment_ns: int, *, length_ns: int, now: Now) -> Cut:
    """The next whole multiple of the length after this moment, so that segments of all boxes begin together."""
    return Cut((moment_ns // length_ns + 1) * length_ns, now.monotonic, length_ns)
