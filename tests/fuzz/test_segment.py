"""What lies on the disk may have been altered or cut: index, seal, receipt and LZ4 chain say Corrupt or BadItem, and nothing else."""

import lz4.block
import lz4.frame
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.tap import HeardFrame, pack_block
from firmware.core import index, lz4chain, noted, pcapng, receipt, seal
from firmware.core._kernel import Stretch, probe, scan, scan_packed
from firmware.core.errors import BadItem, Corrupt
from firmware.core.glance import glanced_at
from firmware.core.layout import FRAMES, INDEX
from firmware.core.recovery import recover
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.store import Query, Store
from firmware.core.verify import verify
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity

START = 1_795_342_500_000_000_000
changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=5)


def written(*, sealed: bool) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.mkdir("segments")
    now = SimulatedClock().now()
    writer = SegmentWriter(disk, "segments", sequence=1, first_utc_ns=START, source=Source("m"), now=now)
    for number in range(3):
        stretch = Stretch(1 << 19)
        rows = [HeardFrame(START + n, bytes([number, n]) * 40, 80) for n in range(10)]
        stretch.add(pack_block(rows, sequence=0), 0, 0, 0, 0)
        writer.write(stretch)
    if sealed:
        writer.seal(SimulatedIdentity(), previous=None, losses=Losses({}), cause="time", now=now)
    return disk


def damaged(data: bytes, rows: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for at, value in rows:
        changed[at % len(changed)] ^= value
    return bytes(changed)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=500))
def test_any_bytes(data):
    """Bytes that are none of these things."""
    for parse in (seal.unpacked, glanced_at, receipt.unpacked, noted.unpacked):
        try:
            parse(data)
        except BadItem:
            pass
    for read in (index.unpacked_header, lz4chain.decompressed):
        try:
            read(data)
        except Corrupt:
            pass
    _, end = index.unpacked_records(data)
    assert end <= max(len(data), index.HEADER_SIZE)
    assert sum(stored for _, stored in lz4chain.spans(lambda at, size: data[at : at + size], len(data))) <= len(data)


SEALED = written(sealed=True)
NAME = "20261122T101500Z-000001"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["frames.pcapng.lz4", "index", "seal"]), changes)
def test_altered_store_is_searched_and_named(file, rows):
    """Whatever was altered: a search ends and finds no frame that was not there, and verify names the segment."""
    path = f"segments/{NAME}/{file}"
    whole = SEALED.read(path)
    changed = damaged(whole, rows)
    SEALED.write(path, changed)
    try:
        count = sum(hit.frame_count for hit in Store(SEALED).search(Query()))
        verdict = verify(SEALED)
    finally:
        SEALED.write(path, whole)

    assert count <= 30
    assert (changed == whole) == verdict.ok
    assert changed == whole or NAME in {row.segment for row in verdict.findings}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([FRAMES, INDEX]), changes, st.integers(0, 5000))
def test_recovery_of_anything(file, rows, size):
    """Whatever a power cut or a bad card left in a hidden segment: recovery ends with a store that verifies."""
    disk = written(sealed=False)
    path = f"segments/.{NAME}/{file}"
    disk.write(path, damaged(disk.read(path), rows)[: max(1, size)])
    recover(disk, "segments", "receipts", identity=SimulatedIdentity(), now=SimulatedClock().now())

    assert [] == verify(disk).findings


def test_hostile_content_size():
    """A link that claims gigabytes is refused before anything is allocated."""
    link = bytearray(lz4chain.compressed(bytes(1000)))
    link[6:14] = (1 << 40).to_bytes(8, "little")
    try:
        lz4chain.decompressed(bytes(link))
    except Corrupt:
        return
    raise AssertionError("expected the link to be refused")


record = st.builds(
    index.Record,
    *[st.integers(0, (1 << bits) - 1) for bits in (64, 32, 32, 64, 64, 64, 32, 32)],
    st.booleans(),
    st.lists(st.integers(0, (1 << 64) - 1), max_size=9).map(
        lambda keys: b"".join(key.to_bytes(8, "little") for key in sorted(keys))
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(record, max_size=8), st.integers(0, 700), changes, st.booleans())
def test_probe_reads_what_the_reader_reads(rows, cut, damage, is_damaged):
    """kernel.c and index.py agree on which records are whole and right, whatever was altered or cut off."""
    data = b"".join(map(index.packed_record, rows))
    data = data[: len(data) - cut % (len(data) + 1)]
    if is_damaged and data:
        data = damaged(data, damage)
    expected, end = index.unpacked_records(bytes(64) + data)
    places, offsets, until, last, is_sound = probe(data, b"", 0, (1 << 64) - 1)

    assert (end - 64, len(expected)) == (until, len(offsets) // 8)
    assert [row.offset for row in expected] == [
        int.from_bytes(offsets[at : at + 8], "little") for at in range(0, len(offsets), 8)
    ]
    assert [row.frames > 0 and row.last_ns >= 0 for row in expected].count(True) == len(places)
    assert (last >= 0) == bool(expected)
    assert is_sound or until < len(data)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 5))
