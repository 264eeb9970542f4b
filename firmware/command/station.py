"""The command station: one received command at a time, checked, journalled, handed on, reported."""

from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.command.journal import JOURNAL_BYTES_MAX, Journal, Novelty
from firmware.command.journal import packed as journal_packed
from firmware.command.journal import unpacked as journal_unpacked
from firmware.command.settings import CommandSettings
from firmware.command.verify import ITEM_BYTES_MAX, check_addressee, check_fresh, signed_order
from firmware.core.allowance import Allowance
from firmware.core.disk_pause import DiskPause
from firmware.core.durable import make_directory, read_or_none, replace
from firmware.core.envelope import Order, command_unpacked, order_unpacked
from firmware.core.errors import BadCommand, BadItem, DiskFailed, DiskFull, Missing
from firmware.core.message import Field, Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.timestamp import SECOND

RECEIVED = "commands/received"
VERIFIED = "commands/verified"
REFUSED = "commands/refused"
COUNTERS = "commands/counters"
# What this box knows how to do; each has a directory below VERIFIED and a station that reads it.
DEEDS = ("retrieval", "session", "feedback", "update")
LOOKED_AT_MAX = 64  # Commands put in order of their counters at once; beyond it, those with the first names go first.
AGAIN_NS = 5 * SECOND  # After a full or failed disk.


