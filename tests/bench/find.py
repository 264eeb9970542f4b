"""Finding 30 s of one host and port in a large store, beside tcpdump over the same frames; and a store of very many segments.

The same frames are written as a store (big_store.py) and as one pcap. Three questions: a flow with twenty frames in the interval, one
with some hundred, one that is in every stretch. `find` in this process, as a command (starting Python included), and from a disk whose
pages were dropped. What it finds is compared with what tcpdump and editcap find, frame by frame. Best of five, tcpdump once a question.
CPU time, user and system, stands beside the time by the clock: on a machine that others use it is the figure to compare.

    --gigabytes 8      of frames as stored; the pcap beside it is somewhat larger
    --recording        what the recorder loses at 1 GbE line rate while find searches the store again and again, and without it
    --segments 100000  how long the commands take with so many small ones, with a summary and without
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import big_store
from installed import installed

from drivers.linux.clock import LinuxClock
from drivers.linux.disk import LinuxDisk
from firmware.core.ahead import Ahead
from firmware.core.query import Query
from firmware.retention.settings import RetentionSettings
from firmware.retention.station import RetentionStation
from firmware.retrieval.find import Found, find
from simulator.board import SimulatedBoard

SCRUBJAY = [sys.executable, "-m", "firmware.cli"]
HALF_NS = 15 * 10**9
FLOWS = {"rare": big_store.RARE, "medium": big_store.MEDIUM, "heavy": big_store.HEAVY}


@dataclass(frozen=True, slots=True)
class Row:
    """One question. Times in ms. first_ms: until the first frame. cold_ms: after the store's pages were dropped. exact: as tcpdump and editcap."""

    question: str
    frames: int
    in_process_ms: float
    in_process_cpu_ms: float
    first_ms: float
    command_ms: float
    command_cpu_ms: float
    cold_ms: float
    tcpdump_ms: float
    tcpdump_cpu_ms: float
    exact: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--recording", action="store_true", help="also while recording at line rate")
    parser.add_argument("--segments", type=int, default=0, help="a store of so many small segments instead")
    parser.add_argument("--keep", type=Path, help="build the store here, or use the one that is there, and leave it")
    a = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # As installed: compiled once, not at each start.
    place = a.keep or Path(tempfile.mkdtemp(prefix="scrubjay-bench-find-"))
    try:
        figures = _many(place, a.segments) if a.segments else _large(place, a.gigabytes, is_recording=a.recording)
    finally:
        if a.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    if a.json is not None:
        a.json.write_text(json.dumps(figures, indent=1))
    return 0


# ---- one large store


