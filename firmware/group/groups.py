"""Open groups: which message belongs to which, and when one is complete. Pure: moments in, groups out."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Literal

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from firmware.core.entrance import ANSWER_KINDS
from firmware.core.message import Priority, Unpacked
from firmware.core.spool import FLOOD_ITEMS
from firmware.core.timestamp import MS, SECOND
from firmware.group.settings import GroupSettings

ClosedBy = Literal["interval", "count", "bytes", "immediate", "event", "flood", "crowded", "flush"]
# A batch's array header; what a group weighs is this and its messages.
_HEADER_BYTES = 5
# All open groups together; beyond it the one opened first is closed. A board with 1 GiB has room for it beside everything else.
OPEN_BYTES_MAX = 32 << 20

FLOOD_WAIT_NS = SECOND  # A flooding device's alarms are gathered into full groups instead of going one by one.
FLOODS_MAX = 256
FLOOD_MESSAGES_PER_S = 20  # what of a flood may go before alarms that come later, as intake's allowance

# By priority and the beginning of an interval; 0 and an event (they stand first, for the alarm that may be in one); the priority
# and a device that floods; or the priority and ANSWERS.
Key = tuple[int, int, str]
ANSWERS = -1  # What the box says to an order: somebody waits for it, so it waits for no company.


@dataclass(frozen=True, slots=True)
class Member:
    """One message of a group. single: it alone, packed. item: the inbox item it came in. leaves: it as it goes on; None for whole."""

    origin_tai_ns: int
    identity: bytes
    single: bytes
    item: str
    leaves: bytes | None = None
    priority: Priority = Priority.P4
    event: str | None = None
    received: Timestamp = field(default=Timestamp(0, 0, "none", ClockState.FREE), compare=False)
    flood: str | None = None  # the device, when its allowance was used up
    is_answer: bool = False  # to an order


def _order(member: Member) -> tuple[int, bytes]:
    return member.origin_tai_ns, member.identity


def member_of(row: Unpacked, item: str, leaves: bytes | None = None) -> Member:
    """A message as a member, from the item it came in."""
    message = row.message
    return Member(
        message.origin_time.tai_ns, row.identity, row.single, item, leaves, message.priority, message.event, message.received_time,
        message.device if item.startswith(FLOOD_ITEMS) else None, message.kind in ANSWER_KINDS,
    )  # fmt: skip


@dataclass(slots=True)
class Group:
    """Messages of one priority and one interval, or about one event. start_utc_ns: the interval's beginning, an event's first moment.

    priority: of an event's group, the most urgent in it. opened: when its first message came. due: when it is complete by time.
    """

    priority: Priority
    start_utc_ns: int
    opened: Monotonic
    due: Monotonic
    event: str | None = None
    flood: str | None = None
    members: dict[bytes, Member] = field(default_factory=dict)
    also_in: list[str] = field(default_factory=list)  # items that held further copies of its members
    size: int = _HEADER_BYTES

    def ordered(self) -> list[Member]:
        """By origin time, then identity: the same messages give the same bytes."""
        return sorted(self.members.values(), key=_order)

    def suffix(self) -> str:
        """What makes its name its own: the same messages, the same name, so that closing it twice is as good as once."""
        digest = hashlib.sha256(b"".join(member.identity for member in self.ordered()))
        return f"group-{digest.hexdigest()[:24]}"

    def expires_tai_ns(self, settings: GroupSettings) -> int | None:
        """The moment after which it is not worth sending, None for never.

        Counted from when its last message was received, by the box's own clock: a device whose clock is a year behind does not
        lose its alarms. What was received while that clock had no source is not judged by it: it may be set by years any moment.
        """
        after_s = (settings.p1_expires_s, settings.p2_expires_s, settings.p3_expires_s, settings.p4_expires_s)[self.priority - 1]
        if not after_s or any(member.received.state is ClockState.FREE for member in self.members.values()):
            return None
        return max(member.received.tai_ns for member in self.members.values()) + after_s * SECOND


@dataclass(frozen=True, slots=True)
class Closed:
    """A complete group, which limit it reached, and its place among those of its priority, ns TAI."""

    group: Group
    by: ClosedBy
    turn_tai_ns: int


class OpenGroups:
    """All open groups of a box. At most `settings.open_max`, each with at most `count_max` messages of `bytes_max` bytes."""

    def __init__(self, settings: GroupSettings) -> None:
        self._settings = settings
        self.size = 0  # bytes in all open groups
        self._turns: dict[str, int] = {}  # of devices that flood: ns TAI of their next group's turn
        self._open: dict[Key, Group] = {}  # in the order opened
        self._interval_ns: Mapping[Priority, int] = {
            Priority.P1: int(settings.p1_interval_s * SECOND),
            Priority.P2: int(settings.p2_interval_s * SECOND),
            Priority.P3: int(settings.p3_interval_s * SECOND),
            Priority.P4: int(settings.p4_interval_s * SECOND),
        }
        self._events = re.compile("|".join(translate(event) for event in settings.by_event)) if settings.by_event else None
        self._quiet_ns = int(settings.event_quiet_s * SECOND)
        self._longest_ns = int(settings.event_longest_s * SECOND)

    def __len__(self) -> int:
        return len(self._open)

    def places(self, member: Member) -> int:
        """How many groups it belongs to: one, or two for an alarm that goes at once and is of an event's complete set as well."""
        return len(self._keys(member, 0))

    def add(self, member: Member, now: Now) -> list[Closed]:
        """Put a message into its groups; returns groups this has completed."""
        closed: list[Closed] = []
        for key in self._keys(member, now.tai_offset_s):
            self._put(key, member, now, closed)
        return closed

    def complete(self, now: Now) -> list[Closed]:
        """Take out the groups whose time has come, events and the most urgent first, then the earliest."""
        keys = [key for key, group in self._open.items() if self._is_immediate(key) or now.monotonic >= group.due]
        return [self._closed(key, self._reason(key)) for key in sorted(keys)]

    def close(self, by: ClosedBy) -> list[Closed]:
        """Take out all of them, in the same order."""
        return [self._closed(key, by) for key in sorted(self._open)]

    def next_due(self) -> Monotonic | None:
        """When a group will be complete by time."""
        return min((group.due for group in self._open.values()), default=None)

    def _keys(self, member: Member, tai_offset_s: int) -> list[Key]:
        is_of_event = self._events is not None and member.event is not None and self._events.match(member.event) is not None
        if member.flood is not None:
            return [(int(member.priority), 0, member.flood)]
        if member.is_answer:
            return [(int(member.priority), ANSWERS, "")]
        keys: list[Key] = [(0, 0, member.event or "")] if is_of_event else []
        if not keys or int(member.priority) in self._settings.immediate:
            interval_ns = self._interval_ns[member.priority]
            start = (member.origin_tai_ns - tai_offset_s * SECOND) // interval_ns * interval_ns
            keys.append((int(member.priority), start, ""))
        return keys

    def _put(self, key: Key, member: Member, now: Now, closed: list[Closed]) -> None:
        group = self._open.get(key)
        weighs = len(member.single)
        if group is not None and member.identity not in group.members and group.size + weighs > self._settings.bytes_max:
            closed.append(self._closed(key, "bytes"))
            group = None
        if group is None:
            group = self._open[key] = self._new(key, member, now)
            self.size += group.size
            while len(self._open) > 1 and (len(self._open) > self._settings.open_max or self.size + weighs > OPEN_BYTES_MAX):
                closed.append(self._closed(next(iter(self._open)), "crowded"))
        if member.identity in group.members:
            group.also_in.append(member.item)
            return
        group.members[member.identity] = member
        group.size += weighs
        self.size += weighs
        if group.event is not None:
            group.priority = min(group.priority, member.priority)
            group.due = min(now.monotonic.after(self._quiet_ns), group.opened.after(self._longest_ns))
        if len(group.members) >= self._settings.count_max:
            closed.append(self._closed(key, "count"))

    def _new(self, key: Key, member: Member, now: Now) -> Group:
        rank, start, event = key
        if rank == 0:
            begin = member.origin_tai_ns - now.tai_offset_s * SECOND
            return Group(member.priority, begin, now.monotonic, now.monotonic.after(self._quiet_ns), event)
        if member.flood is not None:
            begin = member.origin_tai_ns - now.tai_offset_s * SECOND
            return Group(member.priority, begin, now.monotonic, now.monotonic.after(FLOOD_WAIT_NS), flood=member.flood)
        if start == ANSWERS:
            begin = member.origin_tai_ns - now.tai_offset_s * SECOND
            return Group(member.priority, begin, now.monotonic, now.monotonic)
        interval_ns = self._interval_ns[member.priority]
        return Group(member.priority, start, now.monotonic, self._due(start + interval_ns, interval_ns, now))

    def _is_immediate(self, key: Key) -> bool:
        return (key[0] in self._settings.immediate or key[1] == ANSWERS) and not key[2]

    def _reason(self, key: Key) -> ClosedBy:
        if key[0] == 0:
            return "event"
        if key[2]:
            return "flood"
        return "immediate" if self._is_immediate(key) else "interval"

    def _closed(self, key: Key, by: ClosedBy) -> Closed:
        group = self._open.pop(key)
        self.size -= group.size
        return Closed(group, by, self._turn_tai_ns(group))

    def _turn_tai_ns(self, group: Group) -> int:
        """When it is its turn among those of its priority: its first moment, and for a flood the later the more of it there was.

        As in fair queueing: each device's own clock goes on by what its messages were allowed to take, so that whoever sends more
        is sorted behind whoever did not. Of more than 256 of them the one least ahead is forgotten.
        """
        first = group.ordered()[0].origin_tai_ns
        if group.flood is None:
            return first
        turn = max(first, self._turns.get(group.flood, first))
        self._turns[group.flood] = turn + len(group.members) * SECOND // FLOOD_MESSAGES_PER_S
        if len(self._turns) > FLOODS_MAX:
            del self._turns[min(self._turns, key=lambda device: self._turns[device])]
        return turn

    def _due(self, end_utc_ns: int, interval_ns: int, now: Now) -> Monotonic:
        """The interval's end by the box's clock, and some lateness.

        Counted on the monotonic clock from now on, and never longer than one interval: a device whose clock is a day ahead, or a
        box whose clock is set back, must not keep a group open. Who chose half a second does not want to wait two for latecomers.
        """
        left_ns = max(0, min(end_utc_ns - now.utc_ns, interval_ns))
        return now.monotonic.after(left_ns + min(self._settings.lateness_ms * MS, interval_ns))
