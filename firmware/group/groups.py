"""Open groups: which message belongs to which, and when one is complete. Pure: moments in, groups out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from drivers.clock import Monotonic, Now
from firmware.core.message import Priority
from firmware.core.timestamp import SECOND
from firmware.group.settings import GroupSettings

ClosedBy = Literal["interval", "count", "bytes", "immediate", "crowded"]
# A batch's array header; what a group weighs is this and its messages.
_HEADER_BYTES = 5
# All open groups together; beyond it the one opened first is closed. A board with 1 GiB has room for it beside everything else.
OPEN_BYTES_MAX = 32 << 20


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One message of a group. single: it alone, packed. item: the inbox item it came in."""

    origin_tai_ns: int
    identity: bytes
    single: bytes
    item: str


@dataclass(slots=True)
class Group:
    """Messages of one priority and one interval. start_utc_ns: the interval's beginning. due: when it is complete by time."""

    priority: Priority
    start_utc_ns: int
    due: Monotonic
    members: dict[bytes, Member] = field(default_factory=dict)
    also_in: list[str] = field(default_factory=list)  # items that held further copies of its members
    size: int = _HEADER_BYTES

    def ordered(self) -> list[Member]:
        """By origin time, then identity: the same messages give the same bytes."""
        return sorted(self.members.values())

    def suffix(self) -> str:
        """What makes its name its own: the same messages, the same name, so that closing it twice is as good as once."""
        digest = hashlib.sha256(b"".join(member.identity for member in self.ordered()))
        return f"group-{digest.hexdigest()[:24]}"


@dataclass(frozen=True, slots=True)
class Closed:
    """A complete group, and which limit it reached."""

    group: Group
    by: ClosedBy


class OpenGroups:
    """All open groups of a box. At most `settings.open_max`, each with at most `count_max` messages of `bytes_max` bytes."""

    def __init__(self, settings: GroupSettings) -> None:
        self._settings = settings
        self.size = 0  # bytes in all open groups
        self._open: dict[tuple[Priority, int], Group] = {}  # in the order opened
        self._interval_ns: Mapping[Priority, int] = {
            Priority.P1: settings.p1_interval_s * SECOND,
            Priority.P2: settings.p2_interval_s * SECOND,
            Priority.P3: settings.p3_interval_s * SECOND,
            Priority.P4: settings.p4_interval_s * SECOND,
        }

    def __len__(self) -> int:
        return len(self._open)

    def add(self, priority: Priority, member: Member, now: Now) -> list[Closed]:
        """Put a message into its group; returns groups this has completed."""
        closed: list[Closed] = []
        interval_ns = self._interval_ns[priority]
        start = (member.origin_tai_ns - now.tai_offset_s * SECOND) // interval_ns * interval_ns
        key = (priority, start)
        group = self._open.get(key)
        weighs = len(member.single)
        if group is not None and member.identity not in group.members and group.size + weighs > self._settings.bytes_max:
            closed.append(self._closed(key, "bytes"))
            group = None
        if group is None:
            group = self._open[key] = Group(priority, start, self._due(start + interval_ns, interval_ns, now))
            self.size += group.size
            while len(self._open) > 1 and (len(self._open) > self._settings.open_max or self.size + weighs > OPEN_BYTES_MAX):
                closed.append(self._closed(next(iter(self._open)), "crowded"))
        if member.identity in group.members:
            group.also_in.append(member.item)
            return closed
        group.members[member.identity] = member
        group.size += weighs
        self.size += weighs
        if len(group.members) >= self._settings.count_max:
            closed.append(self._closed(key, "count"))
        return closed

    def complete(self, now: Now) -> list[Closed]:
        """Take out the groups whose time has come, most urgent and earliest first."""
        keys = [
            key
            for key, group in self._open.items()
            if int(group.priority) in self._settings.immediate or now.monotonic >= group.due
        ]
        return [self._closed(key, "immediate" if int(key[0]) in self._settings.immediate else "interval") for key in sorted(keys)]

    def next_due(self) -> Monotonic | None:
        """When a group will be complete by time."""
        return min((group.due for group in self._open.values()), default=None)

    def _closed(self, key: tuple[Priority, int], by: ClosedBy) -> Closed:
        group = self._open.pop(key)
        self.size -= group.size
        return Closed(group, by)

    def _due(self, end_utc_ns: int, interval_ns: int, now: Now) -> Monotonic:
        """The interval's end by the box's clock, and some lateness.

        Counted on the monotonic clock from now on, and never longer than one interval: a device whose clock is a day ahead, or a
        box whose clock is set back, must not keep a group open.
        """
        left_ns = max(0, min(end_utc_ns - now.utc_ns, interval_ns))
        return now.monotonic.after(left_ns + self._settings.lateness_ms * 1_000_000)
