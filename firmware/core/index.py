"""The index of a segment: for each stretch where it lies, when it was, and what cannot be in it.

Written while the segment is open, a record after its stretch, so that a reader can search what was heard a second ago.
It is a help and not the truth: it can be made again from the frames. Little endian throughout.

    header  0  4  "SJIX"            4  2  version (1)      6  2  TAI minus UTC, s (signed)
            8  8  segment sequence 16  8  opened, ns TAI (signed)  24  8  its uncertainty, ns
           32 16  its source, ASCII  48 12  its clock state, ASCII  60  4  CRC-32 of bytes 0..59
    record  0  4  size of this record, keys included         4  4  CRC-32 of bytes 8..size
            8  8  offset of the stretch's link (lz4chain.py) 16  4  its stored size    20  4  its size unpacked
           24  8  lowest stamp, UTC ns     32  8  highest   40  8  bytes on the wire
           48  4  frames    52  4  flags    56  4  keys     60  4  bytes captured
           64  8 × keys, ascending
    key     kind << 56 | value;  kind 1 MAC address (48 bits), 2 IPv4 address, 3 IPv6 address (56 mixed bits, kernel.c), 4 port,
            5 VLAN identifier, 6 ethertype (0: an IEEE 802.3 length), 7 IP protocol
    flags   1 too many keys: may contain anything     2 no frames: section header or statistics

Why a CRC: the tail of an open index may be torn, and a reader of an open segment has no seal to compare with.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from firmware.core._kernel import crc32, probe
from firmware.core.errors import Corrupt
from firmware.core.timestamp import ClockState, Timestamp

VERSION = 1
KEYS_MAX = 4_096
HEADER_SIZE = 64
RECORD_SIZE = 64
ANYTHING = 1
NO_FRAMES = 2
# Read and probed at a time: an index may be larger than the memory of a board, and a mapped one would end the process where the
# disk fails. Above the longest record, 32 KiB; of 1 MiB each, the first four cost as much fresh memory as the whole index.
PIECE_BYTES = 256 << 10
_MAGIC = b"SJIX"
_HEADER = struct.Struct("<4sHhQqQ16s12s")
_RECORD = struct.Struct("<QIIQQQIIII")


class Kind(IntEnum):
    """What a key is about."""

    MAC = 1
    IPV4 = 2
    IPV6 = 3
    PORT = 4
    VLAN = 5
    ETHERTYPE = 6
    PROTOCOL = 7


@dataclass(frozen=True, slots=True)
class Header:
    """What is known when a segment is opened. tai_offset_s: TAI minus UTC, s."""

    sequence: int
    opened: Timestamp
    tai_offset_s: int


@dataclass(frozen=True, slots=True)
class Record:
    """One stretch. offset, stored_bytes: its link in the frames file; raw_bytes: unpacked. Stamps UTC ns, of no meaning without frames.

    keys: sorted, 8 bytes each; empty when `anything` or without frames.
    """

    offset: int
    stored_bytes: int
    raw_bytes: int
    first_ns: int
    last_ns: int
    bytes_wire: int
    bytes_captured: int
    frames: int
    anything: bool
    keys: bytes


@dataclass(frozen=True, slots=True)
class Probed:
    """What a piece of an index leaves possible. records: those that may hold frames that match; without keys, where not asked for.

    offsets: of every record looked at, 8 bytes each. described: bytes of frames described up to here. is_whole: all of the piece
    was records that hold together, but for one that goes on in the next piece.
    """

    records: list[Record]
    offsets: bytes
    described: int
    is_whole: bool


def packed_header(header: Header) -> bytes:
    """The header as stored: 64 bytes."""
    stamp = header.opened
    body = _HEADER.pack(
        _MAGIC, VERSION, header.tai_offset_s, header.sequence, stamp.tai_ns, stamp.uncertainty_ns,
        stamp.source.encode("ascii", "replace"), stamp.state.value.encode("ascii"),
    )  # fmt: skip
    return body + struct.pack("<I", crc32(body))


def packed_record(record: Record) -> bytes:
    """One record with its keys, as stored."""
    flags = (ANYTHING if record.anything else 0) | (0 if record.frames else NO_FRAMES)
    body = _RECORD.pack(
        record.offset, record.stored_bytes, record.raw_bytes, record.first_ns, record.last_ns, record.bytes_wire,
        record.frames, flags, len(record.keys) // 8, record.bytes_captured,
    ) + record.keys  # fmt: skip
    return struct.pack("<II", 8 + len(body), crc32(body)) + body


def unpacked_header(data: bytes) -> Header:
    """The header of an index. Raises Corrupt."""
    if len(data) < HEADER_SIZE or crc32(data[:60]) != struct.unpack_from("<I", data, 60)[0]:
        raise Corrupt(f"expected an index header of {HEADER_SIZE} bytes with a right checksum")
    magic, version, tai_offset_s, sequence, tai_ns, uncertainty_ns, source, state = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != VERSION:
        raise Corrupt(f"expected an index of version {VERSION}")
    try:
        opened = Timestamp(tai_ns, uncertainty_ns, _text(source), ClockState(_text(state)))
    except ValueError:
        raise Corrupt("expected a clock state in the index header") from None
    return Header(sequence, opened, tai_offset_s)


def unpacked_records(data: bytes) -> tuple[list[Record], int]:
    """The records after the header, and the bytes of the index they reach to; stops before the first that is torn or wrong."""
    records = []
    at = HEADER_SIZE
    while len(data) - at >= RECORD_SIZE:
        size, checksum = struct.unpack_from("<II", data, at)
        if not RECORD_SIZE <= size <= min(RECORD_SIZE + 8 * KEYS_MAX, len(data) - at):
            break
        if crc32(data[at + 8 : at + size]) != checksum:
            break
        offset, stored, raw, first, last, wire, frames, flags, count, captured = _RECORD.unpack_from(data, at + 8)
        if RECORD_SIZE + 8 * count != size:
            break
        keys = data[at + RECORD_SIZE : at + size]
        records.append(Record(offset, stored, raw, first, last, wire, captured, frames, bool(flags & ANYTHING), keys))
        at += size
    return records, at


def probed(
    read: Callable[[int, int], bytes], terms: bytes, since_ns: int, until_ns: int, *, with_keys: bool = False
) -> Iterator[Probed]:
    """The records behind the header that a query leaves possible, a piece at a time.

    read: (offset, size) to bytes of the index, short at its end. terms: as query.py packs them. Nothing is believed unchecked.
    """
    at, described = HEADER_SIZE, 0
    while True:
        piece = read(at, PIECE_BYTES)
        is_last = len(piece) < PIECE_BYTES
        places, offsets, end, last, is_sound = probe(piece, terms, since_ns, until_ns)
        if last >= 0:
            final = _record_at(piece, last)
            described = final.offset + final.stored_bytes
        is_whole = is_sound and (not is_last or end == len(piece))
        yield Probed([_record_at(piece, place, with_keys=with_keys) for place in places], offsets, described, is_whole)
        if is_last or not is_sound:
            return
        at += end


def _record_at(data: bytes, at: int, *, with_keys: bool = False) -> Record:
    """A record that was checked."""
    offset, stored, raw, first, last, wire, frames, flags, count, captured = _RECORD.unpack_from(data, at + 8)
    keys = data[at + RECORD_SIZE : at + RECORD_SIZE + 8 * count] if with_keys else b""
    return Record(offset, stored, raw, first, last, wire, captured, frames, bool(flags & ANYTHING), keys)


def rows(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset, stored bytes) of records that were checked and are whole."""
    at = 0
    while at < len(data):
        size, _, offset = struct.unpack_from("<IIQ", data, at)
        yield offset, data[at : at + size]
        at += size


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("ascii", "replace")
