"""What lasts of an update, and what is said of it: the standing, the copies by name, the history, a message for each change."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Now
from drivers.slots import Slots
from firmware.core import durable
from firmware.core.errors import BadItem, Missing
from firmware.core.message import Field, Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.timestamp import iso
from firmware.core.versions import OFFICIAL, VERSIONS, is_version, started
from firmware.update import record
from firmware.update.record import Phase, Standing, Switch

UPDATES = "updates"
STANDING, HISTORY = "standing", "history"
ALL = "all"  # in a row of history: about no single process


class Ledger:
    """updates/standing and updates/history. standing: as it was kept last. beside: fields that stand in every message, of the system."""

    def __init__(self, board: Board, slots: Slots, report: Report, notices: Notices, *, channels: Sequence[str]) -> None:
        self._board = board
        self._slots = slots
        self._channels = channels
        self._report = report
        self._notices = notices
        self.standing = Standing()
        self.beside: Mapping[str, Field] = {}

    def start(self) -> None:
        """Read it, and remove what a former life left half done."""
        disk = self._board.disk
        for directory in (VERSIONS, OFFICIAL, UPDATES):
            durable.make_directory(disk, directory)
            for name in disk.list(directory):
                if name.startswith("."):
                    disk.remove(f"{directory}/{name}")  # A copy not finished is no copy.
        try:
            self.standing = record.unpacked(disk.read(f"{UPDATES}/{STANDING}", size=record.STANDING_BYTES_MAX))
        except Missing:
            self.standing = Standing()
        except BadItem:
            # Whoever wrote it has ended in the middle of what `replace` makes impossible, or somebody else wrote it. The marks are
            # what counts, and they are as they were; what is lost is the counter, so nothing is taken before a person has looked.
            self._report.drop("standing_unreadable")
            self.standing = Standing(counter=(1 << 63) - 1)
            return
        for name in disk.list(VERSIONS):
            if is_version(name) and name not in self.standing.counters:
                self.remove(name)  # It had its name, and the end came before that was written down; its bundle is still there.

    def keep(self, standing: Standing) -> None:
        """It stands so from now on, whatever happens."""
        durable.replace(self._board.disk, UPDATES, STANDING, record.packed(standing))
        self.standing = standing

    def stay_test(self, version: str, reason: str, now: Now) -> None:
        """The version in hand is not made official."""
        self.note(now, ALL, self.standing.official, version, f"stays test: {reason}")
        self.keep(replace(self.standing.refusing(version, reason), phase=Phase.IDLE, version=None, trials=0))
        self._report.drop("trials_failed")
        self.say(now, f"version {version} stays test: {reason}", Severity.WARNING, version=version, outcome="stays test")

    def note(self, now: Now, process: str, former: str, version: str, cause: str) -> None:
        """One more line of history."""
        history = durable.read_or_none(self._board.disk, f"{UPDATES}/{HISTORY}", size=record.HISTORY_BYTES_MAX) or b""
        row = Switch(iso(now.utc_ns), process, former, version, cause)
        durable.replace(self._board.disk, UPDATES, HISTORY, record.with_row(history, row))

    def say(
        self,
        now: Now,
        text: str,
        severity: Severity,
        *,
        version: str | None = None,
        outcome: str = "",
        more: Mapping[str, Field] | None = None,
    ) -> None:
        """To whoever runs the box, with how it stands now.

        outcome: what became of `version`: "here", "official", "refused", "stays test" or "taken back".
        """
        standing, official = self.standing, self.official()
        fields: dict[str, Field] = {
            "official": official, "previous": standing.previous, "phase": standing.phase.value, "in_hand": standing.version,
            "number": standing.counters.get(official, 0), "board": self._slots.board, "channels": ",".join(self._channels),
        }  # fmt: skip
        if version is not None:
            fields |= {"version": version, "outcome": outcome}
        self._notices.say(
            now, "update", Priority.P3, severity, text, fields={**fields, **self.beside, **(more or {})}, event="update"
        )

    def say_switched(
        self, now: Now, text: str, severity: Severity, switch: Switch, *, version: str | None = None, outcome: str = ""
    ) -> None:
        """A line of history that is told, too: these processes have changed. switch: of one process, or several with commas."""
        more = {"process": switch.process, "from": switch.former, "to": switch.version, "cause": switch.cause}
        self.say(now, text, severity, version=version, outcome=outcome, more=more)

    def official(self) -> str:
        """What runs here now: the version that is official, or the image's own where an image came later than its copy.

        The standing keeps the version: were that image given up, it would be at work again.
        """
        return self.started(self.standing.official)

    def started(self, version: str) -> str:
        """What a process marked with this version is of."""
        return started(self._board.disk, version, ground=self._slots.ground)

    def is_there(self, version: str | None) -> bool:
        """Whether there is a copy of it."""
        return version is not None and self._board.disk.exists(f"{VERSIONS}/{version}")

    def remove(self, name: str) -> None:
        """A copy nobody needs any more."""
        # Under a hidden name first: what is half removed must not pass for a version.
        self._board.disk.rename(f"{VERSIONS}/{name}", f"{VERSIONS}/.{name}")
        self._board.disk.remove(f"{VERSIONS}/.{name}")
        if name in self.standing.counters:
            # Beyond STANDING_BYTES_MAX it could not be read, and nothing be taken any more.
            rest = {version: counter for version, counter in self.standing.counters.items() if version != name}
            self.keep(replace(self.standing, counters=rest))

    def gauge(self) -> None:
        """How it stands, for the report."""
        standing = self.standing
        for name, value in (
            ("phase", standing.phase.value), ("official", self.official()), ("in_hand", standing.version or "none"),
            ("previous", standing.previous or "none"),
        ):  # fmt: skip
            self._report.gauge(name, value)
