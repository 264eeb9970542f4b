"""The recorder beside dumpcap, tcpdump and netsniff-ng: the same load on the same wire, one after the other.

    generator (core 0) ─ veth ─ recorder (core 1) ─ files ─ counted by capinfos

A network namespace of its own. CPU seconds are the kernel's own account of the process's threads, from when it listens until
what was offered is drained, so that starting Python or loading a library is nobody's handicap; what the interrupt side costs
falls on the generator's core for all alike. Trust ratios, not absolutes: a veth pair on a shared machine is no network card.
What the peers do not do and the recorder does in its figure: index, compression, checksums, syncing, sealing.
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

LISTEN_S_MAX = 20
DRAIN_S = 1.5  # The slowest block time-out, retire or stretch among them, and half as much again.
RING_MB = 64  # As large as the recorder's own ring, for all.


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered. size: bytes of a frame, or "imix" (7:4:1 of 60, 590 and 1,514)."""

    name: str
    size: str
    frames_per_s: int


@dataclass(frozen=True, slots=True)
class Result:
    """One run. frames: as capinfos counts what is on the disk. cpu_s: user and system. rss_mb: the most it ever held."""

    tool: str
    load: str
    sent: int
    frames: int
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


LOADS = (Load("60 B", "60", 300_000), Load("IMIX", "imix", 100_000), Load("1514 B", "1514", 40_000))
Command = Callable[[Path], list[str]]
TOOLS: dict[str, tuple[str, Command]] = {
    "scrubjay": (
        "",
        lambda out: [str(Path(sys.executable).with_name("scrubjay")), "record", wire.HEARS, "-o", str(out)],
    ),
    "dumpcap": ("dumpcap", lambda out: ["dumpcap", "-i", wire.HEARS, "-q", "-B", str(RING_MB), "-w", f"{out}/x.pcapng"]),
    "tcpdump": (
        "tcpdump",
        lambda out: ["tcpdump", "-i", wire.HEARS, "-n", "-s", "0", "-B", str(RING_MB << 10), "-Z", "root", "-w", f"{out}/x.pcap"],
    ),
    "netsniff-ng": (
        "netsniff-ng",
        lambda out: [
            "netsniff-ng", "-i", wire.HEARS, "-o", f"{out}/x.pcap", "-s", "-S", f"{RING_MB}MiB", "-Q", "-b", "1",
        ],
    ),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--seconds", type=float, default=2.5, help="of offered load a run")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, their median is shown")
    parser.add_argument("--scale", type=float, default=1.0, help="times the default rates")
    parser.add_argument("--tool", action="append", help="only these")
    a = parser.parse_args()
    missing = wire.why_not() or next((f"no {name}" for name in ("gcc", "capinfos") if shutil.which(name) is None), None)
    if missing:
        print(f"recorder bench skipped: {missing}")
        _write(a.json, {"skipped": missing})
        return 0
    tools = [name for name in a.tool or TOOLS if not TOOLS[name][0] or shutil.which(TOOLS[name][0])]
    for name in sorted(set(a.tool or TOOLS) - set(tools)):
        print(f"{name} is not installed: not compared")
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-") as place:
        generator = Path(place) / "generator"
        subprocess.run(["gcc", "-O2", "-o", str(generator), str(HERE / "generator.c")], check=True)
        results = []
        for load in LOADS:
            runs = [
                _measured(name, load, generator, Path(place) / "out", a)
                for _ in range(a.repeat) for name in tools
            ]  # fmt: skip
            results += [_median([run for run in runs if run.tool == name]) for name in tools]
    _table(results)
    _write(a.json, {"ring_mb": RING_MB, "seconds": a.seconds, "results": [
        {**asdict(r), "loss": r.loss, "frames_per_cpu_s": r.frames_per_cpu_s, "ratio_to_best_peer": _ratio(r, results)} for r in results
    ]})  # fmt: skip
    return 0


def _measured(name: str, load: Load, generator: Path, out: Path, a: argparse.Namespace) -> Result:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    with wire.Wire():
        tool = subprocess.Popen(
            ["taskset", "-c", str((os.cpu_count() or 1) - 1), *TOOLS[name][1](out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _listening(tool)
            before = _cpu_ns(tool.pid)
            rate = str(load.frames_per_s * a.scale)
            offered = subprocess.run(
                ["taskset", "-c", "0", str(generator), wire.SENDS, load.size, rate, str(a.seconds)],
                check=True, capture_output=True, text=True, timeout=a.seconds + 10,
            )  # fmt: skip
            _pass(DRAIN_S)
            cpu_ns, rss_kb = _cpu_ns(tool.pid) - before, _peak_kb(tool.pid)
            tool.send_signal(signal.SIGINT)
            tool.wait(20)
        finally:
            if tool.poll() is None:
                tool.kill()
                tool.wait()
    files = [path for path in out.rglob("*") if path.suffix in (".pcap", ".pcapng", ".lz4")]
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Result(name, load.name, json.loads(offered.stdout)["sent"], _counted(files), cpu_ns / 1e9, rss_kb / 1024, size / 1e6)


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


def _median(runs: list[Result]) -> Result:
    middle = statistics.median_low([run.frames_per_cpu_s for run in runs])
    return next(run for run in runs if run.frames_per_cpu_s == middle)


def _ratio(result: Result, results: list[Result]) -> float | None:
    peers = [row.frames_per_cpu_s for row in results if row.load == result.load and row.tool != "scrubjay"]
    return result.frames_per_cpu_s / max(peers) if peers and max(peers) else None


def _table(results: list[Result]) -> None:
    print(
        f"{'load':8} {'tool':12} {'offered':>9} {'on disk':>9} {'loss %':>7} {'CPU s':>7} {'M frames/CPU s':>15} {'x best peer':>12} {'RSS MB':>7} {'disk MB':>8}"
    )
    for row in results:
        ratio = _ratio(row, results)
        print(
            f"{row.load:8} {row.tool:12} {row.sent:9} {row.frames:9} {row.loss * 100:7.3f} {row.cpu_s:7.3f}"
            f" {row.frames_per_cpu_s / 1e6:15.2f} {'-' if ratio is None else f'{ratio:.2f}':>12} {row.rss_mb:7.0f} {row.disk_mb:8.1f}"
        )


def _write(path: Path | None, figures: dict[str, object]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
