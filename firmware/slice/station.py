"""The slice station: one noticed message at a time, ordered for or not, and settled."""

import hashlib
from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.allowance import Allowance
from firmware.core.devices import Devices
from firmware.core.disk_pause import DiskPause
from firmware.core.durable import make_directory
from firmware.core.envelope import COMMAND_BYTES_MAX, Order, order_packed, order_unpacked
from firmware.core.errors import BadItem
from firmware.core.message import Field, Message, Priority, Severity, unpacked
from firmware.core.notices import Notices
from firmware.core.query import Query
from firmware.core.report import Report
from firmware.core.request import Request, as_parameters, from_parameters
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.core.tray import Tray
from firmware.core.wording import Wording
from firmware.slice.journal import HOUR_NS, Journal, Slice, Wanted, wanted
from firmware.slice.owed import Owed
from firmware.slice.rules import Of, Rule, Rules
from firmware.slice.settings import SliceSettings
from firmware.slice.whole import Whole

NOTICED = "noticed/slice"
ORDERS = "commands/verified/retrieval"
KIND = "slice"
AGAIN_NS = 2 * SECOND  # After a full or failed disk.
EXPIRES_NS = 7 * 86_400 * SECOND  # It waits for its time or for room; nobody reads this but a person.


class SliceStation:
    """Orders evidence in the box's own name."""

    name = "slice"

    def __init__(self, board: Board, settings: SliceSettings, *, devices: Devices) -> None:
        """devices: whose addresses are known by name. Raises BadSettings."""
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._rules = Rules.of(settings.rules, around_s=settings.around_s)
        self._devices = devices
        self._noticed = Tray(Spool(board.disk, NOTICED), self.report, unpacked)
        self._orders = Spool(board.disk, ORDERS)
        self._journal = Journal(board.disk)
        self._owed = Owed(board.disk)
        self._whole = Whole(board.disk, every_s=settings.whole_every_s)
        self._notices = Notices(board, self.name)
        self._withheld = Allowance(at_once=1, every_ns=HOUR_NS)
        self._pause = DiskPause(self.report.drop, pause_ns=AGAIN_NS)

    def start(self, now: Now) -> None:
        self._noticed.spool.start(self.report.drop)
        make_directory(self._board.disk, ORDERS)
        self._journal.start()
        self._owed.start(now.monotonic)
        self._whole.start()
        self._notices.start()

    def step(self, now: Now) -> Monotonic | None:
        return self._pause.step(now, self._work)

    def directories(self) -> Sequence[str]:
        return (NOTICED,)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return

    def _work(self, now: Now) -> Monotonic | None:
        # What is owed first: an event that comes when a slice is just over then begins behind the one that follows it.
        self._pay(now)
        self.report.gauge("owed", len(self._owed))
        if self._noticed.handle(lambda messages: self._look_at(messages, now)):
            return now.monotonic
        self._order_whole(now)
        return min((due for due in (self._owed.next_due(), self._whole.wish(now)) if due is not None), default=None)

    def _order_whole(self, now: Now) -> None:
        """The next stretch of all there is; while the last one is being sent none: on a slow line they get longer, not more."""
        if f"cmd-{self._whole.last_order}" in self._orders.names():
            return
        stretch = self._whole.next(now)
        if stretch is not None:
            query = Query(since_utc_ns=stretch.since_utc_ns, until_utc_ns=stretch.until_utc_ns)
            self._publish(stretch.identity, Request(query, Priority(self._settings.whole_send)), now)
            self._whole.ordered(stretch)
            self.report.count("stretches_ordered")

    def _pay(self, now: Now) -> None:
        for whose, message in self._owed.due(now.monotonic):
            rule = self._rules.rule_for(message)
            if rule is not None:
                self._order_for(message, rule, now, at_once=True)
            self._owed.drop(whose)
        self._owed.keep()

    def _look_at(self, messages: Sequence[Message], now: Now) -> bool:
        for message in sorted(messages, key=lambda message: message.received_time.tai_ns):
            rule = self._rules.rule_for(message)
            if rule is not None:  # The settings may have changed since it was noticed.
                self._order_for(message, rule, now)
        self._owed.keep()
        return True

    def _order_for(self, message: Message, rule: Rule, now: Now, *, at_once: bool = False) -> None:
        if self._journal.has(_identity(message, rule).hex()):
            self.report.count("ordered_before")
            return
        # When it was received, not when it says it happened: the frames around it carry stamps of the box's clock.
        at_utc_ns = message.received_time.tai_ns - now.tai_offset_s * SECOND
        wording = self._wording(message, rule)
        whose = f"{rule.name} {message.device if wording.devices else ''} {wording.process or ''}"
        stretch = wanted(self._journal.slices, whose, at_utc_ns=at_utc_ns, around_ns=rule.around_ns)
        if stretch is None:
            self.report.count("in_an_earlier_slice")
            return
        left_ns = stretch.since_utc_ns - now.utc_ns  # More than `around` only when the clock was set back.
        if not at_once and 0 < left_ns <= rule.around_ns and self._owed.put(whose, message, now.monotonic.after(left_ns)):
            return
        self._order_stretch(message, rule, wording, whose, stretch, now)

    def _order_stretch(self, message: Message, rule: Rule, wording: Wording, whose: str, stretch: Wanted, now: Now) -> None:
        if self._journal.in_the_last_hour(now.utc_ns) >= self._settings.per_hour_max:
            self.report.drop("hour_limit")
            if self._withheld.take(now.monotonic):
                self._say(
                    now, Priority.P2, Severity.WARNING, "events bring no more evidence for now: this hour's slices are used up",
                    {"result": "withheld", "per_hour_max": self._settings.per_hour_max},
                )  # fmt: skip
            return
        self._order(message, rule, wording, stretch, now)
        # After it: after a crash the same order is made again, under the same name.
        order = _identity(message, rule).hex()
        self._journal.add(Slice(whose, stretch.since_utc_ns, stretch.until_utc_ns, now.utc_ns, order))
        self.report.count("slices_ordered")

    def _order(self, message: Message, rule: Rule, wording: Wording, stretch: Wanted, now: Now) -> None:
        identity = _identity(message, rule)
        send = rule.send or message.priority
        before = self._ordered(identity)
        if before is None:
            query = Query(since_utc_ns=stretch.since_utc_ns, until_utc_ns=stretch.until_utc_ns)
            self._publish(identity, Request(query, send, wording=wording), now)
        else:
            stretch = before
        self._say(
            now, send, Severity.NOTICE, f"evidence of an event is on its way ({rule.name})",
            {
                "result": "ordered", "rule": rule.name, "command": identity.hex(), "about": message.identity.hex(),
                "since_utc_ns": stretch.since_utc_ns, "until_utc_ns": stretch.until_utc_ns, "of": rule.of.value,
            },
            event=message.event, origin_ns=message.received_time.tai_ns,
        )  # fmt: skip

    def _ordered(self, identity: bytes) -> Wanted | None:
        """What the order of a life before asks for, where it waits still: a leap second may have come since, and UTC is another now."""
        data = self._orders.peek(f"cmd-{identity.hex()}", size=COMMAND_BYTES_MAX)
        try:
            query = from_parameters(order_unpacked(data).parameters).query if data is not None else Query()
        except BadItem:
            return None
        if query.since_utc_ns is None or query.until_utc_ns is None:
            return None
        return Wanted(query.since_utc_ns, query.until_utc_ns)

    def _publish(self, identity: bytes, asked: Request, now: Now) -> None:
        me, made = self._board.identity.name, now.timestamp.tai_ns
        order = Order(identity, me, me, "retrieval", 0, made, made + EXPIRES_NS, as_parameters(asked))
        self._orders.publish(f"cmd-{identity.hex()}", order_packed(order))

    def _wording(self, message: Message, rule: Rule) -> Wording:
        """Whose frames. Of a device that nobody can tell by its address, everybody's: too much rather than nothing."""
        if rule.of is Of.ROOM:
            return Wording()
        try:
            self._devices.addresses(message.device)
        except BadItem:
            self.report.count("device_without_address")
            return Wording()
        process = message.process if rule.of is Of.PROCESS else None
        return Wording(devices=(message.device.lower(),), process=process)

    def _say(
        self, now: Now, priority: Priority, severity: Severity, text: str, fields: dict[str, Field], *,
        event: str | None = None, origin_ns: int | None = None,
    ) -> None:  # fmt: skip
        self._notices.say(now, KIND, priority, severity, text, fields=fields, event=event, origin_ns=origin_ns)


def _identity(message: Message, rule: Rule) -> bytes:
    """The order's: for the same event the same."""
    return hashlib.sha256(f"slice {rule.name} ".encode() + message.identity).digest()[:16]
