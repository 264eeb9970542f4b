"""Recordings of others through the recorder's writer, the cold store and back, on a real disk."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from drivers.linux.disk import LinuxDisk
from drivers.tap import HeardFrame
from firmware.cold.rewrite import Progress, StaysHot, leftovers, rewriting
from firmware.core.layout import FRAMES
from firmware.core.segment import Segment
from firmware.core.store import Query, Store
from firmware.core.thaw import thaw
from firmware.core.verify import verify
from firmware.retrieval.listing import shown
from simulator import capture_file
from simulator.board import SimulatedBoard
from simulator.written_store import write_segment

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "pcap"
FAMILIES = sorted(path.name for path in RECORDINGS.iterdir()) if RECORDINGS.is_dir() else []


def frames_of(path: Path) -> list[HeardFrame]:
    try:
        return list(capture_file.frames(path))
    except (capture_file.BadCaptureFile, struct.error):
        return []


def stretches_of(paths: list[Path]) -> list[list[HeardFrame]]:
    """Every capture a stretch of its own, the long ones more."""
    rows = [frames_of(path) for path in paths if path.stat().st_size < 3 << 20]
    return [row[at : at + 2000] for row in rows for at in range(0, len(row), 2000)]


@pytest.mark.parametrize("family", FAMILIES or ["none"])
def test_every_capture_rests_cold_and_comes_back(tmp_path, family):
    """One segment of all captures of a kind: found alike hot and cold, verified cold, the sealed file again after a thaw."""
    stretches = stretches_of(sorted((RECORDINGS / family).glob("*"))) if FAMILIES else []
    if not stretches:
        pytest.skip("no Ethernet recordings of this kind beside the tree: not compared")
    board = SimulatedBoard()
    board.disk = LinuxDisk(tmp_path)
    name = write_segment(board, stretches).name
    directory = f"segments/{name}"
    hot, found = board.disk.read(f"{directory}/{FRAMES}"), list(Store(board.disk).search(Query()))
    try:
        for _ in rewriting(
            board.disk, directory, identity=board.identity, made=board.clock.now().timestamp, level=6, progress=Progress()
        ):
            pass
    except StaysHot as reason:
        leftovers(board.disk, directory)
        assert ("not_denser", True) == (reason.cause, len(hot) < 4000), family
        return

    assert Segment(board.disk, "segments", name).is_cold()
    assert found == list(Store(board.disk).search(Query()))
    assert [] == verify(board.disk, public_key=board.identity.public_key()).findings
    assert ["signature is good" in line for line in shown(board.disk.read(f"{directory}/cold"))][-1]
    thaw(board.disk, "segments", name)
    assert hot == board.disk.read(f"{directory}/{FRAMES}")


@pytest.mark.skipif(shutil.which("capinfos") is None, reason="capinfos is not installed: not compared")
def test_wireshark_opens_what_was_thawed(tmp_path):
    """The people with Wireshark get their file back, with as many frames as the seal says."""
    board = SimulatedBoard()
    board.disk = LinuxDisk(tmp_path)
    rows = [
        HeardFrame(1_795_342_500_000_000_000 + n * 1000, bytes(12) + b"\x88\xa4" + n.to_bytes(46, "little"), 60)
        for n in range(900)
    ]
    sealed = write_segment(board, [rows[:500], rows[500:]])
    directory = f"segments/{sealed.name}"
    for _ in rewriting(
        board.disk, directory, identity=board.identity, made=board.clock.now().timestamp, level=6, progress=Progress()
    ):
        pass
    thaw(board.disk, "segments", sealed.name)
    path = str(tmp_path / directory / FRAMES)
    info = subprocess.run(["capinfos", "-c", "-M", "-T", "-r", path], capture_output=True, text=True, timeout=60, check=True)

    assert 900 == int(info.stdout.split("\t")[1]) == sealed.frames
