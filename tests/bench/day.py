"""A day of the *Procedure* load (procedure.py, 53 Mbit/s): all of it in virtual time, and an hour of it, or less, for real.

    day.py --hours 1       a box (every process but uplink and console) hears it on a veth pair in a network namespace of its own
    day.py --virtual 24    recorder and retention on the simulated board; the same frames, stamped anew second by second

For real: what was sent is counted by the sender, what was recorded by the seals, each tenth segment by capinfos besides; CPU is the
scheduler's own account of each process, resident memory the kernel's, both sampled; segments get cold as soon as they are sealed
(`cold_after_h = 0`), so that the whole life of a segment falls into the hour. In the end the store is verified, and its deleted
segments by their receipts. Virtual: a real second costs what the recorder's C kernel, LZ4 and SHA-256 cost for it, nothing waits.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "drivers")]

import procedure  # noqa: E402  (siblings, not packages)
import wire  # noqa: E402

from drivers.linux.disk import LinuxDisk  # noqa: E402
from drivers.tap import Block, HeardFrame, TapCounters, TapRequest, pack_block  # noqa: E402
from firmware.capture.settings import CaptureSettings  # noqa: E402
from firmware.capture.station import CaptureStation  # noqa: E402
from firmware.core.seal import Seal  # noqa: E402
from firmware.core.store import Store  # noqa: E402
from firmware.core.verify import verify  # noqa: E402
from firmware.retention.settings import RetentionSettings  # noqa: E402
from firmware.retention.station import RetentionStation  # noqa: E402
from simulator.board import SimulatedBoard  # noqa: E402
from simulator.clock import SimulatedClock  # noqa: E402
from simulator.disk import SimulatedDisk  # noqa: E402

SCRUBJAY = [sys.executable, "-m", "firmware.cli"]
PROCESSES = ("capture", "clock", "roomside", "gate", "steward")
SAMPLE_S = 10.0
SETTLE_S = 3.0  # a stretch, a sync and a report
COUNT_EVERY = 10  # capinfos reads each so manyth segment
SECOND = procedure.SECOND


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--hours", type=float, default=1 / 60, help="for real; a minute by default")
    parser.add_argument(
        "--virtual", type=float, default=0.25, metavar="HOURS", help="in virtual time; a quarter of an hour by default"
    )
    parser.add_argument("--budget-gb", type=float, default=4.0, help="room for segments; beyond it the oldest go")
    parser.add_argument("--segment-s", type=int, default=60)
    parser.add_argument("--on", type=Path, help="directory on the file system to record on")
    a = parser.parse_args()
    missing = procedure.missing()
    if missing:
        print(f"day bench skipped: {missing}")
        return 0
    figures: dict[str, Any] = {}  # Any: whatever a part measures
    if a.virtual:
        figures["virtual"] = _virtual(a.virtual)
    if a.hours:
        reason = wire.why_not()
        if reason:
            print(f"the hour for real is skipped: {reason}")
        else:
            with tempfile.TemporaryDirectory(prefix="scrubjay-day-", dir=a.on) as place:
                figures["real"] = _real(a, Path(place))
    if a.json:
        a.json.parent.mkdir(parents=True, exist_ok=True)
        a.json.write_text(json.dumps(figures, indent=1))
    return 0


# For real.


@dataclass(slots=True)
class Watch:
    """What was seen of a running box. segments: by name, frames, losses and hot bytes of its seal. cpu_ns, kib: by process."""

    root: Path
    keeper: int
    processes: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    _spent_ns: dict[str, int] = field(default_factory=dict)  # by those that ended
    segments: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    cold_bytes: dict[str, int] = field(default_factory=dict)
    cpu_ns: list[dict[str, int]] = field(default_factory=list)
    kib: list[dict[str, int]] = field(default_factory=list)
    counted: list[tuple[str, int, int]] = field(default_factory=list)

    def look(self) -> None:
        """One sample."""
        for pid in map(int, Path(f"/proc/{self.keeper}/task/{self.keeper}/children").read_text().split()):
            name = _name_of(pid)
            if name is None:
                continue
            if self.processes.get(name, pid) != pid:
                self.restarts += 1
                self._spent_ns[name] = self.cpu_ns[-1][name]
            self.processes[name] = pid
        self.cpu_ns.append({name: self._spent_ns.get(name, 0) + _cpu_ns(pid) for name, pid in self.processes.items()})
        self.kib.append({name: _rss_kib(pid) for name, pid in self.processes.items()})
        self.look_at_segments()

    def look_at_segments(self) -> None:
        """Those that were sealed, or got cold, since the last look."""
        store = Store(LinuxDisk(self.root))
        for name in store.names():
            if name not in self.segments:
                made = store.segment(name).seal()
                assert made is not None
                self.segments[name] = made.frames, sum(made.drops.values()), made.frames_bytes
                if len(self.segments) % COUNT_EVERY == 1:
                    self._count(name, made)
            cold = self.root / "segments" / name / "frames.cold"
            if name not in self.cold_bytes and store.segment(name).is_cold() and cold.exists():
                self.cold_bytes[name] = cold.stat().st_size

    def _count(self, name: str, made: Seal) -> None:
        """The frames of a segment by a reader that is nobody's here, as long as it is hot."""
        told = subprocess.run(
            ["capinfos", "-c", "-M", "-T", "-r", str(self.root / "segments" / name / "frames.pcapng.lz4")],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        if "\t" in told:
            self.counted.append((name, made.frames, int(told.split("\t")[1])))


def _real(a: argparse.Namespace, place: Path) -> dict[str, Any]:
    root, seconds = place / "box", a.hours * 3600
    settings = place / "box.toml"
    settings.write_text(
        f'[capture]\ninterface = "{wire.HEARS}"\nsegment_s = {a.segment_s}\n[intake]\ninterface = "{wire.HEARS}"\n'
        f"[cold]\ncold_after_h = 0\n[retention]\nbudget_bytes = {int(a.budget_gb * 1e9)}\n"
    )
    subprocess.run([*SCRUBJAY, "identity", "--root", str(root)], check=True, stdout=subprocess.DEVNULL)
    with wire.Wire(), _box(root, settings, place / "said") as keeper, (place / "sent").open("w+") as told:
        watch = Watch(root, keeper)
        _pass(SETTLE_S)
        watch.look()
        began = time.monotonic()
        sender = subprocess.Popen([sys.executable, str(HERE / "procedure.py"), wire.SENDS, str(seconds)], stdout=told)
        while sender.poll() is None:
            _pass(SAMPLE_S)
            watch.look()
            if len(watch.cpu_ns) % 6 == 0:
                _progress(watch, time.monotonic() - began)
        _pass(SETTLE_S)
        watch.look()
        sent = [json.loads(line) for line in (place / "sent").read_text().splitlines()]
    watch.look_at_segments()  # what the orderly end has sealed
    return _figures(watch, sent, seconds)


@contextmanager
def _box(root: Path, settings: Path, said: Path) -> Iterator[int]:
    """A box; yields its keeper's process id. said: where its lines go."""
    command = [*SCRUBJAY, "run", "box", "--root", str(root), "--settings", str(settings)]
    with said.open("w") as file:
        box = subprocess.Popen([*command, "--without", "console", "--without", "uplink"], stdout=file)
    try:
        while said.read_text().count("state=ready") < len(PROCESSES):
            assert box.poll() is None, "the box ended before it was ready"
            _pass(0.1)
        yield box.pid
    finally:
        box.terminate()
        box.wait(timeout=60)


def _figures(watch: Watch, sent: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    began = time.process_time()
    verdict = verify(LinuxDisk(watch.root))
    verify_s = time.process_time() - began
    offered = sent[-1]["frames"]
    recorded, lost = (sum(row[at] for row in watch.segments.values()) for at in (0, 1))
    share = {name: (watch.cpu_ns[-1][name] - watch.cpu_ns[0][name]) / 1e9 / seconds for name in watch.processes}
    # The first minute fills rings and caches; flat means that nothing grows after it.
    settled = watch.kib[min(6, len(watch.kib) - 3) :]
    memory = {name: [min(row[name] for row in settled), max(row[name] for row in settled)] for name in watch.processes}
    hot = sum(row[2] for row in watch.segments.values())
    before = sum(watch.segments[name][2] for name in watch.cold_bytes)
    steward = json.loads((watch.root / "state" / "steward.json").read_text())["stations"]
    figures = {
        "seconds": seconds, "frames_sent": offered, "bytes_sent": sent[-1]["bytes"], "send_errors": sent[-1]["errors"],
        "late_ms_max": max(row["late_ms"] for row in sent), "frames_recorded": recorded, "frames_stated_lost": lost,
        "frames_missing": offered - recorded - lost, "restarts": watch.restarts, "segments": len(watch.segments), "segments_cold": len(watch.cold_bytes),
        "segments_deleted": len(list((watch.root / "receipts").iterdir())), "bytes_hot": hot, "bytes_cold": sum(watch.cold_bytes.values()),
        "bytes_before_cold": before, "cpu_share": share, "cpu_share_all": sum(share.values()), "resident_kib": memory,
        "verified": verdict.ok, "verify_segments": verdict.segments, "verify_cpu_s": verify_s,
        "findings": [[row.segment, row.what] for row in verdict.findings], "capinfos": watch.counted,
        "drops": {name: row["drops"] for name, row in steward.items()}, "kib": watch.kib,
    }  # fmt: skip
    _say(figures)
    return figures


def _say(figures: dict[str, Any]) -> None:
    seconds, wire_bytes = figures["seconds"], figures["bytes_sent"]
    print(
        f"for real: {seconds / 60:.1f} min, {figures['frames_sent']} frames sent ({figures['frames_sent'] / seconds:.0f}/s,"
        f" {wire_bytes * 8 / seconds / 1e6:.1f} Mbit/s), latest {figures['late_ms_max']} ms late"
    )
    print(
        f"  recorded {figures['frames_recorded']}, stated lost {figures['frames_stated_lost']}, missing {figures['frames_missing']},"
        f" {figures['restarts']} processes started again;"
        f" by capinfos {sum(row[1] == row[2] for row in figures['capinfos'])} of {len(figures['capinfos'])} segments as sealed"
    )
    print(
        f"  hot {figures['bytes_hot'] / wire_bytes:.3f} bytes for each on the wire; {figures['segments_cold']} of {figures['segments']}"
        f" segments got cold, {figures['bytes_cold'] / max(1, figures['bytes_before_cold']):.3f} of their hot size;"
        f" {figures['segments_deleted']} deleted with receipts"
    )
    print("  CPU, of one core: " + ", ".join(f"{name} {share * 100:.1f} %" for name, share in figures["cpu_share"].items()))
    print(
        "  resident MiB after the first minute, least and most: "
        + ", ".join(f"{name} {low / 1024:.0f}–{high / 1024:.0f}" for name, (low, high) in figures["resident_kib"].items())
    )
    print(
        f"  {'verified' if figures['verified'] else 'NOT AS RECORDED'}: {figures['verify_segments']} segments"
        f" in {figures['verify_cpu_s']:.1f} CPU s, with {figures['segments_deleted']} receipts"
    )


def _progress(watch: Watch, seconds: float) -> None:
    print(
        f"  {seconds / 60:6.1f} min  {len(watch.segments)} segments, {len(watch.cold_bytes)} got cold,"
        f" {sum(row[0] for row in watch.segments.values())} frames sealed, {sum(row[1] for row in watch.segments.values())} lost,"
        f" capture {watch.kib[-1]['capture'] >> 10} MiB, steward {watch.kib[-1]['steward'] >> 10} MiB",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def _name_of(pid: int) -> str | None:
    """None for one that has just ended, or not become a process of the box yet."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return None
    return words[words.index(b"--process") + 1].decode() if b"--process" in words else None


def _cpu_ns(pid: int) -> int:
    try:
        return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    except FileNotFoundError:
        return 0


def _rss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def _pass(seconds: float) -> None:
    threading.Event().wait(seconds)


# In virtual time.

TEMPLATE_S = 10  # seconds of different frames; 66 MB
DISK_BYTES, BUDGET_BYTES = 3 << 30, 2 << 30


class TemplateTap:
    """Hands out the same seconds again and again, each with its own date. A second's frames all carry its number in their stamps."""

    link_type = 1
    title = ""
    is_taken_over = stamps_itself = False

    def __init__(self, request: TapRequest, clock: SimulatedClock, seconds: Sequence[Sequence[tuple[bytes, int]]]) -> None:
        self.request = request
        self._clock = clock
        self._seconds = seconds
        self._told = self._clock.now().utc_ns // SECOND
        self._ready: list[Block] = []
        self._sequence = 0
        self.frames = self.bytes = 0

    def hear(self) -> None:
        """The second that has just ended."""
        now_s = self._clock.now().utc_ns // SECOND
        while self._told < now_s:
            date = self._told.to_bytes(4, "little")
            for data, frames in self._seconds[self._told % len(self._seconds)]:
                stamped = data.replace(STAND_IN, date)
                self._ready.append(Block(memoryview(stamped), self._sequence, frames, self._sequence))
                self._sequence += 1
                self.frames += frames
                self.bytes += len(data)
            self._told += 1

    def fileno(self) -> int:
        return -1

    def next(self, most: int = 1) -> Block | None:
        return self._ready.pop(0) if self._ready else None

    def is_filling(self) -> bool:
        return False

    def ready_count(self) -> int:
        return len(self._ready)

    def release(self, block: Block) -> None:
        pass

    def counters(self) -> TapCounters:
        return TapCounters(self.frames, {})

    def catch_up(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


STAND_IN_S = 0x9E3779B1  # a stamp's seconds before it gets its own; its bytes are nowhere else in a template
STAND_IN = STAND_IN_S.to_bytes(4, "little")
BLOCK_BYTES = 1 << 20


def _templates() -> list[list[tuple[bytes, int]]]:
    """For each second its blocks, as the ring hands them over, with their number of frames."""
    seconds: list[list[HeardFrame]] = [[] for _ in range(TEMPLATE_S)]
    for at, frame in procedure.frames(seed=53):
        if at >= TEMPLATE_S * SECOND:
            break
        seconds[at // SECOND].append(HeardFrame(STAND_IN_S * SECOND + at % SECOND, frame, len(frame)))
    made = []
    for rows in seconds:
        blocks, held, size = [], [], 0
        for row in rows:
            if size + len(row.data) + 64 > BLOCK_BYTES - 64:
                blocks.append((pack_block(held, sequence=0), len(held)))
                held, size = [], 0
            held.append(row)
            size += len(row.data) + 64
        blocks.append((pack_block(held, sequence=0), len(held)))
        for data, frames in blocks:
            assert data.count(STAND_IN) == frames + 2, "the stand-in stands in payloads as well: choose another"
        made.append(blocks)
    return made


def _virtual(hours: float) -> dict[str, Any]:
    clock = SimulatedClock()
    taps: list[TemplateTap] = []
    seconds = _templates()

    def open_tap(request: TapRequest) -> TemplateTap:
        taps.append(TemplateTap(request, clock, seconds))
        return taps[-1]

    board = SimulatedBoard(disk=SimulatedDisk(capacity_bytes=DISK_BYTES), clock=clock, open_tap=open_tap)
    capture = CaptureStation(board, CaptureSettings())
    retention = RetentionStation(board, RetentionSettings(budget_bytes=BUDGET_BYTES))
    for station in (capture, retention):
        station.start(clock.now())
    began, memory = time.process_time(), []
    for second in range(int(hours * 3600)):
        clock.advance(SECOND)
        taps[0].hear()
        for station in (capture, retention):
            # At most a few steps each: whoever wants more gets it in the next second, as on a busy machine.
            for _ in range(4):
                wish = station.step(clock.now())
                if wish is None or wish > clock.now().monotonic:
                    break
        if second % 600 == 0:
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
            print(f"  {second / 3600:5.1f} h", file=sys.stderr, flush=True)
    capture.stop(clock.now())
    cpu_s = time.process_time() - began
    verdict = verify(board.disk, public_key=board.identity.public_key())
    sealed = retention.report.counts
    figures = {
        "hours": hours, "frames_offered": taps[0].frames, "frames_recorded": capture.report.counts["frames"],
        "drops": {**capture.report.drops, **retention.report.drops}, "segments_sealed": capture.report.counts["segments_sealed"],
        "segments_kept": verdict.segments, "segments_deleted": sealed.get("segments_deleted_budget", 0) + sealed.get("segments_deleted_room", 0),
        "horizon_s": retention.report.gauges.get("horizon_s"), "verified": verdict.ok, "findings": [row.text for row in verdict.findings],
        "cpu_s": cpu_s, "peak_mib": memory,
    }  # fmt: skip
    print(
        f"virtual: {hours:g} h, {figures['frames_offered']} frames offered, {figures['frames_recorded']} recorded,"
        f" losses {figures['drops'] or 'none'}; {figures['segments_sealed']} segments sealed, {figures['segments_deleted']} deleted with"
        f" receipts, {figures['segments_kept']} kept and {'verified' if verdict.ok else 'NOT AS RECORDED'};"
        f" {hours * 3600 / cpu_s:.0f} times as fast as time in one core, peak memory {memory[0]}–{memory[-1]} MiB (the disk included)"
    )
    return figures


if __name__ == "__main__":
    if shutil.which("capinfos") is None:
        print("no capinfos: segments are counted by their seals only")
    sys.exit(main())
