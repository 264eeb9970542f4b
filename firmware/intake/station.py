"""The station: hears datagrams through the tap and callers at its doors, writes messages into inbox/ and what it missed into missed/."""

from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.tap import RETURN_S, Block, Tap, TapRequest
from firmware.core import arrivals, clock_page, missed
from firmware.core.arrivals import Arrivals
from firmware.core.certificate import DeviceOffset, account_from
from firmware.core.durable import make_directory, read_or_none, replace
from firmware.core.entrance import message_of
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing, TapFailed
from firmware.core.frame import ip_text
from firmware.core.hearing import Hearing
from firmware.core.message import Priority, joined
from firmware.core.report import Report
from firmware.core.spool import FLOOD_ITEMS, Spool
from firmware.core.timestamp import MS, SECOND
from firmware.core.turnstile import Turnstile
from firmware.intake import coverage
from firmware.intake.alerting import Alerting
from firmware.intake.backlog import FLOOD, Backlog, Waiting
from firmware.intake.callers import Callers
from firmware.intake.coverage import Coverage, Mark
from firmware.intake.doors import doors_of
from firmware.intake.pseudonyms import Pseudonyms
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings
from firmware.intake.taking import Taking

INBOX = "inbox"
OWN, MARK = "intake", "mark"
# Blocks are handed over every 10 ms, full or not, so it is frames that bound a step: a fifth of a second of them at most, then what
# is urgent among them is written, and others of this process have their turn.
BLOCKS_A_STEP, FRAMES_A_STEP = 64, 2_048
STOP_STEPS_MAX = 16  # Half of a ring full of small messages; the rest is owed, and recall reads it from the segments.
FLOOD_WAIT_NS = SECOND // 4
AGAIN_NS = SECOND  # After a full disk or a lost interface: slow enough to cost nothing, quick enough for a person at the box.
# A mark costs two syncs; one that is 5 s old costs five seconds of messages read twice after a crash.
MARK_EVERY_NS = 5 * SECOND
CLOCKS_EVERY_NS = SECOND  # as often as the clock station writes
RECOVERABLE = frozenset({"ring_full"})  # What else a tap loses, the recorder's tap lost too.


