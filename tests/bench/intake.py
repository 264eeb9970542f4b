"""How many published messages a second one core takes: four priority ports, the kernel's ring, the inbox on the disk.

The process `roomside` of the box, on one processor; a sender on another, through the loopback interface; CBOR messages as a robot's
publisher sends them, 25 of 100 to each port. What was offered is compared with what lies in the inbox, message by message. Then the
same with `gate` on the same processor, which groups and de-identifies meanwhile: it need not keep up, the inbox is its buffer, but
everything must be in the inbox or in the kept groups. Beside them, in the same run: a bare Python loop that receives the same datagrams
from a socket and appends them to a file, understanding nothing and syncing once a second. Recorder, uplink and broker are not in it.
"""

import argparse
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from drivers.linux.clock import LinuxClock
from firmware.core import release
from firmware.core.message import Message, unpacked
from firmware.intake.publisher import PORTS, Publisher

ROOT = Path(__file__).parents[2]
SETTLE_S = 3.0  # nothing new in the inbox for so long: it has written all it will
DEVICES = 8  # senders, each with a socket and a process name of its own
TEXT = " joint 2 torque above its limit"
BURST = 20  # datagrams between two looks at the clock
RING_BYTES = 4 << 20

SENDER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.bench.intake import send
send(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
"""


def send(rate: float, seconds: float, first: int) -> None:
    """So many datagrams a second; prints how many. Each names its number, so that none can be counted twice."""
    clock = LinuxClock()
    wires = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(DEVICES)]
    robots = [
        Publisher(wire.sendto, host="127.0.0.1", process=f"arm-{number}", clock_utc_ns=lambda: clock.now().utc_ns)
        for number, wire in enumerate(wires)
    ]
    begin, sent = time.monotonic(), 0
    while sent < rate * seconds:
        due = begin + sent / rate
        if (left := due - time.monotonic()) > 0:
            select.select([], [], [], left)
        for _ in range(BURST):
            robots[sent // 4 % DEVICES].publish(
                sent % 4 + 1, f"{first + sent:08d}{TEXT}", severity="warning", event="wear", fields={"torque_nm": 4.2, "joint": 2}
            )  # fmt: skip
            sent += 1
    sys.stdout.write(f"{sent} {time.monotonic() - begin}\n")


def offered(rate: float, seconds: float, first: int, processor: int) -> tuple[int, float]:
    """(datagrams sent, how long it took)."""
    said = subprocess.run(
        ["taskset", "-c", str(processor), sys.executable, "-c", SENDER, str(rate), str(seconds), str(first)], capture_output=True, text=True, check=True
    )  # fmt: skip
    sent, took = said.stdout.split()
    return int(sent), float(took)


@contextmanager
def process_of_the_box(name: str, root: Path, processor: int, *, ready: str) -> Iterator[subprocess.Popen[str]]:
    """One of its processes on one processor, from when this file is there."""
    command = [
        "taskset",
        "-c",
        str(processor),
        sys.executable,
        "-m",
        "firmware.cli",
        "run",
        "box",
        "--process",
        name,
        f"--root={root}",
    ]
    with subprocess.Popen(
        [*command, "--set=intake.interface=lo"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            until = time.monotonic() + 30
            while not (root / ready).exists():
                if time.monotonic() > until or process.poll() is not None:
                    raise SystemExit(f"{name} was not ready within 30 s; run as root")
                select.select([], [], [], 0.05)
            yield process
        finally:
            process.terminate()
            process.wait(30)


def seconds_of(process: subprocess.Popen[str]) -> float:
    """Processor time it has used, s."""
    words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def settled(inbox: Path) -> None:
    """Until nothing new comes: a machine that is busy with other things may lag."""
    before = -1
    while (count := len(list(inbox.iterdir()))) != before:
        before = count
        select.select([], [], [], SETTLE_S)


def numbers_in(root: Path) -> tuple[list[int], list[int]]:
    """Of the messages that wait in the inbox, and of those in groups."""
    waiting = [unpacked(path.read_bytes()) for path in root.glob("inbox/[!.]*")]
    grouped = [unpacked(release.unpacked(path.read_bytes()).body) for path in root.glob("groups/*/[!.]*")]
    return numbers_of(waiting), numbers_of(grouped)


def numbers_of(batches: list[list[Message]]) -> list[int]:
    """Others may publish on this machine's loopback interface; ours are told by their text."""
    texts = (message.text or "" for messages in batches for message in messages)
    return [int(text[:8]) for text in texts if text.endswith(TEXT)]


def measured(rate: float, seconds: float, *, with_gate: bool) -> dict[str, float]:
    """One row: what was offered, what is on the disk, what it cost."""
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-", dir=ROOT / "build") as place, ExitStack() as box:
        root, processor = Path(place), 1 % (os.cpu_count() or 1)
        process = box.enter_context(process_of_the_box("roomside", root, processor, ready="intake/mark"))
        if with_gate:
            box.enter_context(process_of_the_box("gate", root, processor, ready="state/gate.json"))
        before = seconds_of(process)
        sent, took = offered(rate, seconds, 0, 0)
        if not with_gate:
            settled(root / "inbox")
        else:
            select.select([], [], [], SETTLE_S)  # The last batches' time; gate may still be at work for as long again.
        used = seconds_of(process) - before
        report = json.loads((root / "state" / "roomside.json").read_text())["stations"]["intake"]
        box.close()
        waiting, grouped = numbers_in(root)
        distinct = len({*waiting, *grouped})
        return {
            "offered": sent, "offered_per_s": round(sent / took), "inbox": len(set(waiting)), "grouped": len(set(grouped)), "distinct": distinct,
            "lost": sent - distinct, "ring_full": report["drops"].get("ring_full", 0), "items": report["counts"]["items"],
            "core_us_a_message": round(used / max(1, distinct) * 1e6, 1), "core_load": round(used / took, 2), "ceiling_per_s": round(distinct / used),
        }  # fmt: skip


RECEIVER = """
import os, select, socket, sys, time
wires = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
for wire, port in zip(wires, %r):
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, %d)
    wire.bind(("127.0.0.1", port))
    wire.setblocking(False)
count, synced = 0, time.monotonic()
with open(sys.argv[1], "wb") as file:
    print("ready", flush=True)
    while True:
        ready = select.select([*wires, 0], [], [], 1)[0]
        if 0 in ready:
            break
        for wire in ready:
            try:
                while True:
                    file.write(wire.recv(65535))
                    count += 1
            except BlockingIOError:
                pass
        if time.monotonic() - synced > 1:
            file.flush(); os.fsync(file.fileno()); synced = time.monotonic()
print(count, time.process_time())
"""


def bare(rate: float, seconds: float) -> dict[str, float]:
    """The peer's row."""
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-", dir=ROOT / "build") as place:
        script = RECEIVER % (PORTS, RING_BYTES)
        with subprocess.Popen(
            ["taskset", "-c", "1", sys.executable, "-c", script, f"{place}/messages"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as peer:
            assert peer.stdin is not None and peer.stdout is not None
            peer.stdout.readline()
            sent, took = offered(rate, seconds, 0, 0)
            select.select([], [], [], 1)
            peer.stdin.close()
            count, used = peer.stdout.read().split()
    row = {
        "offered": sent,
        "offered_per_s": round(sent / took),
        "inbox": int(count),
        "lost": sent - int(count),
    }
    return row | {
        "core_us_a_message": round(float(used) / sent * 1e6, 1),
        "core_load": round(float(used) / took, 2),
        "ceiling_per_s": round(sent / float(used)),
    }


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("without the privilege to hear an interface nothing comes in; run as root", file=sys.stderr)
        sys.exit(1)
    (ROOT / "build").mkdir(exist_ok=True)
    rates = arguments.rate or [10_000.0]
    rows = {}
    for rate in rates:
        for with_gate in (False, True):
            name = f"intake{' and gate' if with_gate else ''}, {rate:,.0f}/s for {arguments.seconds:.0f} s"
            rows[name] = measured(rate, arguments.seconds, with_gate=with_gate)
    rows["bare Python receiver, no understanding"] = bare(rates[0], min(arguments.seconds, 20.0))
    columns = (
        "offered",
        "offered_per_s",
        "inbox",
        "grouped",
        "lost",
        "ring_full",
        "core_us_a_message",
        "core_load",
        "ceiling_per_s",
    )
    print(f"{'':44}" + "".join(f"{name:>18}" for name in columns))
    for name, row in rows.items():
        print(f"{name:44}" + "".join(f"{row.get(column, float('nan')):>18,.6g}" for column in columns))
    if arguments.json:
        arguments.json.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
