"""The clock station: look, compare with the last look, say what changed."""

import json
from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import ClockState, Monotonic, Now
from firmware.clock.settings import ClockSettings
from firmware.clock.watch import Change, change
from firmware.core.allowance import Allowance
from firmware.core.durable import make_directory
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.message import Field, Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.timestamp import MS, SECOND, iso

STATE = "state"
STATE_FILE = "clock"  # Without .json: state/clock.json is this process's report.


class ClockStation:
    """Watches the clock; never touches it."""

    name = "clock"

    def __init__(self, board: Board, settings: ClockSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._notices = Notices(board, self.name)
        self._allowance = Allowance(at_once=20, every_ns=30 * SECOND)  # A clock that flaps is counted, not sung about.
        self._before: Now | None = None
        self._due: Monotonic | None = None
        self._step_total_ns = 0

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, STATE)
        self._notices.start()
        self._before = self._due = None

    def step(self, now: Now) -> Monotonic | None:
        if self._due is not None and now.monotonic < self._due:
            return self._due
        if self._before is not None:
            self._tell(change(self._before, now, step_ns=self._settings.step_ms * MS), self._before, now)
        self._before = now
        self._publish(now)
        self._due = now.monotonic.after(self._settings.period_ms * MS)
        return self._due

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return

    def _tell(self, seen: Change, before: Now, now: Now) -> None:
        stamp = now.timestamp
        if seen.stepped_ns:
            self.report.count("steps")
            self._step_total_ns += seen.stepped_ns
            text = (
                f"clock stepped by {seen.stepped_ns / SECOND:+.3f} s; frames before and after are labelled with the time of each"
            )
            self._say(now, Priority.P2, Severity.WARNING, text, {"stepped_ns": seen.stepped_ns})
        if seen.state_changed or seen.source_changed:
            self.report.count("state_changes")
            text = (
                f"clock is {stamp.state.value} by {stamp.source}, was {before.timestamp.state.value} by {before.timestamp.source}"
            )
            severity = Severity.NOTICE if stamp.state is ClockState.LOCKED else Severity.WARNING
            self._say(now, Priority.P3, severity, text, {"state": stamp.state.value, "source": stamp.source})
        if seen.tai_offset_changed:
            text = f"TAI minus UTC is {now.tai_offset_s} s, was {before.tai_offset_s} s"
            self._say(now, Priority.P3, Severity.NOTICE, text, {"tai_offset_s": now.tai_offset_s})

    def _say(self, now: Now, priority: Priority, severity: Severity, text: str, fields: dict[str, Field]) -> None:
        if not self._allowance.take(now.monotonic):
            self.report.drop("notice_withheld")
            return
        try:
            self._notices.say(
                now, "clock", priority, severity, text, fields=fields | {"uncertainty_ns": now.timestamp.uncertainty_ns}
            )
        except DiskFull:
            self.report.drop("notice_disk_full")
        except DiskFailed:
            self.report.drop("notice_disk_failed")

    def _publish(self, now: Now) -> None:
        stamp = now.timestamp
        for name, value in (
            ("source", stamp.source), ("state", stamp.state.value), ("uncertainty_ns", stamp.uncertainty_ns),
            ("tai_offset_s", now.tai_offset_s), ("step_total_ns", self._step_total_ns),
        ):  # fmt: skip
            self.report.gauge(name, value)
        state = {
            "at": iso(now.utc_ns), "at_tai_ns": stamp.tai_ns, "monotonic_ns": now.monotonic.ns, "source": stamp.source,
            "state": stamp.state.value, "uncertainty_ns": stamp.uncertainty_ns, "tai_offset_s": now.tai_offset_s,
            "steps": self.report.counts.get("steps", 0), "step_total_ns": self._step_total_ns,
        }  # fmt: skip
        try:
            # Not synced: it is about now, and a sync a second would wear the card for nothing.
            self._board.disk.write(f"{STATE}/.{STATE_FILE}", json.dumps(state).encode())
            self._board.disk.rename(f"{STATE}/.{STATE_FILE}", f"{STATE}/{STATE_FILE}")
        except (DiskFull, DiskFailed):
            self.report.drop("state_not_written")
