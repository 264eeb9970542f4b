"""Pcapng as we write it: one section, its Ethernet interfaces, nanoseconds, little endian (draft-ietf-opsawg-pcapng).

Blocks of frames at wire speed are written by kernel.c; here are the blocks around them, and a bounded reader of our own sections.
Recordings other people made are read by simulator/recording.py.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drivers.disk import Buffer
from firmware.core.errors import BadItem

LINK_ETHERNET = 1
SNAP_MAX = 262_144  # bytes; libpcap's MAXIMUM_SNAPLEN, no tap keeps more of a frame
INTERFACES_MAX = 64  # of a section that is read
RECORDED_INTERFACES_MAX = 8  # of one that is written, as kernel.c counts them: a passive tap needs two, a box has four ports
DESCRIBED_INTERFACES_MAX = 2 * RECORDED_INTERFACES_MAX  # each once more for the frames it stamped itself (segment.py)

SECTION_HEADER, INTERFACE, INTERFACE_STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_HEAD = struct.Struct("<II")
_NUMBERED = struct.Struct("<III")
_PACKET = struct.Struct("<IIIIIII")
_OPT_COMMENT, _SHB_USERAPPL, _IF_NAME, _IF_TSRESOL = 1, 4, 2, 9
_ISB_STARTTIME, _ISB_ENDTIME, _ISB_IFRECV, _ISB_IFDROP = 2, 3, 4, 5
_TSRESOL_NS = 9  # 10^-9 s


@dataclass(frozen=True, slots=True)
class Packet:
    """One Enhanced Packet Block. stamp_ns: UTC. wire_bytes: length before snapping. interface: index in its section."""

    stamp_ns: int
    data: bytes
    wire_bytes: int
    interface: int = 0


def section_header(comment: str = "") -> bytes:
    """A Section Header Block that says who wrote it; the section's length is left open."""
    options = _option(_OPT_COMMENT, comment.encode()) if comment else b""
    return _block(
        SECTION_HEADER, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + _options(_option(_SHB_USERAPPL, b"scrubjay") + options)
    )


def interface(name: str, *, link_type: int = LINK_ETHERNET, snap_bytes: int = SNAP_MAX, comment: str = "") -> bytes:
    """An Interface Description Block with nanosecond stamps. comment: for people, e.g. what made the stamps."""
    options = _option(_IF_NAME, name.encode()) + _option(_IF_TSRESOL, bytes([_TSRESOL_NS]))
    if comment:
        options += _option(_OPT_COMMENT, comment.encode())
    return _block(INTERFACE, struct.pack("<HHI", link_type, 0, snap_bytes) + _options(options))


def enhanced_packet(stamp_ns: int, data: Buffer, wire_bytes: int, *, interface: int = 0) -> bytes:
    """An Enhanced Packet Block. stamp_ns: UTC, 0 to 2^64-1."""
    head = struct.pack("<IIIII", interface, stamp_ns >> 32, stamp_ns & 0xFFFFFFFF, len(data), wire_bytes)
    return _block(ENHANCED_PACKET, head + bytes(data) + bytes(-len(data) % 4))


def statistics(stamp_ns: int, *, received: int, dropped: int, start_ns: int | None = None, interface: int = 0) -> bytes:
    """An Interface Statistics Block. received: frames the interface handed over, dropped ones included; stamps UTC ns."""
    stamp = _stamp(stamp_ns)
    options = _option(_ISB_IFRECV, struct.pack("<Q", received)) + _option(_ISB_IFDROP, struct.pack("<Q", dropped))
    if start_ns is not None:
        options = _option(_ISB_STARTTIME, _stamp(start_ns)) + _option(_ISB_ENDTIME, stamp) + options
    return _block(INTERFACE_STATISTICS, struct.pack("<I", interface) + stamp + _options(options))


def packets(data: Buffer) -> Iterator[Packet]:
    """The frames of sections written by this module, in order; blocks of other kinds are passed over.

    Raises BadItem at the first block that is not whole, is not of this byte order, or names an interface nobody described.
    """
    view = memoryview(data).cast("B")
    at, interfaces = 0, 0
    while at < len(view):
        if len(view) - at < 12:
            raise BadItem(f"expected a whole block at byte {at}, {len(view) - at} bytes are left")
        kind, size = _HEAD.unpack_from(view, at)
        if size < 12 or size % 4 or size > len(view) - at or view[at + size - 4 : at + size] != view[at + 4 : at + 8]:
            raise BadItem(f"expected a block with its length at both ends at byte {at}")
        if kind == SECTION_HEADER:
            if size < 28 or struct.unpack_from("<I", view, at + 8)[0] != _BYTE_ORDER:
                raise BadItem(f"expected a little endian section at byte {at}")
            interfaces = 0
        elif kind == INTERFACE:
            interfaces += 1
            if interfaces > INTERFACES_MAX:
                raise BadItem(f"expected at most {INTERFACES_MAX} interfaces in a section")
        elif kind == ENHANCED_PACKET:
            yield _packet(view[at : at + size], at, interfaces)
        at += size


def interfaces(section: bytes) -> list[tuple[str, str]]:
    """(name, comment) of each interface described in one of our sections, by its number; empty where it does not say. Raises BadItem."""
    list(packets(section))  # every block is whole
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(section):
        kind, size = _HEAD.unpack_from(section, at)
        if kind == INTERFACE and size >= 20:
            options = _options_of(section[at + 16 : at + size - 4])
            found.append((options.get(_IF_NAME, ""), options.get(_OPT_COMMENT, "")))
        at += size
    return found


def renumbered(blocks: Buffer, numbers: Sequence[int]) -> bytes:
    """Enhanced Packet Blocks with the interface numbers[n] instead of n. Raises BadItem where a block is another or has no such."""
    data = bytearray(blocks)
    at = 0
    while at < len(data):
        if len(data) - at < 12:
            raise BadItem(f"expected a whole block at byte {at}")
        kind, size, number = _NUMBERED.unpack_from(data, at)
        if kind != ENHANCED_PACKET or not 32 <= size <= len(data) - at or number >= len(numbers):
            raise BadItem(f"expected a packet block of one of {len(numbers)} interfaces at byte {at}")
        struct.pack_into("<I", data, at + 8, numbers[number])
        at += size
    return bytes(data)


def _options_of(data: bytes) -> dict[int, str]:
    options, at = {}, 0
    while len(data) - at >= 4:
        code, size = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        options[code] = data[at + 4 : at + 4 + size].decode("utf-8", "replace")
        at += 4 + size + -size % 4
    return options


def _packet(block: memoryview, at: int, interfaces: int) -> Packet:
    if len(block) < 32:
        raise BadItem(f"expected a packet block of at least 32 bytes at byte {at}")
    _, _, number, high, low, captured, wire = _PACKET.unpack_from(block)
    if number >= interfaces:
        raise BadItem(f"expected one of {interfaces} interfaces at byte {at}, got {number}")
    if captured > len(block) - 32 or captured > SNAP_MAX:
        raise BadItem(f"expected at most {min(len(block) - 32, SNAP_MAX)} bytes of frame at byte {at}, got {captured}")
    return Packet(high << 32 | low, bytes(block[28 : 28 + captured]), wire, number)


def _block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return _HEAD.pack(kind, size) + body + struct.pack("<I", size)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _options(options: bytes) -> bytes:
    return options + bytes(4)  # opt_endofopt


def _stamp(ns: int) -> bytes:
    return struct.pack("<II", ns >> 32 & 0xFFFFFFFF, ns & 0xFFFFFFFF)
