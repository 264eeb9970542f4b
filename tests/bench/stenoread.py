"""Finding 30 s of one host and port beside stenographer: both recorded the same frames, and both are asked the same three questions.

    sender ─▶ interface ─▶ scrubjay record ─▶ store     ◀─ scrubjay find
                       ├─▶ stenotype ─▶ files, indexes  ◀─ stenographer ◀─ stenoread
                       └─▶ tcpdump -w ─▶ one pcap       ◀─ tcpdump -r

A network namespace of its own. Frames as 3:1:4 of 60, 590 and 1,514 bytes, each with a number of its own; three flows to be asked for,
as in find.py's store: one in every stretch, one in some stretches, one of twenty frames now and then. The 30 s lie in the middle of the
record, on whole seconds, which is as fine as stenographer's questions go.

Best of five each, and once after the pages of all three stores were dropped; tcpdump -r once, over everything. CPU time, user and system,
of whoever asks with all it starts, and of stenographer's server, which does the work behind stenoread. What is right is what tcpdump and
editcap find, frame by frame. stenographer picks whole files, of a minute each, a minute of slack on either side: "x asked" is how many
times what was asked for it hands over; all of what was asked for has to be among it.

Settings of stenographer and stenotype, with their reasons: stenographer.py. tcpdump stamps in ns, its buffer is as large as the rings.
"""

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "drivers")]

import big_store  # noqa: E402  (beside this file)
import find as alone  # noqa: E402
import recorder  # noqa: E402
import stenographer  # noqa: E402
import wire  # noqa: E402  (a sibling test's helper, not a package)
from installed import installed  # noqa: E402

from drivers.linux.clock import LinuxClock  # noqa: E402
from drivers.linux.disk import LinuxDisk  # noqa: E402
from firmware.core.query import Query  # noqa: E402
from firmware.retrieval.find import find  # noqa: E402
from simulator.namespaces import search_path  # noqa: E402