def test_any_index_is_probed(data, step):
    """Any bytes, in any pieces, end a probe; nothing is read beyond them."""
    pieces = list(index.probed(lambda at, size: data[at : at + size * step], b"", 0, (1 << 64) - 1))

    assert 1 <= len(pieces) <= 2


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=2000) | st.integers(1, 3000).map(bytes), st.booleans(), changes, st.booleans())
def test_a_link_reads_as_the_library_reads_its_frame(raw, is_first, damage, is_damaged):
    """Ours, block by block, and liblz4's reader of whole frames take and refuse the same."""
    link = lz4chain.compressed(raw, is_first=is_first)
    if is_damaged:
        link = damaged(link, damage)
    start = len(lz4chain.HEADER) if link.startswith(lz4chain.HEADER) else 0
    try:
        expected = lz4.frame.decompress(lz4chain.HEADER + link[start:] + lz4chain.END_MARK)
    except (RuntimeError, EOFError):
        expected = None
    try:
        found = lz4chain.decompressed(link)
    except Corrupt:
        found = None

    assert found == expected or (found is None and expected in (b"", raw))


def block_of(raw: bytes) -> bytes:
    return lz4.block.compress(raw, store_size=False)


# Text that repeats itself at every distance, as a packer turns it into matches of every kind.
repeating = st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 300)), min_size=1, max_size=6).map(
    lambda rows: b"".join(piece * times for piece, times in rows)
)
packets = st.lists(st.tuples(st.integers(0, 2**64 - 1), repeating), min_size=1, max_size=4).map(
    lambda rows: b"".join(pcapng.enhanced_packet(stamp, data, len(data)) for stamp, data in rows)
)


def says_zero(block: bytes) -> bool:
    """Whether a match in it lies no bytes back. The format calls that corrupt; the library copies whatever its memory held."""
    at = 0

    def length(nibble: int) -> int:
        nonlocal at
        found = nibble
        while nibble == 15 and at < len(block):
            found, at = found + block[at], at + 1
            if block[at - 1] != 255:
                break
        return found

    while at < len(block):
        token, at = block[at], at + 1
        literals = length(token >> 4)  # moves `at` itself
        at += literals
        if at + 2 <= len(block) and block[at : at + 2] == b"\0\0":
            return True
        at += 2
        length(token & 15)
    return False


@settings(max_examples=300, deadline=None)
@given(packets | repeating, changes, st.booleans())
@example(pcapng.enhanced_packet(1, b"\0\0", 2), [(0, 1), (0, 1), (0, 16), (0, 38), (0, 231)], True)
@example(pcapng.enhanced_packet(1 << 24, b"\0\1\0\1", 4) + pcapng.enhanced_packet(1, b"\0", 1), [(0, 1)], False)
def test_a_packed_stretch_is_searched_as_the_library_unpacks_it(raw, damage, is_damaged):
    """Ours, some sequences at a time, and liblz4's reader of whole blocks: where it reads a block, ours finds what is in it."""
    block = block_of(raw)
    if is_damaged:
        block = damaged(block, damage)
    for size in {len(raw), len(raw) + 1}:
        try:
            unpacked = lz4.block.decompress(block, uncompressed_size=size)
        except lz4.block.LZ4BlockError:
            unpacked = None
        found = scan_packed(block, size, b"", 0, 2**64 - 1, bytearray(size + 64))
        if not is_damaged and size == len(raw):
            assert raw == unpacked
        if unpacked is not None and len(unpacked) == size and not says_zero(block):
            assert scan(unpacked, b"", 0, 2**64 - 1) == found
        elif unpacked is not None:
            assert found is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 3000))
def test_any_block_is_searched(data, size):
    """Any bytes: no block, or what is in one; never more than it may hold, and nothing is read beyond them."""
    room = bytearray(size + 64)
    found = scan_packed(data, size, b"", 0, 2**64 - 1, room)

    assert found is None or len(found[0]) <= size
    with pytest.raises(ValueError):
        scan_packed(data, size + 1, b"", 0, 2**64 - 1, room)
