"""The update station: a bundle into a copy, the copy through its trial, one process after the other into the version that held up.

    updates/received/ ─▶ checked ─▶ versions/.<v> ─▶ versions/<v>  test ─▶ trial ─▶ official, process by process ─▶ watched
                             │                                               │             │                          │
                             └── refused ◀───────────────────────────────────┘             └──── back, all of them ◀──┘

Every step is one write that lasts before the next begins (updates/standing, versions/official/<process>), so that a power cut anywhere
finds it where it was. The update process itself is the last to change, an hour after all others: until then the one that watches is the
one that is known to work.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.slots import Slots
from firmware.core.download import DOWNLOADS
from firmware.core.envelope import Order, order_unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull
from firmware.core.given_up import say_given_up
from firmware.core.message import Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.core.versions import IMAGE
from firmware.update.fetching import Fetching
from firmware.update.ledger import Ledger
from firmware.update.record import Phase
from firmware.update.settings import UpdateSettings
from firmware.update.switching import LOOK_NS, Switching
from firmware.update.system import SystemSlots
from firmware.update.taking import RECEIVED, Taking
from firmware.update.trial import Trial, clear

ORDERS = "commands/verified/update"
AGAIN_NS = 5 * SECOND  # After a full or failed disk.


class UpdateStation:
    """Carries out updates. processes: of this role, in the order in which they change; `update`, if among them, is the last."""

    name = "update"

    def __init__(self, board: Board, settings: UpdateSettings, *, slots: Slots, processes: Sequence[str]) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._slots = slots
        self._orders = Spool(board.disk, ORDERS)
        self._notices = Notices(board, self.name)
        self._ledger = Ledger(board, slots, self.report, self._notices, channels=settings.channels)
        self._system = SystemSlots(board, self._ledger)
        self._fetching = Fetching(board, slots, settings, self.report, self._ledger, system=self._system)
        self._taking = Taking(board, slots, self.report, self._ledger, done=self._fetching.done, instead=self._fetching.refused)
        self._switching = Switching(board, settings, self.report, self._ledger, processes=processes)
        self._trial: Trial | None = None
        self._again = Monotonic(0)
        self._is_said = False  # how it stands, in this life

    def start(self, now: Now) -> None:
        self._switching.start(now)
        self._taking.start()
        self._orders.start(self.report.drop)
        self._notices.start()
        clear(self._board)
        self._ledger.start()
        self._system.start()
        self._fetching.start()
        self._is_said = False

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
            self._ledger.gauge()
            self._fetching.gauge()
            return wish
        self._taking.give_up()
        self._again = now.monotonic.after(AGAIN_NS)
        return self._again

    def directories(self) -> Sequence[str]:
        return (RECEIVED, ORDERS, DOWNLOADS)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def _step(self, now: Now) -> Monotonic | None:
        if not self._is_said:
            # Whoever offers versions has to know which one is here, and what it runs on.
            self._ledger.say(now, f"version {self._ledger.official()} is official", Severity.INFORMATIONAL)
            self._is_said = True
        self._system.look(now)
        self._take_order(now)
        self._fetching.look(now)
        match self._ledger.standing.phase:
            case Phase.TRIAL:
                return self._try(now)
            case Phase.SWITCHING | Phase.RETURNING:
                return self._switching.switch(now)
        self._switching.watch(now)
        if self._ledger.standing.phase is not Phase.IDLE:
            return now.monotonic
        if self._taking.is_at_work(now):
            return self._taking.copy(now)
        if self._taking.waits():
            return now.monotonic
        standing = self._ledger.standing
        is_watching = standing.official != IMAGE or standing.guarded_ns or self._fetching.is_under_way()
        return now.monotonic.after(LOOK_NS) if is_watching else self._system.next_wish()

    # The trial.

    def _try(self, now: Now) -> Monotonic | None:
        standing, version = self._ledger.standing, self._ledger.standing.version
        assert version is not None
        if not self._ledger.is_there(version):
            self._ledger.stay_test(version, "its copy is gone", now)
            return now.monotonic
        if self._trial is None:
            if standing.trials >= self._settings.trials_max:
                self._ledger.stay_test(version, f"{standing.trials} trials were begun and none could be finished", now)
                return now.monotonic
            self._ledger.keep(replace(standing, trials=standing.trials + 1))
            try:
                self._trial = Trial(self._board, self._slots, self._settings, version, now)
            except DiskFull:
                self._ledger.keep(standing)  # Not the version's fault: this one does not count.
                raise
            self.report.count("trials")
        faults = self._trial.look(now)
        if faults is None:
            return self._trial.wake(now)
        is_void, self._trial = self._trial.is_void, None
        clear(self._board)
        if is_void:
            self.report.count("trials_void")  # Begun anew, as one that was cut off.
        elif faults:
            self._ledger.stay_test(version, "; ".join(faults), now)
        else:
            self._ledger.say(now, f"version {version} showed what it has to, and becomes official", Severity.NOTICE)
            self._ledger.keep(replace(self._ledger.standing, phase=Phase.SWITCHING, cause="its trial held"))
        return now.monotonic

    # Orders.

    def _take_order(self, now: Now) -> None:
        """Verified by the command station; what it asks for: a version that is to be fetched, or back to the version before."""
        if self._ledger.standing.phase in (Phase.SWITCHING, Phase.RETURNING):
            return
        say_given_up(self._orders, self._notices, self.report, now)
        item = self._orders.take()
        if item is None:
            return
        try:
            order = order_unpacked(item.data)
            what, done = self._wish_of(order)
        except BadItem as problem:
            self._orders.reject(item, str(problem))
            self.report.drop("bad_order")
            return
        result, cause = "done", ""
        try:
            done(now)
        except BadItem as problem:
            result, cause = "refused", str(problem)
            self.report.drop("order_refused")
        except (DiskFull, DiskFailed):
            self._orders.put_back(item)  # The disk's fault, not the order's.
            raise
        self._notices.say(
            now, "command-result", Priority.P3, Severity.NOTICE, f"{what} {result}",
            fields={"command": order.identity.hex(), "signer": order.signer, "result": result, "cause": cause}, origin_ns=order.made_tai_ns,
        )  # fmt: skip
        self._orders.settle(item)

    def _wish_of(self, order: Order) -> tuple[str, Callable[[Now], None]]:
        """What is asked for, and how it is done. Raises BadItem for what nobody here can do."""
        match dict(order.parameters):
            case {"edition": str(text), **rest} if not rest:
                return "edition", lambda now: self._fetching.take(text, now)
            case {"rollback": "previous", **rest} if set(rest) <= {"from"}:
                return "rollback", lambda now: self._go_back(order, rest.get("from"), now)
            case {"system": "previous", "from": version, **rest} if not rest:
                return "rollback of the system", lambda now: self._system.go_back(version)
        raise BadItem('expected the parameters {"edition": …}, {"rollback": "previous"} or {"system": "previous", "from": …}')

    def _go_back(self, order: Order, version: int | str | None, now: Now) -> None:
        """version: only if this one is official. Raises BadItem."""
        standing = self._ledger.standing
        official = self._ledger.official()
        if version is not None and version != official:
            raise BadItem(f"expected version {version} to be official here, it is {official}")
        if standing.previous is None:
            raise BadItem("there is no version before this one")
        if self._trial is not None:
            self._trial.close()
            self._trial = None
        if standing.phase is Phase.TRIAL and standing.version is not None:
            self._ledger.stay_test(standing.version, "its trial was ended to go back", now)
        self._switching.turn_back(f"asked for by {order.signer}", now)
