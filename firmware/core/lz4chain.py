"""`frames.pcapng.lz4`: one LZ4 frame whose independent blocks are the links of a chain, each with its own checksum.

    frame header (7 bytes) | link | link | … | end mark (4 bytes, when sealed)        link = size word, block, checksum (xxh32)

Wireshark, capinfos and `lz4 -d` open the file as it lies; we open any link of it alone. A file that was cut by a power failure has
no end mark; Wireshark reads it all the same, up to its last whole block.
Why not a chain of whole LZ4 frames: Wireshark 4.0 looks for the next frame only at the beginning of its input buffer of 4,096 bytes
and takes one that begins anywhere else for garbage (measured: 4,282 of 9,548 frames read).
Format: LZ4 frame format 1.6. Untrusted: a file that was cut by a power failure, or altered, is met here first.
"""

import struct
from collections.abc import Callable, Iterator
from mmap import mmap

from drivers.disk import Buffer
from firmware.core._kernel import checksum, scan, scan_packed
from firmware.core.errors import Corrupt
from firmware.core.query import Terms

RAW_MAX = 4 << 20  # The largest block of the format, and our longest stretch; no link makes anybody allocate more.
STORED_MAX = RAW_MAX + 64  # A block that does not compress is stored as it is.
# Magic number; version 01, independent blocks, block checksums, no content size or checksum, no dictionary; blocks up to 4 MiB;
# header checksum.
HEADER = bytes.fromhex("04224d18 70 70 72")
END_MARK = bytes(4)
_WORD = struct.Struct("<I")
_STORED_AS_IS = 1 << 31

Read = Callable[[int, int], bytes]


def compressed(raw: Buffer, *, is_first: bool = False, is_last: bool = False) -> bytes:
    """One link; the first of a file brings the frame's header, the last the end mark. raw: 1 to RAW_MAX bytes."""
    import lz4.frame

    assert 0 < len(raw) <= RAW_MAX, "a link is one block"
    frame = lz4.frame.compress(
        raw,
        compression_level=0,
        block_size=lz4.frame.BLOCKSIZE_MAX4MB,
        block_linked=False,
        block_checksum=True,
        content_checksum=False,
        store_size=False,
    )
    # The library writes whole frames only; ours is the block in the middle of one.
    return (HEADER if is_first else b"") + bytes(frame[len(HEADER) : -len(END_MARK)]) + (END_MARK if is_last else b"")


def decompressed(link: Buffer, *, raw_bytes: int = RAW_MAX) -> bytes:
    """What one link holds. Raises Corrupt when the bytes are not exactly one link with a right checksum, of at most `raw_bytes` bytes.

    Block by block and not through the library's frames: those copy into buffers of their own, which are made anew each time.
    """
    # Here and in `compressed`, because who searches a store mostly gets by with `scanned`.
    import lz4.block

    block, is_packed = _block(link)
    if is_packed:
        try:
            raw = bytes(lz4.block.decompress(block, uncompressed_size=min(raw_bytes, RAW_MAX)))
        except lz4.block.LZ4BlockError:
            raise Corrupt("expected an LZ4 block that unpacks") from None
    else:
        raw = bytes(block)
    if len(raw) > raw_bytes:
        raise Corrupt(f"expected an LZ4 block of at most {raw_bytes} bytes")
    return raw


class Room:
    """For `scanned`, once for many links: fresh memory for each would cost the kernel as much as the search itself.

    link: to read one into; raw: to unpack it in. Mapped, so that what no link needs is never touched.
    """

    def __init__(self) -> None:
        self.link = memoryview(mmap(-1, STORED_MAX))
        self.raw = mmap(-1, RAW_MAX + 64)


def scanned(link: Buffer, terms: Terms, *, raw_bytes: int, room: Room) -> tuple[bytes, int, int, int, bool]:
    """What kernel.c's `scan` finds in what one link holds; less than half as costly as to unpack it first and look then.

    room: what is in it afterwards is nobody's business; the link may lie in it.
    Raises Corrupt as `decompressed` does, and where the link does not hold exactly `raw_bytes` bytes.
    """
    block, is_packed = _block(link)
    if is_packed and raw_bytes <= RAW_MAX:
        found = scan_packed(block, raw_bytes, terms.packed, terms.since_ns, terms.until_ns, room.raw)
        if found is not None:
            return found
    elif len(block) == raw_bytes:
        return scan(block, terms.packed, terms.since_ns, terms.until_ns)
    raise Corrupt(f"expected an LZ4 block that unpacks to {raw_bytes} bytes")


def is_last(link: Buffer) -> bool:
    """Whether a whole link brings the end mark."""
    data = bytes(link)
    start = len(HEADER) if data.startswith(HEADER) else 0
    end = _block_end(data[start : start + _WORD.size], start)
    return end is not None and data[end:] == END_MARK


def spans(read: Read, size: int) -> Iterator[tuple[int, int]]:
    """(offset, stored size) of each link that is whole, in order; stops at the first that is not.

    read: (offset, size) to bytes, short at the end. Only size words are looked at: content is `decompressed`'s.
    """
    at = 0
    while at < size:
        head = read(at, len(HEADER) + _WORD.size)
        start = len(HEADER) if head.startswith(HEADER) else 0
        end = _block_end(head[start : start + _WORD.size], at + start)
        if end is None or end > size:
            return
        if end + len(END_MARK) == size and read(end, len(END_MARK)) == END_MARK:
            end = size
        yield at, end - at
        at = end


def _block(link: Buffer) -> tuple[memoryview, bool]:
    """The block in one link, its checksum right, and whether it is packed. Raises Corrupt."""
    data = memoryview(link)
    start = len(HEADER) if data[: len(HEADER)] == HEADER else 0
    end = _block_end(data[start : start + _WORD.size], start)
    if end is None or end > len(data) or data[end:] not in (b"", END_MARK):
        raise Corrupt("expected one LZ4 block and its checksum")
    block = data[start + _WORD.size : end - _WORD.size]
    if _WORD.unpack_from(data, end - _WORD.size)[0] != checksum(block):
        raise Corrupt("expected an LZ4 block with a right checksum")
    return block, not _WORD.unpack_from(data, start)[0] & _STORED_AS_IS


def _block_end(word: Buffer, at: int) -> int | None:
    """Where the block whose size word this is ends, its checksum included; None when it is no block of ours."""
    if len(word) < _WORD.size:
        return None
    size = _WORD.unpack(word)[0] & ~_STORED_AS_IS
    return at + _WORD.size + size + _WORD.size if 0 < size <= RAW_MAX else None
