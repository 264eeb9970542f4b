"""The session station: what is said and what is ordered, one at a time; and a closing that goes on wherever it was interrupted.

open ─▶ session/current ─▶ said        (an end) ─▶ session/current ─▶ settle ─▶ flush ─▶ count ─▶ said ─▶ session/last
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as changed

from drivers.board import Board
from drivers.clock import ClockState, Monotonic, Now, Timestamp
from firmware.core.context import Kind as ContextKind
from firmware.core.context import as_fields, context_of, is_same
from firmware.core.disk_pause import DiskPause
from firmware.core.durable import make_directory, replace
from firmware.core.envelope import Order, order_unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.given_up import say_given_up
from firmware.core.message import Field, Message, Priority, Severity, unpacked
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.session import CURRENT, LAST, STANDING, Kind, Session, packed, read, standing_as_stored
from firmware.core.session_order import ORDERS, from_parameters
from firmware.core.spool import Spool
from firmware.core.timestamp import MS, SECOND
from firmware.core.tray import Tray
from firmware.session.account import GROUPS, Account, counting
from firmware.session.marks import Marks
from firmware.session.rules import Rules
from firmware.session.settings import SessionSettings

DIRECTORY = "session"
NOTICED = "noticed/session"
FLUSH = "flush"
KIND = "session"
AGAIN_NS = 2 * SECOND  # After a full or failed disk.
SAY_NS = 10 * SECOND  # How it stands; core/session.py says why.
FLUSH_NS = SECOND  # Group rings nobody when it has settled a flush.
FILES_A_STEP = 16  # counted; a file is some 0.2 ms, and an alarm shares this process


class SessionStation:
    """Opens and closes sessions."""

    name = "session"

    def __init__(self, board: Board, settings: SessionSettings, *, not_uploaded: Sequence[int] = ()) -> None:
        """not_uploaded: priorities whose groups stay on the box. Raises BadSettings."""
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._not_uploaded = not_uploaded
        self._rules = Rules.of(settings)
        self._noticed = Tray(Spool(board.disk, NOTICED), self.report, unpacked)
        self._orders = Tray(Spool(board.disk, ORDERS), self.report, order_unpacked, bad="not_an_order")
        self._flush = Spool(board.disk, FLUSH)
        self._notices = Notices(board, self.name)
        self._marks = Marks(board.disk)
        self._session: Session | None = None
        self._owes_opening = False  # it may have been written down and not said
        self._open_since = Monotonic(0)
        self._settled: Monotonic | None = None  # of an end: when what was on its way in is here
        self._is_flushed = False
        self._counting: tuple[Account, Iterator[None]] | None = None
        self._say_due = Monotonic(0)
        self._pause = DiskPause(self.report.drop, pause_ns=AGAIN_NS)

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, DIRECTORY)
        for name in self._board.disk.list(DIRECTORY):
            if name.startswith("."):
                self._board.disk.remove(f"{DIRECTORY}/{name}")
        for priority in Priority:
            make_directory(self._board.disk, f"{GROUPS}/p{int(priority)}")
        make_directory(self._board.disk, FLUSH)
        self._noticed.spool.start(self.report.drop)
        self._orders.spool.start(self.report.drop)
        self._notices.start()
        self._marks.start()
        self._session = read(self._board.disk, CURRENT)
        self._owes_opening = self._session is not None
        self._settled, self._is_flushed, self._counting = None, False, None
        self._say_due = now.monotonic

    def step(self, now: Now) -> Monotonic | None:
        self._say_how_it_stands(now)
        wish = self._pause.step(now, self._go_on)
        return self._say_due if wish is None else min(wish, self._say_due)

    def directories(self) -> Sequence[str]:
        return (NOTICED, ORDERS)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return

    def _go_on(self, now: Now) -> Monotonic | None:
        """One piece of work; what is closing comes before what is new. Returns when there is more, None for when something arrives."""
        session = self._session
        if session is not None and self._owes_opening:
            self._open_since = now.monotonic
            self._say_opening(session, now)
            self._owes_opening = False
            return now.monotonic
        if session is not None and session.end is not None:
            return self._close(session, session.end, now)
        if session is not None and self._is_overlong(session, now):
            self._end(session, now.timestamp, "time")
            return now.monotonic
        say_given_up(self._orders.spool, self._notices, self.report, now)
        found = self._orders.handle(lambda order: self._carry_out(order, now)) or self._noticed.handle(self._look_at)
        return now.monotonic if found else None

    # What is said and ordered.

    def _look_at(self, messages: Sequence[Message]) -> bool:
        """One message at a time; the item stays until all of them have been acted upon, across a closing as well."""
        for message in sorted(messages, key=lambda message: message.received_time.tai_ns):
            if message.identity in self._marks:
                continue
            if not self._act_on(message):
                return False  # It closed a session, and what comes after it waits for that.
            self._marks.add(message.identity)
        return True

    def _act_on(self, message: Message) -> bool:
        """Whether it is done with; else it is looked at again when the session it ended has been closed."""
        session, at, context = self._session, message.received_time, context_of(message.fields)
        if session is not None and session.end is None and self._rules.closes_kind(message, session.kind):
            if _is_before(at, session.start):
                self.report.count("closings_of_before")
                return True
            if is_same(session.context, context) is False:
                self.report.count("closings_of_others")  # A hospital tells every room of every patient.
                return True
            self._end(session, at, "event")  # First: looked at again after a cut, it would end nothing, or nothing twice.
            self._marks.add(message.identity)
            return False
        kind = self._rules.opened(message)
        if kind is None:
            self.report.count("closings_of_nothing")
            return True
        if session is None:
            self._open(_identity(message.identity), kind, at, "event", context)
        elif session.end is not None:
            return False
        elif self._is_another(session, kind, at, context):
            self._end(session, at, "another")
            return False
        else:
            self.report.count("openings_said_twice")
            if not context.items() <= session.context.items():
                # A modality names the study of an order that a schedule has begun: whoever ends either may end this.
                self._write(changed(session, context={**context, **session.context}))
        return True

    def _is_another(self, session: Session, kind: Kind, at: Timestamp, context: Mapping[ContextKind, str]) -> bool:
        """Whether what begins is not the one that is open. What it is about decides; where nobody said that, the time between them."""
        if kind is not session.kind:
            return True
        same = is_same(session.context, context)
        return at.tai_ns - session.start.tai_ns >= self._settings.restart_min * 60 * SECOND if same is None else not same

    def _carry_out(self, order: Order, now: Now) -> bool:
        try:
            wish = from_parameters(order.parameters)
        except BadItem as problem:
            self._say_result(now, order, "refused", "bad_parameters", f"order refused: {problem}")
            return True
        result = self._obey(order, wish.kind, now)
        if result is None:
            return False  # The one that is open is closed first.
        self._say_result(now, order, *result)
        return True

    def _obey(self, order: Order, kind: Kind | None, now: Now) -> tuple[str, str, str] | None:
        """Result, cause and sentence; None when it is to be looked at again."""
        by = "hand" if order.signer == self._board.identity.name else "order"
        session, identity = self._session, _identity(order.identity)
        is_late = now.timestamp.state is not ClockState.FREE and now.timestamp.tai_ns > order.expires_tai_ns
        if (session is not None and session.identity == identity) or order.identity in self._marks:
            return "done", "", "carried out before"  # And then the power went.
        if is_late:
            return "refused", "expired", "order refused: it came too late"
        if kind is None and session is None:
            last = read(self._board.disk, LAST)
            if last is not None and last.closed_by == by and last.end is not None and last.end.tai_ns >= order.made_tai_ns:
                return "done", "", "session closed"
            return "refused", "no_session", "order refused: no session is open"
        if session is not None:
            self._end(session, now.timestamp, by if kind is None else "another")
            if kind is not None:
                return None
            self._marks.add(order.identity)
            return "done", "", "session closing"
        assert kind is not None, "to close needs a session"
        self._open(identity, kind, now.timestamp, by)
        return "done", "", "session open"

    # Beginning and end.

    def _open(self, identity: str, kind: Kind, at: Timestamp, by: str, context: Mapping[ContextKind, str] | None = None) -> None:
        self._write(Session(identity, kind, by, at, context=context or {}))
        self._owes_opening = True
        self.report.count("opened")

    def _end(self, session: Session, at: Timestamp, by: str) -> None:
        """It ends now; the closing is another step's, and every life's after this one."""
        end = changed(at, tai_ns=max(at.tai_ns, session.start.tai_ns))
        self._write(changed(session, end=end, closed_by=by))
        self._settled, self._is_flushed, self._counting = None, False, None

    def _write(self, session: Session) -> None:
        replace(self._board.disk, DIRECTORY, CURRENT.rpartition("/")[2], packed(session))
        self._session = session
        self._say_due = Monotonic(0)

    def _close(self, session: Session, end: Timestamp, now: Now) -> Monotonic | None:
        """Settle, flush, count, say: the next of these."""
        if self._settled is None:
            self._settled = now.monotonic.after(self._settings.settle_ms * MS)
        if now.monotonic < self._settled:
            return self._settled
        name = f"session-{session.identity}"
        if not self._is_flushed:
            self._flush.publish(name, b"")
            self._is_flushed = True
        if name in self._flush.names():
            return now.monotonic.after(FLUSH_NS)
        if self._counting is None:
            account = Account(session)
            self._counting = account, counting(self._board.disk, account, not_uploaded=self._not_uploaded)
        account, files = self._counting
        for _ in range(FILES_A_STEP):
            if next(files, self) is self:
                self._finish(session, end, account, now)
                break
        return now.monotonic

    def _finish(self, session: Session, end: Timestamp, account: Account, now: Now) -> None:
        """Said, and on its way, before it is forgotten: after a cut in between it is said again, and the hub keeps the latest word."""
        self._notices.say(
            now, KIND, Priority.P3, Severity.NOTICE, f"session closed: {session.kind.value}", event=_event(session),
            fields={**_about(session), **account.fields()}, origin_ns=end.tai_ns,
        )  # fmt: skip
        self._flush.publish(f"session-{session.identity}-end", b"")
        replace(self._board.disk, DIRECTORY, LAST.rpartition("/")[2], packed(session))
        try:
            self._board.disk.remove(CURRENT)
        except Missing:
            pass
        self._board.disk.sync_dir(DIRECTORY)
        self._session = self._counting = None
        self._say_due = Monotonic(0)
        self.report.count("closed")

    def _is_overlong(self, session: Session, now: Now) -> bool:
        longest_ns = self._settings.longest_h * 3600 * SECOND
        if ClockState.FREE in (now.timestamp.state, session.start.state):
            # A clock that is not set is off by years: counted from when this process first saw it open.
            return bool(longest_ns) and now.monotonic.since(self._open_since) >= longest_ns
        return bool(longest_ns) and now.timestamp.tai_ns - session.start.tai_ns >= longest_ns

    # What is told.

    def _say_opening(self, session: Session, now: Now) -> None:
        self._notices.say(
            now, KIND, Priority.P3, Severity.NOTICE, f"session open: {session.kind.value}", event=_event(session),
            fields=_about(changed(session, end=None, closed_by=None)), origin_ns=session.start.tai_ns,
        )  # fmt: skip
        self._flush.publish(f"session-{session.identity}-begin", b"")

    def _say_result(self, now: Now, order: Order, result: str, cause: str, text: str) -> None:
        fields: dict[str, Field] = {"command": order.identity.hex(), "result": result, **({"cause": cause} if cause else {})}
        severity = Severity.NOTICE if result == "done" else Severity.WARNING
        self._notices.say(now, "command-result", Priority.P3, severity, text, fields=fields, event=f"cmd-{order.identity.hex()}")
        self.report.count(f"orders_{result}")

    def _say_how_it_stands(self, now: Now) -> None:
        """Not synced: it is about now. When it cannot be written it soon is too old to count, and everything is recorded."""
        if now.monotonic < self._say_due:
            return
        self._say_due = now.monotonic.after(SAY_NS)
        session = self._session
        self.report.gauge("session", "none" if session is None else session.kind.value if session.end is None else "closing")
        self.report.gauge("identity", session.identity if session is not None else "none")
        records = session is not None or self._settings.outside == "record"
        self.report.gauge("recording", "yes" if records else "paused")
        directory, _, name = STANDING.rpartition("/")
        try:
            self._board.disk.write(f"{directory}/.{name}", standing_as_stored(records=records, at=now.monotonic))
            self._board.disk.rename(f"{directory}/.{name}", STANDING)
        except (DiskFull, DiskFailed, Missing):
            self.report.drop("standing_not_said")


def _is_before(one: Timestamp, other: Timestamp) -> bool:
    """Whether it is the earlier one. A clock that had no source then and has one now was set in between, and does not tell."""
    return one.tai_ns < other.tai_ns and (other.state is not ClockState.FREE or one.state is ClockState.FREE)


def _identity(of: bytes) -> str:
    """Of the session that this message or order opens: the same again and again."""
    return hashlib.sha256(b"session" + of).hexdigest()[:16]


def _event(session: Session) -> str:
    return f"session-{session.identity}"


def _about(session: Session) -> dict[str, Field]:
    start, end = session.start, session.end
    fields: dict[str, Field] = {
        "session": session.identity, "session_kind": session.kind.value, "state": "open" if end is None else "closed",
        "opened_by": session.opened_by, "start_tai_ns": start.tai_ns, "start_uncertainty_ns": start.uncertainty_ns,
        **as_fields(session.context),
    }  # fmt: skip
    if end is not None:
        fields |= {"closed_by": session.closed_by, "end_tai_ns": end.tai_ns, "end_uncertainty_ns": end.uncertainty_ns}
    return fields
