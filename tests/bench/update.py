"""Another version of the recorder takes over while frames pass: what is lost, what comes twice, how long nobody reads.

    generator ─▶ interface ─▶ ring ─▶ recorder 1 ─▶ recorder 2 ─▶ … 12          one store, one chain of seals, numbered frames

Planned (the official mark changes, the running process starts its heir and hands over), twelve versions in a row, SIGKILL, a version that
cannot start, one that its trial refuses; beside them, in the same run, the recorder stopped and started without anything kept, as any other program is updated.
Frames arrive numbered (generator.c); every number recorded is counted. Gap: from the last look of the one that hands over to the first
block of the next, by their seals. Latency: the longest that a frame lay in the ring before it was read.
A network namespace of its own, the real keeper, the real processes; each version is a copy of this program.
"""

import argparse
import itertools
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "drivers"))

import delta  # noqa: E402  (beside this file)
import wire  # noqa: E402  (a sibling test's helper, not a package)

from drivers.linux.clock import LinuxClock  # noqa: E402
from drivers.linux.disk import LinuxDisk  # noqa: E402
from drivers.linux.identity import LinuxIdentity, introduce, trust  # noqa: E402
from drivers.linux.slots import LinuxSlots  # noqa: E402
from drivers.linux.supervisor import LinuxKeeper  # noqa: E402
from drivers.supervisor import Ended, Ready  # noqa: E402
from firmware.core.durable import replace  # noqa: E402
from firmware.core.store import Store  # noqa: E402
from firmware.core.versions import OFFICIAL, VERSIONS  # noqa: E402
from firmware.update.bundle import made  # noqa: E402
from firmware.update.page import history, install, program_files  # noqa: E402

PROGRAM = HERE.parents[1]
NUMBER_AT = 42  # in a frame of the generator's, eight bytes, little endian
SWITCH_S_MAX = 90.0
# Before what else the machine does, on the core the generator does not fill; on the box the recorder has a real-time priority.
FIRST = ["nice", "-n", "-10", "taskset", "-c", str((os.cpu_count() or 1) - 1)]
_BLOCK = struct.Struct("<II")


@dataclass(slots=True)
class Result:
    """One way, under one load. gaps_ms, latency_ms: None where nobody can tell from the record."""

    way: str
    load: str
    sent: int = 0
    lost: int = 0
    twice: int = 0
    stated: int = 0
    switches: int = 0
    gap_ms: float | None = None
    latency_ms: int | None = None
    versions: list[str] = field(default_factory=list)


