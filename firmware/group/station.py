"""The station: inbox items in, release items and kept groups out."""

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core import release
from firmware.core.disk_pause import DiskPause
from firmware.core.durable import make_directory
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.expiry import FACT, is_expired, say_discarded
from firmware.core.message import BATCH_BYTES_MAX, Message, Priority, joined, packed, packed_single, unpacked_rows
from firmware.core.notices import Notices
from firmware.core.release import Release, name_of
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.timestamp import SECOND
from firmware.group.groups import Closed, Group, Member, OpenGroups, member_of
from firmware.group.parts import Parts
from firmware.group.settings import GroupSettings

# Bounds of one step, for the sake of the alarm that comes meanwhile: a tenth of a second of unpacking, and of syncing, on a board.
ITEMS_A_STEP = 16
GROUPS_A_STEP = 16
CLOSED_BYTES_MAX = 32 << 20  # Complete and not yet published; beyond it the rest stays in the inbox for now.
AGAIN_NS = SECOND
RELEASE = "release"
NOTICED = "noticed"  # below it a directory for each who waits for certain messages
NOTICED_MAX = 1_000  # items; beyond it what a flood would have noticed is counted: the recording has it, and its group
_HEAD_BYTES = 9  # of an array, at the most (RFC 8949 §3)
FLUSH = "flush"  # an item here: every open group is complete now, and so is what was in the inbox when it came