def _large(place: Path, gigabytes: float, *, is_recording: bool) -> dict[str, object]:
    missing = next((name for name in ("tcpdump", "editcap", "capinfos") if shutil.which(name) is None), None)
    if missing:
        print(f"find bench skipped: no {missing}")
        return {"skipped": missing}
    root, pcap, told = place / "store", place / "frames.pcap", place / "told.json"
    if not told.exists():
        place.mkdir(parents=True, exist_ok=True)
        start, end, frames = big_store.build(
            root, stored_bytes=int(gigabytes * 1e9), pcap=pcap, say=lambda line: print(line, file=sys.stderr)
        )
        told.write_text(json.dumps({"start": start, "end": end, "frames": frames}))
    facts = json.loads(told.read_text())
    stretch_ns = big_store.STRETCH_FRAMES * big_store.STEP_NS
    # A stretch with the rare flow near the middle, so that there is as much before it as behind it.
    stretches = (facts["end"] - facts["start"]) // stretch_ns
    number = min(range(big_store.RARE_EVERY // 2, stretches, big_store.RARE_EVERY), key=lambda n: abs(n - stretches / 2))
    middle = facts["start"] + number * stretch_ns
    since, until = middle - HALF_NS, middle + HALF_NS
    size = sum(path.stat().st_size for path in root.rglob("*.lz4"))
    print(
        f"{facts['frames']} frames over {(facts['end'] - facts['start']) / 6e10:.0f} min, store {size / 1e9:.2f} GB, pcap {pcap.stat().st_size / 1e9:.2f} GB"
    )
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-find-") as environment:
        command = installed(Path(environment))
        rows = [_asked(name, host, port, since, until, root, pcap, place, command) for name, (host, port) in FLOWS.items()]
    print(
        f"{'30 s of':8} {'frames':>7} {'in process':>10} {'CPU':>8} {'first frame':>11} {'command':>8} {'CPU':>8} {'cold':>7}"
        f" {'tcpdump -r':>10} {'CPU':>8} {'x clock':>7} {'x CPU':>6} {'x CPU, command':>14}  exact"
    )
    for row in rows:
        print(
            f"{row.question:8} {row.frames:7} {row.in_process_ms:7.1f} ms {row.in_process_cpu_ms:5.0f} ms {row.first_ms:8.1f} ms"
            f" {row.command_ms:5.0f} ms {row.command_cpu_ms:5.0f} ms {row.cold_ms:4.0f} ms {row.tcpdump_ms / 1000:8.2f} s"
            f" {row.tcpdump_cpu_ms / 1000:6.2f} s {row.tcpdump_ms / row.in_process_ms:7.0f} {row.tcpdump_cpu_ms / row.in_process_cpu_ms:6.0f}"
            f" {row.tcpdump_cpu_ms / row.command_cpu_ms:14.0f}  {'yes' if row.exact else 'NO'}",
            flush=True,
        )
    recorded = _while_recording(root, place) if is_recording else []
    return {
        "frames": facts["frames"],
        "store_bytes": size,
        "pcap_bytes": pcap.stat().st_size,
        "rows": [asdict(row) for row in rows],
        "recording": recorded,
    }


def _asked(
    name: str, host: str, port: int, since: int, until: int, root: Path, pcap: Path, place: Path, scrubjay: list[str]
) -> Row:
    query = Query(since, until, hosts=(host,), ports=(port,))
    disk, clock = LinuxDisk(root), LinuxClock()

    def ask() -> tuple[Found, float]:
        began = time.process_time()
        with Ahead(len(os.sched_getaffinity(0))) as ahead:
            found = find(disk, query, clock=clock, sink=lambda data: None, progress=lambda line: None, ahead=ahead)
        return found, (time.process_time() - began) * 1000

    asked = [ask() for _ in range(5)]
    best, _ = min(asked, key=lambda row: row[0].took_ns)
    _drop(root)
    cold, _ = ask()
    mine, theirs, cut = place / "mine.pcapng", place / "theirs.pcap", place / "cut.pcapng"
    interval = ["--since", _seconds(since), "--until", _seconds(until)]
    command = [*scrubjay, "find", str(root), *interval, "--host", host, "--port", str(port), "-w", str(mine)]
    commands = [_ran_ms(command) for _ in range(5)]
    tcpdump_ms, tcpdump_cpu_ms = _ran_ms(["tcpdump", "-n", "-r", str(pcap), "-w", str(theirs), f"host {host} and port {port}"])
    # editcap leaves the last moment out.
    subprocess.run(
        ["editcap", "-F", "pcapng", "-A", _iso(since), "-B", _iso(until + 1), str(theirs), str(cut)],
        check=True,
        capture_output=True,
    )
    frames = _frames(mine)
    return Row(
        question=name,
        frames=best.frame_count,
        in_process_ms=best.took_ns / 1e6,
        in_process_cpu_ms=min(cpu for _, cpu in asked),
        first_ms=(best.first_frame_ns or 0) / 1e6,
        command_ms=min(row[0] for row in commands),
        command_cpu_ms=min(row[1] for row in commands),
        cold_ms=cold.took_ns / 1e6,
        tcpdump_ms=tcpdump_ms,
        tcpdump_cpu_ms=tcpdump_cpu_ms,
        exact=frames == _frames(cut) and best.frame_count == len(frames),
    )


def _while_recording(root: Path, place: Path) -> list[dict[str, object]]:
    """The recorder beside find: real-time priority for the one, as its unit says; the lowest of everything for the other."""
    import recorder

    missing = recorder.wire.why_not() or next(
        (name for name in ("gcc", "ethtool", "chrt", "ionice") if shutil.which(name) is None), None
    )
    if missing:
        print(f"while recording skipped: {missing}")
        return []
    generator = place / "generator"
    subprocess.run(["gcc", "-O2", "-o", str(generator), str(Path(__file__).with_name("generator.c"))], check=True)
    usual = recorder.TOOLS["scrubjay"]
    recorder.TOOLS["scrubjay"] = lambda out: ["chrt", "-r", "20", *usual(out)]
    rows: list[dict[str, object]] = []
    print(f"{'load':9} {'find':>8} {'sent':>9} {'lost':>7} {'searches':>8}")
    for load in recorder.LOADS[:3]:
        for is_busy in (False, True):
            search = _Searching(root)
            if is_busy:
                search.start()
            try:
                result = recorder._measured(
                    "scrubjay", load, generator, place / "out", argparse.Namespace(seconds=4.0, scale=1.0)
                )
            finally:
                search.end()
            lost = result.sent - result.frames
            print(f"{load.name:9} {'running' if is_busy else 'no':>8} {result.sent:9} {lost:7} {search.count:8}", flush=True)
            rows.append({"load": load.name, "find": is_busy, "sent": result.sent, "lost": lost, "searches": search.count})
    shutil.rmtree(place / "out", ignore_errors=True)
    return rows


class _Searching(threading.Thread):
    """One search of the whole store after the other, for a flow that is in every stretch. count: how many came to their end."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.count = 0
        self._over = threading.Event()
        self._command = [
            "nice",
            "-n",
            "19",
            "ionice",
            "-c",
            "3",
            *SCRUBJAY,
            "find",
            str(root),
            "--host",
            big_store.HEAVY[0],
            "--count",
        ]

    def run(self) -> None:
        while not self._over.is_set():
            search = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while search.poll() is None and not self._over.wait(0.05):
                pass
            self.count += search.poll() is not None
            search.kill()
            search.wait()

    def end(self) -> None:
        self._over.set()
        if self.ident is not None:
            self.join()


def _frames(path: Path) -> list[bytes]:
    """Stamp and contents of each frame, as an independent reader sees them."""
    listed = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "frame.time_epoch", "-e", "udp.payload"],
        capture_output=True,
        check=True,
    ).stdout
    return listed.splitlines()


def _drop(root: Path) -> None:
    """The store's pages leave the cache."""
    os.sync()
    for path in root.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


# ---- very many segments


def _many(place: Path, count: int) -> dict[str, object]:
    root, told = place / "store", place / "told.json"
    if not told.exists():
        place.mkdir(parents=True, exist_ok=True)
        start = big_store.build_many(root, count, say=lambda line: print(line, file=sys.stderr))
        told.write_text(json.dumps({"start": start}))
    start = json.loads(told.read_text())["start"]
    middle = start + count // 2 * big_store.SEGMENT_NS
    host = f"10.{1 + (count // 2 >> 16)}.{count // 2 >> 8 & 255}.{count // 2 & 255}"
    minute = ["--since", _seconds(middle), "--until", _seconds(middle + 60 * 10**9)]
    figures: dict[str, float] = {}

    def timed(what: str, work: Callable[[], float]) -> None:
        figures[what] = round(work())
        print(f"{what:44} {figures[what]:8.0f} ms")

    timed("find a minute, no summary", lambda: _took_ms([*SCRUBJAY, "find", str(root), *minute]))
    timed("  its first frame", lambda: _first_ms(root, Query(middle, middle + 60 * 10**9)))
    timed("find a host in all of it, no summary", lambda: _took_ms([*SCRUBJAY, "find", str(root), "--host", host]))
    timed("index (a box does it in idle time)", lambda: _took_ms([*SCRUBJAY, "index", str(root)]))
    timed("find a minute", lambda: _took_ms([*SCRUBJAY, "find", str(root), *minute]))
    timed("find a host in all of it", lambda: _took_ms([*SCRUBJAY, "find", str(root), "--host", host]))
    timed("ls of a minute", lambda: _took_ms([*SCRUBJAY, "ls", str(root), *minute]))
    timed("ls, its first line", lambda: _first_line_ms([*SCRUBJAY, "ls", str(root)]))
    timed("ls", lambda: _took_ms([*SCRUBJAY, "ls", str(root)]))
    timed("pin a minute", lambda: _took_ms([*SCRUBJAY, "pin", str(root), *minute, "--reason", "bench"]))
    for what, ms in _retention(root).items():
        timed(what, lambda ms=ms: ms)  # type: ignore[misc]
    timed("verify", lambda: _took_ms([*SCRUBJAY, "verify", str(root)]))
    return {"segments": count, "summary_bytes": (root / "summary/segments").stat().st_size, **figures}


def _first_ms(root: Path, query: Query) -> float:
    found = find(LinuxDisk(root), query, clock=LinuxClock(), sink=lambda data: None, progress=lambda line: None)
    return (found.first_frame_ns or 0) / 1e6


def _retention(root: Path) -> dict[str, float]:
    """Retention's first round, its longest step, and a round in which nothing is new."""
    board = SimulatedBoard(disk=LinuxDisk(root))  # type: ignore[arg-type]
    station = RetentionStation(board, RetentionSettings(keep_free_bytes=0))
    station.start(board.clock.now())
    rounds = []
    for _ in range(2):
        began, longest = time.perf_counter(), 0.0
        while True:
            now, stepped = board.clock.now(), time.perf_counter()
            wish = station.step(now)
            longest = max(longest, time.perf_counter() - stepped)
            if wish is None or wish > now.monotonic:
                break
        rounds.append((time.perf_counter() - began, longest))
        board.clock.advance(3601 * 10**9)
    (first, first_step), (second, second_step) = rounds
    return {
        "retention, first round": first * 1000, "retention, its longest step": first_step * 1000,
        "retention, a later round": second * 1000, "retention, its longest step later": second_step * 1000,
    }  # fmt: skip


# ---- small print


def _ran_ms(command: list[str]) -> tuple[float, float]:
    """(by the clock, of CPU)"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = _took_ms(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def _took_ms(command: list[str]) -> float:
    """Raises where the command fails: what was refused at once is no figure."""
    return _timed_ms(lambda: subprocess.run(command, check=True, capture_output=True))


def _first_line_ms(command: list[str]) -> float:
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as process:
        assert process.stdout is not None
        took = _timed_ms(process.stdout.readline)
        process.kill()
    return took


def _timed_ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _seconds(utc_ns: int) -> str:
    return f"{utc_ns // 10**9}.{utc_ns % 10**9:09d}"


def _iso(utc_ns: int) -> str:
    return f"{datetime.fromtimestamp(utc_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{utc_ns % 10**9:09d}Z"


if __name__ == "__main__":
    sys.exit(main())
