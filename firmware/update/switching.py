"""Official, process by process; watched afterwards; and back, all of them, when a version does not hold up."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core import durable
from firmware.core.errors import Missing
from firmware.core.message import Severity
from firmware.core.report import Report
from firmware.core.state import Heard, StationState, read_states
from firmware.core.timestamp import SECOND, iso
from firmware.core.versions import IMAGE, OFFICIAL, STARTS, STARTS_MAX, VERSIONS, is_version, starts
from firmware.update.ledger import Ledger
from firmware.update.record import Phase, Switch
from firmware.update.settings import UpdateSettings
from firmware.update.watch import SILENT_NS, Watch

LOOK_NS = SECOND
SETTLED_NS = 60 * SECOND  # Five starts of an update process that ends within it, and the image's own is back.
SUCCESSION = "succession"  # the station that says which version a process is of
OWN = "update"


class Switching:
    """The marks of a role's processes. processes: in the order in which they change; `update`, if among them, is the last."""

    def __init__(
        self, board: Board, settings: UpdateSettings, report: Report, ledger: Ledger, *, processes: Sequence[str]
    ) -> None:
        self._board = board
        self._settings = settings
        self._report = report
        self._ledger = ledger
        self._processes = tuple(processes)
        self._waiting_since: Monotonic | None = None  # for the process that was switched last
        self._runs: dict[str, bool] = {}  # whether a process ran when its mark changed; one that did has to be there afterwards
        self._watched = Watch()
        self._heard = Heard()
        self._looked: Now | None = None
        self._began = Monotonic(0)
        self._is_settled = False
        self._own_starts = 0

    def start(self, now: Now) -> None:
        """A new life of the process that watches."""
        self._began, self._is_settled, self._own_starts = now.monotonic, False, starts(self._board.disk)

    def switch(self, now: Now) -> Monotonic | None:
        """The next process into the version in hand, or the end of it; when to come again."""
        standing, version = self._ledger.standing, self._ledger.standing.version
        assert version is not None
        if version != IMAGE and not self._ledger.is_there(version):
            self.turn_back(f"its copy {version} is gone", now)
            return now.monotonic
        for process in self._processes:
            if process == OWN:
                continue  # `_watch`, later
            if self._mark_of(process) != version:
                self._runs[process] = process in self._states(now)
                if standing.phase is Phase.SWITCHING and not self._runs[process]:
                    continue  # Marked at the end: whoever is marked before ran, and is waited for, also in another life of ours.
                self._mark(process, version, standing.cause, now)
                self._waiting_since = now.monotonic
            trouble = self._trouble_of(process, version, now)
            if trouble is None:
                continue
            if trouble and standing.phase is Phase.SWITCHING:
                self.turn_back(f"{process}: {trouble}", now)
                return now.monotonic
            if not trouble:
                return now.monotonic.after(LOOK_NS)
        for process in self._processes:
            if process != OWN and self._mark_of(process) != version:
                self._mark(process, version, standing.cause, now)
        self._finish(now)
        return now.monotonic

    def watch(self, now: Now) -> None:
        """A version that was made official and does not hold up; and the watching process's own turn."""
        if not self._is_settled and now.monotonic.since(self._began) >= SETTLED_NS:
            self._settle()
        self._follow_clock(now)
        standing = self._ledger.standing
        if self._own_starts >= STARTS_MAX and self._ledger.official() != IMAGE:
            self.turn_back(f"its update process ended {self._own_starts} times soon after its start", now)
            self._settle()
            return
        states = self._states(now)
        for process in self._processes:
            if process != OWN:
                state = states.get(process)
                self._watched.saw(process, None if state is None else str(state.gauges.get("since", "")), now.monotonic)
        failed = self._watched.failures(now.monotonic, window_s=self._settings.failure_window_s)
        if len(failed) >= self._settings.failures_max and self._ledger.official() != IMAGE:
            who = ", ".join(sorted(set(failed)))
            self.turn_back(f"{len(failed)} unexpected ends within {self._settings.failure_window_s} s: {who}", now)
            return
        if standing.guarded_ns and now.timestamp.tai_ns - standing.guarded_ns >= self._settings.guard_s * SECOND:
            if OWN in self._processes and self._mark_of(OWN) != standing.official:
                former, cause = self._mark_of(OWN), f"all others have run it for {self._settings.guard_s} s"
                self._mark(OWN, standing.official, cause, now)
                switch = Switch(iso(now.utc_ns), OWN, former, standing.official, cause)
                text = f"{OWN} is of version {standing.official}, too: {cause}"
                self._ledger.say_switched(now, text, Severity.INFORMATIONAL, switch)
            self._ledger.keep(replace(standing, guarded_ns=0))

    def _follow_clock(self, now: Now) -> None:
        """The guard's beginning has to last beyond a restart, so it is a time of the wall clock: when that is set, it is set with it."""
        before, self._looked = self._looked, now
        standing = self._ledger.standing
        if not standing.guarded_ns:
            return
        guarded_ns = standing.guarded_ns
        if before is not None:
            jumped_ns = now.timestamp.tai_ns - before.timestamp.tai_ns - now.monotonic.since(before.monotonic)
            guarded_ns += jumped_ns if abs(jumped_ns) > SECOND else 0
        # A board without a battery starts in 1970, and what began in 2026 has then not begun: it begins anew, or it would for 56 years.
        guarded_ns = min(guarded_ns, now.timestamp.tai_ns)
        if guarded_ns != standing.guarded_ns:
            self._ledger.keep(replace(standing, guarded_ns=guarded_ns))

    def turn_back(self, cause: str, now: Now) -> None:
        """Take it back everywhere. During a switch to where all were; after one to the version before, and beyond that to the image."""
        standing = self._ledger.standing
        self._waiting_since = None
        self._runs.clear()
        if standing.phase is Phase.SWITCHING:
            failed, target = standing.version or IMAGE, standing.official
            # As if it had been official: what it is taken back from is `official` then.
            standing = replace(standing, official=failed)
        else:
            target = standing.previous if standing.previous and self._ledger.is_there(standing.previous) else IMAGE
            standing = replace(standing, previous=None)  # Gone back to once; were it to fail as well, there is the image.
        self._ledger.keep(replace(standing, phase=Phase.RETURNING, version=target, cause=cause, guarded_ns=0))
        self._ledger.say(now, f"version {standing.official} is taken back: {cause}", Severity.ERROR)

    def _trouble_of(self, process: str, version: str, now: Now) -> str | None:
        """None: it is of that version now, or does not run here at all; "": not yet; else what is wrong."""
        state = self._states(now).get(process)
        if state is None and not self._runs.get(process, self._ledger.standing.phase is Phase.SWITCHING):
            return None  # It will be of that version when somebody starts it. On the way back nobody waits for who was not seen.
        if state is not None and state.gauges.get("version") == self._ledger.started(version):
            return None
        if state is not None and str(state.gauges.get("heir", "")) == f"{version} failed":
            return "the new version could not be started"
        since = self._waiting_since = self._waiting_since or now.monotonic
        if now.monotonic.since(since) > self._settings.switch_s_max * SECOND:
            return f"it was not there within {self._settings.switch_s_max} s"
        return ""

    def _finish(self, now: Now) -> None:
        standing, version = self._ledger.standing, self._ledger.standing.version
        assert version is not None
        is_back = standing.phase is Phase.RETURNING
        former = standing.official
        done = replace(
            standing, phase=Phase.IDLE, version=None, official=version, trials=0, cause="",
            previous=standing.previous if is_back else former, counter=max(standing.counter, standing.counters.get(version, 0)),
            guarded_ns=now.timestamp.tai_ns,
        )  # fmt: skip
        self._ledger.keep(done.refusing(former, standing.cause) if is_back and former != IMAGE else done)
        self._waiting_since = None
        self._looked = now  # The guard begins now: a clock that was set before is nothing to it.
        self._watched.clear()
        self._report.count("switches_back" if is_back else "switches")
        if is_back and OWN in self._processes and self._mark_of(OWN) != version:
            self._mark(OWN, version, standing.cause, now)
        text = f"version {self._ledger.official()} is official, {former} is test" + (
            f", for this reason: {standing.cause}" if is_back else " and stays ready"
        )
        who = ",".join(process for process in self._processes if is_back or process != OWN)
        self._ledger.say_switched(
            now, text, Severity.WARNING if is_back else Severity.NOTICE, Switch(iso(now.utc_ns), who, former, version, standing.cause),
            version=former if is_back else version, outcome="taken back" if is_back else "official",
        )  # fmt: skip
        self._forget_old()

    def _settle(self) -> None:
        """This process runs well enough to be started again."""
        self._is_settled, self._own_starts = True, 0
        try:
            self._board.disk.remove(STARTS)
        except Missing:
            return

    def _mark_of(self, process: str) -> str:
        try:
            name = self._board.disk.read(f"{OFFICIAL}/{process}", size=64).decode("ascii", "replace")
        except Missing:
            return IMAGE
        return name if is_version(name) else IMAGE

    def _mark(self, process: str, version: str, cause: str, now: Now) -> None:
        # The history first: a switch that is told and was not made is seen in the next line, one that was made and not told never.
        self._ledger.note(now, process, self._mark_of(process), version, cause)
        self._watched.expect_end(process)
        durable.replace(self._board.disk, OFFICIAL, process, version.encode())

    def _forget_old(self) -> None:
        """Copies beyond those to be kept, the lowest counters first; never the official one or the one before."""
        kept = {self._ledger.standing.official, self._ledger.standing.previous, self._ledger.standing.version}
        others = [name for name in self._board.disk.list(VERSIONS) if is_version(name) and name not in kept]
        others.sort(key=lambda name: self._ledger.standing.counters.get(name, 0))
        room = max(0, self._settings.copies_max - len([name for name in kept if name not in (None, IMAGE)]))
        for name in others[: max(0, len(others) - room)]:
            self._ledger.remove(name)
            self._report.count("copies_removed")

    def _states(self, now: Now) -> Mapping[str, StationState]:
        """What each process that runs says of its succession."""
        return {
            state.process: row
            for state in read_states(self._board.disk)
            if state.process in self._processes
            and self._heard.age_ns(state, now.monotonic, tai_ns=now.timestamp.tai_ns) < SILENT_NS
            for row in state.stations
            if row.station == SUCCESSION
        }
