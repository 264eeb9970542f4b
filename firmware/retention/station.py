"""The retention station: a round each hour, at each new segment, and when room gets short; one deletion or some looks a step."""

from collections.abc import Iterator, Mapping, Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.allowance import Allowance
from firmware.core.durable import make_directory
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.message import Field, Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.shelf import row_of
from firmware.core.store import Store
from firmware.core.timestamp import SECOND
from firmware.retention.ages import Believer, Candidate
from firmware.retention.folders import DAY_NS, Folder, folders
from firmware.retention.holdings import Holdings
from firmware.retention.plan import Outlook, Victim, old_segment, oldest_segment, outlook
from firmware.retention.receipts import RECEIPTS, SEGMENTS, Receipts
from firmware.retention.settings import RetentionSettings

PINS = "pins"
ROUND_EVERY_NS = 3600 * SECOND
LOOK_EVERY_NS = SECOND  # A look is one directory listing; new segments come every minute at most.
LOOK_NS_A_NAME = 100_000  # A listing takes about 2 µs a name: a fiftieth of the time is what looking may cost.
AGAIN_NS = 10 * SECOND  # After a full or failed disk.
STUCK_NS = 60 * SECOND  # While room is short and nothing may be deleted.
RECEIPTS_READ_MAX = 1000  # at the start, where more may go in an hour: a card reads so many in a second
SEALS_A_STEP, NAMES_A_STEP = 32, 4096  # to read, and only to be known
# What is said before it happens: a day is time enough to fetch what matters, or to make room.
FULL_SOON_S, SPAN_S_MIN = 86_400, 1800
ANNOUNCE_ROOM_BYTES = 64 << 10
PINS_SHARE = 2  # Pins that hold more than half of the room leave too little for what is to come.


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
        self._held = Holdings()
        self._cold: set[str] = set()
        self._announced: set[str] = set()
        self._names: dict[str, None] = {}  # sealed segments, as of the last look, in the order recorded
        self._round: Iterator[None] | None = None
        self._round_due: Monotonic | None = None
        self._look_due: Monotonic | None = None
        self._list_due = Monotonic(0)
        self._now: Now | None = None
        self._is_stuck = False
        self._stuck_until = Monotonic(0)

    def start(self, now: Now) -> None:
        for directory in (SEGMENTS, PINS):
            make_directory(self._board.disk, directory)
        self._notices.start()
        self._receipts.start(is_held=self._is_pinned)
        # What an earlier life deleted in this hour counts: by a wrong clock, each start was as good as an hour.
        lately = self._receipts.lately(
            "age", now, within_ns=3600 * SECOND, of=min(self._settings.age_deletions_per_hour, RECEIPTS_READ_MAX)
        )
        for _ in range(lately):
            self._age_allowance.take(now.monotonic)
        self._round = None
        self._round_due = self._look_due = self._list_due = now.monotonic

    def step(self, now: Now) -> Monotonic | None:
        assert self._round_due is not None and self._look_due is not None, "start comes before step"
        self._now = now
        self._believer.tai_ns(now)  # Asked at every step, so that no step of the clock goes unseen.
        try:
            if self._round is None and now.monotonic < self._look_due:
                return self._look_due  # Something came; whatever it was, it is looked at in a moment.
            if self._round is None:
                is_short = self._room_wanted() > 0
                self._is_stuck = self._is_stuck and is_short
                # While nothing may be deleted, only what comes makes another round worth it at once: it may go, or what was the newest.
                is_pressed = is_short and (not self._is_stuck or now.monotonic >= self._stuck_until)
                if now.monotonic < self._list_due and not is_pressed and now.monotonic < self._round_due:
                    self._look_due = now.monotonic.after(LOOK_EVERY_NS)
                    return min(self._list_due, self._rest_until())
                has_changed = self._look()
                self._look_due = now.monotonic.after(LOOK_EVERY_NS)
                self._list_due = now.monotonic.after(max(LOOK_EVERY_NS, len(self._names) * LOOK_NS_A_NAME))
                if has_changed or now.monotonic >= self._round_due or is_pressed:
                    self._round = self._rounds()
                    self._round_due = now.monotonic.after(ROUND_EVERY_NS)
            if self._round is not None:
                try:
                    next(self._round)
                    return now.monotonic
                except StopIteration:
                    self._round = None
                    self._look_due = now.monotonic.after(LOOK_EVERY_NS)
                    self._stuck_until = now.monotonic.after(STUCK_NS)
                    return self._rest_until()
        except (DiskFull, DiskFailed) as trouble:
            self.report.drop("disk_full" if isinstance(trouble, DiskFull) else "disk_failed")
            self._round = None
            self._round_due = self._look_due = now.monotonic.after(AGAIN_NS)
            return self._round_due
        return self._rest_until()

    def directories(self) -> Sequence[str]:
        return (SEGMENTS,)

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return

    def _rest_until(self) -> Monotonic:
        """If nothing comes."""
        assert self._round_due is not None, "start comes before step"
        return min(self._round_due, self._stuck_until) if self._is_stuck else self._round_due

    def _look(self) -> bool:
        """Whether segments came or went since the last look."""
        new, gone = self._store.changes(self._names.keys())
        for name in gone:
            del self._names[name]
            self._held.drop(name)
            self._cold.discard(name)
        if self._names:  # A first look finds what came before anybody looked.
            self._age_allowance.earn(len(new))
        self._names |= dict.fromkeys(new)
        return bool(new or gone)

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
        yield
        while summed := self._receipts.sum_up(self._at, keep=self._settings.receipts_max):
            self.report.count("receipts_summed", summed)
            yield
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
        """What is new on the shelf; each sealed segment is read once, and once more when it got cold or was thawed."""
        read = 0
        for count, name in enumerate(list(self._names), start=1):
            if count % NAMES_A_STEP == 0:
                yield
            read += 1
            if read % SEALS_A_STEP == 0:
                yield
            is_cold = self._store.segment(name).is_cold()
            if name in self._held and is_cold == (name in self._cold):
                continue
            # It is smaller since, or thawed and as large as before; what it holds and when it was made did not change.
            (self._cold.add if is_cold else self._cold.discard)(name)
            if self._receipts.has(name) and not self._is_pinned(name) and self._receipts.remove(name, is_held=self._is_pinned):
                # The power went between the receipt and this.
                self._held.drop(name)
                self.report.count("deletions_finished")
                continue
            row = row_of(self._board.disk, SEGMENTS, name)
            if row is not None and not row.is_open:
                made = row.seal.made if row.seal is not None else None
                self._held.put(Candidate(name, row.sequence, row.size, made, row.seal_digest))

    def _next_victim(self) -> Victim | None:
        held, pinned = self._held, self._pinned()
        room_wanted = self._room_wanted()
        if room_wanted > 0:
            victim = oldest_segment(held.rows, pinned, "room")
            self._is_stuck = victim is None
            if victim is None:
                self._complain(room_wanted)
            return victim
        self._is_stuck = False
        budget = self._settings.budget_bytes
        if budget and held.size > budget:
            victim = oldest_segment(held.rows, pinned, "budget")
            if victim is not None:
                return victim
        tai_ns = self._believer.tai_ns(self._at)
        self.report.gauge("ages_believed", "no" if tai_ns is None else "yes")
        if tai_ns is None:
            return None
        victim = old_segment(held.rows, held.dates, pinned, tai_ns=tai_ns, retain_ns=self._settings.retain_days * DAY_NS)
        return victim if victim is not None and self._age_allowance.take(self._at.monotonic) else None

    def _delete(self, victim: Victim) -> None:
        if not self._receipts.delete(victim, self._at, is_held=self._is_pinned):
            return
        self._held.drop(victim.candidate.name)
        self.report.count(f"segments_deleted_{victim.cause}")
        self.report.count("bytes_deleted", victim.candidate.size)

    def _complain(self, room_wanted: int) -> None:
        self.report.drop("nothing_to_delete")
        if self._complaint.take(self._at.monotonic):
            self._notices.say(
                self._at, "error", Priority.P2, Severity.CRITICAL,
                "the disk is nearly full and nothing may be deleted: segments are pinned, or others fill the disk",
                fields={"room_wanted_bytes": room_wanted, "pinned": len(self._pinned()), "segments": len(self._held)},
            )  # fmt: skip

    def _room_wanted(self) -> int:
        """Bytes missing to what should be free."""
        keep_free = min(self._settings.keep_free_bytes, self._board.disk.total_bytes() // 10)
        return keep_free - self._board.disk.free_bytes()

    def _is_pinned(self, segment: str) -> bool:
        return self._board.disk.exists(f"{PINS}/{segment}")

    def _pinned(self) -> set[str]:
        return set(self._board.disk.list(PINS))

    def _gauge(self) -> None:
        held, pinned = self._held, self._pinned()
        there_is = held.size + max(0, -self._room_wanted())
        capacity = min(self._settings.budget_bytes or there_is, there_is)  # A budget beyond the disk is no room.
        pinned_bytes = held.bytes_of(pinned)
        self.report.gauge("segments", len(held))
        self.report.gauge("segments_bytes", held.size)
        self.report.gauge("pinned", len(pinned))
        self.report.gauge("pinned_bytes", pinned_bytes)
        self.report.gauge("receipts", len(self._board.disk.list(RECEIPTS)))
        expected = outlook(held.rows, held.dates, size=held.size, pinned_bytes=pinned_bytes, capacity_bytes=capacity)
        if expected is not None:
            self.report.gauge("horizon_s", expected.horizon_s)
            self.report.gauge("horizon_days", round(expected.horizon_s / 86_400, 1))
            self.report.gauge("full_in_h", expected.full_in_s // 3600)
        self._announce(expected, capacity, pinned_bytes)

    def _announce(self, expected: Outlook | None, capacity: int, pinned_bytes: int) -> None:
        """Say what will happen before it does; once, until it is no longer so."""
        if -self._room_wanted() < ANNOUNCE_ROOM_BYTES:
            return  # What is said takes room as well; the next deletion makes some.
        retain_s = self._settings.retain_days * 86_400
        if expected is not None and expected.span_s >= SPAN_S_MIN:
            self._say_once(
                "room_ends", expected.full_in_s < min(FULL_SOON_S, retain_s), expected.full_in_s > 2 * FULL_SOON_S,
                f"room for segments ends in {expected.full_in_s // 3600} h; from then on the oldest that are not pinned are deleted for room",
                {"full_in_s": expected.full_in_s, "horizon_s": expected.horizon_s, "capacity_bytes": capacity},
            )  # fmt: skip
            self._say_once(
                "horizon_short", expected.horizon_s < retain_s, expected.horizon_s * 10 > retain_s * 11,
                f"at this rate the store reaches back {expected.horizon_s / 86_400:.1f} days, {self._settings.retain_days} are asked for",
                {"horizon_s": expected.horizon_s, "retain_s": retain_s, "capacity_bytes": capacity},
            )  # fmt: skip
        self._say_once(
            "pins_hold_room", pinned_bytes * PINS_SHARE > capacity, pinned_bytes * PINS_SHARE * 10 < capacity * 9,
            f"pins hold {pinned_bytes * 100 // max(1, capacity)} % of the room for segments; what is not pinned is deleted the sooner",
            {"pinned_bytes": pinned_bytes, "capacity_bytes": capacity},
        )  # fmt: skip

    def _say_once(self, event: str, is_so: bool, is_over: bool, text: str, fields: Mapping[str, Field]) -> None:
        if is_so and event not in self._announced:
            self._announced.add(event)
            self.report.count(f"announced_{event}")
            self._notices.say(self._at, "retention", Priority.P3, Severity.WARNING, text, fields=fields, event=event)
        elif is_over:
            self._announced.discard(event)
