"""The formats of segment, index, seal and receipt, pinned by golden bytes; seal and receipt also by their CDDL and a foreign reader.

`python tests/formats/test_segment.py` writes the files of a new version; those of an old one are never written again.
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import cbor2
import lz4.frame
import pytest
from pycddl import Schema, ValidationError

from drivers.linux.disk import LinuxDisk
from drivers.tap import HeardFrame, pack_block
from firmware.core import index, pcapng, receipt, seal
from firmware.core._kernel import Stretch
from firmware.core.certificate import DeviceOffset, Method, TimeQuality
from firmware.core.digest import PIECE_BYTES
from firmware.core.errors import BadItem
from firmware.core.layout import FRAMES, INDEX, SEAL
from firmware.core.receipt import Receipt
from firmware.core.seal import Gap
from firmware.core.segment import Segment
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.store import Query, Store
from firmware.core.timestamp import ClockState
from firmware.core.verify import verify
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity

HERE = Path(__file__).parent
GOLDEN = HERE / "segment-v1"
CDDL = (HERE.parents[1] / "firmware" / "core" / "segment.cddl").read_text()
NAME = "20261122T101500Z-000042"
DELETED = "20261122T101000Z-000041"
START = 1_795_342_500_000_000_001
SEAL_2 = HERE / "seal-v2"
GOLDEN_3 = HERE / "segment-v3"
IDENTITY = SimulatedIdentity()
NOW = SimulatedClock().now()
TIME = TimeQuality(
    800_000, ClockState.HOLDOVER, 1, 3_600_000_000_000, "001b19fffe000001",
    (
        DeviceOffset("10.7.0.11", Method.MONITORED, -21_800, -12_700, NOW.timestamp.tai_ns),
        DeviceOffset("10.7.0.12", Method.BOUNDED, None, 2_000_000, NOW.timestamp.tai_ns),
    ),
)  # fmt: skip

ROWS = [
    bytes.fromhex("020000000001 020000000002 0800 4500002000000000401100000a0000010a000002 2710 0068 000c 0000 01020304"),
    bytes.fromhex("020000000001 020000000002 8100 6007 0800 4500002000000000401100000a0000010a000003 2710 0068 000c 0000 01020304"),
    bytes.fromhex("333300000001 020000000003 86dd 60000000 0008 3a ff fe800000000000000000000000000001 ff020000000000000000000000000001 8700000000000000"),
    bytes.fromhex("ffffffffffff 020000000004 0806 0001 0800 06 04 0001 020000000004 0a000004 000000000000 0a000001"),
]  # fmt: skip


def write(disk) -> None:
    """The same segment and receipt, from fixed frames, key and clock."""
    disk.mkdir("segments")
    writer = SegmentWriter(disk, "segments", sequence=42, first_utc_ns=START, source=Source("eth1"), now=NOW)
    for number in range(2):
        stretch = Stretch(1 << 19)
        heard = [HeardFrame(START + number * 10**9 + n * 1000, row, len(row) + 4 * n) for n, row in enumerate(ROWS)]
        stretch.add(pack_block(heard, sequence=number), 0, 0, 0, 0)
        writer.write(stretch)
    losses = Losses({"disk_full": 3, "ring_full": 4}, (Gap("ring_full", START, START + 5, 4), Gap("interface_gone", 1, 2, None)))
    writer.seal(IDENTITY, previous=bytes(range(32)), losses=losses, cause="time", now=NOW)
    made = Receipt(DELETED, 41, bytes(range(32)), "age", NOW.timestamp, None)
    disk.mkdir("receipts")
    disk.write(f"receipts/{DELETED}", receipt.packed(made.signed(IDENTITY.sign(made.body()))))


@pytest.fixture
def written() -> SimulatedDisk:
    disk = SimulatedDisk()
    write(disk)
    return disk


def golden(file: str) -> bytes:
    return (GOLDEN / "segments" / NAME / file).read_bytes()


def test_version_1_is_read():
    """A store written by the first version is searched and verified by this one, for ever."""
    disk = LinuxDisk(GOLDEN)
    hits = list(Store(disk).search(Query()))
    found = pcapng.packets(pcapng.section_header() + pcapng.interface("x") + b"".join(hit.blocks for hit in hits))

    assert [row for _ in range(2) for row in ROWS] == [packet.data for packet in found]
    assert 2 == sum(hit.frame_count for hit in Store(disk).search(Query(vlans=(7,))))
    # It is the 42nd of its box, and there is a receipt for the 41st only: the chain says so, everything else is in order.
    assert {"missing"} == {row.what for row in verify(disk, "segments", IDENTITY.public_key()).findings}


def test_version_1_frames_are_written(written):
    """The pcapng bytes are exactly those of version 1. How LZ4 packs them is its library's affair."""
    assert lz4.frame.decompress(golden(FRAMES)[:]) == lz4.frame.decompress(written.read(f"segments/{NAME}/{FRAMES}"))


