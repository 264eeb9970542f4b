"""Finding 30 s of one host and port in a large store, beside tcpdump over the same frames; and a store of very many segments.

The same frames are written as a store (big_store.py) and as one pcap. Three questions: a flow with twenty frames in the interval, one
with some hundred, one that is in every stretch. `find` in this process, as a command (starting Python included), and from a disk whose
pages were dropped. What it finds is compared with what tcpdump and editcap find, frame by frame. Best of three, tcpdump once a question.

    --gigabytes 8      of frames as stored; the pcap beside it is somewhat larger
    --segments 100000  how long the commands take with so many small ones, with a summary and without
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import big_store

from drivers.linux.clock import LinuxClock
from drivers.linux.disk import LinuxDisk
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
    first_ms: float
    command_ms: float
    cold_ms: float
    tcpdump_ms: float
    exact: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--segments", type=int, default=0, help="a store of so many small segments instead")
    parser.add_argument("--keep", type=Path, help="build the store here, or use the one that is there, and leave it")
    a = parser.parse_args()
    place = a.keep or Path(tempfile.mkdtemp(prefix="scrubjay-bench-find-"))
    try:
        figures = _many(place, a.segments) if a.segments else _large(place, a.gigabytes)
    finally:
        if a.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    if a.json is not None:
        a.json.write_text(json.dumps(figures, indent=1))
    return 0


# ---- one large store


def _large(place: Path, gigabytes: float) -> dict[str, object]:
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
    rows = [_asked(name, host, port, since, until, root, pcap, place) for name, (host, port) in FLOWS.items()]
    print(
        f"{'30 s of':8} {'frames':>7} {'in process':>10} {'first frame':>11} {'command':>8} {'cold':>7} {'tcpdump -r':>10} {'x in process':>12} {'x command':>9}  exact"
    )
    for row in rows:
        print(
            f"{row.question:8} {row.frames:7} {row.in_process_ms:7.1f} ms {row.first_ms:8.1f} ms {row.command_ms:5.0f} ms {row.cold_ms:4.0f} ms"
            f" {row.tcpdump_ms / 1000:8.2f} s {row.tcpdump_ms / row.in_process_ms:12.0f} {row.tcpdump_ms / row.command_ms:9.0f}  {'yes' if row.exact else 'NO'}"
        )
    return {
        "frames": facts["frames"],
        "store_bytes": size,
        "pcap_bytes": pcap.stat().st_size,
        "rows": [asdict(row) for row in rows],
    }


def _asked(name: str, host: str, port: int, since: int, until: int, root: Path, pcap: Path, place: Path) -> Row:
    query = Query(since, until, hosts=(host,), ports=(port,))
    disk, clock = LinuxDisk(root), LinuxClock()

    def ask() -> Found:
        return find(disk, query, clock=clock, sink=lambda data: None, progress=lambda line: None)

    founds = [ask() for _ in range(3)]
    best = min(founds, key=lambda found: found.took_ns)
    _drop(root)
    cold = ask()
    mine, theirs = place / "mine.pcapng", place / "theirs.pcap"
    command = [
        *SCRUBJAY,
        "find",
        str(root),
        "--since",
        _seconds(since),
        "--until",
        _seconds(until),
        "--host",
        host,
        "--port",
        str(port),
        "-w",
        str(mine),
    ]
    command_ms = min(_took_ms(command) for _ in range(3))
    tcpdump_ms = _took_ms(["tcpdump", "-n", "-r", str(pcap), "-w", str(theirs), f"host {host} and port {port}"])
    cut = place / "cut.pcapng"
    # editcap leaves the last moment out.
    subprocess.run(
        ["editcap", "-F", "pcapng", "-A", _iso(since), "-B", _iso(until + 1), str(theirs), str(cut)],
        check=True,
        capture_output=True,
    )
    return Row(
        name, best.frame_count, best.took_ns / 1e6, (best.first_frame_ns or 0) / 1e6, command_ms, cold.took_ns / 1e6, tcpdump_ms,
        _frames(mine) == _frames(cut) and best.frame_count == len(_frames(mine)),
    )  # fmt: skip


def _frames(path: Path) -> list[tuple[int, bytes]]:
    """(stamp, frame) of each; editcap writes the stamps as its input has them."""
    listed = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "frame.time_epoch", "-e", "udp.payload"],
        capture_output=True,
        check=True,
    ).stdout
    return [(index, line) for index, line in enumerate(listed.splitlines())]


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
    timed("ls", lambda: _took_ms([*SCRUBJAY, "ls", str(root)]))
    timed("pin a minute", lambda: _took_ms([*SCRUBJAY, "pin", str(root), *minute, "--reason", "bench"]))
    for what, ms in _retention(root).items():
        timed(what, lambda ms=ms: ms)  # type: ignore[misc]
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


def _took_ms(command: list[str]) -> float:
    return _timed_ms(lambda: subprocess.run(command, check=False, capture_output=True))


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
