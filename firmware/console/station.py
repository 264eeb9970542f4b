"""The console station: bytes from the line into the session, lines out of it to be carried out, answers back."""

from collections.abc import Callable, Sequence
from typing import Protocol

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.tty import Tty
from firmware.console import views
from firmware.console.session import Session
from firmware.console.settings import ConsoleSettings
from firmware.console.words import Misunderstood, understood
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.report import Report
from firmware.core.session import KINDS
from firmware.core.session_order import Wish, order
from firmware.core.timestamp import MS, SECOND

TYPED_MAX = 8192  # Bytes typed ahead while a command runs.
LINE_RETRY_NS = 30 * SECOND
SHOWN_BYTES = 4096  # As much as a serial port's own buffer takes; the driver keeps only so much of what does not go out.
SHOWN_AGAIN_NS = (
    100 * MS
)  # 4 KiB take 360 ms at 115,200 bit/s: the buffer is never empty for long, and nobody is asked for nothing.
PROGRESS_EVERY_NS = SECOND
_CTRL_C = 3


class _NoAnswer(Exception):
    """Why there is none, in lines that no `| include` hides: nothing found would be an answer."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


class Local(Protocol):
    """Who finds what is asked for here, and writes it onto a stick. watch: called often; it may raise, which ends the work."""

    def start(self) -> None: ...

    def find(self, words: Sequence[str], watch: Callable[[str], None]) -> list[str]: ...

    def export(self, words: Sequence[str], watch: Callable[[str], None]) -> list[str]: ...

    def sticks(self) -> list[str]: ...


class ConsoleStation:
    """The serial console. rows: the settings as `Settings.rows` gives them, for `show settings`."""

    name = "console"

    def __init__(
        self, board: Board, settings: ConsoleSettings, *, rows: Sequence[views.SettingRow] = (), local: Local | None = None
    ) -> None:
        """local: who finds and carries away; None where there is nobody."""
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._rows = rows
        self._local = local
        self._tty: Tty | None = None
        self._session = Session(board.identity.name, page_rows=settings.page_rows)
        self._typed = bytearray()
        self._last_key: Monotonic | None = None
        self._retry: Monotonic | None = None
        self._spoken: Monotonic | None = None

    def start(self, now: Now) -> None:
        self._last_key = now.monotonic
        if self._local is not None and self._settings.device:
            self._local.start()
        self._open(now)

    def step(self, now: Now) -> Monotonic | None:
        if not self._settings.device:
            return None
        if self._tty is None:
            if self._retry is None or now.monotonic >= self._retry:
                self._open(now)
            if self._tty is None:
                return self._retry
        data = self._tty.read()
        self._leave_when_away(self._tty)
        self._take(data, now)
        # Nothing more is carried out before the line has taken the last answer: what is to be shown has a limit by that.
        while self._typed and not self._tty.waiting():
            line = self._session.key(self._typed.pop(0))
            if line is not None:
                self._carry_out(line)
                break  # One command a step.
        self._leave_when_away(self._tty)  # It may have gone while a command worked.
        self._leave_when_idle(now)
        self._show(self._tty)
        if self._tty.waiting():
            return now.monotonic.after(SHOWN_AGAIN_NS)
        return now.monotonic if self._typed else self._wake(now)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return (self._tty.fileno(),) if self._tty is not None else ()

    def stop(self, now: Now) -> None:
        if self._tty is None:
            return
        if self._session.is_open:
            self._session.close("the console stops")
            self._tty.write(self._session.taken())
        self._tty.close()
        self._tty = None

    def _open(self, now: Now) -> None:
        if not self._settings.device:
            self.report.gauge("line", "none")
            return
        try:
            self._tty = self._board.tty(self._settings.device)
            self.report.gauge("line", "open")
        except Missing:
            self.report.gauge("line", "missing")
            self._retry = now.monotonic.after(LINE_RETRY_NS)

    def _take(self, data: bytes, now: Now) -> None:
        if not data:
            return
        self._last_key = now.monotonic
        room = TYPED_MAX - len(self._typed)
        if len(data) > room:
            self.report.drop("typed_too_fast", len(data) - room)
        self._typed += data[:room]

    def _show(self, tty: Tty) -> None:
        """As much as the line takes now. The rest stays with the session: the driver would drop the beginning of a long answer."""
        while not tty.waiting() and (out := self._session.taken(SHOWN_BYTES)):
            tty.write(out)
            self._leave_when_away(tty)  # The rest is nobody's, either.

    def _leave_when_away(self, tty: Tty) -> None:
        """Who plugs in next presses enter first: that must not carry out what somebody else had begun to type."""
        if tty.hung_up():
            self._typed.clear()
            self._session.forget()
            self.report.count("hang_ups")

    def _leave_when_idle(self, now: Now) -> None:
        assert self._last_key is not None, "start comes before step"
        if self._session.is_open and now.monotonic.since(self._last_key) >= self._settings.idle_s * SECOND:
            self._session.close("idle, session ended")
            self.report.count("idle_ends")

    def _wake(self, now: Now) -> Monotonic | None:
        assert self._last_key is not None
        if self._session.is_open:
            return self._last_key.after(self._settings.idle_s * SECOND)
        # A line that has gone and come back gets a new descriptor, which nobody watches until we say so.
        return now.monotonic.after(LINE_RETRY_NS)

    def _carry_out(self, line: str) -> None:
        command = understood(line)
        self.report.count("lines")
        match command:
            case None:
                self._session.show([])
            case Misunderstood(text):
                self.report.count("misunderstood")
                self._session.show([text])
            case _ if command.path == ("exit",):
                self._session.close("bye")
            case _:
                try:
                    lines = self._answer(command.path, command.words)
                except _NoAnswer as problem:
                    self._session.show(problem.lines)
                    return
                if command.include is not None:
                    wanted = command.include.lower()
                    # The first, where it is empty, ends the line of progress.
                    lines = [row for at, row in enumerate(lines) if wanted in row.lower() or (at == 0 and not row)]
                self._session.show(lines)

    def _answer(self, path: tuple[str, ...], words: tuple[str, ...]) -> list[str]:
        """Raises _NoAnswer."""
        try:
            match path:
                case ("find",) if self._local is not None:
                    return self._long(self._local.find, words)
                case ("export",) if self._local is not None:
                    return self._long(self._local.export, words)
                case ("show", "media") if self._local is not None:
                    return self._local.sticks()
                case ("show", "exports"):
                    return views.exports(self._board)
                case ("find",) | ("export",) | ("show", "media"):
                    raise _NoAnswer("this console was made without it")
                case ("show", "status"):
                    return views.status(self._board)
                case ("show", "segments"):
                    return self._segments()
                case ("show", "session"):
                    return views.session(self._board)
                case ("show", "feedback"):
                    return views.feedback(self._board)
                case ("session", "close") | ("session", "start", _):
                    return self._order_session(path[2] if len(path) > 2 else None)
                case ("show", "clock"):
                    return views.clock(self._board)
                case ("show", "system"):
                    return views.system(self._board)
                case ("show", "network"):
                    return views.network(self._board)
                case ("show", "recipient"):
                    return views.recipient(self._board)
                case ("show", "settings"):
                    return views.settings(self._rows)
                case ("show", "identity"):
                    return views.identity(self._board)
                case ("verify",):
                    return self._verify()
                case _:
                    return views.help_lines()
        except DiskFailed:
            self.report.drop("disk_failed")
            raise _NoAnswer("the disk cannot be read") from None

    def _order_session(self, kind: str | None) -> list[str]:
        """kind: what begins; None: what is open ends. The answer is in `show session`, a moment later."""
        try:
            order(self._board, Wish(KINDS[kind] if kind is not None else None))
        except DiskFull:
            raise _NoAnswer("the disk is full: nothing was said") from None
        except Missing as problem:
            raise _NoAnswer(str(problem)) from None
        return [f"said: {kind or 'the session'} {'begins' if kind else 'ends'} now; show session tells when it is so"]

    def _long(self, work: Callable[[Sequence[str], Callable[[str], None]], list[str]], words: Sequence[str]) -> list[str]:
        """Find or export; like `verify`."""
        try:
            return ["", *work(words, self._watched)]
        except BadItem as problem:
            raise _NoAnswer(str(problem)) from None
        except views.Stopped:
            raise _NoAnswer("", "stopped; nothing was carried away") from None

    def _segments(self) -> list[str]:
        """Two weeks are four thousand, and a card gives back a few hundred a second; else like `verify`."""
        try:
            return ["", *views.segments(self._board, lambda count: self._watched(f"{count} segments read"))]
        except views.Stopped:
            raise _NoAnswer("", "stopped; nothing is shown") from None

    def _verify(self) -> list[str]:
        """A command that takes long. Alone in its process it delays nobody, says that it lives, and can be stopped."""
        try:
            return ["", *views.verdict(self._board, self._verified)]
        except views.Stopped:
            raise _NoAnswer("", "stopped; nothing is known") from None

    def _verified(self, size: int) -> None:
        self._watched(f"{size // 1_000_000} MB read")

    def _watched(self, how_far: str) -> None:
        assert self._tty is not None
        now = self._board.clock.now()
        if self._spoken is not None and now.monotonic.since(self._spoken) < PROGRESS_EVERY_NS:
            return
        self._spoken = self._last_key = now.monotonic
        self._board.supervisor.alive()
        self._session.say(how_far)
        self._tty.write(self._session.taken())
        data = self._tty.read()
        stop = (self._typed + data).rfind(_CTRL_C)  # It may have come in one piece with the command.
        if stop < 0:
            self._take(data, now)
            return
        data = bytes(self._typed + data)[stop + 1 :]
        self._typed.clear()
        self._take(data, now)
        raise views.Stopped