class IntakeStation:
    """Hears, and answers only those who came to its doors."""

    name = "intake"

    def __init__(self, board: Board, settings: IntakeSettings) -> None:
        """Raises BadSettings."""
        self.report = Report(self.name)
        self._board = board
        self._rules = rules_of(settings)
        self._request = tap_request(settings)
        self._spool = Spool(board.disk, INBOX)
        self._missed = Spool(board.disk, missed.MISSED)
        self._backlog = Backlog(
            wait_ns={
                Priority.P1: 0,
                Priority.P2: settings.p2_batch_ms * MS,
                Priority.P3: settings.p3_batch_ms * MS,
                Priority.P4: settings.p4_batch_ms * MS,
                FLOOD: FLOOD_WAIT_NS,
            },
            batch_count=settings.batch_count,
            count_max=settings.backlog_count,
            bytes_max=settings.backlog_bytes,
        )
        self._taking = Taking(
            self._backlog, self._rules, self.report, known_max=settings.duplicate_count,
            alarms_per_s=settings.alarms_per_s, alarms_at_once=settings.alarms_at_once,
        )  # fmt: skip
        self._pseudonyms = Pseudonyms(board, OWN, self.report)
        self._callers = Callers(board, doors_of(settings, self._pseudonyms.of), self._rules, self.report, self._taking)
        self._alerting = Alerting(board, settings, self._rules, self.report, self._taking)
        self._crowded = settings.backlog_count // 2
        self._hearing = Hearing(self._rules.ports, drop=self.report.drop, count=self.report.count, is_live=True)
        self._turnstile = Turnstile(self._rules)
        self._coverage = Coverage(None)
        self._mark_at = Monotonic(0)
        self._has_news = False  # since the mark was kept
        self._behind_utc_ns: int | None = None  # stamp of the last frame heard, while the ring has more
        self._tap: Tap | None = None
        self._lost_before: dict[str, int] = {}
        self._returned_before = 0
        self._tap_again = Monotonic(0)
        self._offsets: dict[str, DeviceOffset] = {}
        self._arrivals = Arrivals()
        self._clocks_at = Monotonic(0)
        self._disk_again = Monotonic(0)
        self._number = 0

    def start(self, now: Now) -> None:
        for directory in (INBOX, missed.MISSED, OWN):
            make_directory(self._board.disk, directory)
        self._pseudonyms.start()
        # A name must not repeat in the next life of this process, even where the clock stood still in between.
        self._number = int.from_bytes(self._board.identity.entropy(4), "big")
        self._coverage = Coverage(self._read_mark())
        self._open_tap(now, "start")

    def step(self, now: Now) -> Monotonic | None:
        more = self._hear(now)
        if not self._is_crowded():
            more |= self._callers.hear(now)
            more |= self._alerting.hear(now)
        self._write(now)
        self._keep_mark(now)
        self._keep_clocks(now)
        self.report.gauge("backlog_messages", self._backlog.count)
        if more:
            return now.monotonic
        wishes = [max(self._mark_at, self._disk_again)] if self._has_news else []
        if self._tap is None:
            wishes.append(self._tap_again)
        if (due := self._backlog.next_due()) is not None:
            wishes.append(max(due, self._disk_again))
        if not self._is_crowded():
            wishes += [due for due in (self._callers.next_due(), self._alerting.next_due()) if due is not None]
        return min(wishes, default=None)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        heard = [] if self._tap is None else [self._tap.fileno()]
        return heard if self._is_crowded() else heard + self._callers.descriptors() + self._alerting.descriptors()

    def stop(self, now: Now) -> None:
        """Everything heard is written, whether its time has come or not."""
        for _ in range(STOP_STEPS_MAX):
            if not self._hear(now):
                break
        self._disk_again = self._mark_at = now.monotonic
        self._has_news = True
        self._write(now, all_of_it=True)
        self._keep_mark(now)
        self._callers.close()
        self._alerting.close()
        if self._tap is not None:
            self._tap.close()
            self._tap = None

    def _open_tap(self, now: Now, cause: str) -> None:
        try:
            self._tap = self._board.tap(self._request)
        except TapFailed as trouble:
            self._lose_tap(trouble, now)
            return
        self._coverage.owe_since_mark(cause, now)
        self._mark_at, self._has_news = now.monotonic, True
        self._lost_before, self._returned_before = {}, 0
        self.report.gauge("tap", "open")
        self.report.gauge("tap_trouble", "none")

    def _lose_tap(self, trouble: TapFailed, now: Now) -> None:
        if self._tap is not None:
            self._tap.close()
            self._tap = None
        self.report.drop("tap_failed")
        self.report.gauge("tap", "closed")
        self.report.gauge("tap_trouble", str(trouble))
        self._tap_again = now.monotonic.after(AGAIN_NS)

    def _hear(self, now: Now) -> bool:
        """Blocks up to a step's ceiling; whether there may be more."""
        if self._tap is None and now.monotonic >= self._tap_again:
            self._open_tap(now, "tap_failed")
        if self._tap is None:
            return False
        heard = 0
        if self._behind_utc_ns is None:
            self._behind_utc_ns = now.utc_ns  # until the ring has been seen empty
        for _ in range(BLOCKS_A_STEP):
            if heard >= FRAMES_A_STEP:
                break
            try:
                block = self._tap.next()
            except TapFailed as trouble:
                self._lose_tap(trouble, now)
                return False
            if block is None:
                self._behind_utc_ns = None
                self._count_losses(self._tap, now)
                return False
            heard += block.frame_count
            self._read(block, now)
            self._tap.release(block)
        return True

    def _count_losses(self, tap: Tap, now: Now) -> None:
        counters = tap.counters()
        if counters.returned > self._returned_before:
            # One of several interfaces, while the others were heard and the mark went on: the recorder may have had it before us.
            since_ns = now.utc_ns - RETURN_S * SECOND
            behind_ns = self._coverage.mark.utc_ns if self._coverage.mark is not None else since_ns
            self._has_news = True
            self._coverage.owe(min(since_ns, behind_ns), now.utc_ns, "tap_failed")
        self._returned_before = counters.returned
        for cause, count in counters.dropped.items():
            if (more := count - self._lost_before.get(cause, 0)) > 0:
                self.report.drop(cause, more)
                if cause in RECOVERABLE:
                    self._has_news = True
                    self._coverage.owe_since_mark(cause, now)
            self._lost_before[cause] = count

    def _read(self, block: Block, now: Now) -> None:
        rows, notes, is_whole = self._turnstile.hear(block, now)
        for row in rows:
            device, wire_bytes, data, _, stamp_ns = row
            if device is not None:
                self._taking.take_plain(row, now.monotonic)
            elif len(data) < wire_bytes:
                self.report.drop("cut_frame")
            else:
                self._hear_frame(data, stamp_ns, now)
        for address, stamp_tai_ns, arrived_tai_ns in notes:
            self._arrivals.note(address, stamp_tai_ns=stamp_tai_ns, arrived_tai_ns=arrived_tai_ns, now=now.monotonic)
        if rows:
            self._behind_utc_ns = rows[-1][-1]
        if not is_whole:
            self.report.drop("bad_block")
        self._has_news = True
        self.report.count("frames", len(rows))

    def _hear_frame(self, data: bytes, stamp_ns: int, now: Now) -> None:
        """What the turnstile did not let through: read in full."""
        datagram = self._hearing.datagram(data, stamp_ns)
        if datagram is None:
            return
        address = ip_text(datagram.source_ip)
        offset = self._offsets.get(address)
        message = message_of(
            datagram.payload, source_ip=datagram.source_ip, port=datagram.port, stamp_utc_ns=stamp_ns, now=now,
            rules=self._rules, count=self.report.count, is_altered=datagram.is_altered, offset=offset,
        )  # fmt: skip
        if not datagram.is_altered:
            self._turnstile.learn(datagram.payload, message, source_ip=datagram.source_ip, address=address, offset=offset)
        if message.origin_time.source == "device":
            self._arrivals.note(
                address, stamp_tai_ns=message.origin_time.tai_ns, arrived_tai_ns=message.received_time.tai_ns, now=now.monotonic
            )
        self._taking.take(message, now.monotonic, stamp_utc_ns=stamp_ns)

    def _write(self, now: Now, *, all_of_it: bool = False) -> None:
        """Everything due, as few items and syncs as it takes: one of the directory, however many priorities there are."""
        cause = "disk_full"
        while now.monotonic >= self._disk_again:
            chosen = self._backlog.batches(now.monotonic, all_of_it=all_of_it)
            if not chosen:
                break
            items = [(self._item_name(now, lane), joined([waiting.single for waiting in batch])) for lane, batch in chosen]
            try:
                self._spool.publish_all(items)
            except (DiskFull, DiskFailed) as trouble:
                cause = "disk_full" if isinstance(trouble, DiskFull) else "disk_failed"
                self._disk_again = now.monotonic.after(AGAIN_NS)
                break
            except Missing:
                # The inbox's consumer started at this moment and took a hidden file for a leftover. Once more, under new names.
                self.report.count("publish_again")
                continue
            for lane, batch in chosen:
                self._backlog.written(lane, batch, now.monotonic)
                self._answer(batch, now)
            self.report.count("items", len(items))
        if dropped := self._backlog.trim():
            self.report.drop(cause, len(dropped))
            self._owe(dropped, cause)
            for waiting in dropped:
                self._callers.answer(self._taking.forget(waiting), "R", now)

    def _answer(self, batch: Sequence[Waiting], now: Now) -> None:
        for waiting in batch:
            if waiting.receipt is not None:
                self._callers.answer(self._taking.written(waiting), "A", now)

    def _is_crowded(self) -> bool:
        """Whether the disk takes so little that callers are left waiting: TCP holds them back, and nothing of theirs is lost."""
        return self._backlog.count > self._crowded

    def _owe(self, dropped: Sequence[Waiting], cause: str) -> None:
        """The recorder has them, unless its disk is as full: they are read back when there is room."""
        stamps = [waiting.stamp_utc_ns for waiting in dropped if waiting.stamp_utc_ns is not None]
        if stamps:
            self._coverage.owe(min(stamps), max(stamps), cause)

    def _keep_mark(self, now: Now) -> None:
        """What is owed into missed/, then the mark: the other order loses a debt when the power goes in between."""
        if not self._has_news or now.monotonic < max(self._mark_at, self._disk_again):
            return
        self._mark_at = now.monotonic.after(MARK_EVERY_NS)
        try:
            for debt in self._coverage.debts:
                self._missed.publish(self._item_name(now), missed.packed(debt))
                self._coverage.paid(debt)
                self.report.count("missed")
            if self._tap is not None:
                pending = [stamp for stamp in (self._backlog.pending_utc_ns(), self._behind_utc_ns) if stamp is not None]
                mark = self._coverage.advance(now, pending_utc_ns=min(pending, default=None))
                replace(self._board.disk, OWN, MARK, coverage.packed(mark))
                self._has_news = (
                    self._backlog.count > 0
                )  # The mark stands behind what still waits: once more when that is written.
        except (DiskFull, DiskFailed):
            self._disk_again = now.monotonic.after(AGAIN_NS)
        except Missing:
            self.report.count("publish_again")
            self._mark_at = now.monotonic

    def _keep_clocks(self, now: Now) -> None:
        """What the clock station knows of the senders' clocks, and what their stamps tell it; neither has to last."""
        if now.monotonic < self._clocks_at:
            return
        self._clocks_at = now.monotonic.after(CLOCKS_EVERY_NS)
        disk = self._board.disk
        try:
            account = account_from(
                read_or_none(disk, clock_page.STATE, size=clock_page.STATE_BYTES_MAX) or b"", now=now.monotonic
            )
            offsets = {row.device: row for row in account.devices}
            if offsets != self._offsets:
                self._offsets = offsets
                self._turnstile.forget_sources()
            if self._arrivals.has_news:
                disk.mkdir("state")
                disk.write(arrivals.STATE_HIDDEN, self._arrivals.packed(now))
                disk.rename(arrivals.STATE_HIDDEN, arrivals.STATE)
        except (DiskFull, DiskFailed):
            self.report.drop("arrivals_not_written")

    def _read_mark(self) -> Mark | None:
        try:
            return coverage.unpacked(self._board.disk.read(f"{OWN}/{MARK}"))
        except Missing:
            return None
        except (BadItem, DiskFailed):
            self.report.drop("bad_mark")
            return None

    def _item_name(self, now: Now, lane: int = Priority.P1) -> str:
        self._number = (self._number + 1) % 1_000_000
        return f"{FLOOD_ITEMS if lane == FLOOD else 'intake-'}{min(max(now.timestamp.tai_ns, 0), 10**20 - 1):020d}-{self._number:06d}"


