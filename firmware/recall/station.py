"""The station: stretches of missed/ in, the messages recorded in them into inbox/."""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core import missed
from firmware.core.disk_pause import DiskPause
from firmware.core.durable import make_directory
from firmware.core.entrance import Entry, Rules
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.message import Priority, joined
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.timestamp import SECOND
from firmware.recall.reading import Reading

INBOX = "inbox"
# The recorder has a frame on the disk, and searchable, a second after it passed; until then the end of a stretch is not there yet.
RECORDED_NS = 3 * SECOND
AGAIN_NS = SECOND
ITEMS_A_LOOK = 16
FOUND_COUNT_MAX = 500  # messages of one item, as intake's
FOUND_BYTES_MAX = 2 << 20


@dataclass(slots=True)
class _Job:
    item: Item
    reading: Reading


class RecallStation:
    """One stretch at a time, oldest first. A stretch leaves missed/ when every message of it is durable in the inbox."""

    name = "recall"

    def __init__(self, board: Board, rules: Rules) -> None:
        self.report = Report(self.name)
        self._board = board
        self._rules = rules
        self._missed = Spool(board.disk, missed.MISSED)
        self._inbox = Spool(board.disk, INBOX)
        self._due: dict[str, Monotonic] = {}
        self._job: _Job | None = None
        self._found: dict[Priority, list[bytes]] = {}
        self._pause = DiskPause(lambda cause: self.report.count(f"waits_{cause}"), pause_ns=AGAIN_NS)
        self._number = 0

    def start(self, now: Now) -> None:
        self._missed.start(self.report.drop)
        make_directory(self._board.disk, INBOX)
        # A name must not repeat in the next life of this process, even where the clock stood still in between.
        self._number = int.from_bytes(self._board.identity.entropy(4), "big")

    def step(self, now: Now) -> Monotonic | None:
        return self._pause.step(now, self._work)

    def directories(self) -> Sequence[str]:
        return (missed.MISSED,)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        """A stretch in hand goes back; being asked to stop is no attempt that failed."""
        try:
            if self._job is not None:
                self._missed.put_back(self._job.item)
        except (DiskFull, DiskFailed):
            pass  # Then it counts as one: three are left.
        self._job = None

    def _work(self, now: Now) -> Monotonic | None:
        self._publish(now)
        names = self._missed.names()
        self._due = {name: self._due.get(name, now.monotonic.after(RECORDED_NS)) for name in names}
        self.report.gauge("missed_items", len(names))
        if self._job is None:
            self._job = self._next(names, now)
        if self._job is None:
            return min(self._due.values(), default=None)
        for entry in self._job.reading.work(now):
            self._found.setdefault(entry.message.priority, []).append(self._single(entry))
        self._publish(now)
        if self._job.reading.finished:
            self._missed.settle(self._job.item)
            self._job = None
            self.report.count("stretches")
        return now.monotonic

    def _next(self, names: Sequence[str], now: Now) -> _Job | None:
        for name in names:
            if now.monotonic < self._due[name]:
                continue
            item = self._missed.take_named(name)
            if item is None:
                continue
            try:
                stretch = missed.unpacked(item.data)
            except BadItem as trouble:
                self.report.drop("bad_item")
                self._missed.reject(item, str(trouble))
                continue
            return _Job(item, Reading(stretch, self._board.disk, self._rules, count=self.report.count))
        return None

    def _single(self, entry: Entry) -> bytes:
        self.report.count("messages")
        return entry.single

    def _publish(self, now: Now) -> None:
        """What was found, alarms first. It stays in memory until it is on the disk, and the stretch in missed/ as long."""
        for priority in Priority:
            while waiting := self._found.get(priority):
                count, size = 0, 0
                for single in waiting[:FOUND_COUNT_MAX]:
                    if count and size + len(single) > FOUND_BYTES_MAX:
                        break
                    count, size = count + 1, size + len(single)
                try:
                    self._inbox.publish(self._item_name(now), joined(waiting[:count]))
                except Missing:
                    continue  # The inbox's consumer started at this moment. Once more, under a new name.
                del waiting[:count]

    def _item_name(self, now: Now) -> str:
        self._number = (self._number + 1) % 1_000_000
        return f"recall-{min(max(now.timestamp.tai_ns, 0), 10**20 - 1):020d}-{self._number:06d}"
