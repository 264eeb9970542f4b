"""PTP messages as on the wire: IEEE 1588-2019 (version 2.1), and version 2.0 which differs only in bits nobody used.

The parser is bounded by the bytes it was given: it believes `messageLength` and a TLV's length only as far as they go. It does not
judge what a message says. Names are the standard's. What a TLV or a management message carries is `ptp_datasets`.

    message   0 34  header   34  n  body, by type   34+n  TLVs to messageLength; what follows (Ethernet padding, UDP/IPv6's two
                                                           bytes) belongs to nobody
    header    0  1  majorSdoId, messageType   1  1  minorVersionPTP, versionPTP   2  2  messageLength   4  1  domainNumber
              5  1  minorSdoId   6  2  flagField   8  8  correctionField   16  4  messageTypeSpecific   20 10  sourcePortIdentity
             30  2  sequenceId  32  1  controlField  33  1  logMessageInterval
Source: IEEE 1588-2019 §13; compared with linuxptp 3.1.1, whose own bytes are in tests/formats.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from drivers.disk import Buffer
from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND

EVENT_PORT, GENERAL_PORT = 319, 320  # UDP, §C.2: messages with a stamp, and all others
MULTICAST, MULTICAST_PEER = "224.0.1.129", "224.0.0.107"  # §C.3; the second for the peer delay mechanism
VERSION = 2
HEADER_SIZE = 34
MESSAGE_SIZE_MAX = 1 << 16  # messageLength has 16 bits
_HEADER = struct.Struct("!BBHBBHqI8sHHBb")
_TIMESTAMP = struct.Struct("!HII")
_PORT_IDENTITY = struct.Struct("!8sH")
_ANNOUNCE = struct.Struct("!hxBBBHB8sHB")
_MANAGEMENT = struct.Struct("!BBBx")
_TLV = struct.Struct("!HH")
_SECONDS_MAX = 1 << 48


class MessageType(IntEnum):
    """What a message is (§13.3.2.3). Those below 8 are event messages: both ends stamp them."""

    SYNC = 0x0
    DELAY_REQ = 0x1
    PDELAY_REQ = 0x2
    PDELAY_RESP = 0x3
    FOLLOW_UP = 0x8
    DELAY_RESP = 0x9
    PDELAY_RESP_FOLLOW_UP = 0xA
    ANNOUNCE = 0xB
    SIGNALING = 0xC
    MANAGEMENT = 0xD

    @property
    def is_event(self) -> bool:
        """Whether it goes to EVENT_PORT and is stamped."""
        return self < 8


class Flags(IntFlag):
    """flagField (§13.3.2.8), its first octet in the upper eight bits. Bits without a name here are kept as they come."""

    ALTERNATE_MASTER = 0x0100
    TWO_STEP = 0x0200
    UNICAST = 0x0400
    LEAP61 = 0x0001  # the last minute of the UTC day has 61 seconds
    LEAP59 = 0x0002
    UTC_OFFSET_VALID = 0x0004
    PTP_TIMESCALE = 0x0008  # the epoch is PTP's and time is TAI; otherwise anybody's
    TIME_TRACEABLE = 0x0010
    FREQUENCY_TRACEABLE = 0x0020


NO_FLAGS = Flags(0)


class Action(IntEnum):
    """actionField of a management message (§15.4.1.6)."""

    GET = 0
    SET = 1
    RESPONSE = 2
    COMMAND = 3
    ACKNOWLEDGE = 4


class TlvType(IntEnum):
    """Types we make or read; any other number is carried as it is."""

    MANAGEMENT = 0x0001
    MANAGEMENT_ERROR_STATUS = 0x0002
    PTPMON_REQUEST = 0x21FE  # NetSync Monitor (Meinberg, linuxptp): "measure me" behind a unicast DELAY_REQ
    PTPMON_RESPONSE = 0x21FF  # and what the measured clock says about itself, behind its DELAY_RESP


@dataclass(frozen=True, slots=True)
class PortIdentity:
    """A port of a clock. clockIdentity: 8 bytes, usually made of a MAC; portNumber from 1."""

    clockIdentity: bytes
    portNumber: int

    def __str__(self) -> str:
        """As linuxptp writes it: 001b19.fffe.000001-1."""
        return f"{identity_text(self.clockIdentity)}-{self.portNumber}"


ALL_PORTS = PortIdentity(b"\xff" * 8, 0xFFFF)  # target of a management message: whoever hears it


@dataclass(frozen=True, slots=True)
class ClockQuality:
    """§7.6.2.5: clockClass and clockAccuracy by its tables, the lower the better."""

    clockClass: int
    clockAccuracy: int
    offsetScaledLogVariance: int


@dataclass(frozen=True, slots=True)
class Announce:
    """What a port says of the grandmaster it offers (§13.5). currentUtcOffset: TAI minus UTC, s."""

    grandmasterIdentity: bytes
    grandmasterClockQuality: ClockQuality
    grandmasterPriority1: int = 128
    grandmasterPriority2: int = 128
    stepsRemoved: int = 0
    timeSource: int = 0xA0
    currentUtcOffset: int = 37


@dataclass(frozen=True, slots=True)
class Management:
    """How a management message travels and what it wants (§15.4.1); what about, is in its TLV."""

    action: Action
    startingBoundaryHops: int = 0
    boundaryHops: int = 0


@dataclass(frozen=True, slots=True)
class Tlv:
    """Type, length, value. The value has an even number of bytes (§14.1.1)."""

    type: int
    value: bytes


@dataclass(frozen=True, slots=True)
class PtpMessage:
    """One message.

    correctionField: 2^-16 ns, signed. flags: any sixteen bits.
    timestamp: originTimestamp, preciseOriginTimestamp, receiveTimestamp, whichever the type has; ns of the sender's PTP time, 0 where
    the sender has nothing to say. requestingPortIdentity: DELAY_RESP, PDELAY_RESP and PDELAY_RESP_FOLLOW_UP.
    targetPortIdentity: SIGNALING and MANAGEMENT. announce, management: those types only.
    """

    messageType: MessageType
    sourcePortIdentity: PortIdentity
    sequenceId: int
    domainNumber: int = 0
    flags: Flags = NO_FLAGS
    correctionField: int = 0
    logMessageInterval: int = 0x7F
    timestamp: int = 0
    requestingPortIdentity: PortIdentity | None = None
    targetPortIdentity: PortIdentity | None = None
    announce: Announce | None = None
    management: Management | None = None
    tlvs: tuple[Tlv, ...] = ()
    majorSdoId: int = 0
    minorSdoId: int = 0
    minorVersionPTP: int = 1

    @property
    def correction_ns(self) -> int:
        """correctionField in whole ns."""
        return self.correctionField >> 16


def unpacked(data: Buffer) -> PtpMessage:
    """The message at the beginning of `data`. Raises BadItem for what is none: another version, a type nobody defined, a length
    beyond the bytes, nanoseconds beyond a second, a TLV that is odd or does not fit, a management action nobody defined."""
    if len(data) < HEADER_SIZE:
        raise BadItem(f"expected a PTP header of {HEADER_SIZE} bytes, got {len(data)} bytes")
    (
        kind, version, length, domain, minor_sdo, flags, correction, _, clock, port, sequence, _, interval,
    ) = _HEADER.unpack_from(data)  # fmt: skip
    if version & 0x0F != VERSION:
        raise BadItem(f"expected PTP version {VERSION}, got {version & 0x0F}")
    try:
        message_type = MessageType(kind & 0x0F)
    except ValueError:
        raise BadItem(f"expected a PTP message type, got {kind & 0x0F}") from None
    tlvs_start = HEADER_SIZE + _BODY_SIZES[message_type]
    if not tlvs_start <= length <= len(data):
        raise BadItem(f"expected {message_type.name} of {tlvs_start} to {len(data)} bytes, got messageLength {length}")
    stamp, requesting, target, announce, management = 0, None, None, None, None
    if message_type in _WITH_TARGET:
        target = _port_identity(data, HEADER_SIZE)
    else:
        stamp = _timestamp(data, HEADER_SIZE)
    if message_type in _WITH_REQUESTING:
        requesting = _port_identity(data, HEADER_SIZE + _TIMESTAMP.size)
    elif message_type is MessageType.ANNOUNCE:
        announce = _announce(data, HEADER_SIZE + _TIMESTAMP.size)
    elif message_type is MessageType.MANAGEMENT:
        management = _management(data, HEADER_SIZE + _PORT_IDENTITY.size)
    return PtpMessage(
        message_type, PortIdentity(clock, port), sequence, domain, Flags(flags), correction, interval, stamp, requesting, target,
        announce, management, _tlvs(data, tlvs_start, length), kind >> 4, minor_sdo, version >> 4,
    )  # fmt: skip


def packed(message: PtpMessage) -> bytes:
    """The message as sent. A field its type does not have is not written."""
    kind = message.messageType
    body = b""
    if kind in _WITH_TARGET:
        assert message.targetPortIdentity is not None, "a message to somebody says to whom"
        body += packed_port_identity(message.targetPortIdentity)
    else:
        body += packed_timestamp(message.timestamp)
    if kind in _WITH_REQUESTING:
        assert message.requestingPortIdentity is not None, "an answer says whose question it answers"
        body += packed_port_identity(message.requestingPortIdentity)
    elif kind is MessageType.PDELAY_REQ:
        body += bytes(_PORT_IDENTITY.size)  # reserved, so that question and answer are of one length (§13.9.2)
    elif kind is MessageType.ANNOUNCE:
        assert message.announce is not None, "an announce message announces"
        body += _packed_announce(message.announce)
    elif kind is MessageType.MANAGEMENT:
        assert message.management is not None, "a management message has an action"
        manage = message.management
        body += _MANAGEMENT.pack(manage.startingBoundaryHops, manage.boundaryHops, manage.action)
    for tlv in message.tlvs:
        assert len(tlv.value) % 2 == 0, "TLVs are even"
        body += _TLV.pack(tlv.type, len(tlv.value)) + tlv.value
    header = _HEADER.pack(
        message.majorSdoId << 4 | kind, message.minorVersionPTP << 4 | VERSION, HEADER_SIZE + len(body), message.domainNumber,
        message.minorSdoId, message.flags, message.correctionField, 0, message.sourcePortIdentity.clockIdentity,
        message.sourcePortIdentity.portNumber, message.sequenceId, _CONTROL.get(kind, 5), message.logMessageInterval,
    )  # fmt: skip
    return header + body


def packed_timestamp(ns: int) -> bytes:
    """Timestamp (§5.3.3): 48 bits of seconds, 32 of nanoseconds. What is before 1970 or beyond 48 bits becomes the nearest it can say."""
    seconds, nanoseconds = divmod(min(max(ns, 0), _SECONDS_MAX * SECOND - 1), SECOND)
    return _TIMESTAMP.pack(seconds >> 32, seconds & 0xFFFF_FFFF, nanoseconds)


def unpacked_timestamp(data: Buffer) -> int:
    """ns. Raises BadItem when it is short or its nanoseconds are a second or more."""
    if len(data) < _TIMESTAMP.size:
        raise BadItem(f"expected a timestamp of {_TIMESTAMP.size} bytes, got {len(data)}")
    return _timestamp(data, 0)


def packed_port_identity(identity: PortIdentity) -> bytes:
    """Ten bytes (§5.3.5)."""
    return _PORT_IDENTITY.pack(identity.clockIdentity, identity.portNumber)


def identity_text(clock_identity: bytes) -> str:
    """A clockIdentity as linuxptp writes it: 001b19.fffe.000001."""
    text = clock_identity.hex()
    return f"{text[:6]}.{text[6:10]}.{text[10:]}"


_BODY_SIZES = {
    MessageType.SYNC: 10, MessageType.DELAY_REQ: 10, MessageType.PDELAY_REQ: 20, MessageType.PDELAY_RESP: 20,
    MessageType.FOLLOW_UP: 10, MessageType.DELAY_RESP: 20, MessageType.PDELAY_RESP_FOLLOW_UP: 20, MessageType.ANNOUNCE: 30,
    MessageType.SIGNALING: 10, MessageType.MANAGEMENT: 14,
}  # fmt: skip
_WITH_REQUESTING = frozenset({MessageType.DELAY_RESP, MessageType.PDELAY_RESP, MessageType.PDELAY_RESP_FOLLOW_UP})
_WITH_TARGET = frozenset({MessageType.SIGNALING, MessageType.MANAGEMENT})
# controlField is what version 1 had instead of messageType (§13.3.2.13); receivers ignore it, old analysers do not.
_CONTROL = {
    MessageType.SYNC: 0, MessageType.DELAY_REQ: 1, MessageType.FOLLOW_UP: 2, MessageType.DELAY_RESP: 3, MessageType.MANAGEMENT: 4,
}  # fmt: skip


def _timestamp(data: Buffer, start: int) -> int:
    high, low, nanoseconds = _TIMESTAMP.unpack_from(data, start)
    if nanoseconds >= SECOND:
        raise BadItem(f"expected nanoseconds below a second, got {nanoseconds}")
    return int((high << 32 | low) * SECOND + nanoseconds)


def _port_identity(data: Buffer, start: int) -> PortIdentity:
    return PortIdentity(*_PORT_IDENTITY.unpack_from(data, start))


def _announce(data: Buffer, start: int) -> Announce:
    utc_offset, priority1, clock_class, accuracy, variance, priority2, identity, steps, source = _ANNOUNCE.unpack_from(
        data, start
    )
    return Announce(
        identity, ClockQuality(clock_class, accuracy, variance), grandmasterPriority1=priority1, grandmasterPriority2=priority2,
        stepsRemoved=steps, timeSource=source, currentUtcOffset=utc_offset,
    )  # fmt: skip


def _packed_announce(announce: Announce) -> bytes:
    quality = announce.grandmasterClockQuality
    return _ANNOUNCE.pack(
        announce.currentUtcOffset, announce.grandmasterPriority1, quality.clockClass, quality.clockAccuracy,
        quality.offsetScaledLogVariance, announce.grandmasterPriority2, announce.grandmasterIdentity, announce.stepsRemoved,
        announce.timeSource,
    )  # fmt: skip


def _management(data: Buffer, start: int) -> Management:
    starting, hops, action = _MANAGEMENT.unpack_from(data, start)
    try:
        return Management(Action(action & 0x0F), starting, hops)
    except ValueError:
        raise BadItem(f"expected a management action, got {action & 0x0F}") from None


def _tlvs(data: Buffer, start: int, end: int) -> tuple[Tlv, ...]:
    """All of them; fewer than four bytes behind the last are padding, as linuxptp sees it too."""
    tlvs = []
    while start + _TLV.size <= end:
        kind, size = _TLV.unpack_from(data, start)
        start += _TLV.size
        if size % 2 or size > end - start:
            raise BadItem(f"expected a TLV of an even length of at most {end - start} bytes, got {size}")
        tlvs.append(Tlv(kind, bytes(data[start : start + size])))
        start += size
    return tuple(tlvs)