class Bench:
    """One store, one recorder under one keeper, on one wire."""

    def __init__(self, place: Path, generator: Path, *, keeps: bool = True) -> None:
        self.root = place / "store"
        self.generator = generator
        self.keeps = keeps
        self.disk = LinuxDisk(self.root)
        self.keeper = LinuxKeeper(place / "logs")
        self.name, self.lives = "capture", 0
        self.offering: subprocess.Popen[str] | None = None
        self.latency_ms = 0
        self.disk.mkdir(OFFICIAL)

    def add_version(self, name: str, *, is_broken: bool = False) -> None:
        """A copy of this program."""
        for part in ("firmware", "drivers", "simulator"):
            shutil.copytree(
                PROGRAM / part, self.root / VERSIONS / name / part, ignore=shutil.ignore_patterns("__pycache__", "*.pcapng"), dirs_exist_ok=True
            )  # fmt: skip
        if is_broken:
            (self.root / VERSIONS / name / "firmware/capture/station.py").write_text(
                "raise SystemExit('a version that cannot start')\n"
            )

    def start(self) -> None:
        command = [*FIRST, sys.executable, "-m", "firmware.cli", "run", "box", "--process", "capture", f"--root={self.root}"]
        command += [f"--set=capture.interface={wire.HEARS!r}"]
        # Another name is another place in the keeper: nothing of the former life is there.
        self.name = f"capture{self.lives}" if not self.keeps else "capture"
        self.lives += 1
        self.keeper.start(self.name, command, dict(os.environ))
        self.await_event(Ready)

    def await_event(self, kind: type) -> None:
        while True:
            if not select.select([self.keeper.fileno()], [], [], SWITCH_S_MAX)[0]:
                raise SystemExit(f"expected {kind.__name__} of the recorder within {SWITCH_S_MAX:g} s")
            if any(isinstance(event, kind) for event in self.keeper.events()):
                return

    def state(self) -> dict[str, object]:
        try:
            stations = json.loads((self.root / "state/capture.json").read_text())["stations"]
        except (OSError, ValueError):
            return {}
        self.latency_ms = max(self.latency_ms, int(stations["capture"]["gauges"].get("longest_wait_ms", 0)))
        return dict(stations["succession"]["gauges"])

    def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(int(SWITCH_S_MAX * 20)):
            if holds():
                return
            self.keeper.events()
            select.select([], [], [], 0.05)
        rows = [f"{row.process} to {row.version}: {row.cause}" for row in history(self.disk)]
        raise SystemExit(f"expected it within {SWITCH_S_MAX:g} s; the recorder says {self.state()}; {rows}")

    def switch_to(self, version: str) -> None:
        self.mark(version)
        self.until(lambda: self.state().get("version") == version)

    def mark(self, version: str) -> None:
        replace(self.disk, OFFICIAL, "capture", version.encode())

    def offer(self, size: str, rate: int, seconds: float) -> None:
        self.offering = subprocess.Popen(
            ["nice", "-n", "-10", "taskset", "-c", "0", str(self.generator), wire.HEARS, size, str(rate), str(seconds), "arrive"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        select.select([], [], [], 1.0)

    def offered(self) -> int:
        assert self.offering is not None
        said, _ = self.offering.communicate(timeout=120)
        return int(json.loads(said)["sent"])

    def stop(self) -> None:
        select.select([], [], [], 1.5)  # a retire time, a stretch, and a report
        self.state()
        self.keeper.stop(self.name)
        self.await_event(Ended)

    def numbers(self) -> tuple[int, int]:
        """(different numbers recorded, recorded once more)."""
        seen: set[int] = set()
        count = 0
        store = Store(self.disk)
        for name in store.names():
            segment = store.segment(name)
            for record in segment.records():
                if record.frames:
                    raw, at = segment.stretch(record), 0
                    while at < len(raw):
                        seen.add(int.from_bytes(raw[at + 28 + NUMBER_AT : at + 36 + NUMBER_AT], "little"))
                        count += 1
                        at += _BLOCK.unpack_from(raw, at)[1]
        return len(seen), count - len(seen)

    def judge(self, result: Result) -> Result:
        store = Store(self.disk)
        seals = [made for name in store.names() if (made := store.segment(name).seal()) is not None]
        different, result.twice = self.numbers()
        result.lost = result.sent - different
        result.stated = sum(count for made in seals for count in made.drops.values())
        gaps = [
            (after.opened.tai_ns - before.made.tai_ns) / 1e6
            for before, after in itertools.pairwise(seals)
            if before.cause == "handover"
        ]
        result.gap_ms = max(gaps, default=None)
        result.latency_ms = self.latency_ms
        return result

    def close(self) -> None:
        self.keeper.close()
        if self.offering is not None and self.offering.poll() is None:
            self.offering.kill()
            self.offering.wait()


def planned(bench: Bench, result: Result) -> None:
    """Versions one after the other, as fast as they get ready, while frames pass."""
    assert bench.offering is not None
    for number in range(1, 13):
        if bench.offering.poll() is not None:
            return  # None of them would be a hand-over while frames pass.
        version = f"v{number}"
        bench.switch_to(version)
        result.switches += 1
        result.versions.append(version)
        if result.way == "planned":
            return


def killed(bench: Bench, result: Result) -> None:
    os.kill(bench.keeper._kept[bench.name].main, signal.SIGKILL)
    bench.await_event(Ended)
    bench.start()
    result.switches = 1


def refused(bench: Bench, result: Result) -> None:
    bench.mark("broken")
    bench.until(lambda: "failed" in str(bench.state().get("heir")))


def prepare_shadow(bench: Bench) -> None:
    """A bundle of a version that keeps less of each frame, and the process that will try it."""
    vendor = bench.root.parent / "vendor"
    introduce(vendor / "identity", name="vendor", site="")
    signer = LinuxIdentity(vendor / "identity")
    trust(bench.root / "identity", "vendor", signer.public_key())
    slots = LinuxSlots(bench.root, lambda process: (), lambda version: {})
    files = dict(program_files(slots))
    place = "firmware/capture/settings.py"
    files[place] = files[place].replace(b"snap_bytes: int = setting(262_144", b"snap_bytes: int = setting(96")
    now_ns = LinuxClock().now().timestamp.tai_ns
    data = made(
        files, {}, version="snaps", counter=1, board=slots.board, made_tai_ns=now_ns, expires_tai_ns=now_ns + 3600 * 10**9, base=None,
        signer="vendor", sign=signer.sign,
    )  # fmt: skip
    command = [*FIRST, sys.executable, "-m", "firmware.cli", "run", "box", "--process", "update", f"--root={bench.root}"]
    bench.keeper.start(
        "update", [*command, f"--set=capture.interface={wire.HEARS!r}", "--set=update.trial_s=4"], dict(os.environ)
    )
    bench.await_event(Ready)
    install(bench.disk, data, LinuxIdentity(bench.root / "identity").trusted())


def shadow(bench: Bench, result: Result) -> None:
    """It is tried beside the recorder at work, and refused."""
    bench.until(lambda: bool(history(bench.disk)))
    if "tenths of a second differ" not in history(bench.disk)[0].cause:
        raise SystemExit(f"expected it to be refused for its frames: {history(bench.disk)}")
    bench.keeper.stop("update")
    bench.await_event(Ended)


def cold(bench: Bench, result: Result) -> None:
    bench.keeper.stop(bench.name)
    bench.await_event(Ended)
    bench.start()
    result.switches = 1


def none(bench: Bench, result: Result) -> None:
    return


WAYS: dict[str, Callable[[Bench, Result], None]] = {
    "no switch": none, "planned": planned, "12 in a row": planned, "SIGKILL": killed, "cannot start": refused, "shadow refused": shadow, "cold": cold,
}  # fmt: skip
LOADS = {
    "25,000/s × 1000 B": ("1000", 25_000),
    "81,274/s × 1514 B (1 GbE)": ("1514", 81_274),
    "as fast as it goes × 60 B": ("60", 10_000_000),
}
SECONDS = {"12 in a row": 25.0, "shadow refused": 35.0}
ONCE = ("12 in a row", "shadow refused")  # With the first load only: what they show is not a matter of the rate.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--way", action="append", help=f"only these of {', '.join(WAYS)}")
    parser.add_argument("--load", action="append", type=int, help="only these loads, counted from 1")
    parser.add_argument("--seconds", type=float, default=4.0, help="of offered load a run; twelve in a row take more")
    parser.add_argument("--sent", action="store_true", help="only what a version costs on the way to a box: delta.py")
    a = parser.parse_args()
    if a.sent:
        delta.main(a.json)
        return 0
    missing = wire.why_not() or next((f"no {name}" for name in ("gcc", "ethtool") if shutil.which(name) is None), None)
    if missing:
        print(f"update bench skipped: {missing}")
        _write(a.json, {"skipped": missing})
        return 0
    results: list[Result] = []
    print(
        f"{'load':28} {'way':14} {'sent':>9} {'lost':>8} {'stated':>8} {'twice':>6} {'switches':>8} {'gap ms':>8} {'latency ms':>10}"
    )
    place_of = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-", dir=place_of) as made:
        generator = Path(made) / "generator"
        subprocess.run(["gcc", "-O2", "-o", str(generator), str(HERE / "generator.c")], check=True)
        for number, (load, (size, rate)) in enumerate(LOADS.items(), 1):
            if a.load and number not in a.load:
                continue
            for way in a.way or [name for name in WAYS if number == 1 or name not in ONCE]:
                with wire.Wire():
                    subprocess.run(["ethtool", "-K", wire.HEARS, "gro", "on"], check=True, capture_output=True)
                    results.append(_measured(Path(made) / "run", generator, way, load, size, rate, SECONDS.get(way, a.seconds)))
                row = results[-1]
                print(
                    f"{row.load:28} {row.way:14} {row.sent:9} {row.lost:8} {row.stated:8} {row.twice:6} {row.switches:8}"
                    f" {'-' if row.gap_ms is None else f'{row.gap_ms:.1f}':>8} {row.latency_ms:10}",
                    flush=True,
                )
    _write(a.json, {"results": [asdict(row) for row in results]})
    return 0


def _measured(place: Path, generator: Path, way: str, load: str, size: str, rate: int, seconds: float) -> Result:
    shutil.rmtree(place, ignore_errors=True)
    (place / "store").mkdir(parents=True)
    bench = Bench(place, generator, keeps=way != "cold")
    try:
        for name in {"planned": ["v1"], "12 in a row": [f"v{n}" for n in range(1, 13)]}.get(way, []):
            bench.add_version(name)
        if way == "cannot start":
            bench.add_version("broken", is_broken=True)
        bench.start()
        if way == "shadow refused":
            prepare_shadow(bench)
        bench.offer(size, rate, seconds)
        result = Result(way, load)
        WAYS[way](bench, result)
        result.sent = bench.offered()
        bench.stop()
        return bench.judge(result)
    finally:
        bench.close()


def _write(path: Path | None, row: dict[str, object]) -> None:
    if path is not None:
        path.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    sys.exit(main())