def tap_request(settings: IntakeSettings) -> TapRequest:
    """The kernel filters: message ports, IP fragments and IPv6 with headers before UDP's, bare or in one or two VLAN tags.

    It hands over after 10 ms instead of capture's 100 because an alarm waits for it, in blocks of 128 KiB, because a frame that a
    card put together (64 KiB) must fit into one with its headers. 192 of them (24 MiB) hold two seconds, full or not: so long may a
    sync of the inbox take while the disk is busy. With 32 of them a busy machine lost half of 3,000 a second (tests/bench/intake.py).
    """
    ports = (*settings.p1_ports, *settings.p2_ports, *settings.p3_ports, *settings.p4_ports, *settings.syslog_ports)
    listed = " or ".join(f"udp dst port {port}" for port in dict.fromkeys(ports))
    # Behind options (0, 60) and a route (43) the kernel finds no port. Few frames have them, mostly who joins a multicast group.
    unseen = "(ip[6:2] & 0x3fff != 0) or ip6[6] = 44 or ip6[6] = 0 or ip6[6] = 60 or ip6[6] = 43"
    wanted = f"{listed} or {unseen}" if listed else unseen
    return TapRequest(
        interface=settings.interface,
        filter=f"({wanted}) or (vlan and ({wanted})) or (vlan and ({wanted}))",
        block_bytes=1 << 17,
        block_count=192,
        retire_ms=10,
    )
