"""A slave-only ordinary clock as a task device has one: PTPv2.1, two-step, end-to-end or peer delay, with a clock of its own to steer.

    master ── Announce, Sync, Follow_Up ──▶ this ── Delay_Req ──▶ master ── Delay_Resp ──▶ this ──▶ servo ──▶ its clock
    peer ◀── Pdelay_Req, and two answers with the peer's time ──▶ this, instead of Delay_Req; and the other way round
    box ──── Delay_Req + NetSync Monitor ─▶ this ── Delay_Resp, Sync, Follow_Up, in its own time ──▶ box
    box ──── management GET ──────────────▶ this ── what it believes about itself ──▶ box

It knows no socket and no kernel: stamps come with what is heard, and from the line when something is sent, in true time, and are
read through its clock. So it is the same clock in a namespace and in the storm.
Source: IEEE 1588-2019 §9 (states, best master), §11.3 (delay request-response), §11.4 (peer-to-peer); NetSync Monitor as linuxptp's port.c answers it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median_low
from typing import TypeVar

from firmware.core.errors import BadItem
from firmware.core.ptp import (
    NO_FLAGS,
    Action,
    Announce,
    ClockQuality,
    Flags,
    Management,
    MessageType,
    PortIdentity,
    PtpMessage,
    Tlv,
    TlvType,
    packed,
    unpacked,
)
from firmware.core.ptp_datasets import (
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    ManagementId,
    NetSyncResponse,
    ParentDataSet,
    PortDataSet,
    PortState,
    Refusal,
    TimePropertiesDataSet,
    TimeStatusNP,
    asked,
    monitor_response,
    refusal,
    statement,
)
from simulator.ptp.character import LONG_AGO_TAI_NS, SECOND, Character
from simulator.ptp.line import PEERS, Heard, Line
from simulator.ptp.servo import Servo
from simulator.ptp.virtual_clock import PPM, Stretch, VirtualClock

DELAYS = 15  # of which the median is taken: one late stamp moves nothing
PENDING_MAX = 8  # Syncs without their Follow_Up, Delay_Reqs without their answer: nobody may fill a device's memory with them
MASTERS_MAX = 8  # foreign masters remembered; at least five (§9.3.2.4.5)
ANNOUNCE_TIMEOUT = 3  # intervals without an Announce until a master is given up (§8.2.15.4.2, its default)
# What its own port is set to counts for giving up a master, not what a stranger's Announce says of itself: at 16 s that was 48 s (§9.2.6.12).
LOG_ANNOUNCE_MAX = 1
ANNOUNCES_MIN = 2  # until a master counts (FOREIGN_MASTER_THRESHOLD, §9.3.2.4.5)
LOG_DELAY_REQ = -2  # until its master says otherwise: four Delay_Reqs a second on the average (§9.5.11.2 spreads them)
LOG_DELAY_REQ_MIN, LOG_DELAY_REQ_MAX = -4, 3  # of a master's wish; no master turns a device into a flood, or silences it for long
NOT_SUPPORTED = 0x0003  # managementErrorId NO_SUCH_ID (§15.5.4.2)
SLAVE_ONLY_CLASS = 255  # clockClass of a clock that is never anybody's master (§7.6.2.5)
UNKNOWN_QUALITY = ClockQuality(SLAVE_ONLY_CLASS, 0xFE, 0xFFFF)
UNKNOWN_INTERVAL = 0x7F  # logMessageInterval where it means nothing, as in unicast
TIMESCALE = Flags.PTP_TIMESCALE | Flags.UTC_OFFSET_VALID
SLOT_NS = SECOND // 1000  # the least between two Delay_Reqs
Value = TypeVar("Value")


@dataclass(slots=True)
class Master:
    """A port that announces itself. address: where its messages come from."""

    identity: PortIdentity
    announce: Announce
    flags: Flags
    address: str
    heard_ns: int
    interval_ns: int
    count: int = 1

    def is_gone(self, true_ns: int) -> bool:
        return true_ns - self.heard_ns > ANNOUNCE_TIMEOUT * self.interval_ns

    def rank(self) -> tuple[object, ...]:
        """The smaller the better (data set comparison, §9.3.4, as far as one that is never master itself needs it)."""
        said, quality = self.announce, self.announce.grandmasterClockQuality
        return (
            said.grandmasterPriority1, quality.clockClass, quality.clockAccuracy, quality.offsetScaledLogVariance,
            said.grandmasterPriority2, said.grandmasterIdentity, said.stepsRemoved, self.identity.clockIdentity,
        )  # fmt: skip


@dataclass(slots=True)
class _Path:
    """What is known of the way to the master. After a jump, or with another master, none of it compares with anything.

    syncs: arrival and correction, by sequenceId; follow_ups: departure and correction; requests: departure. All in own time, ns.
    """

    syncs: dict[int, tuple[int, int]] = field(default_factory=dict)
    follow_ups: dict[int, tuple[int, int]] = field(default_factory=dict)
    requests: dict[int, int] = field(default_factory=dict)
    turns: dict[int, int] = field(
        default_factory=dict
    )  # there and back, less the peer's own corrections, until it says how long it held it
    delays: deque[int] = field(default_factory=lambda: deque(maxlen=DELAYS))
    one_way_ns: int | None = None  # of the last Sync, by two clocks that may differ


class OrdinaryClock:
    """One device's clock. identity: 8 bytes; true_ns: when it is switched on; changed: told of each stretch of its clock.

    tai_offset_s: what its own scale is ahead of UTC by while no master says: 37 for TAI, 0 where true time is UTC.
    asks_peer: whether it measures the delay of its own cable (P2P) and not of the whole way to its master (E2E).
    """

    def __init__(
        self,
        character: Character,
        *,
        identity: bytes,
        line: Line,
        random: Random,
        true_ns: int,
        domain: int = 0,
        tai_offset_s: int = 0,
        asks_peer: bool = False,
        changed: Callable[[Stretch], None] | None = None,
    ) -> None:
        offset_ns = LONG_AGO_TAI_NS - true_ns if character.in_1970 else character.offset_ns
        self.clock = VirtualClock(true_ns=true_ns, offset_ns=offset_ns, drift=character.drift_ppm * PPM, changed=changed)
        self.character = character
        self.port = PortIdentity(identity, 1)
        self.master: Master | None = None
        self.offset_ns: int | None = None  # as it measured it last
        self.probe_count = 0
        self.malformed = 0
        self._line = line
        self._random = random
        self._domain = domain
        self._tai_offset_s = tai_offset_s
        self._asks_peer = asks_peer
        self._born_ns = true_ns
        self._jump_due_ns = None if character.jump_every_s is None else true_ns + round(character.jump_every_s * SECOND)
        self._masters: dict[PortIdentity, Master] = {}
        self._servo = Servo()
        self._sequence = random.randrange(1 << 16)
        self._request_due_ns = true_ns
        self._request_log = LOG_DELAY_REQ
        self._last_sync_ns = 0
        self._path = _Path()

    @property
    def state(self) -> PortState:
        """Where it stands (§9.2)."""
        if self.master is None:
            return PortState.LISTENING
        return PortState.SLAVE if self._servo.is_locked and self._path.delays else PortState.UNCALIBRATED

    def utc_ns(self, true_ns: int) -> int:
        """What it writes into the messages it publishes, in UTC as far as it knows how."""
        reads = self.clock.reads(true_ns)
        if self.master is not None and self.master.flags & TIMESCALE == TIMESCALE:
            return reads - self.master.announce.currentUtcOffset * SECOND
        return reads - self._tai_offset_s * SECOND

    def is_silent(self, true_ns: int) -> bool:
        """Whether it has stopped talking for good."""
        after = self.character.silent_after_s
        return after is not None and true_ns - self._born_ns >= after * SECOND

    def calm(self) -> None:
        """It jumps no more."""
        self.character = replace(self.character, jump_every_s=None)
        self._jump_due_ns = None

    def step(self, true_ns: int) -> int:
        """What is due is done; the true time at which it wants to be called again."""
        if self._jump_due_ns is not None and true_ns >= self._jump_due_ns:
            self.clock.step(true_ns, self.character.jump_ns)
            self._path = _Path()
            assert self.character.jump_every_s is not None
            self._jump_due_ns = true_ns + round(self.character.jump_every_s * SECOND)
        self._choose(true_ns)
        if self.master is not None and true_ns >= self._request_due_ns:
            if not self.is_silent(true_ns):
                self._ask_delay()
            # At random between none and twice the interval, so that the devices of a room do not ask in chorus (§9.5.11.2).
            self._request_due_ns = true_ns + round(self._random.random() * 2 * 2.0**self._request_log * SECOND) + SLOT_NS
        moments = [true_ns + SECOND]
        if self.master is not None:
            moments.append(self._request_due_ns)
        if self._jump_due_ns is not None:
            moments.append(self._jump_due_ns)
        return min(moments)

    def hear(self, heard: Heard, true_ns: int) -> None:
        """A datagram arrived, whoever sent it, whatever it is. true_ns: now, which is after it was stamped."""
        if self.is_silent(true_ns):
            return
        try:
            message = unpacked(heard.data)
        except BadItem:
            self.malformed += 1
            return
        if message.domainNumber != self._domain or message.sourcePortIdentity.clockIdentity == self.port.clockIdentity:
            return
        kind = message.messageType
        if kind is MessageType.ANNOUNCE:
            self._hear_announce(message, heard.source, true_ns)
        elif kind is MessageType.MANAGEMENT:
            self._hear_management(message, heard.source)
        elif kind is MessageType.DELAY_REQ and heard.stamp_ns is not None:
            self._hear_delay_request(message, heard.source, heard.stamp_ns)
        elif kind is MessageType.PDELAY_REQ and heard.stamp_ns is not None and self._asks_peer:
            self._answer_peer(message, heard.stamp_ns)
        elif kind is MessageType.PDELAY_RESP and heard.stamp_ns is not None:
            self._hear_peer(message, heard.stamp_ns)
        elif kind is MessageType.PDELAY_RESP_FOLLOW_UP:
            self._hear_peer_follow_up(message)
        elif self.master is None or message.sourcePortIdentity != self.master.identity:
            return
        elif kind is MessageType.SYNC and heard.stamp_ns is not None:
            self._hear_sync(message, heard.stamp_ns, true_ns)
        elif kind is MessageType.FOLLOW_UP:
            _remember(self._path.follow_ups, message.sequenceId, (message.timestamp, message.correction_ns))
            self._pair(message.sequenceId, true_ns)
        elif kind is MessageType.DELAY_RESP:
            self._hear_delay_response(message)

    # Following a master.

    def _hear_announce(self, message: PtpMessage, source: str, true_ns: int) -> None:
        assert message.announce is not None
        interval_ns = round(2.0 ** min(max(message.logMessageInterval, -7), LOG_ANNOUNCE_MAX) * SECOND)
        known = self._masters.get(message.sourcePortIdentity)
        count = 1 if known is None or known.is_gone(true_ns) else known.count + 1
        master = Master(message.sourcePortIdentity, message.announce, message.flags, source, true_ns, interval_ns, count)
        self._masters[message.sourcePortIdentity] = master
        if len(self._masters) > MASTERS_MAX:
            del self._masters[max(self._masters.values(), key=Master.rank).identity]
        if self.master is not None and self.master.identity == master.identity:
            self.master = master
        self._choose(true_ns)

    def _choose(self, true_ns: int) -> None:
        """The best master that is there."""
        for master in [master for master in self._masters.values() if master.is_gone(true_ns)]:
            del self._masters[master.identity]
        counted = [master for master in self._masters.values() if master.count >= ANNOUNCES_MIN]
        best = min(counted, key=Master.rank, default=None)
        if (best and best.identity) != (self.master and self.master.identity):
            self.offset_ns = None
            self._path = _Path()
        self.master = best

    def _hear_sync(self, message: PtpMessage, stamp_ns: int, true_ns: int) -> None:
        arrived = (self.clock.reads(stamp_ns), message.correction_ns)
        _remember(self._path.syncs, message.sequenceId, arrived)
        if not message.flags & Flags.TWO_STEP:
            _remember(self._path.follow_ups, message.sequenceId, (message.timestamp, 0))
        self._pair(message.sequenceId, true_ns)

    def _pair(self, sequence: int, true_ns: int) -> None:
        """A Sync and its Follow_Up, whichever came first."""
        if sequence not in self._path.syncs or sequence not in self._path.follow_ups:
            return
        arrived_ns, sync_correction_ns = self._path.syncs.pop(sequence)
        left_ns, correction_ns = self._path.follow_ups.pop(sequence)
        left_ns += sync_correction_ns + correction_ns
        self._last_sync_ns = arrived_ns
        self._path.one_way_ns = arrived_ns - left_ns
        if not self._path.delays:
            return
        self.offset_ns = arrived_ns - left_ns - median_low(self._path.delays)
        if not self.character.follows:
            return
        correction = self._servo.sample(self.offset_ns, arrived_ns)
        if correction is None:
            return
        self.clock.adjust(true_ns, correction.gain)
        if correction.step_ns:
            self.clock.step(true_ns, correction.step_ns)
            self._path = _Path()

    def _ask_delay(self) -> None:
        self._sequence = (self._sequence + 1) & 0xFFFF
        kind, to = (MessageType.PDELAY_REQ, PEERS) if self._asks_peer else (MessageType.DELAY_REQ, None)
        left_ns = self._line.send(packed(self._message(kind, self._sequence)), to=to, event=True)
        if left_ns is not None:
            _remember(self._path.requests, self._sequence, self.clock.reads(left_ns))

    def _hear_delay_response(self, message: PtpMessage) -> None:
        if message.requestingPortIdentity != self.port or self._path.one_way_ns is None:
            return
        left_ns = self._path.requests.pop(message.sequenceId, None)
        if message.logMessageInterval != UNKNOWN_INTERVAL:
            self._request_log = min(max(message.logMessageInterval, LOG_DELAY_REQ_MIN), LOG_DELAY_REQ_MAX)
        if left_ns is not None:
            self._path.delays.append((self._path.one_way_ns + message.timestamp - message.correction_ns - left_ns) // 2)

    # The peer at the other end of the cable, whoever is master.

    def _hear_peer(self, message: PtpMessage, stamp_ns: int) -> None:
        """t4 - t1 of this clock; a peer in one step has put what it held it for into the correction, one in two says t2 now, t3 later."""
        left_ns = None
        if message.requestingPortIdentity == self.port:
            left_ns = self._path.requests.pop(message.sequenceId, None)
        if left_ns is None:
            return
        turn_ns = self.clock.reads(stamp_ns) - left_ns - message.correction_ns
        if message.flags & Flags.TWO_STEP:
            _remember(self._path.turns, message.sequenceId, turn_ns + message.timestamp)
        else:
            self._path.delays.append(turn_ns // 2)

    def _hear_peer_follow_up(self, message: PtpMessage) -> None:
        if message.requestingPortIdentity != self.port:
            return
        turn_ns = self._path.turns.pop(message.sequenceId, None)
        if turn_ns is not None:
            self._path.delays.append((turn_ns - message.timestamp - message.correction_ns) // 2)

    def _answer_peer(self, message: PtpMessage, stamp_ns: int) -> None:
        """In two steps: when it came, by this clock, and when the answer left."""
        peer, sequence = message.sourcePortIdentity, message.sequenceId
        answer = self._message(
            MessageType.PDELAY_RESP, sequence, flags=Flags.TWO_STEP, timestamp=self.clock.reads(stamp_ns), requesting=peer
        )
        left_ns = self._line.send(packed(answer), to=PEERS, event=True)
        if left_ns is not None:
            follow_up = self._message(
                MessageType.PDELAY_RESP_FOLLOW_UP, sequence, timestamp=self.clock.reads(left_ns), requesting=peer,
                correction=message.correctionField,
            )  # fmt: skip
            self._line.send(packed(follow_up), to=PEERS, event=False)

    # Being asked.

    def _hear_delay_request(self, message: PtpMessage, source: str, stamp_ns: int) -> None:
        """A NetSync Monitor's: it is answered as if this were its master, in this clock's time. Anybody else's is not for us."""
        if not self.character.monitored or not any(tlv.type == TlvType.PTPMON_REQUEST for tlv in message.tlvs):
            return
        self.probe_count += 1
        sequence = message.sequenceId
        answer = self._message(
            MessageType.DELAY_RESP, sequence, flags=Flags.UNICAST, timestamp=self.clock.reads(stamp_ns),
            requesting=message.sourcePortIdentity, tlvs=(monitor_response(self._about_itself()),),
        )  # fmt: skip
        self._line.send(packed(answer), to=source, event=False)
        sync = self._message(MessageType.SYNC, sequence, flags=Flags.UNICAST | Flags.TWO_STEP)
        left_ns = self._line.send(packed(sync), to=source, event=True)
        if left_ns is not None:
            follow_up = self._message(MessageType.FOLLOW_UP, sequence, flags=Flags.UNICAST, timestamp=self.clock.reads(left_ns))
            self._line.send(packed(follow_up), to=source, event=False)

    def _hear_management(self, message: PtpMessage, source: str) -> None:
        assert message.management is not None and message.targetPortIdentity is not None
        target = message.targetPortIdentity
        everybody = b"\xff" * 8
        if target.clockIdentity not in (everybody, self.port.clockIdentity) or target.portNumber not in (0xFFFF, 1):
            return
        if message.management.action is not Action.GET:
            return  # nobody sets this clock over the network
        try:
            about = asked(message)
        except BadItem:
            self.malformed += 1
            return
        said = self._data_set(about)
        tlv = refusal(Refusal(NOT_SUPPORTED, about)) if said is None else statement(said)
        hops = message.management.startingBoundaryHops - message.management.boundaryHops
        answer = PtpMessage(
            MessageType.MANAGEMENT, self.port, message.sequenceId, domainNumber=self._domain,
            targetPortIdentity=message.sourcePortIdentity, management=Management(Action.RESPONSE, hops, hops), tlvs=(tlv,),
        )  # fmt: skip
        self._line.send(packed(answer), to=source, event=False)

    def _data_set(self, about: int) -> DataSet | None:
        if about == ManagementId.DEFAULT_DATA_SET:
            return DefaultDataSet(0b11, 1, 255, UNKNOWN_QUALITY, 255, self.port.clockIdentity, self._domain)
        if about == ManagementId.CURRENT_DATA_SET:
            return self._current()
        if about == ManagementId.PARENT_DATA_SET:
            return self._parent()
        if about == ManagementId.TIME_PROPERTIES_DATA_SET:
            return self._time_properties()
        if about == ManagementId.PORT_DATA_SET:
            return PortDataSet(self.port, self.state, logMinDelayReqInterval=self._request_log)
        if about == ManagementId.TIME_STATUS_NP:
            grandmaster = self._parent().grandmasterIdentity
            return TimeStatusNP(self._claimed_ns(), self._last_sync_ns, self.master is not None, grandmaster)
        return None

    def _about_itself(self) -> NetSyncResponse:
        at = bytes(4) if self.master is None else _address(self.master.address)
        return NetSyncResponse(
            self.state, self._parent(), self._current(), self._time_properties(), self._last_sync_ns,
            networkProtocol=1 if len(at) == 4 else 3, parentAddress=at,
        )  # fmt: skip

    def _claimed_ns(self) -> int:
        return self.character.claims_ns if self.character.claims_ns is not None else (self.offset_ns or 0)

    def _current(self) -> CurrentDataSet:
        steps = 0 if self.master is None else self.master.announce.stepsRemoved + 1
        delay_ns = median_low(self._path.delays) if self._path.delays else 0
        return CurrentDataSet(steps, _scaled(self._claimed_ns()), _scaled(delay_ns))

    def _parent(self) -> ParentDataSet:
        if self.master is None:
            return ParentDataSet(PortIdentity(self.port.clockIdentity, 0), 255, UNKNOWN_QUALITY, 255, self.port.clockIdentity)
        said = self.master.announce
        return ParentDataSet(
            self.master.identity, said.grandmasterPriority1, said.grandmasterClockQuality, said.grandmasterPriority2,
            said.grandmasterIdentity,
        )  # fmt: skip

    def _time_properties(self) -> TimePropertiesDataSet:
        if self.master is None:
            return TimePropertiesDataSet(self._tai_offset_s, 0, 0xA0)
        said = self.master.announce
        return TimePropertiesDataSet(said.currentUtcOffset, self.master.flags & 0xFF, said.timeSource)

    def _message(
        self,
        kind: MessageType,
        sequence: int,
        *,
        flags: Flags = NO_FLAGS,
        timestamp: int = 0,
        requesting: PortIdentity | None = None,
        correction: int = 0,
        tlvs: tuple[Tlv, ...] = (),
    ) -> PtpMessage:
        return PtpMessage(
            kind, self.port, sequence, domainNumber=self._domain, flags=flags, timestamp=timestamp,
            requestingPortIdentity=requesting, correctionField=correction, tlvs=tlvs,
        )  # fmt: skip


def _address(text: str) -> bytes:
    """IPv4, or a MAC address."""
    return bytes.fromhex(text.replace(":", "")) if ":" in text else bytes(int(part) for part in text.split("."))


def _scaled(ns: int) -> int:
    """A TimeInterval, 2^-16 ns, held within its 64 bits as the standard wants it (§5.3.2)."""
    return min(max(ns << 16, -(1 << 63)), (1 << 63) - 1)


def _remember(pending: dict[int, Value], sequence: int, value: Value) -> None:
    pending.pop(sequence, None)
    pending[sequence] = value
    if len(pending) > PENDING_MAX:
        del pending[next(iter(pending))]
