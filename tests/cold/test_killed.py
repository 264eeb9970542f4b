"""The real steward, killed with SIGKILL at seeded instants while it rewrites: in the end everything is cold, and restores as sealed."""

import select
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity, introduce
from firmware.core.digest import of_file
from firmware.core.store import Store
from firmware.core.thaw import restored
from firmware.core.verify import verify
from simulator.board import SimulatedBoard
from simulator.written_store import write_segment
from tests.cold.conftest import control

SEED = 20_261_125
SEGMENTS = 4
LIVES_MAX = 40
START_S_MAX = 60.0


def _until_it_rewrites(root: Path, steward: "subprocess.Popen[bytes]") -> None:
    """Until a cold form is being written that was not before, or there is nothing left to rewrite."""
    before = _being_written(root)
    for _ in range(int(START_S_MAX * 100)):
        assert steward.poll() is None, "the steward ended of itself"
        if _being_written(root) - before or not list(root.glob("segments/*/frames.pcapng.lz4")):
            return
        select.select([], [], [], 0.01)
    raise AssertionError("the steward does not rewrite")


def _being_written(root: Path) -> set[tuple[str, int]]:
    """Cold forms that are hidden yet, by name and inode: a new life begins a new file."""
    found = set()
    for path in root.glob("segments/*/.frames.cold"):
        try:
            found.add((path.parent.name, path.stat().st_ino))
        except FileNotFoundError:
            continue  # It got its name in between.
    return found


@pytest.mark.timeout(300)
def test_killed_at_any_instant(tmp_path: Path) -> None:
    """Wherever it is killed each segment is whole, in one form or the other; begun again often enough, all of them get cold. (S2-095)"""
    random = Random(SEED)
    introduce(tmp_path / "identity", name="or3-box", site="lab")
    identity = LinuxIdentity(tmp_path / "identity")
    disk = LinuxDisk(tmp_path)
    board = SimulatedBoard(disk=cast(Any, disk), identity=cast(Any, identity))
    for number in range(SEGMENTS):
        start = board.clock.now().utc_ns
        write_segment(board, [control(start + part * 10**9, 5000, number * 10 + part) for part in range(6)])
        board.clock.advance(10 * 10**9)
    killed = 0
    for _ in range(LIVES_MAX):
        with subprocess.Popen(
            [sys.executable, "-m", "firmware.cli", "run", "box", "--process", "steward", f"--root={tmp_path}",
             "--set=cold.cold_after_h=0", "--set=cold.share_percent=100"],
            stdout=subprocess.DEVNULL,
        ) as steward:  # fmt: skip
            _until_it_rewrites(tmp_path, steward)
            # The instant; the first as soon as a cold form is begun, so that there is a second life however quick the machine is.
            select.select([], [], [], random.uniform(0, 0.6) if killed else 0)
            steward.kill()
        killed += 1
        verdict = verify(disk, public_key=identity.public_key())
        assert [] == verdict.findings, f"seed {SEED}, life {killed}"
        if all(Store(disk).segment(name).is_cold() for name in Store(disk).names()):
            break
    names = Store(disk).names()

    assert SEGMENTS == len(names) == sum(Store(disk).segment(name).is_cold() for name in names), f"after {killed} lives"
    assert killed >= 2, "killed before it had ended"
    for name in names:
        made = Store(disk).segment(name).seal()
        assert made is not None
        digest = of_file(made.piece_bytes)
        for piece in restored(disk, "segments", name):
            digest.update(piece)
        assert made.frames_digest == digest.digest(), name
