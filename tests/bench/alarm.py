"""How long an alarm takes: from the publisher's send (UDP, priority 1) to the hub's handler, through all the box's processes.

Beside it, in the same run and through the same broker: bare paho, publish to callback, the same bytes at the same rate. The page is
the third column: when a browser's event stream has it, which is after the commit. Once alone, once with a stream of priority 4.
"""

import argparse
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from drivers.linux.clock import LinuxClock
from firmware.hub.repository import Repository
from firmware.intake.publisher import Publisher
from simulator.broker import RealBroker, free_port

ROOT = Path(__file__).parents[2]
SCRUBJAY = [sys.executable, "-m", "firmware.cli"]
ALARMS_PER_S = 20.0
BACKGROUND_PER_S = 200.0
READY_S = 30.0
LAST_S = 10.0  # for the last alarm to arrive
BOX_PROCESSES = ("capture", "clock", "roomside", "gate", "uplink", "steward")


def wait(seconds: float) -> None:
    """Let time pass; a bench may."""
    select.select([], [], [], max(0.0, seconds))


@contextmanager
def role(name: str, ready: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The processes of one role, as `scrubjay run` keeps them, ready."""
    with subprocess.Popen([*SCRUBJAY, "run", name, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            until = time.monotonic() + READY_S
            while ready:
                left = until - time.monotonic()
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    raise SystemExit(f"{name}: {ready} processes were not ready within {READY_S:.0f} s; see its logs")
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"{name} ended before it was ready")
                ready -= "state=ready" in line
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield process
        finally:
            process.terminate()
            process.wait(20)


class Page:
    """A browser's event stream: when each text arrived, ns of the monotonic clock."""

    def __init__(self, port: int) -> None:
        self.seen: dict[str, int] = {}
        self._answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/events?priority=1", timeout=60)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._answer:
            if line.startswith(b"data: ["):
                now = time.monotonic_ns()
                for row in json.loads(line[6:]):
                    self.seen.setdefault(row["text"], now)


def through_scrubjay(port: int, database: str, count: int, *, prefix: str, background: bool) -> dict[str, list[float]]:
    """Milliseconds to the hub's handler and to the page."""
    clock, page = LinuxClock(), Page(port)
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    publisher = Publisher(wire.sendto, host="127.0.0.1", process="bench", clock_utc_ns=lambda: clock.now().utc_ns)
    over = threading.Event()

    def noise() -> None:
        other = Publisher(wire.sendto, host="127.0.0.1", process="noise", clock_utc_ns=lambda: clock.now().utc_ns)
        number = 0
        while not over.wait(1 / BACKGROUND_PER_S):
            other.publish(4, f"{prefix} noise {number}")
            number += 1

    if background:
        threading.Thread(target=noise, daemon=True).start()
    sent: dict[str, tuple[int, int]] = {}
    for number in range(count):
        text = f"{prefix} {number:05d} joint 2 stopped"
        sent[text] = clock.now().timestamp.tai_ns, time.monotonic_ns()
        publisher.publish(1, text, severity="error", event="tool-failure", fields={"torque_nm": 4.2})
        wait(1 / ALARMS_PER_S)
    until = time.monotonic() + LAST_S
    while len(page.seen.keys() & sent.keys()) < count and time.monotonic() < until:
        wait(0.05)
    over.set()
    repository = Repository(database)
    rows = repository.rows("select text, arrived_tai_ns from messages where priority = 1 and text like ?", f"{prefix}%")
    arrived = {row["text"]: row["arrived_tai_ns"] for row in rows}
    repository.close()
    wire.close()
    return {
        "hub": [(arrived[text] - at[0]) / 1e6 for text, at in sent.items() if text in arrived],
        "page": [(page.seen[text] - at[1]) / 1e6 for text, at in sent.items() if text in page.seen],
        "lost": [float(count - len(arrived))],
    }


def through_bare_paho(address: str, count: int) -> list[float]:
    """Milliseconds from publish() to on_message, QoS 1, two clients of one process."""
    host, _, port = address.rpartition(":")
    seen: dict[bytes, int] = {}
    ready = threading.Event()
    listener = mqtt.Client(CallbackAPIVersion.VERSION2, "bench-listener", protocol=mqtt.MQTTv5)
    listener.on_subscribe = lambda *_: ready.set()
    listener.on_message = lambda client, user, message: seen.setdefault(bytes(message.payload[:5]), time.monotonic_ns())
    speaker = mqtt.Client(CallbackAPIVersion.VERSION2, "bench-speaker", protocol=mqtt.MQTTv5)
    for client in (listener, speaker):
        client.on_socket_open = lambda client, user, wire: wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect(host, int(port))
        client.loop_start()
    listener.subscribe("bench/p1", 1)
    ready.wait(5)
    sent: dict[bytes, int] = {}
    for number in range(count):
        payload = b"%05d" % number + bytes(400)
        sent[payload[:5]] = time.monotonic_ns()
        speaker.publish("bench/p1", payload, 1)
        wait(1 / ALARMS_PER_S)
    wait(0.5)
    for client in (listener, speaker):
        client.disconnect()
        client.loop_stop()
    return [(seen[name] - at) / 1e6 for name, at in sent.items() if name in seen]


def figures(values: list[float]) -> dict[str, float]:
    """count, p50, p99 and the longest, ms."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    pick: Callable[[float], float] = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]  # noqa: E731
    return {"count": len(ordered), "p50_ms": round(pick(0.5), 3), "p99_ms": round(pick(0.99), 3), "max_ms": round(ordered[-1], 3)}


def measured(count: int) -> dict[str, dict[str, float]]:
    """All rows of the table."""
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-") as directory:
        broker = RealBroker(Path(directory) / "broker")
        broker.start()
        page_port, database = free_port(), f"{directory}/hub.sqlite"
        hub = [f"--root={directory}/hub", f"--set=hub.brokers=['{broker.address}']", f"--set=hub.database={database}", f"--set=hub.page_port={page_port}"]  # fmt: skip
        box = [f"--root={directory}/box", "--without=console", "--set=capture.interface=lo", "--set=intake.interface=lo", f"--set=uplink.brokers=['{broker.address}']"]  # fmt: skip
        try:
            with role("hub", 2, *hub), role("box", len(BOX_PROCESSES), *box):
                # Everybody has connected when a first alarm is through.
                through_scrubjay(page_port, database, 1, prefix="first", background=False)
                alone = through_scrubjay(page_port, database, count, prefix="alone", background=False)
                busy = through_scrubjay(page_port, database, count, prefix="busy", background=True)
                bare = through_bare_paho(broker.address, count)
        finally:
            broker.stop()
    rows = {"bare paho, publish to callback": figures(bare)}
    for name, found in (("alone", alone), (f"beside {BACKGROUND_PER_S:.0f} P4/s", busy)):
        rows[f"alarm to the hub's handler, {name}"] = figures(found["hub"]) | {"lost": found["lost"][0]}
        rows[f"alarm to the page, {name}"] = figures(found["page"])
    return rows


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("without the privilege to hear an interface there is no way in for the alarm; run as root", file=sys.stderr)
        sys.exit(1)
    rows = measured(arguments.count)
    print(f"{'':44}{'count':>7}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for name, row in rows.items():
        print(
            f"{name:44}{row['count']:>7.0f}"
            + "".join(f"{row.get(key, float('nan')):>10.2f}" for key in ("p50_ms", "p99_ms", "max_ms"))
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
