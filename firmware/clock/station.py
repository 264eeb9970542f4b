"""The clock station: look at the box's own time, ask who keeps it, ask the room, say what changed, publish the account."""

import json
from collections.abc import Mapping, Sequence

from drivers.board import Board
from drivers.clock import ClockState, Monotonic, Now
from drivers.daemon import Daemon
from firmware.clock.account import state_of
from firmware.clock.hardware import HardwareWatch
from firmware.clock.news import News, notice, warning
from firmware.clock.ptp4l import Conversation, Ptp4l, announced
from firmware.clock.room import Room
from firmware.clock.settings import ClockSettings
from firmware.clock.source import Keeper, Quality
from firmware.clock.watch import stepped_ns
from firmware.core import arrivals, chrony
from firmware.core.allowance import Allowance
from firmware.core.certificate import DEVICES_MAX, DeviceOffset, strongest
from firmware.core.chrony import Tracking
from firmware.core.durable import make_directory, read_or_none
from firmware.core.errors import BadItem, DiskFailed, DiskFull, NotConnected
from firmware.core.message import Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.timestamp import MS, SECOND

STATE = "state"
STATE_FILE = "clock"  # Without .json: state/clock.json is this process's report.
OFFSET = "offset_"  # gauges: offset_low_ns/10.77.0.21 and the like
GAUGED_MAX = 64  # three of a health message's 1,024 fields each; the page for people and the seals have all
AT_ONCE, AGAIN_NS = (
    20,
    30 * SECOND,
)  # of one kind of news: a room's devices at once, then two a minute; there are some twenty kinds
TRACKING_NS = 5 * SECOND  # Five questions without an answer: chronyd is gone or hangs.


