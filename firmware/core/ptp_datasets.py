"""What PTP clocks say about themselves: the data sets of management messages, and NetSync Monitor's answer.

Everything here is a clock's own word. A slave cannot see the asymmetry of its path, so what it says of its offset is a claim, never a
measurement (DESIGN §8). Names are the standard's; those ending in NP are linuxptp's own.

    management TLV   0  2  managementId   2  n  the data set         error TLV   0  2  managementErrorId   2  2  managementId   4 …
Source: IEEE 1588-2019 §15.5; linuxptp 3.1.1 and 4.2, tlv.h and ds.h.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from drivers.disk import Buffer
from firmware.core.errors import BadItem
from firmware.core.ptp import (
    Action,
    ClockQuality,
    Management,
    MessageType,
    PortIdentity,
    PtpMessage,
    Tlv,
    TlvType,
    packed_port_identity,
    packed_timestamp,
    unpacked_timestamp,
)


class ManagementId(IntEnum):
    """What a management message is about (§15.5.2.3); those we ask for or answer."""

    DEFAULT_DATA_SET = 0x2000
    CURRENT_DATA_SET = 0x2001
    PARENT_DATA_SET = 0x2002
    TIME_PROPERTIES_DATA_SET = 0x2003
    PORT_DATA_SET = 0x2004
    TIME_STATUS_NP = 0xC000
    GRANDMASTER_SETTINGS_NP = 0xC001
    PORT_STATS_NP = 0xC005


class PortState(IntEnum):
    """§8.2.15.3.1. UNKNOWN: a number nobody defined."""

    UNKNOWN = 0
    INITIALIZING = 1
    FAULTY = 2
    DISABLED = 3
    LISTENING = 4
    PRE_MASTER = 5
    MASTER = 6
    PASSIVE = 7
    UNCALIBRATED = 8
    SLAVE = 9


@dataclass(frozen=True, slots=True)
class DefaultDataSet:
    """Who a clock is. flags: 1 two-step, 2 slave only."""

    flags: int
    numberPorts: int
    priority1: int
    clockQuality: ClockQuality
    priority2: int
    clockIdentity: bytes
    domainNumber: int


@dataclass(frozen=True, slots=True)
class CurrentDataSet:
    """Where it believes to be. offsetFromMaster, meanDelay: 2^-16 ns."""

    stepsRemoved: int
    offsetFromMaster: int
    meanDelay: int


@dataclass(frozen=True, slots=True)
class ParentDataSet:
    """Whom it follows."""

    parentPortIdentity: PortIdentity
    grandmasterPriority1: int
    grandmasterClockQuality: ClockQuality
    grandmasterPriority2: int
    grandmasterIdentity: bytes
    parentStats: int = 0
    observedParentOffsetScaledLogVariance: int = 0xFFFF
    observedParentClockPhaseChangeRate: int = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True)
class TimePropertiesDataSet:
    """Which time it serves. currentUtcOffset: TAI minus UTC, s. flags: the lower octet of ptp.Flags."""

    currentUtcOffset: int
    flags: int
    timeSource: int


@dataclass(frozen=True, slots=True)
class PortDataSet:
    """One port. peerMeanPathDelay: 2^-16 ns. Intervals: log2 of seconds."""

    portIdentity: PortIdentity
    portState: PortState
    logMinDelayReqInterval: int = 0
    peerMeanPathDelay: int = 0
    logAnnounceInterval: int = 1
    announceReceiptTimeout: int = 3
    logSyncInterval: int = 0
    delayMechanism: int = 1
    logMinPdelayReqInterval: int = 0
    versionNumber: int = 2


@dataclass(frozen=True, slots=True)
class TimeStatusNP:
    """linuxptp's own view. master_offset: ns. ingress_time: of the last Sync, ns, 0 when there was none."""

    master_offset: int
    ingress_time: int
    gmPresent: bool
    gmIdentity: bytes
    cumulativeScaledRateOffset: int = 0


@dataclass(frozen=True, slots=True)
class GrandmasterSettingsNP:
    """What ptp4l announces while it is grandmaster; may be SET. flags: the lower octet of ptp.Flags."""

    clockQuality: ClockQuality
    currentUtcOffset: int
    flags: int
    timeSource: int


