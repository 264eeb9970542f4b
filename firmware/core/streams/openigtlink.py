"""OpenIGTLink, the protocol of image guided therapy: TRANSFORM, POSITION and STATUS messages over TCP.

    header   0  2  version     2 12  type     14 20  device     34  8  time stamp     42  8  size of the body     50  8  CRC of the body
    header's version above 1 (2 from version 3 of the protocol on), begin of the body:
                 2 its own size (12)  2  size of metadata's index  4  size of metadata  4  message number
    TRANSFORM   48: a matrix of 3 × 3 by columns, then the position, mm, as floats
    POSITION    12, 24 or 28: position, mm, and a quaternion (its first three, or all four), as floats
    STATUS       2  code   2  8  subcode   10 20  name of the error   30  text
Big endian. Source: openigtlink/OpenIGTLink Documents/Protocol, versions 1 to 3.

A status and a message's metadata are states: a frame where one of them is not what it was stays.

A message that is not in one segment all by itself and whole is still decoded, but its frames stay: leaving one out would tear the others.
The body's CRC is not checked; TCP's checksum has been, by whoever was meant.
"""

import struct

from firmware.core.frame import TCP, Frame
from firmware.core.streams.flows import HELD_MAX, Flow, Flows
from firmware.core.streams.sample import NOTHING, Decoded, Kind, Sample, name_of
from firmware.core.streams.states import States

PORT = 18_944
MESSAGES_MAX = 64  # in one segment
BODY_MAX = 1 << 30  # an uncompressed 4K video frame is 25 MB
_HEADER = struct.Struct(">H12s20sQQQ")
_EXTENDED = struct.Struct(">HHII")
_STATUS = struct.Struct(">Hq")
_FLOATS = {size: struct.Struct(f">{size // 4}f") for size in (12, 24, 28, 48)}
_MATRIX = tuple(f"r{row}{column}" for column in range(1, 4) for row in range(1, 4))
_TRANSFORM_NAMES = (*_MATRIX, "x", "y", "z")
_POSITION_NAMES = ("x", "y", "z", "qx", "qy", "qz", "qw")
_TYPE_SIGNS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class OpenIgtLink:
    """Both directions of every connection to the port."""

    name = "openigtlink"
    filter = f"tcp port {PORT}"

    def __init__(self) -> None:
        self._flows = Flows()
        self._states = States()

    def decode(self, frame: Frame, data: bytes, stamp_ns: int) -> Decoded:
        """See sample.Decoder."""
        if frame.protocol != TCP or PORT not in (frame.source_port, frame.destination_port):
            return NOTHING
        added = self._flows.add(frame, data)
        if added is None:
            return NOTHING
        flow, payload = added
        # A segment heard in part before cannot stand for its messages.
        begins_here = not flow.held and not flow.skip and len(payload) == frame.payload_end - frame.payload_start
        said, understood = _messages(flow, payload, stamp_ns)
        between = (frame.vlans, frame.source_ip, frame.destination_ip, frame.source_port, frame.destination_port)
        samples, turned = [], False
        for sample, state in said:
            samples.append(sample)
            turned |= not self._states.as_before((between, sample.stream), state)
        ends_here = not flow.held and not flow.skip and flow.synced
        return Decoded(tuple(samples), begins_here and ends_here and understood and not turned and bool(samples), turned)


def _messages(flow: Flow, payload: bytes, stamp_ns: int) -> tuple[list[tuple[Sample, bytes]], bool]:
    """Samples and states of the messages that end in this payload, and whether there were no others. Leaves the rest in the flow."""
    skipped = min(flow.skip, len(payload))
    flow.skip -= skipped
    rest = flow.held + payload[skipped:]
    flow.held = b""
    said: list[tuple[Sample, bytes]] = []
    understood = True
    for _ in range(MESSAGES_MAX):
        if len(rest) < _HEADER.size:
            flow.held = rest if flow.synced else b""
            break
        version, kind, device, _, size, _ = _HEADER.unpack_from(rest)
        if not _is_header(version, kind, size):
            flow.synced = False  # Until a segment begins with a header again.
            return said, False
        flow.synced = True
        end = _HEADER.size + size
        if end > len(rest):
            understood = False
            if end <= HELD_MAX:
                flow.held = rest
            else:
                flow.skip = end - len(rest)
            break
        message = _message(version, kind.rstrip(b"\0"), device, rest[_HEADER.size : end], stamp_ns)
        if message is None:
            understood = False
        else:
            said.append(message)
        rest = rest[end:]
    else:
        flow.synced, understood = False, False
    return said, understood


def _is_header(version: int, kind: bytes, size: int) -> bool:
    word = kind.rstrip(b"\0")
    return 1 <= version <= 4 and size <= BODY_MAX and bool(word) and _TYPE_SIGNS.issuperset(word)


def _message(version: int, kind: bytes, device: bytes, body: bytes, stamp_ns: int) -> tuple[Sample, bytes] | None:
    """The sample, and the message's state."""
    metadata = b""
    if version >= 2:
        if len(body) < _EXTENDED.size:
            return None
        own, index_size, metadata_size, _ = _EXTENDED.unpack_from(body)
        if not _EXTENDED.size <= own <= len(body) - index_size - metadata_size:
            return None
        numbers_end = len(body) - index_size - metadata_size
        body, metadata = body[own:numbers_end], body[numbers_end:]
    stream = name_of("openigtlink", kind.decode("ascii", "replace"), device.rstrip(b"\0").decode("utf-8", "replace"))
    size = len(body)
    if kind == b"TRANSFORM" and size == 48:
        return _floats(stream, "motion", body, _TRANSFORM_NAMES, stamp_ns), metadata
    if kind in (b"POSITION", b"QTRANS") and size in (12, 24, 28):
        return _floats(stream, "motion", body, _POSITION_NAMES[: size // 4], stamp_ns), metadata
    # With a text behind it, a status says something that two numbers do not.
    if kind == b"STATUS" and size >= 30 and not any(body[30:]):
        code, subcode = _STATUS.unpack_from(body)
        return Sample(stream, "other", stamp_ns, (float(code), float(subcode)), ("code", "subcode")), body[:30] + metadata
    return None


def _floats(stream: str, kind: Kind, body: bytes, names: tuple[str, ...], stamp_ns: int) -> Sample:
    return Sample(stream, kind, stamp_ns, _FLOATS[len(body)].unpack(body), names)
