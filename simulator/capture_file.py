"""Capture files that others wrote: pcap and pcapng, any byte order, any resolution of their stamps.

Read as foreign bytes: every length is checked against what is there, and a file that ends in the middle of a record ends the
reading without an error, as it does for Wireshark. Our own segments are read by firmware/core/segment.py.
Source: draft-ietf-opsawg-pcap (pcap), draft-ietf-opsawg-pcapng (pcapng).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import Trouble
from drivers.tap import HeardFrame

FILE_BYTES_MAX = 1 << 30
FRAME_BYTES_MAX = 262_144  # MAXIMUM_SNAPLEN of libpcap
ETHERNET = 1  # LINKTYPE_ETHERNET
_PCAP = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}  # magic number: ns in a unit of the second number of a stamp
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_BYTE_ORDER = 0x1A2B3C4D


class BadCaptureFile(Trouble):
    """This is no capture file we can replay. Convert it with `editcap -F pcapng` or choose another."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of a pcapng section. unit: (ns, divisor): a stamp counts in ns / divisor."""

    link_type: int
    snap_bytes: int
    unit: tuple[int, int]
    offset_s: int


def frames(path: Path) -> Iterator[HeardFrame]:
    """The Ethernet frames of a capture file, in its order, stamped as it says. Raises BadCaptureFile."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadCaptureFile(f"{path.name}: expected at most {FILE_BYTES_MAX} bytes")
        data = memoryview(path.read_bytes())
    except OSError as problem:
        raise BadCaptureFile(f"{path}: {problem.strerror}") from None
    magic = bytes(data[:4])
    if magic == struct.pack("<I", _SECTION):
        return _pcapng_frames(data)
    for order in "<>":
        if len(data) >= 24 and struct.unpack(f"{order}I", magic)[0] in _PCAP:
            return _pcap_frames(data, order)
    raise BadCaptureFile(f"{path.name}: expected a pcap or pcapng file, its first four bytes are neither's")


def _pcap_frames(data: memoryview, order: str) -> Iterator[HeardFrame]:
    magic, _, _, _, _, _, link_type = struct.unpack_from(f"{order}IHHiIII", data)
    if link_type & 0xFFFF != ETHERNET:
        raise BadCaptureFile(f"expected Ethernet frames (link type 1), got link type {link_type & 0xFFFF}")
    header = struct.Struct(f"{order}IIII")
    position = 24
    while position + header.size <= len(data):
        seconds, part, size, wire_bytes = header.unpack_from(data, position)
        position += header.size
        if size > FRAME_BYTES_MAX or position + size > len(data):
            return
        yield HeardFrame(
            seconds * 1_000_000_000 + part * _PCAP[magic], bytes(data[position : position + size]), max(wire_bytes, size)
        )
        position += size


def _pcapng_frames(data: memoryview) -> Iterator[HeardFrame]:
    order, interfaces, position = "<", list[Interface](), 0
    last_ns = 0
    others: set[int] = set()
    some = False
    while position + 12 <= len(data):
        kind = struct.unpack_from(f"{order}I", data, position)[0]
        if kind == _SECTION:
            order = "<" if struct.unpack_from("<I", data, position + 8)[0] == _BYTE_ORDER else ">"
            interfaces = []
        size = struct.unpack_from(f"{order}I", data, position + 4)[0]
        if size < 12 or size % 4 or position + size > len(data):
            break
        body = data[position + 8 : position + size - 4]
        position += size
        if kind == _INTERFACE and len(body) >= 8:
            interfaces.append(_interface(body, order))
        elif kind == _ENHANCED and len(body) >= 20:
            number, high, low, captured, wire_bytes = struct.unpack_from(f"{order}IIIII", body)
            if number < len(interfaces) and captured <= min(len(body) - 20, FRAME_BYTES_MAX):
                interface = interfaces[number]
                ns, divisor = interface.unit
                last_ns = (high << 32 | low) * ns // divisor + interface.offset_s * 1_000_000_000
                if interface.link_type == ETHERNET:
                    some = True
                    yield HeardFrame(last_ns, bytes(body[20 : 20 + captured]), max(wire_bytes, captured))
                else:
                    others.add(interface.link_type)
        elif kind == _SIMPLE and len(body) >= 4 and interfaces and interfaces[0].link_type == ETHERNET:
            some = True
            wire_bytes = struct.unpack_from(f"{order}I", body)[0]
            captured = min(wire_bytes, interfaces[0].snap_bytes or FRAME_BYTES_MAX, len(body) - 4, FRAME_BYTES_MAX)
            # A simple packet has no stamp; the one before it is the nearest there is.
            yield HeardFrame(last_ns, bytes(body[4 : 4 + captured]), max(wire_bytes, captured))
    if (
        others and not some
    ):  # Of several interfaces one may be of another kind; of a file without any of ours nothing would be told.
        raise BadCaptureFile(f"expected Ethernet frames (link type 1), got link type {min(others)}")


def _interface(body: memoryview, order: str) -> Interface:
    link_type, _, snap_bytes = struct.unpack_from(f"{order}HHI", body)
    unit, offset_s, position = (1000, 1), 0, 8
    while position + 4 <= len(body):
        code, size = struct.unpack_from(f"{order}HH", body, position)
        value = body[position + 4 : position + 4 + size]
        if code == 0 or len(value) < size:
            break
        if code == 9 and size == 1:  # if_tsresol
            power = value[0] & 0x7F
            # Resolutions nobody has (10^-20, 2^-90) would make numbers without end: read as the finest sensible one.
            unit = (1_000_000_000, 2 ** min(power, 64)) if value[0] & 0x80 else (1_000_000_000, 10 ** min(power, 18))
        elif code == 14 and size == 8:  # if_tsoffset
            offset_s = struct.unpack_from(f"{order}q", value)[0]
        position += 4 + size + -size % 4
    return Interface(link_type, snap_bytes, unit, offset_s)