def test_version_1_index_is_written(written):
    """The same index, byte for byte, where LZ4 packs as it did; else the same but for where the stretches lie."""
    now, then = written.read(f"segments/{NAME}/{INDEX}"), golden(INDEX)
    records, end = index.unpacked_records(then)

    assert end == len(then)
    assert then[: index.HEADER_SIZE] == now[: index.HEADER_SIZE]
    assert then == then[: index.HEADER_SIZE] + b"".join(map(index.packed_record, records))
    assert [replace(row, offset=0, stored_bytes=0) for row in records] == [
        replace(row, offset=0, stored_bytes=0) for row in Segment(written, "segments", NAME).records()
    ]


def test_version_1_seal_and_receipt_are_written(written):
    """Seal and receipt are exactly those of version 1, given the same digests of the files, each of a file as one."""
    made, then = seal.unpacked(written.read(f"segments/{NAME}/{SEAL}")), seal.unpacked(golden(SEAL))
    same = replace(
        made, frames_bytes=then.frames_bytes, frames_digest=then.frames_digest, index_digest=then.index_digest, piece_bytes=None,
        signature=b"",
    )  # fmt: skip
    same = same.signed(IDENTITY.sign(same.body()))

    assert golden(SEAL) == seal.packed(same)
    assert (GOLDEN / "receipts" / DELETED).read_bytes() == written.read(f"receipts/{DELETED}")


def test_version_2_seal_is_read_and_written():
    """The seal of version 1 and how good time was; byte for byte, and signed as its own version. (S2-012)"""
    first = seal.unpacked(golden(SEAL))
    made = replace(first, time=TIME, signature=b"")
    made = made.signed(IDENTITY.sign(made.body()))

    assert SEAL_2.read_bytes() == seal.packed(made)
    assert made == seal.unpacked(SEAL_2.read_bytes())
    assert made.is_signed_by(IDENTITY.public_key())
    assert not replace(made, time=None).is_signed_by(IDENTITY.public_key())
    Schema(f"start = seal\n{CDDL}").validate_cbor(SEAL_2.read_bytes())


def test_version_3_is_read():
    """A store whose digests are of pieces is searched and verified, for ever."""
    disk = LinuxDisk(GOLDEN_3)
    made = Segment(disk, "segments", NAME).seal()

    assert (3, PIECE_BYTES) == (made.version, made.piece_bytes)
    assert 8 == sum(hit.frame_count for hit in Store(disk).search(Query()))
    assert {"missing"} == {row.what for row in verify(disk, "segments", IDENTITY.public_key()).findings}


def test_version_3_seal_is_written(written):
    """Byte for byte, given the same digests; the digest is of the pieces of the file, not of the file."""
    path = GOLDEN_3 / "segments" / NAME
    made, then = seal.unpacked(written.read(f"segments/{NAME}/{SEAL}")), seal.unpacked((path / SEAL).read_bytes())
    same = replace(
        made, frames_bytes=then.frames_bytes, frames_digest=then.frames_digest, index_digest=then.index_digest, signature=b""
    )
    same = same.signed(IDENTITY.sign(same.body()))
    frames = (path / FRAMES).read_bytes()

    assert (path / SEAL).read_bytes() == seal.packed(same)
    assert hashlib.sha256(hashlib.sha256(frames).digest()).digest() == then.frames_digest
    assert not replace(then, piece_bytes=None).is_signed_by(IDENTITY.public_key())
    Schema(f"start = seal\n{CDDL}").validate_cbor((path / SEAL).read_bytes())


@pytest.mark.parametrize("piece_bytes", [0, 1, 65_535, 1 << 40, -1, True, "65536", None])
def test_other_pieces_are_refused(piece_bytes):
    """A seal says 65,536 or nothing: what else it says, nobody of ours has sealed."""
    row = cbor2.loads((GOLDEN_3 / "segments" / NAME / SEAL).read_bytes()) | {23: piece_bytes}
    with pytest.raises(BadItem):
        seal.unpacked(cbor2.dumps(row, canonical=True))


@pytest.mark.parametrize(("rule", "path"), [("seal", f"segments/{NAME}/{SEAL}"), ("receipt", f"receipts/{DELETED}")])
def test_cddl_describes_it(rule, path):
    """A reader that knows only the CDDL finds what we wrote to be in order, and something else not."""
    schema = Schema(f"start = {rule}\n{CDDL}")
    data = (GOLDEN / path).read_bytes()
    schema.validate_cbor(data)
    with pytest.raises(ValidationError):
        schema.validate_cbor(b"\xa1\x00\x02")


if __name__ == "__main__":
    if GOLDEN_3.exists():
        sys.exit(f"{GOLDEN_3} is there: a version is written once")
    write(LinuxDisk(GOLDEN_3))