class CommandStation:
    """Verifies commands."""

    name = "command"

    def __init__(self, board: Board, settings: CommandSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._received = Spool(board.disk, RECEIVED)
        self._verified = {deed: Spool(board.disk, f"{VERIFIED}/{deed}") for deed in DEEDS}
        self._notices = Notices(board, self.name)
        self._pause = DiskPause(self.report.drop, pause_ns=AGAIN_NS)
        self._allowance = Allowance(at_once=settings.notices_per_minute, every_ns=60 * SECOND // settings.notices_per_minute)

    def start(self, now: Now) -> None:
        self._received.start(self.report.drop)
        for deed in DEEDS:
            make_directory(self._board.disk, f"{VERIFIED}/{deed}")
        for directory in (REFUSED, COUNTERS):
            make_directory(self._board.disk, directory)
            for name in self._board.disk.list(directory):
                if name.startswith("."):
                    self._board.disk.remove(f"{directory}/{name}")
        self._notices.start()

    def step(self, now: Now) -> Monotonic | None:
        return self._pause.step(now, self._work)

    def directories(self) -> Sequence[str]:
        return (RECEIVED,)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return

    def _work(self, now: Now) -> Monotonic | None:
        name = self._next_name()
        if name is None:
            return None
        gone_bad = self._received.quarantined_count
        item = self._received.take_named(name)
        if item is not None:
            self._judge_or_put_back(item, now)
        elif self._received.quarantined_count > gone_bad:
            self.report.drop("too_many_attempts")
            self._say_refused(now, None, BadCommand("too_many_attempts", "this process ended at it again and again"))
        return now.monotonic

    def _next_name(self) -> str | None:
        """The waiting command with the lowest counter.

        Names are identities, which are in no order; what was asked first is answered first where it can be. What the counters
        say here is hearsay, and only decides who is looked at first.
        """
        names = self._received.names()[:LOOKED_AT_MAX]
        if len(names) < 2:
            return names[0] if names else None
        return min(names, key=lambda name: (self._hearsay_counter(name), name))

    def _hearsay_counter(self, name: str) -> int:
        data = self._received.peek(name, size=ITEM_BYTES_MAX + 1)
        try:
            return order_unpacked(command_unpacked(data or b"").order).counter
        except BadItem:
            return -1

    def _judge_or_put_back(self, item: Item, now: Now) -> None:
        try:
            self._judge(item, now)
        except (DiskFull, DiskFailed):
            # The disk's fault, not the order's: it may wait for room as long as it takes without coming nearer to quarantine.
            self._received.put_back(item)
            raise

    def _judge(self, item: Item, now: Now) -> None:
        order: Order | None = None
        try:
            order, order_bytes = signed_order(item.data, self._board.identity.trusted())
            check_addressee(order, self._board.identity.name)
            # Before freshness: the repeat of what was accepted in time is no less accepted for coming late.
            journal = self._journal(order.signer)
            novelty = journal.novelty(order)
            if novelty is Novelty.REPLAYED:
                raise BadCommand("replayed", f"expected an order not seen before and not below the window, got {order.counter}")
            if novelty is Novelty.NEW:
                check_fresh(order, now, max_age_s=self._settings.max_age_s, clock_tolerance_s=self._settings.clock_tolerance_s)
                if order.deed not in DEEDS:
                    raise BadCommand("unknown_deed", f"expected one of: {', '.join(DEEDS)}")
                journal = journal.accepting(order, now.timestamp.tai_ns)
                replace(self._board.disk, COUNTERS, order.signer, journal_packed(journal))
        except BadCommand as refusal:
            self._refuse(item, order, refusal, now)
            return
        if novelty is Novelty.REPEAT:
            self.report.count("repeats")
        else:
            self._hand_on(order, order_bytes, journal, now)
        self._received.settle(item)

    def _hand_on(self, order: Order, order_bytes: bytes, journal: Journal, now: Now) -> None:
        self._verified[order.deed].publish(f"cmd-{order.identity.hex()}", order_bytes)
        # Said before it is journalled as handed on: after a cut between the two it is said again, as one message by its identity.
        self._say_accepted(now, order, journal.accepted_at(order))
        replace(self._board.disk, COUNTERS, order.signer, journal_packed(journal.handing_on(order)))
        self.report.count("accepted")

    def _refuse(self, item: Item, order: Order | None, refusal: BadCommand, now: Now) -> None:
        self.report.drop(refusal.cause)
        self._say_refused(now, order, refusal)
        disk = self._board.disk
        replace(disk, REFUSED, f"{item.name}.reason", f"{refusal.cause}: {refusal}\n".encode())
        replace(disk, REFUSED, item.name, item.data[:ITEM_BYTES_MAX])
        self._received.settle(item)
        self._trim_refused()

    def _say_accepted(self, now: Now, order: Order, accepted_tai_ns: int) -> None:
        self._notices.say(
            now, "command-result", Priority.P3, Severity.NOTICE, "command accepted",
            fields=_about(order) | {"result": "accepted"}, event=_event(order), origin_ns=accepted_tai_ns,
        )  # fmt: skip

    def _say_refused(self, now: Now, order: Order | None, refusal: BadCommand) -> None:
        """order: only one whose signature was good; of others nothing is repeated."""
        if not self._allowance.take(now.monotonic):
            self.report.drop("notice_withheld")
            return
        forged = refusal.cause == "bad_signature"
        self._notices.say(
            now, "command-result", Priority.P2 if forged else Priority.P3, Severity.ALERT if forged else Severity.WARNING,
            f"command refused: {refusal}",
            fields={**(_about(order) if order else {}), "result": "refused", "cause": refusal.cause},
            event=_event(order) if order else None,
        )  # fmt: skip

    def _journal(self, signer: str) -> Journal:
        data = read_or_none(self._board.disk, f"{COUNTERS}/{signer}", size=JOURNAL_BYTES_MAX)
        if data is None:
            return Journal()
        try:
            return journal_unpacked(data)
        except BadItem:
            # Without the counter every old order of this signer would be new again: refuse them all until a person has looked.
            raise BadCommand(
                "journal_unreadable", f"expected a readable journal in {COUNTERS}; remove it to start anew"
            ) from None

    def _trim_refused(self) -> None:
        """Forged commands cost a bounded part of the disk. Names tell no age, so the first ones go."""
        names = [name for name in self._board.disk.list(REFUSED) if not name.endswith(".reason")]
        for name in names[: max(0, len(names) - self._settings.refused_items_max)]:
            for entry in (name, f"{name}.reason"):
                try:
                    self._board.disk.remove(f"{REFUSED}/{entry}")
                except Missing:
                    continue
            self.report.count("refused_removed")


def _about(order: Order) -> dict[str, Field]:
    return {"command": order.identity.hex(), "signer": order.signer, "counter": order.counter, "deed": order.deed}


def _event(order: Order) -> str:
    """What the hub joins a command and everything that came of it by."""
    return f"cmd-{order.identity.hex()}"
