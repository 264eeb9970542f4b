"""A run: some MiB of pcapng blocks in their densest form that restores byte for byte, and can be restored alone.

    blocks ─▶ columns (dense.c) ─▶ zstd, each stream for itself ─▶ run

A run as stored, little endian:
    0  4  "SJD1"     4  4  its size restored     8  4  CRC-32 of what follows
             or "SJD2": then the first stream says which interface each packet block is of, where they are not all of interface 0
    then for each stream  u32 its size | u32 its stored size | stored bytes (zstd; as they are when the sizes are equal)

What dense.c does with a frame, when it knows the earlier ones of the run:
    what can be computed is replaced by its distance from that (lengths, checksums, IP identification, TCP numbers and stamps);
    headers are a table for each flow, payloads one for each flow and length; a byte of a table is said as it differs from the row
    above (or the frame before, or a number's carry), column after column, so that what stays constant costs nothing;
    stamps are said against the mean gap or period of their kind; payloads that a table does not help go to zstd as they are.
Nothing is assumed about the input: blocks of another form, and bytes that are no blocks, are carried as they are.
Untrusted: a run may be any bytes; memory is bounded by RESTORED_MAX and STORED_MAX.
"""

import struct
import zlib
from collections.abc import Generator

import zstandard

from drivers.disk import Buffer
from firmware.core import _dense
from firmware.core.errors import Corrupt

RESTORED_MAX = 16 << 20  # Four times what we write: no run makes anybody allocate more than some times this.
LEVEL = 12  # For the bulk of payloads: 16 is 1 % denser at a good half of the speed (or_mix_lab, 2026-11).
_LEVEL_SMALL = 19  # The streams that follow from tables are small and cost little; so does a little bulk.
_SMALL, _SMALL_BULK = 1 << 20, 256 << 10
_BULK = 4
# Video, and what is encrypted: level 12 takes 17 times as long over it as level 1 and saves a thousandth. Where a first try saves
# less than a thirtieth, it stays at that (the Procedure load, 2026-11: a run in 0.09 s instead of 0.40).
_LEVEL_TRY, _WORTHWHILE = 1, 30
_MAGIC, _MAGIC_INTERFACES = b"SJD1", b"SJD2"
_HEAD = struct.Struct("<4sII")
_SIZES = struct.Struct("<II")
# Every stream together: none is larger than the blocks but for the few bytes a frame costs at most.
_STREAMS_MAX = 2 * RESTORED_MAX + (1 << 20)
STORED_MAX = _STREAMS_MAX + _HEAD.size + _SIZES.size * (_dense.STREAMS + 1)


def packed(blocks: Buffer, *, level: int = LEVEL) -> bytes:
    """One run. blocks: up to RESTORED_MAX bytes, of any content. level: zstd's, 1 to 19."""
    work = packing(blocks, level=level)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return bytes(end.value)


def packing(blocks: Buffer, *, level: int = LEVEL) -> Generator[None, None, bytes]:
    """`packed` in pieces, for a station: yields between them, returns the run. None takes longer than zstd over one stream."""
    assert len(blocks) <= RESTORED_MAX, "a run is some MiB"
    parts = []
    magic, streams = _apart(blocks)
    for number, stream in enumerate(streams, start=_dense.STREAMS - len(streams)):
        is_small = len(stream) <= (_SMALL_BULK if number == _BULK else _SMALL)
        fitting = max(level, _LEVEL_SMALL) if is_small else level
        stored = _compressed(stream, min(_LEVEL_TRY, level) if number == _BULK and not is_small else fitting)
        if number == _BULK and not is_small and len(stream) - len(stored) > len(stream) // _WORTHWHILE:
            yield
            stored = _compressed(stream, fitting)
        if len(stored) >= len(stream):
            stored = stream
        parts += [_SIZES.pack(len(stream), len(stored)), stored]
        if len(stream) > _SMALL_BULK:
            yield
    body = b"".join(parts)
    return _HEAD.pack(magic, len(blocks), zlib.crc32(body)) + body


def _apart(blocks: Buffer) -> tuple[bytes, tuple[bytes, ...]]:
    """The magic of a run and its streams; of one interface as ever, so that its bytes are as ever."""
    try:
        of_one, interfaces = _dense.take_interfaces(blocks)
    except ValueError:
        interfaces = b""  # Not ours; carried as it is.
    if not any(interfaces):
        return _MAGIC, _dense.split(blocks)
    return _MAGIC_INTERFACES, (interfaces, *_dense.split(of_one))


def _compressed(stream: bytes, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_content_size=True).compress(stream) if stream else b""


def unpacked(run: Buffer) -> bytes:
    """The blocks of a run. Raises Corrupt when they are not exactly a run."""
    data = memoryview(run)
    if not _HEAD.size <= len(data) <= STORED_MAX:
        raise Corrupt("expected a run of some MiB")
    magic, size, checksum = _HEAD.unpack_from(data)
    if magic not in (_MAGIC, _MAGIC_INTERFACES) or size > RESTORED_MAX or checksum != zlib.crc32(data[_HEAD.size :]):
        raise Corrupt("expected a run with a right checksum")
    streams: list[bytes] = []
    at, room = _HEAD.size, _STREAMS_MAX
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    for _ in range(_dense.STREAMS + (magic == _MAGIC_INTERFACES)):
        if len(data) - at < _SIZES.size:
            raise Corrupt("expected a run with all its streams")
        restored_bytes, stored_bytes = _SIZES.unpack_from(data, at)
        at += _SIZES.size
        if stored_bytes > len(data) - at or restored_bytes > room:
            raise Corrupt("expected streams of the sizes they say")
        room -= restored_bytes
        streams.append(_stream(decompressor, data[at : at + stored_bytes], restored_bytes))
        at += stored_bytes
    if at != len(data):
        raise Corrupt("expected nothing behind the streams of a run")
    try:
        if magic == _MAGIC_INTERFACES:
            return _dense.put_interfaces(_dense.join(tuple(streams[1:]), size), streams[0])
        return _dense.join(tuple(streams), size)
    except ValueError:
        raise Corrupt("expected streams that fit each other") from None


def _stream(decompressor: zstandard.ZstdDecompressor, stored: memoryview, size: int) -> bytes:
    if len(stored) == size:
        return bytes(stored)
    try:
        # The content size is in the frame: checked before anything is allocated for it.
        if zstandard.frame_content_size(stored) != size:
            raise Corrupt("expected a stream of the size it says")
        stream = decompressor.decompress(stored, max_output_size=size)
    except zstandard.ZstdError:
        raise Corrupt("expected a zstd frame") from None
    if len(stream) != size:
        raise Corrupt("expected a stream of the size it says")
    return stream
