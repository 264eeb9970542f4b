"""What the recorder says of itself in inbox/: that an interface went away, that the disk takes nothing more, that all is well again."""

from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import Now
from firmware.capture.ear import Ear, Standing
from firmware.capture.ears import Ears
from firmware.core.allowance import Allowance
from firmware.core.errors import DiskFailed, DiskFull, Missing
from firmware.core.message import Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.timestamp import SECOND


class Announcer:
    """says: whether there is an inbox to say it in; the report has the same as gauges and counters either way."""

    def __init__(self, board: Board, report: Report, *, says: bool) -> None:
        self._report = report
        self._notices = Notices(board, report.station) if says else None
        self._allowance = Allowance(at_once=10, every_ns=60 * SECOND)  # An interface that flaps is counted, not sung about.
        self._standings: list[Standing] = []

    def start(self) -> None:
        """Raises DiskFull or DiskFailed."""
        if self._notices is not None:
            self._notices.start()

    def say(self, now: Now, severity: Severity, event: str, text: str) -> None:
        """Of priority 2, ten at once and one a minute; what cannot be said is counted and raises nothing."""
        if self._notices is None:
            return
        if not self._allowance.take(now.monotonic):
            self._report.drop("notice_withheld")
            return
        try:
            self._notices.say(now, "error", Priority.P2, severity, text, event=event)
        except (DiskFull, DiskFailed, Missing):
            # Missing: the disk was full or failed before there was an inbox. The report and the next seal say it.
            self._report.drop("notice_unsaid")

    def hearing(self, ears: Ears, now: Now) -> None:
        """How each interface stands, where that has changed."""
        standings = [ear.standing for ear in ears.all]
        if standings == self._standings and ears.are_all_there:
            return  # Nothing new to say, and no trouble: so it is at every step of a quiet year.
        troubles = [f"{ear.interface}: {ear.trouble}" if ear.suffix else ear.trouble for ear in ears.all if ear.trouble]
        self._report.gauge("interface_trouble", "; ".join(troubles) or "none")
        if standings == self._standings:
            return
        former: Sequence[Standing | None] = self._standings or [None] * len(standings)
        self._standings = standings
        self._report.gauge("interface", standings[0].value if len(set(standings)) == 1 else "partly heard")
        for ear, before in zip(ears.all, former, strict=True):
            if ear.suffix:
                self._report.gauge(f"interface{ear.suffix}", ear.standing.value)
            if ear.standing is not before:
                self._say_standing(ear, before, now, is_another_heard=Standing.HEARD in standings)

    def _say_standing(self, ear: Ear, before: Standing | None, now: Now, *, is_another_heard: bool) -> None:
        name = ear.interface
        consequence = "what passes there is not recorded" if is_another_heard else "nothing is recorded"
        if ear.standing is Standing.GONE:
            self._report.count("interface_lost")
            self.say(now, Severity.ERROR, "interface_gone", f"interface {name} is not there, {consequence}")
        elif ear.standing is Standing.NO_CARRIER:
            self._report.count("carrier_lost")
            self.say(
                now,
                Severity.ERROR,
                "no_carrier",
                f"interface {name} has no carrier, {consequence}: look at the cable, and at what is at its other end",
            )
        elif before is not None:
            self.say(now, Severity.NOTICE, "interface_back", f"interface {name} is heard again")