PROGRAMS = {  # and the package of each
    "stenographer": "stenographer", "stenotype": "stenographer", "stenoread": "stenographer-client", "tcpdump": "tcpdump",
    "capinfos": "wireshark-common", "editcap": "wireshark-common", "tshark": "tshark", "setpriv": "util-linux",
}  # fmt: skip
SIZES = (60, 1514, 590, 1514, 60, 1514, 60, 1514)
MEAN_BYTES = sum(SIZES) / len(SIZES)
POOL = 16_384  # different frames, 14 MB: more than any compressor's window, so that none comes again within it
STRETCH_FRAMES = int((2 << 20) / (MEAN_BYTES + 32))  # of the recorder's stretches, pcapng's 32 bytes a frame included
HEAVY_EVERY = 25  # frames
MEDIUM_EVERY, MEDIUM_SHARE = 10, 33  # in one stretch of ten, every 33rd frame
RARE_EVERY_S = 25  # below the 30 s, so that there always is one
NUMBER_AT = 42  # behind the UDP header
TICK_S = 0.01
WINDOW_NS = 30 * 10**9
MINUTES_MIN = 2.6  # the 30 s and the slack on both sides
LISTEN_S_MAX = 20
TURNS = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """One question to one who is asked. Times in ms. cold_ms: after the pages were dropped; None where not tried.

    server_cpu_ms: of a process that is asked and was there before. asked_for: frames that are right; all_there: they are among the
    frames that came. exact: nothing else is.
    """

    question: str
    who: str
    ms: float
    cpu_ms: float
    server_cpu_ms: float
    cold_ms: float | None
    frames: int
    asked_for: int
    all_there: bool

    @property
    def exact(self) -> bool:
        return self.all_there and self.frames == self.asked_for

    @property
    def all_cpu_ms(self) -> float:
        return self.cpu_ms + self.server_cpu_ms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--minutes", type=float, default=3.0, help=f"of load, at least {MINUTES_MIN} (default %(default)s)")
    parser.add_argument("--rate", type=float, default=12.0, metavar="MB_PER_S", help="of load, at most 50 (default %(default)s)")
    a = parser.parse_args()
    if a.minutes < MINUTES_MIN or not 1 <= a.rate <= 50:  # Beyond 50 MB/s a minute is more than a file of stenotype's may be.
        parser.error(f"expected --minutes from {MINUTES_MIN} and --rate from 1 to 50, got {a.minutes:g} and {a.rate:g}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # As installed: compiled once, not at each start.
    offered_bytes = int(a.minutes * 60 * a.rate * 1e6)
    missing = _missing(offered_bytes)
    if missing:
        print(f"stenoread bench skipped: {missing}")
        figures: dict[str, object] = {"skipped": missing}
    else:
        with tempfile.TemporaryDirectory(prefix="scrubjay-bench-stenoread-") as place:
            Path(place).chmod(0o755)  # stenographer is another user
            figures = _measured(Path(place), seconds=a.minutes * 60, frames_per_s=a.rate * 1e6 / MEAN_BYTES)
    if a.json is not None:
        a.json.write_text(json.dumps(figures, indent=1))
    return 0


def _missing(offered_bytes: int) -> str | None:
    for name, package in PROGRAMS.items():
        if shutil.which(name, path=search_path()) is None:
            return f"no {name}; tools/setup.sh installs it (package {package})"
    free = shutil.disk_usage(tempfile.gettempdir()).free
    needed = 3 * offered_bytes + (2 << 30)
    if free < needed:
        return f"three stores of it need {needed / 1e9:.0f} GB in {tempfile.gettempdir()}, {free / 1e9:.0f} GB are free; --minutes, --rate, TMPDIR"
    return stenographer.why_not() or wire.why_not()


# ---- the record


@dataclass(frozen=True, slots=True)
class Places:
    """Who keeps what where. scrubjay: the command, as an appliance has it."""

    place: Path
    scrubjay: list[str]

    @property
    def store(self) -> Path:
        return self.place / "store"

    @property
    def pcap(self) -> Path:
        return self.place / "frames.pcap"

    @property
    def stenographer(self) -> stenographer.Stenographer:
        return stenographer.Stenographer(self.place / "stenographer", wire.HEARS, recorder.RING_MB)


def _measured(place: Path, *, seconds: float, frames_per_s: float) -> dict[str, object]:
    places = Places(place, installed(place / "installed"))
    with wire.Wire() as line:
        line.set("lo", "up")
        peer = places.stenographer
        peer.prepare()
        record = [str(Path(sys.executable).with_name("scrubjay")), "record", wire.HEARS, "-o", str(places.store), "-q"]
        beside = [
            "tcpdump", "-i", wire.HEARS, "-n", "-s", "0", "-B", str(recorder.RING_MB << 10), "-Z", "root",
            "--time-stamp-precision=nano", "-w", str(places.pcap),
        ]  # fmt: skip
        with _running(peer.serve(), places) as server:
            with _running(record, places), _running(beside, places):
                _listening(3)
                began = time.time_ns()
                print(f"{seconds / 60:g} min of {frames_per_s:.0f} frames/s …", file=sys.stderr)
                sent = _offered(line, seconds, frames_per_s)
                ended = time.time_ns()
                _pass(2 * recorder.DRAIN_S)
            print("waiting until stenographer knows of it …", file=sys.stderr)
            since = (began + ended - WINDOW_NS) // 2 // 10**9 * 10**9
            until = since + WINDOW_NS
            peer.wait_until_known(until)
            sizes = {
                "scrubjay": _bytes(places.store), "stenographer": _bytes(peer.packets) + _bytes(peer.index), "tcpdump": _bytes(places.pcap),
            }  # fmt: skip
            kept = {
                "scrubjay": recorder._counted(list(places.store.rglob("*.lz4"))),
                "stenographer": recorder._counted_blocks(peer.packets),
                "tcpdump": recorder._counted([places.pcap]),
            }
            print(
                f"{sent} frames in {(ended - began) / 6e10:.1f} min; "
                + "; ".join(f"{name} {sizes[name] / 1e9:.2f} GB, lost {sent - kept[name]}" for name in sizes)
            )
            answers: list[Answer] = []
            _head()
            for question, (host, port) in alone.FLOWS.items():
                rows = _asked(question, host, port, since, until, places, server.pid)
                _rows(rows)
                answers += rows
    return {
        "sent": sent, "seconds": (ended - began) / 1e9, "bytes": sizes, "frames": kept,
        "rows": [asdict(row) | {"exact": row.exact} for row in answers],
    }  # fmt: skip


@contextmanager
def _running(command: list[str], places: Places) -> "Iterator[subprocess.Popen[bytes]]":
    """A recorder while the block lasts; ended in good order, and what it started with it: a group of its own."""
    environment = os.environ | {"PATH": search_path(), "TMPDIR": str(places.stenographer.temporary)}
    with (places.place / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            yield process
        finally:
            has_ended = process.poll() is not None
            process.terminate()  # All of them end in good order; a shell's background ignores Ctrl-C.
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                print(f"{command[0]} did not end when asked to", file=sys.stderr)
            try:
                os.killpg(process.pid, signal.SIGKILL)  # stenographer leaves its stenotype behind.
            except ProcessLookupError:
                pass
            process.wait()
            if has_ended:
                raise SystemExit(f"{' '.join(command)} ended by itself: {Path(log.name).read_text()[-300:]}")


def _listening(count: int) -> None:
    """Until so many packet sockets hear."""
    for _ in range(LISTEN_S_MAX * 20):
        rows = Path("/proc/thread-self/net/packet").read_text().splitlines()[1:]
        if count <= sum(1 for row in rows if int(row.split()[3], 16) and row.split()[5] == "1"):
            _pass(1)
            return
        _pass(0.05)
    raise SystemExit(f"expected {count} recorders to listen after {LISTEN_S_MAX} s; see what they need by starting them alone")


def _offered(line: wire.Wire, seconds: float, frames_per_s: float) -> int:
    """Sends so long, at this rate; what a busy machine held up is sent later. Returns how many frames."""
    random = Random(20261126)
    flows = [
        (
            f"10.{random.randrange(4)}.0.{random.randrange(1, 250)}",
            f"10.20.0.{random.randrange(1, 40)}",
            random.randrange(1024, 5024),
        )
        for _ in range(4000)
    ]
    ordinary = [bytearray(big_store._udp(random, *random.choice(flows), SIZES[n % len(SIZES)])) for n in range(POOL)]
    heavy, medium, rare = (
        [bytearray(big_store._udp(random, host, "10.20.0.1", port, size)) for size in SIZES]
        for host, port in (big_store.HEAVY, big_store.MEDIUM, big_store.RARE)
    )
    rare_every, rare_step = int(RARE_EVERY_S * frames_per_s), STRETCH_FRAMES // big_store.RARE_FRAMES
    total = int(seconds * frames_per_s)
    began, sent = time.monotonic(), 0
    with line.socket_at(wire.SENDS) as out:
        while sent < total:
            due = min(total, int((time.monotonic() - began) * frames_per_s))
            for number in range(sent, due):
                place = number % rare_every
                if number % HEAVY_EVERY == 0:
                    frame = heavy[number // HEAVY_EVERY % len(heavy)]
                elif place < STRETCH_FRAMES and place % rare_step == 2 and place // rare_step < big_store.RARE_FRAMES:
                    frame = rare[number % len(rare)]
                elif number // STRETCH_FRAMES % MEDIUM_EVERY == 5 and number % MEDIUM_SHARE == 1:
                    frame = medium[number % len(medium)]
                else:
                    frame = ordinary[number % POOL]
                struct.pack_into(">Q", frame, NUMBER_AT, number)
                out.send(frame)
            sent = due
            _pass(TICK_S)
    return total


# ---- the questions


def _asked(question: str, host: str, port: int, since: int, until: int, places: Places, server: int) -> list[Answer]:
    """In process, as a command, stenoread, tcpdump."""
    mine, theirs, cut = (places.place / name for name in ("mine.pcapng", "theirs.pcap", "cut.pcapng"))
    found = places.place / "tcpdump.pcap"
    # As it would, but for the stamps, which it cuts to microseconds unless told not to.
    read = ["tcpdump", "-n", "--time-stamp-precision=nano", "-r", str(places.pcap), "-w", str(found)]
    ms, cpu_ms = alone._ran_ms([*read, f"host {host} and port {port}"])
    _cut(found, cut, since, until)
    right = alone._frames(cut)
    whole = alone._frames(found)
    tcpdump = Answer(question, "tcpdump -r", ms, cpu_ms, 0, None, len(whole), len(right), all_there=True)

    query = Query(since, until, hosts=(host,), ports=(port,))
    disk, clock = LinuxDisk(places.store), LinuxClock()

    def ask() -> tuple[float, float, int]:
        began = time.process_time()
        told = find(disk, query, clock=clock, sink=lambda data: None, progress=lambda line: None)
        return told.took_ns / 1e6, (time.process_time() - began) * 1000, told.frame_count

    asked = [ask() for _ in range(TURNS)]
    alone._drop(places.place)
    cold = ask()
    command = [*places.scrubjay, "find", str(places.store), "--since", alone._seconds(since), "--until", alone._seconds(until)]
    command += ["--host", host, "--port", str(port), "-w", str(mine)]
    ran, ran_cold = _ran(command, places)
    frames = alone._frames(mine)
    is_right = frames == right
    in_process = Answer(
        question, "find, in process", min(row[0] for row in asked), min(row[1] for row in asked), 0, cold[0], cold[2], len(right),
        all_there=is_right and cold[2] == len(frames),
    )  # fmt: skip
    as_command = Answer(question, "scrubjay find", *ran, 0, ran_cold, len(frames), len(right), all_there=is_right)

    before = recorder._cpu_ns(server)
    ran, ran_cold = _ran(places.stenographer.ask(host, port, since, until, theirs), places)
    server_ms = (recorder._cpu_ns(server) - before) / 1e6 / (TURNS + 1)
    whole = alone._frames(theirs)
    _cut(theirs, cut, since, until)
    by_stenoread = Answer(
        question, "stenoread", *ran, server_ms, ran_cold, len(whole), len(right),
        all_there=_numbers(alone._frames(cut)) == _numbers(right),
    )  # fmt: skip
    return [in_process, as_command, by_stenoread, tcpdump]


def _ran(command: list[str], places: Places) -> tuple[tuple[float, float], float]:
    """The best of some runs, (by the clock, of CPU) ms, each its own best; then one after the pages were dropped, by the clock."""
    runs = [alone._ran_ms(command) for _ in range(TURNS)]
    alone._drop(places.place)
    return (min(row[0] for row in runs), min(row[1] for row in runs)), alone._ran_ms(command)[0]


def _cut(source: Path, into: Path, since: int, until: int) -> None:
    """editcap leaves the last moment out."""
    command = ["editcap", "-F", "pcapng", "-A", alone._iso(since), "-B", alone._iso(until + 1), str(source), str(into)]
    subprocess.run(command, check=True, capture_output=True)


def _numbers(frames: list[bytes]) -> list[bytes]:
    """Contents without stamps: stenographer hands over microseconds."""
    return sorted(row.split(b"\t")[1] for row in frames)


# ---- small print


def _head() -> None:
    print(
        f"{'30 s of':7} {'asked':16} {'time':>9} {'CPU':>8} {'server CPU':>10} {'cold':>8} {'frames':>7} {'x asked':>7}"
        f" {'stenoread x clock':>17} {'x CPU':>6} {'tcpdump x clock':>15} {'x CPU':>6}  exact"
    )


def _rows(rows: list[Answer]) -> None:
    """With how many times longer stenoread and tcpdump took than each."""
    stenoread, tcpdump = (next(row for row in rows if row.who == who) for who in ("stenoread", "tcpdump -r"))
    for row in rows:
        exact = "yes" if row.exact else "contained" if row.all_there else "NO"
        cold = "-" if row.cold_ms is None else f"{row.cold_ms:.0f} ms"
        print(
            f"{row.question:7} {row.who:16} {row.ms:6.0f} ms {row.cpu_ms:5.0f} ms {row.server_cpu_ms:7.0f} ms {cold:>8} {row.frames:7}"
            f" {row.frames / max(1, row.asked_for):7.1f} {stenoread.ms / row.ms:17.1f} {stenoread.all_cpu_ms / row.all_cpu_ms:6.1f}"
            f" {tcpdump.ms / row.ms:15.1f} {tcpdump.all_cpu_ms / row.all_cpu_ms:6.1f}  {exact}",
            flush=True,
        )


def _bytes(place: Path) -> int:
    return sum(path.stat().st_size for path in [place, *place.rglob("*")] if path.is_file())


def _pass(seconds: float) -> None:
    threading.Event().wait(seconds)


if __name__ == "__main__":
    sys.exit(main())
