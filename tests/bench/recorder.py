"""The recorder beside tcpdump, netsniff-ng and stenotype: the same load on the same interface, one after the other.

    generator (core 0) ─▶ interface ─▶ recorder (core 1) ─▶ files ─▶ counted by somebody else

A network namespace of its own. Each load three times and the median of it: split (a core for each), one core for both (60 bytes),
and the ceiling (60 bytes as fast as the generator makes them). Frames arrive as if a driver had received them (generator.c), at the
line rate of 1 GbE; what the interrupt side costs falls on the generator for all alike. CPU seconds are the kernel's own account of
the process's threads, from when it listens until what was offered is drained, so that starting Python is nobody's handicap.
Trust ratios, not absolutes: a shared virtual machine is no network card, and other work on it shows.
What the peers do not do and the recorder does in its figure: index (stenotype does, too), compression, checksums, syncing, sealing;
their bytes reach the disk in kernel threads that are on nobody's account.
Independent counts: capinfos; for stenotype the kernel's own block headers, as they lie in its files.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "drivers"))

import wire  # noqa: E402  (a sibling test's helper, not a package)

from drivers.linux.disk import LinuxDisk  # noqa: E402
from firmware.core.store import Store  # noqa: E402

LISTEN_S_MAX = 20
DRAIN_S = 1.5  # The slowest block time-out, retire or stretch among them, and half as much again;
DRAIN_STENOTYPE_S = 12  # but stenotype keeps a block that is not full for ten seconds.
SPLIT, ONE_CORE, CEILING = "split", "one core", "ceiling"
RING_MB = 64  # As large as the recorder's own ring, for all.
FIRST, BEFORE_ALL = ["nice", "-n", "-10"], ["nice", "-n", "-20"]  # Recorders before what else the machine does, all alike.
LAST_CORE = (os.cpu_count() or 1) - 1
FRAMES_CEILING = 5_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered. size: bytes of a frame, or "imix" (7:4:1 of 60, 590 and 1,514). place: who has which core."""

    name: str
    size: str
    frames_per_s: int
    place: str = SPLIT


@dataclass(frozen=True, slots=True)
class Result:
    """One run. frames: as counted on the disk by somebody else. cpu_s: user and system. rss_mb: the most it ever held, its ring included.

    stated: frames recorded and lost by the recorder's own seals; None for peers.
    """

    tool: str
    load: str
    place: str
    sent: int
    offer_s: float
    frames: int
    stated: int | None
    cpu_s: float
    rss_mb: float
    disk_mb: float

    @property
    def loss(self) -> float:
        """Fraction of the offered frames that is not on the disk."""
        return 1 - self.frames / self.sent if self.sent else 0.0

    @property
    def frames_per_cpu_s(self) -> float:
        return self.frames / self.cpu_s if self.cpu_s else 0.0


