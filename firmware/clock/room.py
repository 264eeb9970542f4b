"""The room interface: listens to everything PTP says on it, and asks each device for its time, a bounded amount at a time.

Nothing heard here is believed to be from whom it says: an answer counts only for the exchange it belongs to, from the address that was
asked, and once. What does not fit is counted by cause.
"""

import ipaddress
from collections.abc import Callable

from drivers.asker import Asker
from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.tap import Tap, TapRequest
from firmware.clock import probe
from firmware.clock.devices import Device, Devices
from firmware.clock.masters import Masters
from firmware.clock.news import News, warning
from firmware.clock.probe import Exchange
from firmware.clock.ptp4l import Ptp4l
from firmware.clock.settings import ClockSettings
from firmware.core import frame, ntp, ptp, ptp_datasets
from firmware.core.block import frames
from firmware.core.certificate import Method
from firmware.core.devices import is_mac
from firmware.core.errors import BadItem, NotConnected, TapFailed, Unreachable
from firmware.core.ptp import Action, MessageType, PortIdentity, PtpMessage
from firmware.core.ptp_datasets import CurrentDataSet, ManagementId, PortDataSet, PortState
from firmware.core.report import Report
from firmware.core.timestamp import MS, SECOND

FILTER = "ether proto 0x88f7 or (udp and (dst port 319 or dst port 320 or src port 123))"
FRAMES_A_STEP = 200  # some 15 ms on a board
RETRY_NS = 5 * SECOND
ANSWER_NS = 100 * MS  # A room is milliseconds wide; an answer after that is too loose to be worth its width.
# After so many probes without an answer a device is taken to know no NetSync Monitor, and tried again now and then.
MISSED_MAX = 5
SLOW_NS = 30 * SECOND
# A busy room of 64 devices says some 2,000 words a second at the fastest profile in use; ten times the default here.
FLOOD_A_SECOND = 2_000
IMPERSONATED_NS = 600 * SECOND  # Somebody who was quiet for so long and begins again is news again.
_OWN_PORT = 0xF5CB  # Not ptp4l's port 1: who asks is told apart from who serves by its port number.
_MULTICAST6 = "ff0e::181"  # §D.3, the scope linuxptp uses


