"""The cold form, pinned: what a box wrote once is restored for ever; its seal also by the CDDL and a foreign reader.

`python tests/formats/test_cold.py` writes the files of a new version; those of an old one are never written again. The bytes of a
rewriting are not pinned, zstd may write better ones: what they restore to is.
"""

import sys
from pathlib import Path
from random import Random

import pytest
from pycddl import Schema, ValidationError

from drivers.linux.disk import LinuxDisk
from drivers.tap import HeardFrame
from firmware.cold.rewrite import Progress, rewriting
from firmware.core.cold import Cold, seal_unpacked
from firmware.core.layout import COLD, COLD_SEAL, FRAMES
from firmware.core.segment import Segment
from firmware.core.thaw import thaw
from firmware.core.verify import verify
from simulator.board import SimulatedBoard
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.written_store import frame, write_segment

HERE = Path(__file__).parent
GOLDENS = (HERE / "cold-v1", HERE / "cold-v1-packer-2")  # written by kernel.c 1 and 2; the packer of this machine is the last
CDDL = (HERE.parents[1] / "firmware" / "core" / "segment.cddl").read_text()
START = 1_795_342_500_000_000_001
FILES = ("index", "seal", COLD, COLD_SEAL)


def rows(seed: int) -> list[HeardFrame]:
    """Control messages of two kinds, and noise."""
    random, made = Random(seed), []
    for number in range(120):
        payload = b"AB"[number % 2 : number % 2 + 1] * 3 + number.to_bytes(4, "little") + random.randbytes(2) + bytes(20)
        made.append(frame(START + number * 1_000_000 + random.randrange(4000), port=47001 + number % 3, payload=payload))
    made.append(frame(START + 1_000_000_000, payload=random.randbytes(700)))
    return made


def hot() -> tuple[SimulatedBoard, str]:
    board = SimulatedBoard()
    return board, write_segment(board, [rows(1), rows(2)]).name


def rewritten(board: SimulatedBoard, name: str) -> None:
    work = rewriting(
        board.disk, f"segments/{name}", identity=board.identity, made=board.clock.now().timestamp, level=12, progress=Progress()
    )
    for _ in work:
        pass


@pytest.fixture(params=GOLDENS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> tuple[SimulatedDisk, str]:
    """A store of the golden files of each packer."""
    disk, name = SimulatedDisk(), next((request.param / "segments").iterdir()).name
    disk.mkdir(f"segments/{name}")
    for file in FILES:
        disk.write(f"segments/{name}/{file}", (request.param / "segments" / name / file).read_bytes())
    return disk, name


def test_golden_cold_segment_is_restored(golden):
    """A cold segment of version 1 verifies, reads stretch by stretch, and every frame of it is as it was recorded."""
    disk, name = golden
    board, now_name = hot()
    expected, found = Segment(board.disk, "segments", now_name), Segment(disk, "segments", name)
    verdict = verify(disk, public_key=SimulatedIdentity().public_key())

    assert [] == verdict.findings
    assert [expected.stretch(record) for record in expected.records()] == [found.stretch(record) for record in found.records()]


def test_golden_cold_segment_thaws(golden):
    """Where the packer is the one that sealed, the sealed file comes back to the byte."""
    disk, name = golden
    if any(row.what == "cold" for row in verify(disk).statements):
        pytest.skip("this LZ4 packs otherwise than the one that wrote the golden files: the frames are proved above")
    thaw(disk, "segments", name)

    assert Segment(disk, "segments", name).seal().frames_bytes == disk.size(f"segments/{name}/{FRAMES}")
    assert verify(disk).ok


def test_cold_seal_follows_its_cddl(golden):
    """Somebody else's reader accepts what we write, and refuses it changed."""
    disk, name = golden
    data = disk.read(f"segments/{name}/{COLD_SEAL}")
    schema = Schema("start = cold-seal\n" + CDDL)
    schema.validate_cbor(data)

    assert data == seal_unpacked(data).packed()
    with pytest.raises(ValidationError):
        schema.validate_cbor(b"\xa1\x00\x01")


def test_rewriting_today_says_the_same(golden):
    """Today's writer makes a table with the same stretches and digests as the golden one."""
    board, name = hot()
    rewritten(board, name)
    ours, theirs = Cold(board.disk, f"segments/{name}"), Cold(golden[0], f"segments/{golden[1]}")

    assert [link.raw_digest for run in theirs.runs for link in run.links] == [
        link.raw_digest for run in ours.runs for link in run.links
    ]
    assert theirs.seal.raw_digest == ours.seal.raw_digest


if __name__ == "__main__":
    if GOLDENS[-1].exists():
        sys.exit(f"{GOLDENS[-1]} is there; a new version gets a new name")
    board, name = hot()
    rewritten(board, name)
    GOLDENS[-1].mkdir()
    disk = LinuxDisk(GOLDENS[-1])
    disk.mkdir(f"segments/{name}")
    for file in FILES:
        disk.write(f"segments/{name}/{file}", board.disk.read(f"segments/{name}/{file}"))
