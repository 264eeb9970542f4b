"""A real box on a real wire: a bundle made, installed, tried beside the recorder at work, official process by process; and back."""

import importlib.util
import json
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity, introduce, trust
from firmware.core import pcapng
from firmware.core.store import Query, Store
from firmware.core.verify import verify

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
PROGRAM = Path(__file__).parents[2]
WAIT_S_MAX = 100
SETTINGS = (
    f"capture.interface={wire.HEARS!r}", "capture.stretch_ms=50", "capture.ring_block_kb=64", "capture.ring_block_count=512",
    "update.trial_s=2", "update.guard_s=0",
)  # fmt: skip


def scrubjay(*words: str) -> dict[str, object]:
    """A command of the command line and its JSON."""
    said = subprocess.run(
        [sys.executable, "-m", "firmware.cli", *words, "--json"], capture_output=True, text=True, timeout=60, check=True,
        cwd=PROGRAM,
    )  # fmt: skip
    return dict(json.loads(said.stdout))


class Box:
    """Recorder, steward and update of a box, and numbered frames on its wire."""

    def __init__(self, place: Path, line: "wire.Wire") -> None:  # type: ignore[name-defined]
        self.place, self.root, self.line, self.sent = place, place / "store", line, 0
        self.vendor = place / "vendor"
        introduce(self.vendor / "identity", name="vendor", site="")
        introduce(self.root / "identity", name="box-1", site="")
        trust(self.root / "identity", "vendor", LinuxIdentity(self.vendor / "identity").public_key())
        without = [f"--without={name}" for name in ("clock", "roomside", "uplink", "console", "gate")]
        self.log = (place / "box.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "firmware.cli", "run", "box", f"--root={self.root}", *without, *(f"--set={row}" for row in SETTINGS)],
            stdout=self.log, stderr=self.log, cwd=PROGRAM,
        )  # fmt: skip
        self.until(lambda: (self.root / "state/update.json").exists() and (self.root / "state/capture.json").exists(), passing=0)

    def until(self, holds: Callable[[], bool], *, passing: int = 10) -> None:
        """Frames pass until this is so."""
        for _ in range(WAIT_S_MAX * 20):
            if holds():
                return
            assert self.process.poll() is None, (self.place / "box.log").read_text()
            self.line.send(
                [
                    bytes.fromhex("020000000001 020000000002 88b5") + n.to_bytes(8, "big") + bytes(80)
                    for n in range(self.sent, self.sent + passing)
                ]
            )
            self.sent += passing
            select.select([], [], [], 0.05)
        raise AssertionError(f"expected it within {WAIT_S_MAX} s\n{(self.place / 'box.log').read_text()}\n{self.history()}")

    def official(self) -> str:
        return str(scrubjay("update", "status", f"--root={self.root}")["official"])

    def history(self) -> str:
        path = self.root / "updates/history"
        return path.read_text() if path.exists() else ""

    def versions(self) -> dict[str, str]:
        """Each process's, as it says itself."""
        found = {}
        for path in (self.root / "state").glob("[a-z]*.json"):
            stations = json.loads(path.read_text())["stations"]
            found[path.stem] = stations["succession"]["gauges"]["version"]
        return found

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()

    def recorded(self) -> list[int]:
        data = b"".join(hit.blocks for hit in Store(LinuxDisk(self.root)).search(Query()))
        section = pcapng.section_header() + pcapng.interface("x") + data
        return [int.from_bytes(packet.data[14:22], "big") for packet in pcapng.packets(section)]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with wire.Wire() as line:
        made = Box(tmp_path, line)
        try:
            yield made
        finally:
            if made.process.poll() is None:
                made.stop()


def test_a_box_is_updated_while_it_records_and_goes_back(box, tmp_path):
    """A bundle from a stick is tried, becomes official, and a signed order takes it back; every frame once through all of it. (S1-02, S1-03, S1-08, S1-10, S1-13, S1-14, S1-15, S1-16)"""
    stick = tmp_path / "stick"
    stick.mkdir()
    bundle, order = str(stick / "v1.scrubjay"), str(tmp_path / "order")
    scrubjay("update", "make", "v1", "--number=1", "-w", bundle, f"--root={box.vendor}")
    scrubjay("update", "install", str(stick), f"--root={box.root}")
    box.until(lambda: set(box.versions().values()) == {"v1"})
    assert ("v1", "image") == (box.official(), scrubjay("update", "status", f"--root={box.root}")["previous"])
    scrubjay("update", "order", "--box=box-1", "-w", order, f"--root={box.vendor}")
    scrubjay("update", "rollback", order, f"--root={box.root}")
    box.until(lambda: set(box.versions().values()) == {"image"} and "asked for by vendor" in box.history())
    box.until(lambda: '"process": "update", "from": "v1", "to": "image"' in box.history())
    box.stop()
    disk = LinuxDisk(box.root)
    verdict = verify(disk, "segments", LinuxIdentity(box.root / "identity").public_key())
    causes = [made.cause for name in Store(disk).names() if (made := Store(disk).segment(name).seal()) is not None]

    assert list(range(box.sent)) == box.recorded()
    assert ([], {}) == (verdict.findings, verdict.drops)
    # One more may have been cut by the hour's five minutes, which come when they come.
    assert ["handover", "handover", "stop"] == [cause for cause in causes if cause != "time"]
