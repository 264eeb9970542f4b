"""`scrubjay record` beside dumpcap: not how fast but how they behave, in the same moments on the same two cables.

Each row is measured in this run: frames offered and found on the disk or at the pipe's end, what was said, how it ended.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "drivers")]

import wire  # noqa: E402

from drivers.linux.disk import LinuxDisk  # noqa: E402
from firmware.core import pcapng  # noqa: E402
from firmware.core.store import Query, Store  # noqa: E402
from simulator.capture_file import frames  # noqa: E402

RECORDING = ROOT / "simulator" / "recordings" / "room.pcapng"
SCRUBJAY = [sys.executable, "-m", "firmware.cli", "record"]
RING_MB = 2  # Small on purpose: what a stall costs is seen in seconds.
SMALL_RING = ["--set", "capture.ring_block_count=4", "--set", "capture.ring_block_kb=512"]
HEAD = bytes.fromhex("020000000001 020000000002 0800 4500001c00000000401100000a0000010a000002 2710 0068 0008 0000")


@dataclass(frozen=True, slots=True)
class Row:
    """One habit, in the words of what was seen."""

    habit: str
    dumpcap: str
    scrubjay: str


@dataclass
class Run:
    """One program at work. said: what it told, at its end."""

    process: "subprocess.Popen[bytes]"
    place: Path
    said: bytes = b""

    def end(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        self.said = (out or b"") + (err or b"")
        return self.process.returncode

    @property
    def found(self) -> int:
        """Frames that can be read where it wrote."""
        if self.place.is_dir():
            return sum(hit.frame_count for hit in Store(LinuxDisk(self.place)).search(Query()))
        return sum(1 for _ in frames(self.place)) if self.place.exists() else 0


class Bench:
    """Two cables and both programs on them."""

    def __init__(self, line: wire.Wire, into: Path) -> None:
        self.line = line
        self.into = into
        self.count = 0

    @contextmanager
    def both(self, *interfaces: str) -> Iterator[tuple[Run, Run]]:
        """Started and listening; ended, however this ends."""
        self.count += 1
        file, store = self.into / f"{self.count}.pcapng", self.into / f"{self.count}"
        named = [word for name in interfaces for word in ("-i", name)]
        runs = (
            self._start(["dumpcap", "-q", "-B", str(RING_MB), *named, "-w", str(file)], file),
            self._start([*SCRUBJAY, *interfaces, "-o", str(store), "-q", *SMALL_RING], store),
        )
        pause(2.5)
        try:
            yield runs
        finally:
            for run in runs:
                if run.process.poll() is None:
                    run.process.kill()
                    run.process.communicate()

    def send(self, count: int, *, end: str = wire.SENDS, size: int = 60) -> None:
        self.line.send([HEAD + os.urandom(size - len(HEAD)) for _ in range(count)], end=end)

    def _start(self, command: list[str], place: Path) -> Run:
        return Run(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE), place)


def pause(seconds: float) -> None:
    """The world goes on; nothing here can ring when a foreign program is ready."""
    select.select([], [], [], seconds)


def one_goes(bench: Bench) -> Row:
    """One of two interfaces is taken out and put back; the other carries 300 frames all the while, it 200."""
    with bench.both(wire.HEARS, wire.HEARS_TOO) as runs:
        bench.send(100)
        bench.send(100, end=wire.SENDS_TOO)
        pause(1)
        bench.line.cut(wire.HEARS_TOO)
        pause(1)
        bench.send(100)
        bench.line.connect(wire.HEARS_TOO, wire.SENDS_TOO)
        pause(6)
        bench.send(100)
        bench.send(100, end=wire.SENDS_TOO)
        pause(1)
        running = [run.process.poll() is None for run in runs]
        words = []
        for run, is_running in zip(runs, running, strict=True):
            status = run.end()
            words.append(f"{'goes on' if is_running else 'ends by itself'}, {run.found} of 500 frames, exit {status}")
    return Row("one of two interfaces removed and put back", *words)


def last_frames(bench: Bench) -> Row:
    """A hundred frames, then Ctrl-C at once."""
    with bench.both(wire.HEARS) as runs:
        bench.send(100)
        for run in runs:
            run.process.send_signal(signal.SIGINT)
        for run in runs:
            run.end()
        words = [f"{run.found} of 100 frames" + (", says 0 lost" if b"0/0" in run.said else "") for run in runs]
    return Row("frames sent just before Ctrl-C", *words)


def pulled(bench: Bench) -> Row:
    """The cable out for three seconds."""
    with bench.both(wire.HEARS) as runs:
        bench.line.set(wire.SENDS, "down")
        pause(3)
        bench.line.set(wire.SENDS, "up")
        pause(2)
        for run in runs:
            run.end()
        words = ["said, with how long" if b"carrier for" in run.said else "not said" for run in runs]
    return Row("cable pulled for 3 s", *words)


def killed(bench: Bench) -> Row:
    """1,000 frames, three seconds, SIGKILL."""
    with bench.both(wire.HEARS) as runs:
        bench.send(1000)
        pause(3)
        for run in runs:
            run.end(signal.SIGKILL)
        words = [f"{run.found} of 1,000 frames" for run in runs]
    return Row("kill -9, frames that can be read", *words)


def slow_reader(bench: Bench) -> Row:
    """Whoever reads the pipe stands still for six seconds while 14 MB pass; both have a ring of 2 MiB."""
    words = []
    commands = (
        ["dumpcap", "-q", "-B", str(RING_MB), "-i", wire.HEARS, "-w", "-"],
        [*SCRUBJAY, wire.HEARS, "-w", "-", "-q", *SMALL_RING],
    )
    for command in commands:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            pause(2.5)
            for _ in range(20):
                bench.send(500, size=1400)
                pause(0.15)
            pause(1)
            assert process.stdout is not None
            took = bytearray()
            os.set_blocking(process.stdout.fileno(), False)
            end = time.monotonic() + 6
            while time.monotonic() < end:
                if select.select([process.stdout], [], [], 0.5)[0]:
                    took += os.read(process.stdout.fileno(), 1 << 20)
            process.send_signal(signal.SIGINT)
            os.set_blocking(process.stdout.fileno(), True)
            took += process.communicate(timeout=30)[0]
        found = sum(1 for _ in whole_packets(bytes(took)))
        words.append(f"{found:,} of 10,000 frames arrive")
    return Row("a pipe whose reader stands still", *words)


def whole_packets(data: bytes) -> Iterator[int]:
    """Enhanced Packet Blocks, one after the other, until the data ends."""
    at = 0
    while len(data) - at >= 12:
        kind, size = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 8], "little")
        if size < 12 or size > len(data) - at:
            return
        if kind == pcapng.ENHANCED_PACKET:
            yield at
        at += size


def watched(bench: Bench) -> Row:
    """Into a pipe: how long until the first frame is at its other end."""
    words = []
    for command in (["dumpcap", "-q", "-i", wire.HEARS, "-w", "-"], [*SCRUBJAY, wire.HEARS, "-w", "-", "-q"]):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            pause(2.5)
            os.set_blocking(process.stdout.fileno(), False)
            seen = os.read(process.stdout.fileno(), 1 << 16) if select.select([process.stdout], [], [], 0)[0] else b""
            bench.send(1)
            sent = time.monotonic()
            while HEAD not in seen and time.monotonic() - sent < 10 and select.select([process.stdout], [], [], 10)[0]:
                seen += os.read(process.stdout.fileno(), 1 << 16)
            words.append(f"{round((time.monotonic() - sent) * 1000)} ms")
            process.send_signal(signal.SIGINT)
            os.set_blocking(process.stdout.fileno(), True)
            process.communicate(timeout=30)
    return Row("`-w -`, a frame is at the pipe's end after", *words)


def size_on_disk(bench: Bench) -> Row:
    """The shipped recording of a room, sent as it is."""
    rows = [frame.data for frame in frames(RECORDING) if len(frame.data) <= 9014]
    with bench.both(wire.HEARS) as runs:
        for at in range(0, len(rows), 200):
            bench.line.send(rows[at : at + 200])
            pause(0.02)
        pause(1)
        for run in runs:
            run.end()
        sizes = [
            sum(path.stat().st_size for path in run.place.rglob("*") if path.is_file() and "segments" in path.parts)
            if run.place.is_dir()
            else run.place.stat().st_size
            for run in runs
        ]
        words = [f"{size / 1e6:.2f} MB for {run.found:,} frames" for run, size in zip(runs, sizes, strict=True)]
    return Row("on the disk, a recorded room", *words)


HABITS: tuple[Callable[[Bench], Row], ...] = (one_goes, last_frames, pulled, killed, slow_reader, watched, size_on_disk)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the table goes")
    a = parser.parse_args()
    if (why := wire.why_not()) is not None:
        print(f"not measured: {why}")
        return 0
    rows = []
    with wire.Wire(cables=2) as line, tempfile.TemporaryDirectory() as into:
        print("| | dumpcap | scrubjay record |\n| --- | --- | --- |")
        for habit in HABITS:
            rows.append(habit(Bench(line, Path(tempfile.mkdtemp(dir=into)))))
            print(f"| {rows[-1].habit} | {rows[-1].dumpcap} | {rows[-1].scrubjay} |", flush=True)
    if a.json:
        a.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
