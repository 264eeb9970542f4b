"""The real recorder process under its real keeper, on a real wire: kill -9 while frames pass."""

import importlib.util
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity
from drivers.linux.supervisor import LinuxKeeper
from drivers.supervisor import Ended, Ready
from firmware.core import pcapng
from firmware.core.store import Query, Store
from firmware.core.verify import verify

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
# A ring of half a minute: how long a process takes to start here is not what is tested.
RING = ("--set=capture.ring_block_kb=64", "--set=capture.ring_block_count=512")


def frames(first: int, count: int) -> list[bytes]:
    return [
        bytes.fromhex("020000000001 020000000002 88b5") + n.to_bytes(8, "big") + bytes(100) for n in range(first, first + count)
    ]


def waited_for(keeper: LinuxKeeper, kind: type) -> Ended | Ready:
    while True:
        assert select.select([keeper.fileno()], [], [], 60)[0]
        for event in keeper.events():
            if isinstance(event, kind):
                return event


def recorded(root: Path) -> list[int]:
    data = b"".join(hit.blocks for hit in Store(LinuxDisk(root)).search(Query()))
    section = pcapng.section_header() + pcapng.interface("x") + data
    return [int.from_bytes(packet.data[14:22], "big") for packet in pcapng.packets(section)]


def test_killed_with_frames_passing_none_is_lost_and_none_twice(tmp_path):
    """SIGKILL, a second without anybody, a new process: the ring the keeper kept has it all, and nothing is recorded twice. (S1-08)"""
    root = tmp_path / "store"
    command = [sys.executable, "-m", "firmware.cli", "run", "box", "--process", "capture", f"--root={root}"]
    command += [f"--set=capture.interface={wire.HEARS!r}", "--set=capture.stretch_ms=50", *RING]
    keeper = LinuxKeeper(tmp_path / "logs")
    try:
        with wire.Wire() as line:
            keeper.start("capture", command, dict(os.environ))
            waited_for(keeper, Ready)
            line.send(frames(0, 2000))
            os.kill(keeper._kept["capture"].process.pid, signal.SIGKILL)  # in the middle of whatever it does
            assert Ended("capture", -signal.SIGKILL) == waited_for(keeper, Ended)
            line.send(frames(2000, 2000))
            keeper.start("capture", command, dict(os.environ))
            line.send(frames(4000, 1000))
            waited_for(keeper, Ready)
            line.send(frames(5000, 1000))
            keeper.stop("capture")
            assert Ended("capture", 0) == waited_for(keeper, Ended)
    finally:
        keeper.close()
    disk = LinuxDisk(root)
    verdict = verify(disk, "segments", LinuxIdentity(root / "identity").public_key())

    found = recorded(root)
    assert list(range(6000)) == found
    assert ([], {}) == (verdict.findings, verdict.drops)
    assert ["interrupted"] == [row.what for row in verdict.statements if row.what in ("interrupted", "gap")]
