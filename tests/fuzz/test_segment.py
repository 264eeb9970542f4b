"""What lies on the disk may have been altered or cut: index, seal, receipt and LZ4 chain say Corrupt or BadItem, and nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.tap import HeardFrame, pack_block
from firmware.core import index, lz4chain, receipt, seal
from firmware.core._kernel import Stretch
from firmware.core.errors import BadItem, Corrupt
from firmware.core.recovery import recover
from firmware.core.segment import FRAMES, INDEX, Losses, SegmentWriter, Source
from firmware.core.store import Query, Store, verify
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
    for parse in (seal.unpacked, receipt.unpacked):
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
