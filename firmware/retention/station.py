"""The retention station: a round each hour, at each new segment, and when room gets short; one deletion or some looks a step."""

from collections.abc import Iterator, Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.allowance import Allowance
from firmware.core.durable import make_directory
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.message import Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.shelf import row_of
from firmware.core.store import Store
from firmware.core.timestamp import SECOND
from firmware.retention.ages import Believer, Candidate
from firmware.retention.folders import DAY_NS, Folder, folders
from firmware.retention.plan import Victim, horizon_s, old_segment, oldest_segment
from firmware.retention.receipts import RECEIPTS, SEGMENTS, Receipts
from firmware.retention.settings import RetentionSettings

PINS = "pins"
ROUND_EVERY_NS = 3600 * SECOND
LOOK_EVERY_NS = SECOND  # A look is one directory listing; new segments come every minute at most.
AGAIN_NS = 10 * SECOND  # After a full or failed disk.
STUCK_NS = 60 * SECOND  # While room is short and nothing may be deleted.
SEALS_A_STEP = 32


class RetentionStation:
    """Deletes what must go."""

    name = "retention"

    def __init__(self, board: Board, settings: RetentionSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._receipts = Receipts(board)
        self._store = Store(board.disk, SEGMENTS)
        self._notices = Notices(board, self.name)
        self._believer = Believer(step_ns=settings.clock_step_s * SECOND, doubt_ns=settings.clock_doubt_h * 3600 * SECOND)
        per_hour = settings.age_deletions_per_hour
        self._age_allowance = Allowance(at_once=per_hour, every_ns=3600 * SECOND // per_hour)
        self._complaint = Allowance(at_once=1, every_ns=3600 * SECOND)
        self._folders: tuple[Folder, ...] = folders(board.disk, settings)
        self._candidates: dict[str, Candidate] = {}
        self._cold: set[str] = set()
        self._names: list[str] = []
        self._round: Iterator[None] | None = None
        self._round_due: Monotonic | None = None
        self._look_due: Monotonic | None = None
        self._now: Now | None = None
        self._is_stuck = False

    def start(self, now: Now) -> None:
        for directory in (SEGMENTS, PINS):
            make_directory(self._board.disk, directory)
        self._notices.start()
        self._receipts.start()
        self._round = None
        self._round_due = self._look_due = now.monotonic

    def step(self, now: Now) -> Monotonic | None:
        assert self._round_due is not None and self._look_due is not None, "start comes before step"
        self._now = now
        self._believer.tai_ns(now)  # Asked at every step, so that no step of the clock goes unseen.
        try:
            if self._round is None and now.monotonic < self._look_due:
                return self._look_due  # Something came; whatever it was, it is looked at in a moment.
            if self._round is None:
                self._look_due = now.monotonic.after(LOOK_EVERY_NS)
                names = self._store.names()
                if names != self._names or now.monotonic >= self._round_due or self._room_wanted() > 0:
                    self._names = names
                    self._round = self._rounds()
                    self._round_due = now.monotonic.after(ROUND_EVERY_NS)
            if self._round is not None:
                try:
                    next(self._round)
                    return now.monotonic
                except StopIteration:
                    self._round = None
                    self._look_due = now.monotonic.after(STUCK_NS if self._is_stuck else LOOK_EVERY_NS)
                    return self._look_due if self._is_stuck else self._round_due
        except (DiskFull, DiskFailed) as trouble:
            self.report.drop("disk_full" if isinstance(trouble, DiskFull) else "disk_failed")
            self._round = None
            self._round_due = self._look_due = now.monotonic.after(AGAIN_NS)
            return self._round_due
        return self._round_due

    def directories(self) -> Sequence[str]:
        return (SEGMENTS,)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return

    # A round, in pieces: each `yield` gives the loop its turn back.

    def _rounds(self) -> Iterator[None]:
        yield from self._read_seals()
        while True:
            victim = self._next_victim()
            if victim is None:
                break
            self._delete(victim)
            yield
        self._gauge()
        for folder in self._folders:
            for deleted in folder.sweep(lambda: self._believer.tai_ns(self._at)):
                if deleted:
                    self.report.count(f"{folder.path.partition('/')[0]}_deleted", deleted)
                yield

    @property
    def _at(self) -> Now:
        assert self._now is not None, "set at the beginning of each step"
        return self._now

    def _read_seals(self) -> Iterator[None]:
        """What is new on the shelf; each sealed segment is read once, and once more when it got cold."""
        names = self._store.names()
        now_cold = {name for name in names if name not in self._cold and self._store.segment(name).is_cold()}
        self._cold = {name for name in names if name in self._cold} | now_cold
        # A segment that got cold is smaller since; what it holds and when it was made did not change.
        self._candidates = {name: self._candidates[name] for name in names if name in self._candidates and name not in now_cold}
        for count, name in enumerate([name for name in names if name not in self._candidates], start=1):
            if self._receipts.has(name) and name not in self._pinned():
                self._receipts.remove(name)  # The power went between the receipt and this.
                self.report.count("deletions_finished")
                continue
            row = row_of(self._board.disk, SEGMENTS, name)
            if row is not None and not row.is_open:
                self._candidates[name] = Candidate(name, row.sequence, row.size, row.seal, row.seal_digest)
            if count % SEALS_A_STEP == 0:
                yield

    def _next_victim(self) -> Victim | None:
        candidates, pinned = self._in_order(), self._pinned()
        room_wanted = self._room_wanted()
        if room_wanted > 0:
            victim = oldest_segment(candidates, pinned, "room")
            self._is_stuck = victim is None
            if victim is None:
                self._complain(room_wanted)
            return victim
        self._is_stuck = False
        budget = self._settings.budget_bytes
        if budget and sum(candidate.size for candidate in candidates) > budget:
            victim = oldest_segment(candidates, pinned, "budget")
            if victim is not None:
                return victim
        tai_ns = self._believer.tai_ns(self._at)
        self.report.gauge("ages_believed", "no" if tai_ns is None else "yes")
        if tai_ns is None:
            return None
        victim = old_segment(candidates, pinned, tai_ns=tai_ns, retain_ns=self._settings.retain_days * DAY_NS)
        return victim if victim is not None and self._age_allowance.take(self._at.monotonic) else None

    def _delete(self, victim: Victim) -> None:
        self._receipts.delete(victim, self._at)
        del self._candidates[victim.candidate.name]
        self.report.count(f"segments_deleted_{victim.cause}")
        self.report.count("bytes_deleted", victim.candidate.size)

    def _complain(self, room_wanted: int) -> None:
        self.report.drop("nothing_to_delete")
        if self._complaint.take(self._at.monotonic):
            self._notices.say(
                self._at, "error", Priority.P2, Severity.CRITICAL,
                "the disk is nearly full and nothing may be deleted: segments are pinned, or others fill the disk",
                fields={"room_wanted_bytes": room_wanted, "pinned": len(self._pinned()), "segments": len(self._candidates)},
            )  # fmt: skip

    def _room_wanted(self) -> int:
        """Bytes missing to what should be free."""
        keep_free = min(self._settings.keep_free_bytes, self._board.disk.total_bytes() // 10)
        return keep_free - self._board.disk.free_bytes()

    def _in_order(self) -> list[Candidate]:
        return sorted(self._candidates.values(), key=lambda candidate: candidate.sequence)

    def _pinned(self) -> set[str]:
        return set(self._board.disk.list(PINS))

    def _gauge(self) -> None:
        candidates = self._in_order()
        size = sum(candidate.size for candidate in candidates)
        self.report.gauge("segments", len(candidates))
        self.report.gauge("segments_bytes", size)
        self.report.gauge("pinned", len(self._pinned()))
        self.report.gauge("receipts", len(self._board.disk.list(RECEIPTS)))
        horizon = horizon_s(candidates, capacity_bytes=self._settings.budget_bytes or size + max(0, -self._room_wanted()))
        if horizon is not None:
            self.report.gauge("horizon_s", horizon)
            self.report.gauge("horizon_days", round(horizon / 86_400, 1))