class Room:
    """devices, masters: what is known. The station shows them."""

    def __init__(self, board: Board, settings: ClockSettings, report: Report) -> None:
        self._board = board
        self._settings = settings
        self._report = report
        self._tap: Tap | None = None
        self._asker: Asker | None = None
        self._retry_at = Monotonic(0)
        self._ours = PortIdentity(bytes(8), _OWN_PORT)
        self._number = 0
        self._waiting: dict[int, tuple[Exchange, Device]] = {}  # asked, and not yet said when it left
        self._around_at = Monotonic(0)
        self._rest: list[tuple[int, bytes]] = []  # frames of the last block not yet looked at: stamp, bytes
        self._second: tuple[Monotonic, int] = (Monotonic(0), 0)
        self._is_flooded = False
        self._impersonated_at: Monotonic | None = None
        self._dropped = 0
        self.devices = Devices(settings.devices)
        self.masters = Masters(yields=settings.yields, priority1=settings.priority1)

    def start(self, now: Now) -> None:
        self.devices.start(now.monotonic)
        # Two lives of this process must not answer each other's questions.
        self._number = int.from_bytes(self._board.identity.entropy(2), "big")
        self._open(now)

    def fileno(self) -> int:
        return self._tap.fileno() if self._tap is not None else -1

    def close(self) -> None:
        for opened in (self._tap, self._asker):
            if opened is not None:
                opened.close()
        self._tap = self._asker = None
        self._waiting.clear()
        self._rest.clear()

    def box_stepped(self) -> None:
        """See Devices.box_stepped."""
        self._waiting.clear()
        self.devices.box_stepped()

    def step(self, now: Now, ours: Ptp4l | None) -> tuple[list[News], Monotonic]:
        """Hear, then ask. Returns what is new, and when to come again at the latest."""
        if self._tap is None and now.monotonic >= self._retry_at:
            self._open(now)
        if self._tap is None or self._asker is None:
            return [], self._retry_at
        found: list[News] = []
        more = self._hear(now, ours, found)
        found += self._measure_rate(now)
        if self._tap is None or self._asker is None:
            return found, self._retry_at
        try:
            again = self._ask(now, self._asker)
        except NotConnected:
            self._report.drop("room_not_sent")
            self._retry_at = now.monotonic.after(RETRY_NS)
            self.close()
            return found, self._retry_at
        return found, now.monotonic if more else again

    # Hearing.

    def _open(self, now: Now) -> None:
        request = TapRequest(
            self._settings.interface, filter=FILTER, snap_bytes=2048, block_bytes=1 << 17, block_count=16, retire_ms=10
        )
        self._retry_at = now.monotonic.after(RETRY_NS)
        try:
            self._tap = self._board.tap(request)
            self._asker = self._board.asker(self._settings.interface)
        except (TapFailed, NotConnected) as trouble:
            self.close()
            self._report.gauge("room_trouble", str(trouble))
            return
        self._report.gauge("room_trouble", "none")
        mac = self._asker.mac
        self._ours = PortIdentity(mac[:3] + b"\xff\xfe" + mac[3:], _OWN_PORT)

    def _hear(self, now: Now, ours: Ptp4l | None, found: list[News]) -> bool:
        """Some frames; whether there may be more."""
        assert self._tap is not None
        if not self._rest:
            try:
                block = self._tap.next()
            except TapFailed:
                self._report.count("room_lost")
                self.close()
                return False
            if block is None:
                return False
            self._rest = [(row.stamp_ns, bytes(row.data)) for row in frames(block.data, block.frame_count)]
            self._tap.release(block)
        # What left must be known before what came back is judged.
        self._note_left()
        due, self._rest = self._rest[:FRAMES_A_STEP], self._rest[FRAMES_A_STEP:]
        count = self._second[1] + len(due)
        self._second = self._second[0], count
        for stamp_ns, data in due:
            self._hear_frame(stamp_ns, data, now, ours, found)
        return True

    def _hear_frame(self, stamp_ns: int, data: bytes, now: Now, ours: Ptp4l | None, found: list[News]) -> None:
        try:
            heard = frame.parsed(data)
        except BadItem:
            self._report.drop("room_malformed_frame")
            return
        payload = data[heard.payload_start : heard.payload_end]
        address = str(ipaddress.ip_address(heard.source_ip)) if heard.source_ip else heard.source_mac.hex(":")
        if heard.source_port == ntp.PORT:
            self._hear_ntp(payload, address, stamp_ns, now, found)
            return
        try:
            message = ptp.unpacked(payload)
        except BadItem:
            self._report.drop(f"ptp_malformed_{payload[0] & 15:x}" if payload else "ptp_malformed_empty")
            return
        if message.domainNumber != self._settings.domain:
            self._report.count("ptp_other_domain")
            return
        if message.sourcePortIdentity.clockIdentity == self._ours.clockIdentity or (
            ours is not None and message.sourcePortIdentity.clockIdentity == ours.identity
        ):
            # The tap does not hear what this box sends itself: somebody else speaks in its name, or plays its words again.
            self._report.drop("ptp_in_our_name")
            before, self._impersonated_at = self._impersonated_at, now.monotonic
            if before is None or now.monotonic.since(before) > IMPERSONATED_NS:
                found.append(
                    warning("impersonated", "somebody on the room network sends PTP in this box's name", address=address)
                )
            return
        self._hear_message(message, address, stamp_ns, now, found)

    def _hear_message(self, message: PtpMessage, address: str, stamp_ns: int, now: Now, found: list[News]) -> None:
        kind = message.messageType
        self._report.count(f"ptp_{kind.name.lower()}")
        if kind is MessageType.ANNOUNCE:
            self.masters.announced(message, address, now.monotonic)
            return
        if kind in (MessageType.DELAY_REQ, MessageType.PDELAY_REQ):
            device = self.devices.heard(address, now.monotonic)
            if device is not None:
                device.clock = message.sourcePortIdentity.clockIdentity
            else:
                self._report.drop("devices_full")
            return
        device = self.devices.known(address)
        if device is not None and device.exchange is not None and self._answers(device, device.exchange, message, stamp_ns):
            self.devices.heard(address, now.monotonic)
            self._conclude(device, now, found)
        elif kind is MessageType.FOLLOW_UP and not self.masters.follows_up(message):
            self._report.drop("follow_up_replayed")
        elif kind is MessageType.MANAGEMENT and message.management is not None and message.management.action is Action.RESPONSE:
            self._hear_claim(message, address, now)

    def _answers(self, device: Device, exchange: Exchange, message: PtpMessage, stamp_ns: int) -> bool:
        if device.clock and message.sourcePortIdentity.clockIdentity != device.clock:
            return False
        try:
            return exchange.take(message, ours=self._ours, stamp_ns=stamp_ns)
        except BadItem:
            self._report.drop("netsync_malformed")
            return False

    def _conclude(self, device: Device, now: Now, found: list[News]) -> None:
        exchange = device.exchange
        if exchange is None or None in (exchange.left_ns, exchange.received_ns, exchange.sent_ns, exchange.arrived_ns):
            return
        device.exchange = None
        device.missed = 0
        device.probe_at = min(
            device.probe_at, device.exchange_at.after(self._settings.probe_ms * MS)
        )  # It may have been given up.
        bounds = exchange.bounds(tai_offset_s=now.tai_offset_s)
        if bounds is None:
            self._report.drop("probe_contradicts_itself")
            return
        device.answered += 1
        self._report.count("probes_answered")
        if exchange.said is not None:
            if exchange.said.portState is not device.port_state:
                device.forget()  # It has found a master, or lost one: that is when servos set a clock.
            device.port_state = exchange.said.portState
            device.reported = exchange.said.current, now.monotonic
        # Only one that follows somebody corrects itself by what it believes.
        follows = exchange.said is not None and exchange.said.portState is PortState.SLAVE
        believed_ns = exchange.said.current.offsetFromMaster >> 16 if exchange.said is not None and follows else 0
        found += device.measured(Method.MONITORED, *bounds, _moment(exchange, now), believed_ns=believed_ns)

    def _hear_ntp(self, payload: bytes, address: str, stamp_ns: int, now: Now, found: list[News]) -> None:
        device = self.devices.known(address)
        if device is None or device.asked is None:
            return
        try:
            answer = ntp.unpacked(payload, near_utc_ns=now.utc_ns)
        except BadItem:
            self._report.drop("ntp_malformed")
            return
        if answer.cookie != device.cookie:
            self._report.drop("ntp_not_ours")
            return
        exchange, device.asked = device.asked, None
        exchange.received_ns, exchange.sent_ns, exchange.arrived_ns = answer.received_ns, answer.sent_ns, stamp_ns
        self.devices.heard(address, now.monotonic)
        bounds = exchange.bounds(tai_offset_s=now.tai_offset_s)
        if bounds is None:
            self._report.drop("ntp_contradicts_itself")
            return
        self._report.count("ntp_answered")
        found += device.measured(Method.QUERIED, *bounds, _moment(exchange, now))

    def _hear_claim(self, message: PtpMessage, address: str, now: Now) -> None:
        try:
            said = ptp_datasets.answer(message)
        except BadItem:
            self._report.drop("management_not_understood")
            return
        device = self.devices.heard(address, now.monotonic)
        if device is None:
            return
        if isinstance(said, CurrentDataSet):
            device.reported = said, now.monotonic
        elif isinstance(said, PortDataSet):
            device.port_state = said.portState

    def _measure_rate(self, now: Now) -> list[News]:
        """Words a second, once a second: a flood is said when it begins, and costs no more than FRAMES_A_STEP a step."""
        since, count = self._second
        passed_ns = now.monotonic.since(since)
        if passed_ns < SECOND:
            return []
        self._second = now.monotonic, 0
        dropped = sum(self._tap.counters().dropped.values()) if self._tap is not None else 0
        lost, self._dropped = max(0, dropped - self._dropped), dropped
        if lost:
            self._report.drop("room_ring_full", lost)
        rate = (count + lost) * SECOND // passed_ns
        self._report.gauge("ptp_frames_a_second", rate)
        was_flooded, self._is_flooded = self._is_flooded, rate > FLOOD_A_SECOND
        if self._is_flooded and not was_flooded:
            return [
                warning(
                    "ptp_flood",
                    f"{rate} PTP messages a second arrive from the room; clocks are still served and measured",
                    rate=rate,
                )
            ]
        return []

    # Asking.

    def _ask(self, now: Now, asker: Asker) -> Monotonic:
        """All questions that are due; returns when the next one is."""
        self._note_left()
        if now.monotonic >= self._around_at:
            self._around_at = now.monotonic.after(self._settings.ask_s * SECOND)
            self._ask_around(asker)
        due = self._around_at
        for device in self.devices:
            if is_mac(device.address):
                continue  # It speaks PTP over Ethernet, and cannot be asked over IP.
            due = min(due, self._ask_device(device, now, asker))
        return due

    def _ask_device(self, device: Device, now: Now, asker: Asker) -> Monotonic:
        moment = now.monotonic
        if device.exchange is not None and moment.since(device.exchange_at) > ANSWER_NS:
            device.exchange = None
            device.more = 0
            device.missed += 1
            self._report.count("probes_unanswered")
        if device.exchange is None and (device.more or moment >= device.probe_at):
            self._number = (self._number + 1) & 0xFFFF
            device.exchange, device.exchange_at = Exchange(self._number), moment
            if device.more:
                device.more -= 1
            else:
                is_lost = device.missed >= MISSED_MAX
                device.more = 0 if is_lost else self._settings.probe_burst - 1
                device.probe_at = moment.after(SLOW_NS if is_lost else self._settings.probe_ms * MS)
            if not self._send(asker, device, device.exchange, lambda: probe.question(self._number, ours=self._ours, domain=self._settings.domain), ptp.EVENT_PORT):  # fmt: skip
                device.exchange, device.more = None, 0
                device.probe_at = max(device.probe_at, moment.after(RETRY_NS))
        if moment >= device.ask_at:
            device.ask_at = moment.after(self._settings.ask_s * SECOND)
            if device.missed >= MISSED_MAX or device.answered == 0:
                device.cookie = int.from_bytes(self._board.identity.entropy(8), "big") | 1
                device.asked = Exchange(0)
                if not self._send(asker, device, device.asked, lambda: ntp.query(device.cookie), ntp.PORT):
                    device.asked = None
        waits = [device.probe_at, device.ask_at]
        if device.exchange is not None:
            waits.append(device.exchange_at.after(ANSWER_NS + MS))
        return min(waits)

    def _send(self, asker: Asker, device: Device, exchange: Exchange, data: Callable[[], bytes], port: int) -> bool:
        """Whether it was sent. An address is what a frame said, or a setting: one that cannot be reached must not cost the others theirs."""
        try:
            number = asker.ask(data(), device.address, port)
        except Unreachable:
            self._report.drop("room_unreachable")
            return False
        self._waiting[number] = exchange, device
        while len(self._waiting) > 1024:
            del self._waiting[next(iter(self._waiting))]
        self._report.count("questions")
        return True

    def _ask_around(self, asker: Asker) -> None:
        """Every clock that hears it says where it believes to be. Over IP only: what speaks Ethernet alone is known by its presence."""
        transport = self._settings.transport
        if transport == "L2":
            return
        for about in (ManagementId.CURRENT_DATA_SET, ManagementId.PORT_DATA_SET):
            self._number = (self._number + 1) & 0xFFFF
            request = ptp_datasets.request(
                ptp_datasets.question(about),
                source=self._ours,
                target=ptp.ALL_PORTS,
                sequence=self._number,
                domain=self._settings.domain,
            )
            try:
                asker.ask(ptp.packed(request), ptp.MULTICAST if transport == "UDPv4" else _MULTICAST6, ptp.GENERAL_PORT)
            except Unreachable:
                self._report.drop("room_unreachable")

    def _note_left(self) -> None:
        if self._asker is None:
            return
        for left in self._asker.left():
            waiting = self._waiting.pop(left.number, None)
            if waiting is not None:
                waiting[0].left_ns = left.stamp_ns


def _moment(exchange: Exchange, now: Now) -> Monotonic:
    """When its answer came, which a busy machine hears of some hundredths of a second later; no later than now."""
    assert exchange.arrived_ns is not None, "a measurement has all four stamps"
    return now.monotonic.after(max(-ANSWER_NS * 10, min(0, exchange.arrived_ns - now.utc_ns)))
