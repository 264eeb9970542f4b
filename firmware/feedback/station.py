"""The feedback station: one verified order at a time, shown, published if the site wants that, and acknowledged."""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.asker import Asker
from drivers.board import Board
from drivers.clock import ClockState, Monotonic, Now
from firmware.core.advice import SIGNED_PREFIX, Advisory, advisory_of, advisory_packed, feedback_packed
from firmware.core.disk_pause import DiskPause
from firmware.core.durable import make_directory, replace
from firmware.core.envelope import Order, order_unpacked
from firmware.core.errors import BadItem, Missing, NotConnected
from firmware.core.given_up import say_given_up
from firmware.core.message import Field, Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.core.tray import Tray
from firmware.feedback.settings import FeedbackSettings

ORDERS = "commands/verified/feedback"
SHOWN = "feedback"
AGAIN_NS = 2 * SECOND  # After a full or failed disk.
# A datagram in a busy room may be lost; three, a second apart, are not all. Whoever gets more than one knows it by its identity.
TIMES, APART_NS = 3, SECOND
UNDER_WAY_MAX = 64  # pieces of advice still being repeated; beyond it the oldest was said often enough


@dataclass(slots=True)
class _Repeated:
    data: bytes
    left: int
    due: Monotonic
    expires_tai_ns: int


class FeedbackStation:
    """Shows advice."""

    name = "feedback"

    def __init__(self, board: Board, settings: FeedbackSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._orders = Tray(Spool(board.disk, ORDERS), self.report, order_unpacked, bad="not_an_order")
        self._notices = Notices(board, self.name)
        self._asker: Asker | None = None
        self._repeated: list[_Repeated] = []
        self._pause = DiskPause(self.report.drop, pause_ns=AGAIN_NS)

    def start(self, now: Now) -> None:
        self._orders.spool.start(self.report.drop)
        make_directory(self._board.disk, SHOWN)
        for name in self._board.disk.list(SHOWN):
            if name.startswith("."):
                self._board.disk.remove(f"{SHOWN}/{name}")
        self._notices.start()
        self.report.gauge("room", "on" if self._settings.publish else "off")

    def step(self, now: Now) -> Monotonic | None:
        self._repeat(now)
        due = min((row.due for row in self._repeated), default=None)
        wish = self._pause.step(now, self._work)
        return min((moment for moment in (wish, due) if moment is not None), default=None)

    def directories(self) -> Sequence[str]:
        return (ORDERS,)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        if self._asker is not None:
            self._asker.close()
            self._asker = None

    def _work(self, now: Now) -> Monotonic | None:
        say_given_up(self._orders.spool, self._notices, self.report, now)
        return now.monotonic if self._orders.handle(lambda order: self._carry_out(order, now)) else None

    def _carry_out(self, order: Order, now: Now) -> bool:
        try:
            advisory = advisory_of(order, self._board.identity.name)
        except BadItem as problem:
            return self._answer(order, now, "refused", "bad_parameters", f"advice refused: {problem}")
        if _is_over(order.expires_tai_ns, now):
            return self._answer(order, now, "refused", "expired", "advice refused: it came too late to be of use")
        self._show(advisory, now)
        # Published before it is settled: after a cut in between the room hears it again, and knows it.
        where = "box and room" if self._settings.publish and self._publish(advisory, now) else "box"
        return self._answer(order, now, "done", f"shown: {where}", f"advice shown ({where})")

    def _show(self, advisory: Advisory, now: Now) -> None:
        name = f"{max(0, advisory.made_tai_ns):020d}-{advisory.identity.hex()}"
        replace(self._board.disk, SHOWN, name, advisory_packed(advisory))
        names = [entry for entry in self._board.disk.list(SHOWN) if not entry.startswith(".")]
        for entry in names[: max(0, len(names) - self._settings.kept_max)]:
            try:
                self._board.disk.remove(f"{SHOWN}/{entry}")
            except Missing:
                continue
        self.report.count("shown")

    def _publish(self, advisory: Advisory, now: Now) -> bool:
        """Whether the room was told for the first time; the rest follows."""
        signed = advisory_packed(advisory)
        data = feedback_packed(signed, self._board.identity.sign(SIGNED_PREFIX + signed))
        if not self._send(data):
            return False
        row = _Repeated(data, TIMES - 1, now.monotonic.after(APART_NS), advisory.expires_tai_ns)
        self._repeated = [*self._repeated, row][-UNDER_WAY_MAX:]
        self.report.count("published")
        return True

    def _repeat(self, now: Now) -> None:
        for row in self._repeated:
            if now.monotonic >= row.due and not _is_over(row.expires_tai_ns, now):
                self._send(row.data)
            if now.monotonic >= row.due:
                row.left, row.due = row.left - 1, now.monotonic.after(APART_NS)
        self._repeated = [row for row in self._repeated if row.left > 0]

    def _send(self, data: bytes) -> bool:
        try:
            self._asker = self._asker or self._board.asker(self._settings.interface)
            self._asker.ask(data, self._settings.address, self._settings.port)
            self._asker.left()  # Stamps nobody here needs; they would fill its queue.
        except NotConnected:
            self.report.drop("room_not_reached")
            if self._asker is not None:
                self._asker.close()
                self._asker = None
            return False
        return True

    def _answer(self, order: Order, now: Now, result: str, cause: str, text: str) -> bool:
        """With it the order is done with. Said as urgently as an alarm: whoever advised to consider stopping wants to know at once whether anybody was told."""
        fields: dict[str, Field] = {"command": order.identity.hex(), "result": result, "cause": cause}
        severity = Severity.NOTICE if result == "done" else Severity.WARNING
        self._notices.say(
            now, "command-result", Priority.P1, severity, text, fields=fields, event=f"cmd-{order.identity.hex()}",
            origin_ns=order.made_tai_ns,
        )  # fmt: skip
        self.report.count(f"orders_{result}")
        return True


def _is_over(expires_tai_ns: int, now: Now) -> bool:
    """By a clock that is not set nothing is."""
    return now.timestamp.state is not ClockState.FREE and now.timestamp.tai_ns > expires_tai_ns
