"""Versions of the real recorder, one taking over from the other on a real wire, under the real keeper."""

import importlib.util
import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity
from drivers.linux.supervisor import LinuxKeeper
from drivers.supervisor import Ended, Ready
from firmware.core import pcapng
from firmware.core.durable import replace
from firmware.core.store import Query, Store
from firmware.core.verify import verify
from firmware.core.versions import OFFICIAL, VERSIONS

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
# A ring of half a minute: how long a process takes to start here is not what is tested.
RING = ("--set=capture.ring_block_kb=64", "--set=capture.ring_block_count=512")
PROGRAM = Path(__file__).parents[2]


class Box:
    """One store, its recorder, its keeper, a cable on which numbered frames pass."""

    def __init__(self, place: Path, line: "wire.Wire") -> None:  # type: ignore[name-defined]
        self.root, self.line, self.sent = place / "store", line, 0
        self.disk = LinuxDisk(self.root)
        self.disk.mkdir(OFFICIAL)
        self.keeper = LinuxKeeper(place / "logs")
        self.start(passing=0)

    def start(self, *, passing: int = 20) -> None:
        command = [sys.executable, "-m", "firmware.cli", "run", "box", "--process", "capture", f"--root={self.root}"]
        command += [f"--set=capture.interface={wire.HEARS!r}", "--set=capture.stretch_ms=50", *RING]
        self.keeper.start("capture", command, dict(os.environ))
        self.until(lambda: Ready("capture") in self.events, passing=passing)

    def add(self, version: str, *, station: str = "") -> None:
        """A copy of this program; station: appended to the recorder's own."""
        for part in ("firmware", "drivers", "simulator"):
            shutil.copytree(
                PROGRAM / part, self.root / VERSIONS / version / part, ignore=shutil.ignore_patterns("__pycache__", "*.pcapng")
            )
        if station:
            with (self.root / VERSIONS / version / "firmware/capture/station.py").open("a") as file:
                file.write(station)

    def gauges(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads((self.root / "state/capture.json").read_text())["stations"]["succession"]["gauges"]
        except OSError:
            return {}
        return found

    def until(self, holds: Callable[[], bool], *, passing: int = 20) -> None:
        """Frames pass until this is so, so many every 20 ms."""
        self.events: list[Ended | Ready] = []
        for _ in range(3000):
            self.events += self.keeper.events()
            if holds():
                return
            self.line.send(
                [
                    bytes.fromhex("020000000001 020000000002 88b5") + n.to_bytes(8, "big") + bytes(80)
                    for n in range(self.sent, self.sent + passing)
                ]
            )
            self.sent += passing
            select.select([self.keeper.fileno()], [], [], 0.02)
        raise AssertionError(f"expected it within a minute; {self.gauges()}, {self.events}")

    def switch(self, version: str) -> None:
        replace(self.disk, OFFICIAL, "capture", version.encode())
        self.until(lambda: self.gauges().get("version") == version)

    def stop(self) -> None:
        self.keeper.stop("capture")
        for _ in range(1000):
            select.select([self.keeper.fileno()], [], [], 0.02)
            if any(isinstance(event, Ended) for event in self.keeper.events()):
                return
        raise AssertionError("expected it to end")

    def recorded(self) -> list[int]:
        data = b"".join(hit.blocks for hit in Store(self.disk).search(Query()))
        section = pcapng.section_header() + pcapng.interface("x") + data
        return [int.from_bytes(packet.data[14:22], "big") for packet in pcapng.packets(section)]

    def causes(self) -> list[str]:
        store = Store(self.disk)
        return [made.cause for name in store.names() if (made := store.segment(name).seal()) is not None]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with wire.Wire() as line:
        made = Box(tmp_path, line)
        yield made
        made.keeper.close()


def test_versions_take_over_while_frames_pass(box):
    """Image, a copy, one that cannot start, the copy killed: every frame once, one chain, and the keeper saw no end. (S1-08, S1-14, S1-15, S1-16)"""
    box.add("v1")
    box.add("v2", station="\nraise SystemExit('this one cannot start')\n")
    first = box.keeper._kept["capture"].main
    box.switch("v1")
    second = box.keeper._kept["capture"].main
    assert [] == [event for event in box.events if isinstance(event, Ended)]
    replace(box.disk, OFFICIAL, "capture", b"v2")
    box.until(lambda: box.gauges().get("heir") == "v2 failed")
    assert second == box.keeper._kept["capture"].main
    replace(box.disk, OFFICIAL, "capture", b"v1")
    os.kill(second, signal.SIGKILL)
    box.until(lambda: Ended("capture", -signal.SIGKILL) in box.events)
    box.start()
    assert "v1" == box.gauges()["version"]
    box.stop()
    verdict = verify(box.disk, "segments", LinuxIdentity(box.root / "identity").public_key())

    assert first != second
    recorded = box.recorded()
    assert [] == sorted(set(range(box.sent)) - set(recorded)), box.causes()
    assert list(range(box.sent)) == recorded
    # One more may have been cut by the hour's five minutes, which come when they come.
    assert ["handover", "interrupted", "stop"] == [cause for cause in box.causes() if cause != "time"]
    assert ([], {}) == (verdict.findings, verdict.drops)
