"""The health station: look at the figures, say what changed, and every so often say them all."""

from collections import deque
from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.allowance import Allowance
from firmware.core.durable import make_directory
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.expiry import KIND as DISCARDED
from firmware.core.expiry import expired_priority
from firmware.core.message import FIELDS_MAX, Field, Priority, Severity, is_token
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.state import STATE, ProcessState, figures_of, read_states
from firmware.core.timestamp import SECOND
from firmware.health.losses import SILENT, Change, Losses
from firmware.health.settings import HealthSettings

SEGMENTS = "segments"
UNSAID_MAX = 64


class HealthStation:
    """Speaks of the box."""

    name = "health"

    def __init__(self, board: Board, settings: HealthSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._notices = Notices(board, self.name)
        self._losses = Losses(quiet_ns=settings.quiet_s * SECOND)
        self._allowance = Allowance(at_once=settings.errors_per_minute, every_ns=60 * SECOND // settings.errors_per_minute)
        self._unsaid: deque[Change] = deque()
        self._look_due: Monotonic | None = None
        self._say_due: Monotonic | None = None
        self._started: Monotonic | None = None

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, STATE)
        self._notices.start()
        self._started = self._look_due = now.monotonic
        # Not at once: the other processes' first figures take their two seconds, and figures of a box that just began say little.
        self._say_due = now.monotonic.after(min(self._settings.health_s, 5) * SECOND)

    def step(self, now: Now) -> Monotonic | None:
        assert self._look_due is not None and self._say_due is not None, "start comes before step"
        try:
            if now.monotonic >= self._look_due:
                self._look_due = now.monotonic.after(self._settings.look_s * SECOND)
                self._look(read_states(self._board.disk), now)
            self._say_changes(now)
            if now.monotonic >= self._say_due:
                self._say_due = now.monotonic.after(self._settings.health_s * SECOND)
                self._say_figures(read_states(self._board.disk), now)
        except DiskFull:
            self.report.drop("disk_full")
        except DiskFailed:
            self.report.drop("disk_failed")
        return min(self._look_due, self._say_due)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return

    def _look(self, states: Sequence[ProcessState], now: Now) -> None:
        for change in self._losses.look(states, now.monotonic, tai_ns=now.timestamp.tai_ns):
            if len(self._unsaid) == UNSAID_MAX:
                self._unsaid.popleft()
                self.report.drop("change_not_said")
            self._unsaid.append(change)
        self.report.gauge("losses_going_on", self._losses.going_on)

    def _say_changes(self, now: Now) -> None:
        while self._unsaid and self._allowance.take(now.monotonic):
            self._say_change(self._unsaid[0], now)
            self._unsaid.popleft()
            self.report.count("changes_said")

    def _say_change(self, change: Change, now: Now) -> None:
        fields: dict[str, Field] = {"station": change.where, "cause": change.cause, "began": change.began, "lost": change.lost}
        priority = expired_priority(change.cause)
        if priority is None:
            severity = Severity.ERROR if change.began else Severity.NOTICE
            self._notices.say(now, "error", Priority.P2, severity, _sentence(change), fields=fields)
            return
        # A loss somebody has asked for, and as urgent as what was lost (S2-053). The uplink cannot say it: what has the way out sees no inbox.
        text = f"items of priority {int(priority)} are too old to be sent and stay on the box, {change.lost} {'so far' if change.began else 'in all'}"
        self._notices.say(
            now,
            DISCARDED,
            min(priority, Priority.P3),
            Severity.NOTICE,
            text,
            fields=fields | {"priority": int(priority)},
            event="expired",
        )

    def _say_figures(self, states: Sequence[ProcessState], now: Now) -> None:
        assert self._started is not None
        segments = [name for name in self._board.disk.list(SEGMENTS) if not name.startswith(".")]
        box: dict[str, Field] = {
            "uptime_s": now.monotonic.since(self._started) // SECOND,
            "free_bytes": self._board.disk.free_bytes(),
            "total_bytes": self._board.disk.total_bytes(),
            "segments": len(segments),
            "oldest_segment": segments[0] if segments else None,
            "newest_segment": segments[-1] if segments else None,
            "processes": len(states),
            "losses_going_on": self._losses.going_on,
        }
        figures = figures_of(states)
        room = FIELDS_MAX - len(box)
        if len(figures) > room:
            self.report.drop("figures_left_out", len(figures) - room)
        box |= dict(list(figures.items())[:room])
        self._notices.say(
            now, "health", Priority.P4, Severity.INFORMATIONAL, f"{len(segments)} segments, {len(states)} processes", fields=box
        )
        self.report.count("figures_said")


def _sentence(change: Change) -> str:
    where = change.where if is_token(change.where) else "a process"
    cause = _cause(change.cause)
    if cause == SILENT:
        return f"{where} does not report any more" if change.began else f"{where} reports again"
    if change.began:
        return f"{where} began to lose: {cause}, {change.lost} so far"
    return f"{where} no longer loses: {cause}, {change.lost} in all"


def _cause(cause: str) -> str:
    """As a person reads it; of several interfaces it names the one it is of (segment_writer.cause_at)."""
    what, _, interface = cause.partition("@")
    if not is_token(what):
        return "a cause"
    return f"{what} at {interface if is_token(interface) else 'an interface'}" if interface else what
