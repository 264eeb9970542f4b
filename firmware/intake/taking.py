"""What becomes of a message between being understood and being written: known already, not subscribed to, or waiting."""

from drivers.clock import Monotonic, Now
from firmware.core.allowance import Allowance
from firmware.core.entrance import COPIES_NS, EVERYBODY, Rules, entry_of
from firmware.core.message import Message, Priority
from firmware.core.report import Report
from firmware.core.timestamp import SECOND
from firmware.core.turnstile import Row
from firmware.intake.backlog import FLOOD, Backlog, Waiting

DEVICES_MAX = 1_024  # allowances remembered; a device forgotten begins with a full one


class Taking:
    """Copies are told by their keys, of which the last `known_max` are remembered; senders that wait for an answer by their receipts."""

    def __init__(
        self, backlog: Backlog, rules: Rules, report: Report, *, known_max: int, alarms_per_s: int, alarms_at_once: int
    ) -> None:
        self._backlog = backlog
        self._rules = rules
        self._report = report
        self._known: dict[bytes, Monotonic] = {}  # since when, the one longest unheard first
        self._known_max = known_max
        self._owed: dict[bytes, list[bytes]] = {}  # receipts of messages still waiting, by the message's key
        self._alarms_at_once = alarms_at_once
        self._alarm_every_ns = SECOND // alarms_per_s
        self._alarms: dict[str, Allowance] = {}  # by device, the longest unheard first
        self._everybody = rules.subscription.rules == EVERYBODY.rules

    def take(
        self,
        message: Message,
        now: Monotonic,
        *,
        stamp_utc_ns: int | None = None,
        receipt: bytes | None = None,
        is_unique: bool = False,
    ) -> bool:
        """Let it wait to be written. True when there is nothing to wait for: it is written already, or nobody wants it.

        stamp_utc_ns: of the frame it came in, when the recorder has it too. receipt: see `Backlog`; unique among those waiting.
        """
        if not self._everybody and not self._rules.subscription.wants(message.device, message.process):
            self._report.drop("not_subscribed")
            return True
        entry = entry_of(message, is_unique=is_unique)
        if self._is_copy(entry.key, entry.single, now, is_unique=is_unique):
            self._report.drop("duplicate")
            if receipt is not None and entry.key in self._owed:
                self._owed[entry.key].append(receipt)
                return False
            return True
        self._report.count("messages")
        self._report.count(_COUNTERS[message.priority])
        key = None
        if receipt is not None:
            key = entry.key
            # A copy may wait already that is not remembered any more: the first of them that is written is the answer to both.
            self._owed.setdefault(key, []).append(receipt)
        lane = int(message.priority)
        if message.priority == Priority.P1 and not self._may_alarm(message.device, now):
            self._report.count("flood")
            lane = FLOOD
        self._backlog.add(lane, Waiting(entry.single, message.device, stamp_utc_ns, key), now)
        return False

    def take_plain(self, row: Row, now: Monotonic) -> None:
        """`take` for what the turnstile let through: subscribed to, and its sender waits for no answer."""
        device, number, key, single, stamp_utc_ns = row
        assert device is not None, "the turnstile names whom it lets through"
        if self._is_copy(key, single, now):
            self._report.drop("duplicate")
            return
        self._report.count("messages")
        self._report.count(_COUNTERS[number])
        lane = number
        if number == Priority.P1 and not self._may_alarm(device, now):
            self._report.count("flood")
            lane = FLOOD
        self._backlog.add(lane, Waiting(single, device, stamp_utc_ns), now)

    def _may_alarm(self, device: str, now: Monotonic) -> bool:
        allowance = self._alarms.pop(device, None) or Allowance(at_once=self._alarms_at_once, every_ns=self._alarm_every_ns)
        self._alarms[device] = allowance
        if len(self._alarms) > DEVICES_MAX:
            del self._alarms[next(iter(self._alarms))]
        return allowance.take(now)

    def forget(self, message: Waiting) -> list[bytes]:
        """It was dropped: its receipts. Its next copy is news."""
        if message.receipt is None:
            return []
        self._known.pop(message.receipt, None)
        return self._owed.pop(message.receipt, [])

    def written(self, message: Waiting) -> list[bytes]:
        """It is on the disk: its receipts."""
        return [] if message.receipt is None else self._owed.pop(message.receipt, [])

    def _is_copy(self, key: bytes, single: bytes, now: Monotonic, *, is_unique: bool = False) -> bool:
        """A key that stands in its message is the identity: such a copy is the message, whenever it comes. One known by its count alone is a
        copy for a while: a process that was started again counts from the beginning, and says the same."""
        since = self._known.pop(key, None)
        is_copy = since is not None and (is_unique or key in single or now.since(since) <= COPIES_NS)
        self._known[key] = since if is_copy and since is not None else now
        if len(self._known) > self._known_max:
            del self._known[next(iter(self._known))]
        return is_copy


class Moments:
    """When each of the things was said that come in one step: a nanosecond apart, in their order. Who says one thing three times means three
    where nothing on the way can have copied it (TCP), and at one moment they would be one.
    """

    def __init__(self) -> None:
        self._step_utc_ns, self._count = 0, 0

    def next(self, now: Now) -> int:
        """UTC ns, as late as `now` or a little later."""
        self._count = self._count + 1 if self._step_utc_ns == now.utc_ns else 0
        self._step_utc_ns = now.utc_ns
        return now.utc_ns + self._count


_COUNTERS = {priority: f"messages_p{priority}" for priority in (1, 2, 3, 4)}