class ClockStation:
    """Watches the clock and measures the devices' clocks; never touches one of them."""

    name = "clock"

    def __init__(self, board: Board, settings: ClockSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._notices = Notices(board, self.name)
        self._allowances: dict[str, Allowance] = {}
        self._before: Now | None = None
        self._due: Monotonic | None = None
        self._step_total_ns = 0
        self._keeper = Keeper()
        self._quality: Quality | None = None
        self._chronyd: Daemon | None = board.daemon(settings.chronyd) if settings.chronyd else None
        is_served = bool(settings.interface) and settings.serves
        self._ptp4l: Daemon | None = board.daemon(settings.ptp4l) if settings.ptp4l and is_served else None
        self._asked_chronyd = 0
        self._tracking: tuple[Tracking, Monotonic] | None = None
        self._conversation = Conversation(settings)
        self._room = Room(board, settings, self.report) if settings.interface else None
        # With hardware stamps ptp4l serves what the interface's own clock shows, and phc2sys is who keeps that.
        self._watch = HardwareWatch(board, settings) if is_served and settings.time_stamping == "hardware" else None
        self._had_ptp4l = False
        self._stepped_at = Monotonic(0)

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, STATE)
        self._notices.start()
        self._before = self._due = None
        if self._room is not None:
            self._room.start(now)

    def step(self, now: Now) -> Monotonic | None:
        self._notice_step(now)
        self._hear_keepers(now)
        wake = self._due or now.monotonic
        if self._room is not None:
            found, again = self._room.step(now, self._conversation.view(now.monotonic))
            self._tell(found, now)
            wake = min(wake, again)
        if self._due is None or now.monotonic >= self._due:
            self._due = now.monotonic.after(self._settings.period_ms * MS)
            self._look(now)
            wake = min(wake, self._due) if self._room is not None else self._due
        return wake

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        opened = [daemon.fileno() for daemon in (self._chronyd, self._ptp4l) if daemon is not None]
        return opened + ([self._room.fileno()] if self._room is not None else [])

    def stop(self, now: Now) -> None:
        for daemon in (self._chronyd, self._ptp4l):
            if daemon is not None:
                daemon.close()
        if self._room is not None:
            self._room.close()
        if self._watch is not None:
            self._watch.close()

    # The box's own clock.

    def _notice_step(self, now: Now) -> None:
        """At every step and not once a second: a probe that was under way when the clock jumped must not be judged by it."""
        before, self._before = self._before, now
        if before is None:
            return
        jumped_ns = stepped_ns(before, now, step_ns=self._settings.step_ms * MS)
        # A leap second is no step of TAI, but of UTC: of the frames' stamps, and of every device that is led by it.
        if jumped_ns or now.tai_offset_s != before.tai_offset_s:
            self._stepped_at = now.monotonic
            self._due = None  # What is published is about another clock, and others read it.
            if self._room is not None:
                self._room.box_stepped()
        if jumped_ns:
            self.report.count("steps")
            self._keeper.stepped(jumped_ns)
            self._step_total_ns += jumped_ns
            text = f"clock stepped by {jumped_ns / SECOND:+.3f} s; frames before and after are labelled with the time of each"
            self._tell([warning("clock_stepped", text, stepped_ns=jumped_ns)], now)
        if now.tai_offset_s != before.tai_offset_s:
            text = f"TAI minus UTC is {now.tai_offset_s} s, was {before.tai_offset_s} s"
            self._tell([notice("tai_offset", text, tai_offset_s=now.tai_offset_s)], now)

    def _look(self, now: Now) -> None:
        """Once a period: whose time it is, how good, who else is there; and the account of it all."""
        ours = self._conversation.view(now.monotonic)
        quality = self._keeper.quality(now, self._fresh_tracking(now), ours)
        before, self._quality = self._quality, quality
        if before is not None and (before.state, before.source) != (quality.state, quality.source):
            self.report.count("state_changes")
            text = f"clock is {quality.state.value} by {quality.source}, was {before.state.value} by {before.source}"
            severity = Severity.NOTICE if quality.state is ClockState.LOCKED else Severity.WARNING
            self._tell(
                [News("clock_state", Priority.P3, severity, text, {"state": quality.state.value, "source": quality.source})], now
            )
        offsets: list[DeviceOffset] = []
        if self._room is not None:
            self._tell(self._of_ptp4l(ours), now)
            if self._watch is not None:
                self._tell(self._watch.look(now), now)
            claim_ns = 3 * self._settings.ask_s * SECOND
            offsets = self._room.devices.strongest(now, claim_ns=claim_ns)
        offsets = self._with_bounds(offsets, now)
        if self._room is not None:
            by_address = {row.device: row for row in offsets}
            self._tell(
                self._room.masters.news(ours, now.monotonic)
                + self._room.devices.news(
                    now, silent_ns=self._settings.silent_s * SECOND, off_ns=self._settings.offset_us * 1000, offsets=by_address
                ),
                now,
            )
        self._publish(now, quality, ours, offsets)
        self._ask_keepers(now, quality)

    def _with_bounds(self, offsets: list[DeviceOffset], now: Now) -> list[DeviceOffset]:
        """What messages' stamps say of their senders' clocks, for those of whom nothing better is known; the mirror port alone gives this."""
        try:
            data = read_or_none(self._board.disk, arrivals.STATE, size=arrivals.STATE_BYTES_MAX)
        except DiskFailed:
            data = None
        bounds = arrivals.bounds_from(data or b"", now=now, not_before=self._stepped_at)
        found: dict[str, DeviceOffset] = {row.device: row for row in offsets}
        for row in bounds:
            best = strongest([found[row.device], row]) if row.device in found else row
            if best is not None and len(found) < DEVICES_MAX:
                found[row.device] = best
        return sorted(found.values(), key=lambda row: row.device)

    def _of_ptp4l(self, ours: Ptp4l | None) -> list[News]:
        had, self._had_ptp4l = self._had_ptp4l, ours is not None
        if had and ours is None:
            return [warning("ptp4l_gone", "ptp4l does not answer; the room has no PTP time from this box")]
        return []

    # Those who keep it.

    def _ask_keepers(self, now: Now, quality: Quality) -> None:
        if self._chronyd is not None:
            self._asked_chronyd = (self._asked_chronyd + 1) & 0xFFFF_FFFF
            self._send(self._chronyd, chrony.tracking_request(self._asked_chronyd))
        if self._ptp4l is not None and all(self._send(self._ptp4l, question) for question in self._conversation.questions()):
            ours = self._conversation.view(now.monotonic)
            if ours is not None and ours.is_grandmaster:
                served_ns = self._watch.off_ns if self._watch is not None else 0
                wanted = announced(
                    state=quality.state, uncertainty_ns=quality.uncertainty_ns + served_ns, source=quality.source,
                    tai_offset_s=now.tai_offset_s, leap=quality.leap, is_tai=self._settings.time_stamping == "hardware",
                )  # fmt: skip
                statement = self._conversation.statement(wanted)
                if statement is not None:
                    self._send(self._ptp4l, statement)

    def _send(self, daemon: Daemon, data: bytes) -> bool:
        try:
            daemon.say(data)
        except NotConnected:
            return False
        return True

    def _hear_keepers(self, now: Now) -> None:
        if self._chronyd is not None:
            for data in self._chronyd.heard():
                try:
                    self._tracking = chrony.unpacked(data, self._asked_chronyd), now.monotonic
                except BadItem:
                    self.report.drop("chronyd_not_understood")
        if self._ptp4l is not None:
            for data in self._ptp4l.heard():
                if not self._conversation.hear(data, now.monotonic):
                    self.report.drop("ptp4l_not_understood")

    def _fresh_tracking(self, now: Now) -> Tracking | None:
        if self._tracking is None or now.monotonic.since(self._tracking[1]) > TRACKING_NS:
            return None
        return self._tracking[0]

    # Saying it.

    def _tell(self, found: Sequence[News], now: Now) -> None:
        for news in found:
            if not self._may_say(news.event, now.monotonic):
                self.report.drop("notice_withheld")
                continue
            uncertainty_ns = self._quality.uncertainty_ns if self._quality is not None else now.timestamp.uncertainty_ns
            fields = dict(news.fields) | {"uncertainty_ns": uncertainty_ns}
            try:
                self._notices.say(now, "clock", news.priority, news.severity, news.text, fields=fields, event=news.event)
            except DiskFull:
                self.report.drop("notice_disk_full")
            except DiskFailed:
                self.report.drop("notice_disk_failed")

    def _may_say(self, event: str, moment: Monotonic) -> bool:
        """A clock that flaps is counted, not sung about; each kind of news by itself, so that a hundred odd clocks hide no forger."""
        allowance = self._allowances.setdefault(event, Allowance(at_once=AT_ONCE, every_ns=AGAIN_NS))
        return allowance.take(moment)

    def _gauge_offsets(self, offsets: Sequence[DeviceOffset], now: Now) -> None:
        """For health messages, from which the hub draws them as of now; those of devices that are gone go, too."""
        for name in [name for name in self.report.gauges if name.startswith(OFFSET)]:
            del self.report.gauges[name]
        for row in offsets[:GAUGED_MAX]:
            self.report.gauge(f"{OFFSET}method/{row.device}", row.method.value)
            if row.method.is_measured:
                row = row.at(now.timestamp.tai_ns)
            if row.low_ns is not None and row.high_ns is not None:
                self.report.gauge(f"{OFFSET}low_ns/{row.device}", row.low_ns)
                self.report.gauge(f"{OFFSET}high_ns/{row.device}", row.high_ns)

    def _publish(self, now: Now, quality: Quality, ours: Ptp4l | None, offsets: Sequence[DeviceOffset]) -> None:
        for name, value in (
            ("source", quality.source), ("state", quality.state.value), ("uncertainty_ns", quality.uncertainty_ns),
            ("tai_offset_s", now.tai_offset_s), ("step_total_ns", self._step_total_ns),
        ):  # fmt: skip
            self.report.gauge(name, value)
        if self._room is not None:
            self.report.gauge("devices", len(offsets))
            self.report.gauge("devices_certified", sum(row.method.is_measured for row in offsets))
            if self._watch is not None:
                self.report.gauge("hardware_clock", self._watch.words)
            self.report.gauge("ptp_port", ours.state.name.lower() if ours is not None else "unknown")
            self._gauge_offsets(offsets, now)
        state: Mapping[str, object] = state_of(
            now, quality, ours, offsets, masters=self._room.masters.rows() if self._room is not None else (),
            devices=self._room.devices if self._room is not None else (), steps=self.report.counts.get("steps", 0),
            step_total_ns=self._step_total_ns, hardware=self._watch.words if self._watch is not None else "",
        )  # fmt: skip
        try:
            # Not synced: it is about now, and a sync a second would wear the card for nothing.
            self._board.disk.write(f"{STATE}/.{STATE_FILE}", json.dumps(state).encode())
            self._board.disk.rename(f"{STATE}/.{STATE_FILE}", f"{STATE}/{STATE_FILE}")
        except (DiskFull, DiskFailed):
            self.report.drop("state_not_written")
