"""RTPS, the wire of DDS and of ROS 2: JointState and Temperature out of DATA submessages.

Ports are anybody's choice, so a message is known by its first four bytes. Which topic and type a writer has is said once, in discovery;
where that was not heard, the shape of the data decides: header, names, and three sequences of numbers that end where the data ends are a
JointState; a header and two numbers are a measurement, a temperature or not. A JointState is up to three streams, for its positions,
velocities and efforts have units and noise of their own: "rtps/rt/joint_states/position" and so on. Two writers of one topic are two
sources, and so are a writer's messages about other joints, or the same in another order: two arms take turns in one topic.

    message      0  4  "RTPS"    4  2  version   6  2  vendor   8 12  prefix of the sender's identity    20  submessages
    submessage   0  1  kind      1  1  flags (1: little endian)  2  2  size, 0 in the last: to the end
    DATA         4  2  flags     6  2  offset of the inline parameters, from here   8  4  reader   12  4  writer   16  8  number
Source: OMG DDSI-RTPS 2.5 §8.3, §9.4; sensor_msgs of ROS 2.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from firmware.core.errors import BadItem
from firmware.core.frame import UDP, Frame
from firmware.core.streams.cdr import Reader
from firmware.core.streams.sample import HOUSEKEEPING, NOTHING, Decoded, Kind, Sample, name_of

SUBMESSAGES_MAX = 64
PARAMETERS_MAX = 128
WRITERS_MAX = 1_024
NAMES_REMEMBERED_MAX = 64
_HEADER_SIZE = 20
_DATA = 0x15
# PAD, ACKNACK, HEARTBEAT, GAP, INFO_TS, INFO_SRC, INFO_REPLY_IP4, INFO_DST, INFO_REPLY, NACK_FRAG, HEARTBEAT_FRAG
_OWN_BUSINESS = frozenset({0x01, 0x06, 0x07, 0x08, 0x09, 0x0C, 0x0D, 0x0E, 0x0F, 0x12, 0x13})
_ANNOUNCES_A_WRITER = bytes.fromhex("000003c2")  # ENTITYID_SEDP_BUILTIN_PUBLICATIONS_ANNOUNCER
_BUILT_IN = 0xC0  # bits of the writer's last byte
_HAS_PARAMETERS, _HAS_DATA, _HAS_KEY = 2, 4, 8
_ENCAPSULATIONS = {b"\x00\x00": ">", b"\x00\x01": "<"}
_LIST_ENCAPSULATIONS = {b"\x00\x02": ">", b"\x00\x03": "<"}
_PID_SENTINEL, _PID_TOPIC_NAME, _PID_TYPE_NAME, _PID_ENDPOINT_GUID = 1, 0x05, 0x07, 0x5A
_JOINT_STATE, _TEMPERATURE = "JointState", "Temperature"
_JOINT_PARTS = ("position", "velocity", "effort")
_MEASURED_NAMES = ("value", "variance")
_HALVES = {"<": struct.Struct("<HH"), ">": struct.Struct(">HH")}


@dataclass(frozen=True, slots=True)
class _Writer:
    """What discovery said. type_name: its last part, "JointState" of "sensor_msgs::msg::dds_::JointState_"."""

    topic: str
    type_name: str


class Rtps:
    """Remembers the names of at most WRITERS_MAX writers, and forgets the oldest."""

    name = "rtps"
    filter = "udp[8:4] = 0x52545053 or (ip6 and udp and ip6[48:4] = 0x52545053)"

    def __init__(self) -> None:
        self._writers: dict[bytes, _Writer] = {}
        self._names: dict[bytes, tuple[tuple[str, ...], bytes]] = {}  # and what tells them from others

    def decode(self, frame: Frame, data: bytes, stamp_ns: int) -> Decoded:
        """See sample.Decoder."""
        start, end = frame.payload_start, frame.payload_end
        if frame.protocol != UDP or data[start : start + 4] != b"RTPS" or end - start < _HEADER_SIZE:
            return NOTHING
        prefix = data[start + 8 : start + _HEADER_SIZE]
        samples: list[Sample] = []
        whole, has_data = True, False
        try:
            for kind, flags, at, until in _submessages(data, start + _HEADER_SIZE, end):
                if kind != _DATA:
                    whole &= kind in _OWN_BUSINESS
                    continue
                has_data = True
                found = self._of_data(data, prefix, flags, at, until, stamp_ns)
                whole &= bool(found)
                samples += found
        except BadItem:
            whole = False
        if not has_data and whole:
            return HOUSEKEEPING
        return Decoded(tuple(samples), whole and bool(samples)) if samples else NOTHING

    def _of_data(self, data: bytes, prefix: bytes, flags: int, at: int, until: int, stamp_ns: int) -> list[Sample]:
        """The samples of one submessage; none where it is not understood."""
        order = "<" if flags & 1 else ">"
        if until - at < 20 or not flags & _HAS_DATA or flags & _HAS_KEY:
            return []
        writer = data[at + 8 : at + 12]
        payload = at + 4 + _HALVES[order].unpack_from(data, at)[1]
        if flags & _HAS_PARAMETERS:
            payload = _after_parameters(data, payload, until, order)
        if not at + 20 <= payload <= until - 4:
            return []
        encapsulation = data[payload : payload + 2]
        if writer[3] & _BUILT_IN == _BUILT_IN:
            if writer == _ANNOUNCES_A_WRITER and encapsulation in _LIST_ENCAPSULATIONS:
                self._remember(data, payload + 4, until, _LIST_ENCAPSULATIONS[encapsulation])
            return []
        if encapsulation not in _ENCAPSULATIONS:
            return []
        known = self._writers.get(prefix + writer)
        topic = known.topic if known is not None else f"writer-{writer.hex()}"
        try:
            reader = Reader(data, payload + 4, until, _ENCAPSULATIONS[encapsulation])
            reader.skip(8)  # when, as the sender says
            reader.text()  # in which frame of reference
            if known is None or known.type_name == _TEMPERATURE:
                measured = _measured(reader)
                # Nothing but zeros is as well a JointState without joints.
                if measured is not None and (known is not None or any(measured)):
                    kind: Kind = "temperature" if known is not None else "other"
                    return [Sample(name_of("rtps", topic), kind, stamp_ns, measured, _MEASURED_NAMES, prefix + writer)]
            if known is None or known.type_name == _JOINT_STATE:
                return self._joints(reader, data, topic, prefix + writer, stamp_ns)
        except BadItem:
            pass
        return []

    def _joints(self, reader: Reader, data: bytes, topic: str, writer: bytes, stamp_ns: int) -> list[Sample]:
        """Raises BadItem where it is no JointState."""
        reader.align(4)
        start = reader.at
        joints = reader.texts()
        key = data[start : reader.at]
        values = [reader.doubles(reader.length()) for _ in _JOINT_PARTS]
        if not reader.at_end() or not any(values):
            raise BadItem("expected a JointState")
        known = self._names.get(key)
        if known is None:
            known = tuple(name.decode("utf-8", "replace") for name in joints), sha256(key).digest()
            if len(self._names) >= NAMES_REMEMBERED_MAX:
                del self._names[next(iter(self._names))]
            self._names[key] = known
        names, of = known
        return [
            Sample(name_of("rtps", topic, part), "motion", stamp_ns, row, names if len(names) == len(row) else (), writer + of)
            for part, row in zip(_JOINT_PARTS, values, strict=True)
            if row
        ]

    def _remember(self, data: bytes, at: int, end: int, order: str) -> None:
        topic = type_name = ""
        guid = b""
        for number, start, until in _parameters(data, at, end, order):
            if number == _PID_ENDPOINT_GUID and until - start == 16:
                guid = data[start:until]
            elif number in (_PID_TOPIC_NAME, _PID_TYPE_NAME):
                text = Reader(data, start, until, order).text().decode("utf-8", "replace")
                if number == _PID_TOPIC_NAME:
                    topic = text
                else:
                    type_name = text.rpartition("::")[2].rstrip("_")
        if guid and topic and type_name:
            if len(self._writers) >= WRITERS_MAX and guid not in self._writers:
                del self._writers[next(iter(self._writers))]
            self._writers[guid] = _Writer(topic, type_name)


def _submessages(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(kind, flags, first byte behind its head, its end). Raises BadItem where the next does not fit."""
    for _ in range(SUBMESSAGES_MAX):
        if at == end:
            return
        if end - at < 4:
            break
        kind, flags = data[at], data[at + 1]
        size = int.from_bytes(data[at + 2 : at + 4], "little" if flags & 1 else "big")
        # Size 0 in the last submessage means to the message's end; PAD and INFO_TS without a stamp are really empty.
        until = end if size == 0 and kind not in (0x01, 0x09) else at + 4 + size
        if until > end:
            break
        yield kind, flags, at + 4, until
        at = until
    raise BadItem("expected whole submessages")


def _parameters(data: bytes, at: int, end: int, order: str) -> Iterator[tuple[int, int, int]]:
    """(number, first byte, end) of each, without the sentinel. Raises BadItem where there is none."""
    for _ in range(PARAMETERS_MAX):
        if end - at < 4:
            break
        number, size = _HALVES[order].unpack_from(data, at)
        if number == _PID_SENTINEL:
            return
        if size > end - at - 4:
            break
        yield number, at + 4, at + 4 + size
        at += 4 + size
    raise BadItem("expected a list of parameters with its end")


def _after_parameters(data: bytes, at: int, end: int, order: str) -> int:
    return max((until for _, _, until in _parameters(data, at, end, order)), default=at) + 4


def _measured(reader: Reader) -> tuple[float, ...] | None:
    """Value and variance, if that is what is left; else the reader stays where it was."""
    begin = reader.at
    try:
        values = reader.doubles(2)
        if reader.at_end():
            return values
    except BadItem:
        pass
    reader.at = begin
    return None