# 1 GbE line rate: 24 bytes more on the wire each, 20 between them.
LOADS = (
    Load("60 B", "60", 1_488_095), Load("IMIX", "imix", 327_000), Load("1514 B", "1514", 81_274),
    Load("60 B", "60", 10_000_000, ONE_CORE), Load("60 B", "60", 10_000_000, CEILING),
)  # fmt: skip
Command = Callable[[Path], list[str]]
TOOLS: dict[str, Command] = {
    "scrubjay": lambda out: [str(Path(sys.executable).with_name("scrubjay")), "record", wire.HEARS, "-o", str(out)],
    "tcpdump": lambda out: ["tcpdump", "-i", wire.HEARS, "-n", "-s", "0", "-B", str(RING_MB << 10), "-Z", "root", "-w", f"{out}/x.pcap"],
    "netsniff-ng": lambda out: [
        "netsniff-ng", "-i", wire.HEARS, "-o", f"{out}/x.pcap", "-s", "-S", f"{RING_MB}MiB", "-Q", "-b", str(LAST_CORE),
    ],
    "stenotype": lambda out: [
        "stenotype", f"--iface={wire.HEARS}", f"--dir={out}", f"--blocks={RING_MB}", "--threads=1", "--aiops=16", "--seccomp=none",
        "--no_watchdogs", "--filesize_mb=4000",
    ],
    "dumpcap": lambda out: ["dumpcap", "-i", wire.HEARS, "-q", "-B", str(RING_MB), "-w", f"{out}/x.pcapng"],
}  # fmt: skip
USUAL = ("scrubjay", "tcpdump", "netsniff-ng", "stenotype")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--seconds", type=float, default=2.0, help="of offered load a run")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, their median is shown")
    parser.add_argument("--scale", type=float, default=1.0, help="times line rate")
    parser.add_argument("--quick", action="store_true", help="one run of each, without the ceiling and stenotype: a minute")
    parser.add_argument("--tool", action="append", help=f"only these of {', '.join(TOOLS)}")
    a = parser.parse_args()
    missing = wire.why_not() or next(
        (f"no {name}" for name in ("gcc", "capinfos", "ethtool") if shutil.which(name) is None), None
    )
    if missing:
        print(f"recorder bench skipped: {missing}")
        _write(a.json, {"skipped": missing})
        return 0
    wanted = a.tool or (USUAL[:3] if a.quick else USUAL)
    tools = [name for name in wanted if name == "scrubjay" or shutil.which(name)]
    for name in sorted(set(wanted) - set(tools)):
        print(f"{name} is not installed: not compared")
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-") as place:
        Path(place).chmod(0o755)  # stenotype gives up root before it opens its files
        generator = Path(place) / "generator"
        subprocess.run(["gcc", "-O2", "-o", str(generator), str(HERE / "generator.c")], check=True)
        results = []
        for load in LOADS[:4] if a.quick else LOADS:
            runs = []
            for turn in range(1 if a.quick or load.place == CEILING else a.repeat):
                # In turn, so that what else the machine does meets all alike; stenotype, which takes its time to drain, once.
                runs += [
                    _measured(name, load, generator, Path(place) / "out", a) for name in tools if name != "stenotype" or not turn
                ]
            results += [_median([run for run in runs if run.tool == name]) for name in tools]
    _table(results)
    _write(a.json, {"ring_mb": RING_MB, "seconds": a.seconds, "results": [
        {**asdict(r), "loss": r.loss, "frames_per_cpu_s": r.frames_per_cpu_s, "ratio_to_best_peer": _ratio(r, results)} for r in results
    ]})  # fmt: skip
    return 0


