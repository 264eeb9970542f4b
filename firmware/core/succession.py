"""A process watches which version of itself is official, and lets that one take its place without a gap.

    mark changes ─▶ the other version is started, loads and builds everything ─▶ it is ready ─▶ ours stops ─▶ it begins
                    while ours works on                                          milliseconds

Nobody stops a process to update it. An heir that cannot get ready costs nothing: ours was never stopped, and says why.
"""

from collections.abc import Callable, Mapping, Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.supervisor import Heir, Standing
from firmware.core.report import Report
from firmware.core.timestamp import MS, SECOND, iso
from firmware.core.versions import OFFICIAL, official

READY_NS_MAX = 60 * SECOND  # An Atom loads everything in three; beyond it somebody waits for what will not come.
LOOK_NS = 250 * MS  # A look reads a file; turns come by the thousand.

Launch = Callable[[str], tuple[Sequence[str], Mapping[str, str]]]


class Succession:
    """The last station of a process. launch: command and environment of this process in another version. ground: as `official` takes it."""

    name = "succession"

    def __init__(self, board: Board, process: str, *, running: str, launch: Launch, ground: str | None = None) -> None:
        self.report = Report(self.name)
        self.report.gauge("version", running)
        self._board = board
        self._process = process
        self._running = running
        self._launch = launch
        self._ground = ground
        self._heir: Heir | None = None
        self._wanted = running
        self._look_at = Monotonic(0)
        self._ready_by = Monotonic(0)

    def start(self, now: Now) -> None:
        self.report.gauge("since", iso(now.utc_ns))  # Who watches over versions counts how often that changes.

    def step(self, now: Now) -> Monotonic | None:
        if now.monotonic >= self._look_at and self._board.supervisor.keeps:
            self._look_at = now.monotonic.after(LOOK_NS)
            self._look(now)
        if self._heir is None:
            return None
        if self._heir.standing() is Standing.STARTING and now.monotonic >= self._ready_by:
            self._heir.dismiss()
        if self._heir.standing() is Standing.FAILED:
            self._fail()
            return None
        return self._ready_by

    def heir(self) -> Heir | None:
        """Who is ready to go on in our place."""
        return self._heir if self._heir is not None and self._heir.standing() is Standing.READY else None

    def directories(self) -> Sequence[str]:
        return (OFFICIAL,) if self._board.disk.exists(OFFICIAL) else ()

    def descriptors(self) -> Sequence[int]:
        return (self._heir.fileno(),) if self._heir is not None else ()

    def stop(self, now: Now) -> None:
        self.report.gauge("since", "stopped")
        if self._heir is not None and not self._board.supervisor.hands_over:
            self._heir.dismiss()
            self._heir = None

    def _look(self, now: Now) -> None:
        wanted = official(self._board.disk, self._process, ground=self._ground)
        if wanted == self._wanted:
            return
        if self._heir is not None:
            self._heir.dismiss()
            self._heir = None
        self._wanted = wanted  # One that could not get ready is not tried again until the mark has named another.
        self.report.gauge("heir", "none")
        if wanted != self._running:
            self._heir = self._board.supervisor.bequeath(*self._launch(wanted))
            self._ready_by = now.monotonic.after(READY_NS_MAX)
            self.report.count("heirs_started")
            self.report.gauge("heir", f"{wanted} starting")

    def _fail(self) -> None:
        self._heir = None
        self.report.drop("heir_failed")
        self.report.gauge("heir", f"{self._wanted} failed")