class GroupStation:
    """The inbox is the durable state: an item stays there until every message in it is in a published group.

    What is in memory here is rebuilt from the inbox at start. A message that was published just before the power went is published
    again, in a group of another composition perhaps; the hub recognises it by identity.
    """

    name = "group"

    def __init__(
        self, board: Board, settings: GroupSettings, *, noticed: Mapping[str, Callable[[Message], bool]] | None = None
    ) -> None:
        """noticed: who waits for certain messages, by the name of the directory, and which. Raises BadSettings."""
        self.report = Report(self.name)
        self._disk = board.disk
        self._settings = settings
        self._inbox = Spool(board.disk, "inbox")
        self._release = Spool(board.disk, RELEASE)
        self._open = OpenGroups(settings)
        self._parts = Parts.of(settings.leave_out)
        self._notices = Notices(board, self.name)
        self._noticed = {who: (Spool(board.disk, f"{NOTICED}/{who}"), which) for who, which in (noticed or {}).items()}
        self._to_hand_on: dict[str, list[Message]] = {}  # by the item they came in
        self._flush = Spool(board.disk, FLUSH)
        self._flushing: dict[str, set[str] | None] = {}  # by item: what of the inbox goes with it; None when all of it is closed
        self._closed: list[Closed] = []  # complete, not yet published
        self._owed: dict[str, int] = {}  # item in the inbox → its messages not yet in a published group
        self._pause = DiskPause(lambda cause: self.report.count(f"waits_{cause}"), pause_ns=AGAIN_NS)

    def start(self, now: Now) -> None:
        self._inbox.start(self.report.drop)
        self._flush.start(self.report.drop)
        self._flushing.clear()
        make_directory(self._disk, RELEASE)
        for spool, _ in self._noticed.values():
            make_directory(self._disk, spool.path)
        for priority in Priority:
            make_directory(self._disk, _place(priority))
            for name in self._disk.list(_place(priority)):
                if name.startswith("."):
                    self._disk.remove(f"{_place(priority)}/{name}")

    def step(self, now: Now) -> Monotonic | None:
        wish = self._pause.step(now, self._work)  # What it could not write is still in the inbox, and remembered here.
        self.report.gauge("inbox_items", len(self._owed))
        self.report.gauge("open_groups", len(self._open))
        return wish

    def directories(self) -> Sequence[str]:
        return ("inbox", FLUSH)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        """Open groups are not closed early: the inbox has their messages, and the next life gathers them again."""

    def _work(self, now: Now) -> Monotonic | None:
        self._look_for_flushes()
        more = self._take(now)
        self._closed += self._open.complete(now)
        is_behind = self._close_for_flushes()
        more |= self._publish(now)
        self._hand_on()
        self._settle_flushes()
        due = self._open.next_due()
        if is_behind and not more:
            # An item that not even quarantine can take now; to look at it again and again would help nobody.
            again = now.monotonic.after(AGAIN_NS)
            due = again if due is None else min(due, again)
        return now.monotonic if more else due

    def _take(self, now: Now) -> bool:
        """Put new items' messages into groups; whether there may be more."""
        if sum(closed.group.size for closed in self._closed) > CLOSED_BYTES_MAX:
            return True
        items = self._inbox.take_new(self._owed, count_max=ITEMS_A_STEP)
        for item in items:
            try:
                rows = unpacked_rows(item.data)
            except BadItem as trouble:
                self.report.drop("bad_item")
                self._reject(item, str(trouble))
                continue
            self._inbox.put_back(item)
            messages = [row.message for row in rows]
            members = [member_of(row, item.name, self._leaves(row.message)) for row in rows]
            self._owed[item.name] = sum(map(self._open.places, members))
            self.report.count("messages", len(messages))
            self._notice(item.name, messages)
            for member in members:
                self._closed += self._open.add(member, now)
        return bool(items)

    # Copies, for those who wait for certain messages.

    def _notice(self, item: str, messages: Sequence[Message]) -> None:
        """The item stays in the inbox until they have their copies, too."""
        found = [message for message in messages if any(which(message) for _, which in self._noticed.values())]
        if found:
            self._owed[item] += 1
            self._to_hand_on[item] = found

    def _hand_on(self) -> None:
        """After the groups: an alarm must not wait for two syncs more. The same messages, the same name: twice is as good as once."""
        if not self._to_hand_on:
            return
        messages = [message for found in self._to_hand_on.values() for message in found]
        for who, (spool, which) in self._noticed.items():
            wanted = [message for message in messages if which(message)]
            if not wanted:
                continue
            if len(self._disk.list(spool.path)) >= NOTICED_MAX:
                self.report.drop(f"noticed_full_{who}", len(wanted))
                continue
            spool.publish_all(map(_noticed_item, _readable(wanted)))
            self.report.count(f"noticed_{who}", len(wanted))
        for item in self._to_hand_on:
            self._settle(item)
        self._to_hand_on.clear()

    # Flushes: what somebody who ends something wants to be on its way.

    def _look_for_flushes(self) -> None:
        for name in self._flush.names():
            if name not in self._flushing:
                self._flushing[name] = set(self._inbox.names())

    def _close_for_flushes(self) -> bool:
        """Whether one waits for what is still in the inbox."""
        waiting = False
        for name, behind in self._flushing.items():
            if behind is None:
                continue
            if behind & set(self._inbox.names()) - self._owed.keys():
                waiting = True
                continue
            self._closed += self._open.close("flush")
            self._flushing[name] = None
        return waiting

    def _settle_flushes(self) -> None:
        """One is over when nothing that was closed for it waits any more."""
        if self._closed:
            return
        for name in [name for name, behind in self._flushing.items() if behind is None]:
            self._flush.settle_named(name)
            del self._flushing[name]
            self.report.count("flushes")

    def _leaves(self, message: Message) -> bytes | None:
        shorter = self._parts.without(message)
        return None if shorter is message else packed_single(shorter)[1]

    def _reject(self, item: Item, reason: str) -> None:
        try:
            self._inbox.reject(item, reason)
        except (DiskFull, DiskFailed):
            # It will be met again, and must not keep the good ones behind it waiting.
            self.report.count("waits_disk_full")

    def _publish(self, now: Now) -> bool:
        """Complete groups of the most urgent priority that has any; whether there are more.

        Release first, then the kept original, then the inbox: the other orders lose a group when the power goes in between.
        """
        if not self._closed:
            return False
        urgent = min(closed.group.priority for closed in self._closed)
        chosen = [closed for closed in self._closed if closed.group.priority == urgent][:GROUPS_A_STEP]
        stale = [closed for closed in chosen if self._is_stale(closed, now)]
        leaves = int(urgent) not in self._settings.not_uploaded
        sent = [(closed, *self._file(closed)) for closed in chosen if leaves and closed not in stale]
        self._release.publish_all([(name, data) for _, name, data in sent])
        self._keep(urgent, chosen, released={name for closed, name, _ in sent if _is_whole(closed.group)})
        for closed in stale:
            self._say_discarded(closed, now)
        for closed in chosen:
            self._closed.remove(closed)
            for owed in [*(member.item for member in closed.group.members.values()), *closed.group.also_in]:
                self._settle(owed)
            self.report.count(f"closed_by_{closed.by}")
        self.report.count(f"groups_p{int(urgent)}", len(chosen))
        self.report.count("groups_released" if leaves else "groups_kept_only", len(chosen) - len(stale))
        return bool(self._closed)

    def _keep(self, priority: Priority, chosen: Sequence[Closed], *, released: Container[str]) -> None:
        """released: those that lie in release/ as they are kept. The same bytes, on the disk already: a second name costs no second sync."""
        place = _place(priority)
        for closed in chosen:
            name = _name(closed)
            if name in released and self._is_linked(f"{RELEASE}/{name}", f"{place}/{name}"):
                continue
            _, data = self._file(closed, whole=True)
            self._disk.write(f"{place}/.{name}", data)
            self._disk.sync(f"{place}/.{name}")
            self._disk.rename(f"{place}/.{name}", f"{place}/{name}")
        self._disk.sync_dir(place)

    def _is_linked(self, old: str, new: str) -> bool:
        try:
            self._disk.link(old, new)
        except Missing:
            return False  # Somebody took it meanwhile; then it is written once more.
        return True

    def _settle(self, name: str) -> None:
        self._owed[name] -= 1
        if self._owed[name] == 0:
            del self._owed[name]
            self._inbox.settle(Item(name, 0, b""))

    def _is_stale(self, closed: Closed, now: Now) -> bool:
        expires = closed.group.expires_tai_ns(self._settings)
        return expires is not None and is_expired({FACT: expires}, now)

    def _say_discarded(self, closed: Closed, now: Now) -> None:
        members = closed.group.ordered()
        say_discarded(
            self._notices, now, name=closed.group.suffix(), priority=closed.group.priority, messages=len(members),
            first_tai_ns=members[0].origin_tai_ns, last_tai_ns=members[-1].origin_tai_ns,
        )  # fmt: skip
        self.report.drop(f"expired_p{int(closed.group.priority)}")

    def _file(self, closed: Closed, *, whole: bool = False) -> tuple[str, bytes]:
        """The group as it lies in release/, or whole in groups/: name and bytes."""
        group = closed.group
        members = group.ordered()
        facts: dict[str, int | str] = {
            "messages": len(members), "interval_start_utc_ns": group.start_utc_ns, "closed_by": closed.by,
        }  # fmt: skip
        if group.event is not None:
            facts["event"] = group.event
        if (expires := group.expires_tai_ns(self._settings)) is not None:
            facts[FACT] = expires
        item = Release(
            kind="group", priority=group.priority,
            first_tai_ns=members[0].origin_tai_ns, last_tai_ns=members[-1].origin_tai_ns,
            body=joined([_body(member, whole=whole) for member in members]), facts=facts,
        )  # fmt: skip
        return _name(closed), release.packed(item)


def _readable(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """As many together as a batch may hold: what came in one step may be more, and its reader would not take it."""
    some: list[Message] = []
    size = _HEAD_BYTES
    for message in messages:
        weighs = len(packed_single(message)[1])
        if some and size + weighs > BATCH_BYTES_MAX:
            yield some
            some, size = [], _HEAD_BYTES
        some.append(message)
        size += weighs
    yield some


def _noticed_item(messages: Sequence[Message]) -> tuple[str, bytes]:
    data = packed(messages)
    received = min(max(messages[0].received_time.tai_ns, 0), 10**20 - 1)
    return f"group-{received:020d}-{hashlib.sha256(data).hexdigest()[:16]}", data


def _name(closed: Closed) -> str:
    return name_of(closed.group.priority, closed.turn_tai_ns, closed.group.suffix())


def _is_whole(group: Group) -> bool:
    """Whether nothing of it stays on the box."""
    return all(member.leaves is None for member in group.members.values())


def _body(member: Member, *, whole: bool) -> bytes:
    return member.single if whole or member.leaves is None else member.leaves


def _place(priority: Priority) -> str:
    return f"groups/p{int(priority)}"
