"""The update station: a bundle into a copy, the copy through its trial, one process after the other into the version that held up.

    updates/received/ ─▶ checked ─▶ versions/.<v> ─▶ versions/<v>  test ─▶ trial ─▶ official, process by process ─▶ watched
                             │                                               │             │                          │
                             └── refused ◀───────────────────────────────────┘             └──── back, all of them ◀──┘

Every step is one write that lasts before the next begins (updates/standing, versions/official/<process>), so that a power cut anywhere
finds it where it was. The update process itself is the last to change, an hour after all others: until then the one that watches is the
one that is known to work.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.slots import Slots
from firmware.core import durable
from firmware.core.envelope import order_unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.message import Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.state import StationState, read_states
from firmware.core.timestamp import SECOND, iso
from firmware.core.versions import GROUND, IMAGE, OFFICIAL, STARTS, STARTS_MAX, VERSIONS, is_version, starts
from firmware.update import record
from firmware.update.bundle import Bundle, Form, opened
from firmware.update.record import Phase, Standing, Switch
from firmware.update.settings import UpdateSettings
from firmware.update.trial import Trial, clear
from firmware.update.watch import SILENT_NS, Watch

UPDATES, RECEIVED, ORDERS = "updates", "updates/received", "commands/verified/update"
STANDING, HISTORY = "standing", "history"
FILES_A_STEP = 8  # Each is synced: on a slow card 50 ms of other stations' time.
AGAIN_NS = 5 * SECOND  # After a full or failed disk.
LOOK_NS = SECOND
SETTLED_NS = 60 * SECOND  # Five starts of an update process that ends within it, and the image's own is back.
SUCCESSION = "succession"  # the station that says which version a process is of
OWN = "update"


class UpdateStation:
    """Carries out updates. processes: of this role, in the order in which they change; `update`, if among them, is the last."""

    name = "update"

    def __init__(self, board: Board, settings: UpdateSettings, *, slots: Slots, processes: Sequence[str]) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._slots = slots
        self._processes = tuple(processes)
        self._received = Spool(board.disk, RECEIVED)
        self._orders = Spool(board.disk, ORDERS)
        self._notices = Notices(board, self.name)
        self._standing = Standing()
        self._copying: tuple[Item, Bundle, Iterator[int]] | None = None
        self._trial: Trial | None = None
        self._waiting_since: Monotonic | None = None  # for the process that was switched last
        self._runs: dict[str, bool] = {}  # whether a process ran when its mark changed; one that did has to be there afterwards
        self._watched = Watch()
        self._began = Monotonic(0)
        self._is_settled = False
        self._own_starts = 0
        self._again = Monotonic(0)

    def start(self, now: Now) -> None:
        disk = self._board.disk
        self._began, self._is_settled, self._own_starts = now.monotonic, False, starts(disk)
        for directory in (VERSIONS, OFFICIAL, UPDATES):
            durable.make_directory(disk, directory)
        self._received.start(self.report.drop)
        self._orders.start(self.report.drop)
        self._notices.start()
        for directory in (VERSIONS, OFFICIAL, UPDATES):
            for name in disk.list(directory):
                if name.startswith("."):
                    disk.remove(f"{directory}/{name}")  # A copy not finished is no copy.
        clear(self._board)
        try:
            self._standing = record.unpacked(disk.read(f"{UPDATES}/{STANDING}", size=record.STANDING_BYTES_MAX))
        except Missing:
            self._standing = Standing()
        except BadItem:
            # Whoever wrote it has ended in the middle of what `replace` makes impossible, or somebody else wrote it. The marks are
            # what counts, and they are as they were; what is lost is the counter, so nothing is taken before a person has looked.
            self.report.drop("standing_unreadable")
            self._standing = Standing(counter=(1 << 63) - 1)
            return
        for name in disk.list(VERSIONS):
            if is_version(name) and name not in self._standing.counters:
                self._remove(name)  # It had its name, and the end came before that was written down; its bundle is still there.

    def step(self, now: Now) -> Monotonic | None:
        if now.monotonic < self._again:
            return self._again
        try:
            wish = self._step(now)
        except DiskFull:
            self.report.drop("disk_full")
        except DiskFailed:
            self.report.drop("disk_failed")
        else:
            self._gauge()
            return wish
        self._give_up_copy()
        self._again = now.monotonic.after(AGAIN_NS)
        return self._again

    def directories(self) -> Sequence[str]:
        return (RECEIVED, ORDERS)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def _step(self, now: Now) -> Monotonic | None:
        self._take_order(now)
        match self._standing.phase:
            case Phase.TRIAL:
                return self._try(now)
            case Phase.SWITCHING | Phase.RETURNING:
                return self._switch(now)
        if not self._is_settled and now.monotonic.since(self._began) >= SETTLED_NS:
            self._settle()
        self._watch(now)
        if self._standing.phase is not Phase.IDLE:
            return now.monotonic
        if self._copying is not None or self._take_bundle(now):
            return self._copy(now)
        if self._received.names():
            return now.monotonic
        return now.monotonic.after(LOOK_NS) if self._standing.official != IMAGE or self._standing.guarded_ns else None

    # A bundle, into a copy marked test.

    def _take_bundle(self, now: Now) -> bool:
        item = self._received.take()
        if item is None:
            return False
        try:
            bundle = opened(item.data, self._board.identity.trusted())
            self._check(bundle, now)
        except BadItem as problem:
            self._refuse(item, str(problem), now)
            return False
        self._copying = item, bundle, self._copied(bundle)
        self.report.gauge("copying", bundle.manifest.version)
        return True

    def _check(self, bundle: Bundle, now: Now) -> None:
        """Raises BadItem: what was signed, and still is not for this box now."""
        manifest, standing = bundle.manifest, self._standing
        if manifest.board != self._slots.board:
            raise BadItem(f"expected a version for {self._slots.board}, this is for {manifest.board}")
        late_ns = now.timestamp.tai_ns - manifest.expires_tai_ns
        if late_ns > now.timestamp.uncertainty_ns:
            raise BadItem(f"expected a bundle that has not expired, this one did {late_ns // SECOND} s ago")
        if manifest.counter <= standing.counter:
            raise BadItem(
                f"expected a version above number {standing.counter}, the highest that was official here, got {manifest.counter}"
            )
        if manifest.version in (standing.official, standing.previous, standing.version) or self._is_there(manifest.version):
            raise BadItem(f"expected a version that is not here, {manifest.version} is")
        if manifest.base not in (None, IMAGE) and not self._is_there(manifest.base):
            raise BadItem(f"expected its base {manifest.base} to be here; a whole bundle needs none")

    def _is_there(self, version: str | None) -> bool:
        return version is not None and self._board.disk.exists(f"{VERSIONS}/{version}")

    def _copied(self, bundle: Bundle) -> Iterator[int]:
        """Files written, one by one; the copy has its name with the last. Raises BadItem, DiskFull, DiskFailed."""
        disk, manifest = self._board.disk, bundle.manifest
        hidden = f"{VERSIONS}/.{manifest.version}"
        if disk.exists(hidden):
            disk.remove(hidden)
        directories = {hidden}
        for count, (file, data) in enumerate(bundle.contents(self._base_of(manifest.base)), 1):
            path = f"{hidden}/{file.path}"
            steps = path.split("/")
            directories |= {"/".join(steps[:depth]) for depth in range(2, len(steps))}
            disk.mkdir(path.rpartition("/")[0])
            disk.write(path, data)
            disk.sync(path)
            self.report.count("files_from_base" if file.form is Form.BASE else "files_from_bundle")
            yield count
        disk.write(f"{hidden}/{GROUND}", self._slots.ground.encode())
        disk.sync(f"{hidden}/{GROUND}")
        for directory in sorted(directories, reverse=True):
            disk.sync_dir(directory)
        disk.rename(hidden, f"{VERSIONS}/{manifest.version}")
        disk.sync_dir(VERSIONS)

    def _base_of(self, base: str | None) -> Callable[[str], bytes]:
        if base == IMAGE:
            return self._image_file
        return lambda path: self._read(f"{VERSIONS}/{base}/{path}")

    def _image_file(self, path: str) -> bytes:
        try:
            return self._slots.image_file(path)
        except Missing:
            return b""

    def _read(self, path: str) -> bytes:
        try:
            return self._board.disk.read(path)
        except Missing:
            return b""

    def _copy(self, now: Now) -> Monotonic | None:
        assert self._copying is not None
        item, bundle, files = self._copying
        try:
            for _ in range(FILES_A_STEP):
                if next(files, None) is None:
                    break
            else:
                return now.monotonic
        except BadItem as problem:
            self._copying = None
            self._remove_hidden(bundle.manifest.version)
            self._refuse(item, str(problem), now)
            return now.monotonic
        manifest = bundle.manifest
        self._keep(
            replace(
                self._standing, phase=Phase.TRIAL, version=manifest.version, trials=0, cause="",
                counters={**self._standing.counters, manifest.version: manifest.counter},
            )
        )  # fmt: skip
        self._copying = None
        self._received.settle(item)
        self.report.count("copies")
        self._say(now, f"version {manifest.version} is here, marked test", Severity.NOTICE)
        return now.monotonic

    def _give_up_copy(self) -> None:
        """The disk's fault: the bundle waits for room where it is, and what was copied of it is no copy."""
        if self._copying is None:
            return
        item, bundle, _ = self._copying
        self._copying = None
        try:
            self._remove_hidden(bundle.manifest.version)
            self._received.put_back(item)
        except (DiskFull, DiskFailed):
            return  # The next start removes it.

    def _remove_hidden(self, version: str) -> None:
        try:
            self._board.disk.remove(f"{VERSIONS}/.{version}")
        except Missing:
            return

    def _refuse(self, item: Item, reason: str, now: Now) -> None:
        self._received.reject(item, reason)
        self.report.drop("refused")
        self._note(now, "all", "", "", f"a bundle was refused: {reason}")
        self._say(now, f"a bundle was refused: {reason}", Severity.WARNING)

    # The trial.

    def _try(self, now: Now) -> Monotonic | None:
        standing, version = self._standing, self._standing.version
        assert version is not None
        if not self._is_there(version):
            self._stay_test(version, "its copy is gone", now)
            return now.monotonic
        if self._trial is None:
            if standing.trials >= self._settings.trials_max:
                self._stay_test(version, f"{standing.trials} trials were begun and none could be finished", now)
                return now.monotonic
            self._keep(replace(standing, trials=standing.trials + 1))
            self._trial = Trial(self._board, self._slots, self._settings, version, now)
            self.report.count("trials")
        faults = self._trial.look(now)
        if faults is None:
            return self._trial.wake(now)
        self._trial = None
        clear(self._board)
        if faults:
            self._stay_test(version, "; ".join(faults), now)
        else:
            self._say(now, f"version {version} showed what it has to, and becomes official", Severity.NOTICE)
            self._keep(replace(self._standing, phase=Phase.SWITCHING, cause="its trial held"))
        return now.monotonic

    def _stay_test(self, version: str, reason: str, now: Now) -> None:
        self._note(now, "all", self._standing.official, version, f"stays test: {reason}")
        self._keep(replace(self._standing.refusing(version, reason), phase=Phase.IDLE, version=None, trials=0))
        self.report.drop("trials_failed")
        self._say(now, f"version {version} stays test: {reason}", Severity.WARNING)

    # Official, process by process; and back.

    def _switch(self, now: Now) -> Monotonic | None:
        standing, version = self._standing, self._standing.version
        assert version is not None
        if version != IMAGE and not self._is_there(version):
            self._return(f"its copy {version} is gone", now)
            return now.monotonic
        for process in self._processes:
            if process == OWN:
                continue  # `_watch`, later
            if self._mark_of(process) != version:
                self._runs[process] = process in self._states(now)
                self._mark(process, version, standing.cause, now)
                self._waiting_since = now.monotonic
            trouble = self._trouble_of(process, version, now)
            if trouble is None:
                continue
            if trouble and standing.phase is Phase.SWITCHING:
                self._return(f"{process}: {trouble}", now)
                return now.monotonic
            if not trouble:
                return now.monotonic.after(LOOK_NS)
        self._finish(now)
        return now.monotonic

    def _trouble_of(self, process: str, version: str, now: Now) -> str | None:
        """None: it is of that version now, or does not run here at all; "": not yet; else what is wrong."""
        state = self._states(now).get(process)
        if state is None and not self._runs.get(process, True):
            return None  # It will be of that version when somebody starts it.
        if state is not None and state.gauges.get("version") == version:
            return None
        if state is not None and str(state.gauges.get("heir", "")) == f"{version} failed":
            return "the new version could not be started"
        since = self._waiting_since = self._waiting_since or now.monotonic
        if now.monotonic.since(since) > self._settings.switch_s_max * SECOND:
            return f"it was not there within {self._settings.switch_s_max} s"
        return ""

    def _finish(self, now: Now) -> None:
        standing, version = self._standing, self._standing.version
        assert version is not None
        is_back = standing.phase is Phase.RETURNING
        former = standing.official
        done = replace(
            standing, phase=Phase.IDLE, version=None, official=version, trials=0, cause="",
            previous=standing.previous if is_back else former, counter=max(standing.counter, standing.counters.get(version, 0)),
            guarded_ns=now.timestamp.tai_ns,
        )  # fmt: skip
        self._keep(done.refusing(former, standing.cause) if is_back and former != IMAGE else done)
        self._waiting_since = None
        self._watched.clear()
        self.report.count("switches_back" if is_back else "switches")
        if is_back and OWN in self._processes and self._mark_of(OWN) != version:
            self._mark(OWN, version, standing.cause, now)
        self._say(
            now, f"version {version} is official, {former} is test"
            + (f", for this reason: {standing.cause}" if is_back else " and stays ready"), Severity.WARNING if is_back else Severity.NOTICE,
        )  # fmt: skip
        self._forget_old()

    def _return(self, cause: str, now: Now) -> None:
        """Take it back everywhere. During a switch to where all were; after one to the version before, and beyond that to the image."""
        standing = self._standing
        self._waiting_since = None
        if standing.phase is Phase.SWITCHING:
            failed, target = standing.version or IMAGE, standing.official
            # As if it had been official: what it is taken back from is `official` then.
            standing = replace(standing, official=failed)
        else:
            target = standing.previous if standing.previous and self._is_there(standing.previous) else IMAGE
            standing = replace(standing, previous=None)  # Gone back to once; were it to fail as well, there is the image.
        self._keep(replace(standing, phase=Phase.RETURNING, version=target, cause=cause, guarded_ns=0))
        self._say(now, f"version {standing.official} is taken back: {cause}", Severity.ERROR)

    def _watch(self, now: Now) -> None:
        """A version that was made official and does not hold up; and the watching process's own turn."""
        standing = self._standing
        if self._own_starts >= STARTS_MAX and standing.official != IMAGE:
            self._return(f"its update process ended {self._own_starts} times soon after its start", now)
            self._settle()
            return
        states = self._states(now)
        for process in self._processes:
            if process != OWN:
                state = states.get(process)
                self._watched.saw(process, None if state is None else str(state.gauges.get("since", "")), now.monotonic)
        failed = self._watched.failures(now.monotonic, window_s=self._settings.failure_window_s)
        if standing.official != IMAGE and len(failed) >= self._settings.failures_max:
            who = ", ".join(sorted(set(failed)))
            self._return(f"{len(failed)} unexpected ends within {self._settings.failure_window_s} s: {who}", now)
            return
        if standing.guarded_ns and now.timestamp.tai_ns - standing.guarded_ns >= self._settings.guard_s * SECOND:
            if OWN in self._processes and self._mark_of(OWN) != standing.official:
                self._mark(OWN, standing.official, f"all others have run it for {self._settings.guard_s} s", now)
            self._keep(replace(standing, guarded_ns=0))

    def _settle(self) -> None:
        """This process runs well enough to be started again."""
        self._is_settled, self._own_starts = True, 0
        try:
            self._board.disk.remove(STARTS)
        except Missing:
            return

    # Orders.

    def _take_order(self, now: Now) -> None:
        """Verified by the command station; what it asks for is one thing: back to the version before."""
        if self._standing.phase in (Phase.SWITCHING, Phase.RETURNING):
            return
        item = self._orders.take()
        if item is None:
            return
        try:
            order = order_unpacked(item.data)
            if dict(order.parameters) != {"rollback": "previous"}:
                raise BadItem('expected the parameters {"rollback": "previous"}')
        except BadItem as problem:
            self._orders.reject(item, str(problem))
            self.report.drop("bad_order")
            return
        result, cause = "done", ""
        if self._standing.previous is None:
            result, cause = "refused", "there is no version before this one"
        else:
            if self._trial is not None:
                self._trial.close()
                self._trial = None
            self._return(f"asked for by {order.signer}", now)
        self._notices.say(
            now, "command-result", Priority.P3, Severity.NOTICE, f"rollback {result}",
            fields={"command": order.identity.hex(), "signer": order.signer, "result": result, "cause": cause}, origin_ns=order.made_tai_ns,
        )  # fmt: skip
        self._orders.settle(item)

    # What lasts.

    def _mark_of(self, process: str) -> str:
        try:
            name = self._board.disk.read(f"{OFFICIAL}/{process}", size=64).decode("ascii", "replace")
        except Missing:
            return IMAGE
        return name if is_version(name) else IMAGE

    def _mark(self, process: str, version: str, cause: str, now: Now) -> None:
        # The history first: a switch that is told and was not made is seen in the next line, one that was made and not told never.
        self._note(now, process, self._mark_of(process), version, cause)
        self._watched.expect_end(process)
        durable.replace(self._board.disk, OFFICIAL, process, version.encode())

    def _keep(self, standing: Standing) -> None:
        durable.replace(self._board.disk, UPDATES, STANDING, record.packed(standing))
        self._standing = standing

    def _note(self, now: Now, process: str, former: str, version: str, cause: str) -> None:
        history = durable.read_or_none(self._board.disk, f"{UPDATES}/{HISTORY}", size=record.HISTORY_BYTES_MAX) or b""
        row = Switch(iso(now.utc_ns), process, former, version, cause)
        durable.replace(self._board.disk, UPDATES, HISTORY, record.with_row(history, row))

    def _say(self, now: Now, text: str, severity: Severity) -> None:
        self._notices.say(now, "update", Priority.P3, severity, text, event="update")

    def _forget_old(self) -> None:
        """Copies beyond those to be kept, the lowest counters first; never the official one or the one before."""
        kept = {self._standing.official, self._standing.previous, self._standing.version}
        others = [name for name in self._board.disk.list(VERSIONS) if is_version(name) and name not in kept]
        others.sort(key=lambda name: self._standing.counters.get(name, 0))
        room = max(0, self._settings.copies_max - len([name for name in kept if name not in (None, IMAGE)]))
        for name in others[: max(0, len(others) - room)]:
            self._remove(name)
            self.report.count("copies_removed")

    def _remove(self, name: str) -> None:
        # Under a hidden name first: what is half removed must not pass for a version.
        self._board.disk.rename(f"{VERSIONS}/{name}", f"{VERSIONS}/.{name}")
        self._board.disk.remove(f"{VERSIONS}/.{name}")

    def _states(self, now: Now) -> Mapping[str, StationState]:
        """What each process that runs says of its succession."""
        return {
            state.process: row
            for state in read_states(self._board.disk)
            if state.process in self._processes and now.timestamp.tai_ns - state.at_tai_ns < SILENT_NS
            for row in state.stations
            if row.station == SUCCESSION
        }

    def _gauge(self) -> None:
        standing = self._standing
        for name, value in (
            ("phase", standing.phase.value), ("official", standing.official), ("in_hand", standing.version or "none"),
            ("previous", standing.previous or "none"),
        ):  # fmt: skip
            self.report.gauge(name, value)