def _measured(name: str, load: Load, generator: Path, out: Path, a: argparse.Namespace) -> Result:
    shutil.rmtree(out, ignore_errors=True)
    for directory in (out, out / "PKT0", out / "IDX0") if name == "stenotype" else (out,):
        directory.mkdir()
        directory.chmod(0o777)
    with wire.Wire():
        # Frames may only be made to arrive where the interface's driver polls.
        subprocess.run(["ethtool", "-K", wire.HEARS, "gro", "on"], check=True, capture_output=True)
        tool = subprocess.Popen(
            [*FIRST, "taskset", "-c", str(LAST_CORE), *TOOLS[name](out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _listening(tool)
            before = _cpu_ns(tool.pid)
            # On one core the interrupt side, which the generator stands for, goes first, as it does in a real machine.
            first = [*BEFORE_ALL, "taskset", "-c", str(LAST_CORE)] if load.place == ONE_CORE else [*FIRST, "taskset", "-c", "0"]
            offered = subprocess.run(
                [*first, str(generator), wire.HEARS, load.size, str(load.frames_per_s * a.scale),
                 str(min(a.seconds, FRAMES_CEILING / load.frames_per_s)), "arrive"],
                check=True, capture_output=True, text=True, timeout=a.seconds * 10 + 10,
            )  # fmt: skip
            _pass(DRAIN_STENOTYPE_S if name == "stenotype" else DRAIN_S)
            cpu_ns, rss_kb = _cpu_ns(tool.pid) - before, _peak_kb(tool.pid)
            tool.send_signal(signal.SIGINT)
            tool.wait(3 if name == "stenotype" else 20)
        except subprocess.TimeoutExpired:
            if name != "stenotype":  # It does not always end when asked to.
                raise
        finally:
            if tool.poll() is None:
                tool.kill()
                tool.wait()
    told = json.loads(offered.stdout)
    files = [path for path in out.rglob("*") if path.suffix in (".pcap", ".pcapng", ".lz4")]
    frames = _counted_blocks(out / "PKT0") if name == "stenotype" else _counted(files)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Result(
        name, load.name, load.place, told["sent"], told["seconds"], frames, _stated(out) if name == "scrubjay" else None,
        cpu_ns / 1e9, rss_kb / 1024, size / 1e6,
    )  # fmt: skip


def _listening(tool: "subprocess.Popen[bytes]") -> None:
    """Until the tool's packet socket runs: there is no other in this namespace."""
    for _ in range(LISTEN_S_MAX * 20):
        rows = Path("/proc/thread-self/net/packet").read_text().splitlines()[1:]
        # Columns: sk, reference count, type, protocol, interface, running. Ours that sends has protocol 0.
        if any(int(row.split()[3], 16) and row.split()[5] == "1" for row in rows):
            _pass(0.5)
            return
        if tool.poll() is not None:
            raise SystemExit(f"{tool.args!r} ended with {tool.returncode} before it listened")
        _pass(0.05)
    raise SystemExit(f"{tool.args!r} does not listen after {LISTEN_S_MAX} s")


def _pass(seconds: float) -> None:
    threading.Event().wait(seconds)


def _cpu_ns(process: int) -> int:
    """Time on a processor of all its threads, ns, from the scheduler; ticks of 10 ms would be too coarse."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{process}/task").glob("*/schedstat"))


def _peak_kb(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def _counted(files: list[Path]) -> int:
    """Frames in these files, by a reader that is nobody's here."""
    if not files:
        return 0
    told = subprocess.run(
        ["capinfos", "-c", "-M", "-T", "-r", *map(str, files)], capture_output=True, text=True, check=False
    ).stdout
    return sum(int(line.split("\t")[1]) for line in told.splitlines() if "\t" in line)


def _counted_blocks(place: Path) -> int:
    """Frames in stenotype's files: blocks of 1 MiB as the kernel made them, each with their number in its head."""
    frames = 0
    for path in place.iterdir():
        with path.open("rb") as file:
            for at in range(0, path.stat().st_size, 1 << 20):
                file.seek(at)
                head = file.read(16)
                frames += int.from_bytes(head[12:16], "little") if len(head) == 16 else 0
    return frames


def _stated(out: Path) -> int:
    """Frames the seals say are recorded or lost."""
    store = Store(LinuxDisk(out))
    seals = [made for name in store.names() if (made := store.segment(name).seal()) is not None]
    return sum(made.frames + sum(made.drops.values()) for made in seals)


def _median(runs: list[Result]) -> Result:
    middle = statistics.median_low([run.frames_per_cpu_s for run in runs])
    return next(run for run in runs if run.frames_per_cpu_s == middle)


def _ratio(result: Result, results: list[Result]) -> float | None:
    peers = [
        row.frames_per_cpu_s for row in results if (row.load, row.place) == (result.load, result.place) and row.tool != "scrubjay"
    ]
    return result.frames_per_cpu_s / max(peers) if peers and max(peers) else None


def _table(results: list[Result]) -> None:
    print(
        f"{'load':7} {'place':9} {'tool':12} {'M/s':>6} {'offered':>9} {'on disk':>9} {'loss %':>7} {'unstated':>8} {'CPU s':>6}"
        f" {'M/CPU s':>8} {'x best peer':>11} {'beyond ring MB':>14} {'disk MB':>8}"
    )
    for row in results:
        ratio = _ratio(row, results)
        unstated = "-" if row.stated is None else str(row.sent - row.stated)
        print(
            f"{row.load:7} {row.place:9} {row.tool:12} {row.sent / row.offer_s / 1e6:6.3f} {row.sent:9} {row.frames:9}"
            f" {row.loss * 100:7.3f} {unstated:>8} {row.cpu_s:6.3f} {row.frames_per_cpu_s / 1e6:8.2f}"
            f" {'-' if ratio is None else f'{ratio:.2f}':>11} {row.rss_mb - RING_MB:14.0f} {row.disk_mb:8.1f}"
        )


def _write(path: Path | None, figures: dict[str, object]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