@dataclass(frozen=True, slots=True)
class PortStatsNP:
    """Messages received and sent by a port since its start, indexed by messageType: sixteen numbers each."""

    portIdentity: PortIdentity
    received: tuple[int, ...]
    sent: tuple[int, ...]


DataSet: TypeAlias = (
    DefaultDataSet
    | CurrentDataSet
    | ParentDataSet
    | TimePropertiesDataSet
    | PortDataSet
    | TimeStatusNP
    | GrandmasterSettingsNP
    | PortStatsNP
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A management error status: why a clock would not. managementErrorId: §15.5.4.2, or any other number."""

    managementErrorId: int
    managementId: int


@dataclass(frozen=True, slots=True)
class NetSyncResponse:
    """What a monitored clock says of itself with its DELAY_RESP. parentAddress: bytes, networkProtocol says of which kind (1 IPv4,
    2 IPv6, 3 Ethernet). lastSync: ns of its own time, 0 when it never heard one."""

    portState: PortState
    parent: ParentDataSet
    current: CurrentDataSet
    timeProperties: TimePropertiesDataSet
    lastSync: int
    networkProtocol: int = 1
    parentAddress: bytes = bytes(4)


def question(about: ManagementId) -> Tlv:
    """The TLV of a GET: the id, and no data."""
    return Tlv(TlvType.MANAGEMENT, _ID.pack(about))


def statement(data_set: DataSet) -> Tlv:
    """The TLV of a SET or a RESPONSE."""
    row = _ROWS[type(data_set)]
    return Tlv(TlvType.MANAGEMENT, _ID.pack(row) + _CODES[row].pack(data_set))


def refusal(said: Refusal) -> Tlv:
    """The TLV of an error."""
    return Tlv(TlvType.MANAGEMENT_ERROR_STATUS, struct.pack("!HHI", said.managementErrorId, said.managementId, 0))


def request(
    tlv: Tlv,
    *,
    source: PortIdentity,
    target: PortIdentity,
    sequence: int,
    domain: int,
    action: Action = Action.GET,
    hops: int = 1,
) -> PtpMessage:
    """A management message that asks (GET) or sets. hops: boundary clocks it may pass, plus one; 0 stays with the receiver."""
    return PtpMessage(
        MessageType.MANAGEMENT, source, sequence, domainNumber=domain, targetPortIdentity=target,
        management=Management(action, startingBoundaryHops=hops, boundaryHops=hops), tlvs=(tlv,), minorVersionPTP=0,
    )  # fmt: skip


def answer(message: PtpMessage) -> DataSet | Refusal:
    """What a management message states. Raises BadItem when it states nothing we know, or in another length than it should."""
    for tlv in message.tlvs:
        if tlv.type == TlvType.MANAGEMENT_ERROR_STATUS and len(tlv.value) >= 8:
            return Refusal(*struct.unpack_from("!HH", tlv.value))
        if tlv.type == TlvType.MANAGEMENT and len(tlv.value) >= _ID.size:
            (about,) = _ID.unpack_from(tlv.value)
            code = _CODES.get(about)
            if code is None:
                raise BadItem(f"expected a data set we know, got managementId {about:#06x}")
            return code.unpack(tlv.value[_ID.size :])
    raise BadItem("expected a management TLV")


def asked(message: PtpMessage) -> int:
    """The managementId of a management message, known or not. Raises BadItem without a management TLV."""
    for tlv in message.tlvs:
        if tlv.type == TlvType.MANAGEMENT and len(tlv.value) >= _ID.size:
            return int(_ID.unpack_from(tlv.value)[0])
    raise BadItem("expected a management TLV")


def monitor_request() -> Tlv:
    """The TLV that makes a DELAY_REQ a NetSync Monitor probe."""
    return Tlv(TlvType.PTPMON_REQUEST, b"")


def monitor_response(said: NetSyncResponse) -> Tlv:
    """The TLV behind a probed clock's DELAY_RESP."""
    address = said.parentAddress
    value = _MONITOR.pack(said.portState, said.networkProtocol, len(address)) + address
    value += _packed_parent(said.parent) + _packed_current(said.current) + _packed_time_properties(said.timeProperties)
    value += packed_timestamp(said.lastSync)
    return Tlv(TlvType.PTPMON_RESPONSE, value + bytes(len(value) % 2))


def monitored(message: PtpMessage) -> NetSyncResponse | None:
    """What a probed clock says of itself, None when it says nothing. Raises BadItem when the TLV is not of its length."""
    for tlv in message.tlvs:
        if tlv.type != TlvType.PTPMON_RESPONSE:
            continue
        if len(tlv.value) < _MONITOR.size:
            raise BadItem(f"expected NetSync Monitor data of at least {_MONITOR.size} bytes, got {len(tlv.value)}")
        state, network, size = _MONITOR.unpack_from(tlv.value)
        start = _MONITOR.size + size
        if size > _ADDRESS_SIZE_MAX or len(tlv.value) < start + _MONITOR_FOOT_SIZE:
            raise BadItem(
                f"expected NetSync Monitor data with an address of at most {_ADDRESS_SIZE_MAX} bytes and four data sets"
            )
        address, foot = tlv.value[_MONITOR.size : start], memoryview(tlv.value)[start:]
        return NetSyncResponse(
            _port_state(state), _parent(foot[:32]), _current(foot[32:50]), _time_properties(foot[50:54]),
            unpacked_timestamp(foot[54:64]), network, address,
        )  # fmt: skip
    return None


_ID = struct.Struct("!H")
_DEFAULT = struct.Struct("!BxHBBBHB8sBx")
_CURRENT = struct.Struct("!Hqq")
_PARENT = struct.Struct("!8sHBxHIBBBHB8s")
_TIME_PROPERTIES = struct.Struct("!hBB")
_PORT = struct.Struct("!8sHBbqbBbBbB")
_TIME_STATUS = struct.Struct("!qqiiH12xi8s")
_GRANDMASTER = struct.Struct("!BBHhBB")
_STATS = struct.Struct("<32Q")  # linuxptp sends these, alone of all, least significant byte first (tlv.h, struct port_stats_np)
_MONITOR = struct.Struct("!BxHH")
_MONITOR_FOOT_SIZE = _PARENT.size + _CURRENT.size + _TIME_PROPERTIES.size + 10
_ADDRESS_SIZE_MAX = 16  # IPv6
_VERSION_BITS = 0x0F  # 2019 put minorVersionNumber into the upper half of versionNumber


def _port_state(value: int) -> PortState:
    try:
        return PortState(value)
    except ValueError:
        return PortState.UNKNOWN


def _default(data: Buffer) -> DefaultDataSet:
    flags, ports, priority1, clock_class, accuracy, variance, priority2, identity, domain = _DEFAULT.unpack(data)
    return DefaultDataSet(flags, ports, priority1, ClockQuality(clock_class, accuracy, variance), priority2, identity, domain)


def _packed_default(row: DefaultDataSet) -> bytes:
    quality = row.clockQuality
    return _DEFAULT.pack(
        row.flags, row.numberPorts, row.priority1, quality.clockClass, quality.clockAccuracy, quality.offsetScaledLogVariance,
        row.priority2, row.clockIdentity, row.domainNumber,
    )  # fmt: skip


def _current(data: Buffer) -> CurrentDataSet:
    return CurrentDataSet(*_CURRENT.unpack(data))


def _packed_current(row: CurrentDataSet) -> bytes:
    return _CURRENT.pack(row.stepsRemoved, row.offsetFromMaster, row.meanDelay)


def _parent(data: Buffer) -> ParentDataSet:
    clock, port, stats, observed, rate, priority1, clock_class, accuracy, variance, priority2, identity = _PARENT.unpack(data)
    return ParentDataSet(
        PortIdentity(clock, port), priority1, ClockQuality(clock_class, accuracy, variance), priority2, identity, stats, observed,
        rate,
    )  # fmt: skip


def _packed_parent(row: ParentDataSet) -> bytes:
    quality = row.grandmasterClockQuality
    return _PARENT.pack(
        row.parentPortIdentity.clockIdentity, row.parentPortIdentity.portNumber, row.parentStats,
        row.observedParentOffsetScaledLogVariance, row.observedParentClockPhaseChangeRate, row.grandmasterPriority1,
        quality.clockClass, quality.clockAccuracy, quality.offsetScaledLogVariance, row.grandmasterPriority2,
        row.grandmasterIdentity,
    )  # fmt: skip


def _time_properties(data: Buffer) -> TimePropertiesDataSet:
    return TimePropertiesDataSet(*_TIME_PROPERTIES.unpack(data))


def _packed_time_properties(row: TimePropertiesDataSet) -> bytes:
    return _TIME_PROPERTIES.pack(row.currentUtcOffset, row.flags, row.timeSource)


def _port(data: Buffer) -> PortDataSet:
    clock, port, state, delay_interval, delay, announce, timeout, sync, mechanism, peer_interval, version = _PORT.unpack(data)
    return PortDataSet(
        PortIdentity(clock, port), _port_state(state), delay_interval, delay, announce, timeout, sync, mechanism, peer_interval,
        version & _VERSION_BITS,
    )  # fmt: skip


def _packed_port(row: PortDataSet) -> bytes:
    return _PORT.pack(
        row.portIdentity.clockIdentity, row.portIdentity.portNumber, row.portState, row.logMinDelayReqInterval,
        row.peerMeanPathDelay, row.logAnnounceInterval, row.announceReceiptTimeout, row.logSyncInterval, row.delayMechanism,
        row.logMinPdelayReqInterval, row.versionNumber,
    )  # fmt: skip


def _time_status(data: Buffer) -> TimeStatusNP:
    offset, ingress, rate, _, _, present, identity = _TIME_STATUS.unpack(data)
    return TimeStatusNP(offset, ingress, bool(present), identity, rate)


def _packed_time_status(row: TimeStatusNP) -> bytes:
    return _TIME_STATUS.pack(
        row.master_offset, row.ingress_time, row.cumulativeScaledRateOffset, 0, 0, int(row.gmPresent), row.gmIdentity
    )


def _grandmaster(data: Buffer) -> GrandmasterSettingsNP:
    clock_class, accuracy, variance, utc_offset, flags, source = _GRANDMASTER.unpack(data)
    return GrandmasterSettingsNP(ClockQuality(clock_class, accuracy, variance), utc_offset, flags, source)


def _packed_grandmaster(row: GrandmasterSettingsNP) -> bytes:
    quality = row.clockQuality
    return _GRANDMASTER.pack(
        quality.clockClass,
        quality.clockAccuracy,
        quality.offsetScaledLogVariance,
        row.currentUtcOffset,
        row.flags,
        row.timeSource,
    )


def _stats(data: Buffer) -> PortStatsNP:
    clock, port = struct.unpack_from("!8sH", data)
    numbers = _STATS.unpack_from(data, 10)
    return PortStatsNP(PortIdentity(clock, port), numbers[:16], numbers[16:])


def _packed_stats(row: PortStatsNP) -> bytes:
    return packed_port_identity(row.portIdentity) + _STATS.pack(*row.received, *row.sent)


@dataclass(frozen=True, slots=True)
class _Code:
    """How one data set is written. size: exactly so many bytes."""

    kind: type
    size: int
    reading: Callable[[Buffer], DataSet]
    writing: Callable[..., bytes]  # of its own kind; the table below is the only maker of these

    def unpack(self, data: bytes) -> DataSet:
        if len(data) < self.size:
            raise BadItem(f"expected a {self.kind.__name__} of {self.size} bytes, got {len(data)}")
        return self.reading(data[: self.size])

    def pack(self, row: DataSet) -> bytes:
        return self.writing(row)


_CODES: Mapping[int, _Code] = {
    ManagementId.DEFAULT_DATA_SET: _Code(DefaultDataSet, _DEFAULT.size, _default, _packed_default),
    ManagementId.CURRENT_DATA_SET: _Code(CurrentDataSet, _CURRENT.size, _current, _packed_current),
    ManagementId.PARENT_DATA_SET: _Code(ParentDataSet, _PARENT.size, _parent, _packed_parent),
    ManagementId.TIME_PROPERTIES_DATA_SET: _Code(
        TimePropertiesDataSet, _TIME_PROPERTIES.size, _time_properties, _packed_time_properties
    ),
    ManagementId.PORT_DATA_SET: _Code(PortDataSet, _PORT.size, _port, _packed_port),
    ManagementId.TIME_STATUS_NP: _Code(TimeStatusNP, _TIME_STATUS.size, _time_status, _packed_time_status),
    ManagementId.GRANDMASTER_SETTINGS_NP: _Code(GrandmasterSettingsNP, _GRANDMASTER.size, _grandmaster, _packed_grandmaster),
    ManagementId.PORT_STATS_NP: _Code(PortStatsNP, 10 + _STATS.size, _stats, _packed_stats),
}
_ROWS: Mapping[type, int] = {code.kind: about for about, code in _CODES.items()}
