"""Alarms while 50 MB of bulk are on their way, on a link of 2 Mbit/s and a round trip of 40 ms: from the outbox to the hub's handler.

Beside it on the same link: the idle link, and one naive paho connection (everything published, then the alarms). Ours twice: as it is
anywhere, and with the box's egress shaped (HTB, drivers/linux/egress.py). A real mosquitto and the real hub at the far end; the link is
simulator/slow_link.py between two network namespaces, its queue 256 KiB as in many routers. Disks are in memory (`alarm` is about disks),
and what is measured goes before whatever else this machine does.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from drivers.clock import ClockState, Timestamp
from drivers.linux.clock import LinuxClock
from drivers.linux.disk import LinuxDisk
from drivers.linux.egress import LinuxEgress
from firmware.core import message, release
from firmware.core.envelope import packed, sealed_envelope
from firmware.core.message import Message, Priority, Severity
from firmware.core.spool import Spool
from firmware.hub.repository import Repository
from simulator.broker import mosquitto
from simulator.namespaces import batch, free_tag, remove, run_command, search_path, what_is_missing
from simulator.slow_link import ADDRESSES, DEVICE, enter

ROOT = Path(__file__).parents[2]
SCRUBJAY = [sys.executable, "-m", "firmware.cli"]
KBIT, ROUND_TRIP_MS, QUEUE_BYTES = 2000, 40, 262_144
BULK_BYTES, BULK_ITEM_BYTES = 50_000_000, 1_000_000
ALARMS_PER_S = 5.0
READY_S = 30.0
SETTLE_S = 8.0  # for the window of bulk to find its size before the alarms are counted
PORT = 1883
REAL_TIME = 5  # below the link's own


def wait(seconds: float) -> None:
    """Let time pass; a bench may."""
    select.select([], [], [], max(0.0, seconds))


@contextmanager
def program(command: list[str], *, says: str | None, count: int = 1) -> Iterator[subprocess.Popen[str]]:
    """A program, from when it has said so until the end of the block."""
    environment = {**os.environ, "PATH": search_path()}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            until = time.monotonic() + READY_S
            while says is not None and count:
                left = until - time.monotonic()
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    raise SystemExit(f"{command[-1]}: was not ready within {READY_S:.0f} s")
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"{' '.join(command[:6])} ended before it was ready")
                count -= says in line
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


class Lab:
    """Two namespaces, the link between them and a broker at the far end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tag = free_tag()
        self.box, self.hub = f"{self.tag}-box", f"{self.tag}-hub"

    @contextmanager
    def open(self) -> Iterator["Lab"]:
        """For as long as the block lasts."""
        try:
            for namespace in (self.box, self.hub):
                run_command(["ip", "netns", "add", namespace])
                batch(namespace, ["link set lo up"])
            link = [sys.executable, "-m", "simulator.slow_link", self.box, self.hub, f"--kbit={KBIT}", f"--queue={QUEUE_BYTES}", f"--delay-ms={ROUND_TRIP_MS / 2}"]  # fmt: skip
            configuration = self.directory / "mosquitto.conf"
            user = "user root\n" if os.geteuid() == 0 else ""
            configuration.write_text(
                f"listener {PORT} {ADDRESSES[1]}\npersistence false\nmax_inflight_messages 100\nmax_queued_messages 100000\n"
                f"set_tcp_nodelay true\nallow_anonymous true\n{user}"
            )
            broker = mosquitto()
            assert broker is not None, "tools/setup.sh installs mosquitto"
            with program(link, says="up"), program(self.within(self.hub, [broker, "-c", str(configuration)]), says=None):
                yield self
        finally:
            remove(self.tag)

    def carried(self) -> int:
        """Bytes of packets the box has put into the link so far."""
        rows = json.loads(run_command(["ip", "-n", self.box, "-s", "-j", "link", "show", "dev", DEVICE]))
        return int(rows[0]["stats64"]["tx"]["bytes"])

    def within(self, namespace: str, command: list[str]) -> list[str]:
        """The same command, in there."""
        return ["ip", "netns", "exec", namespace, *command]


def alarm(box: str, number: int, tai: int) -> bytes:
    """An envelope as group and deidentify make it."""
    stamp = Timestamp(tai, 1000, "ptp", ClockState.LOCKED)
    one = Message(
        "robot-1", "arm", "published", Priority.P1, Severity.ERROR, stamp, stamp, sequence=number, event="tool-failure",
        text=f"alarm {number:05d} joint 2 stopped", fields={"torque_nm": 4.2},
    )  # fmt: skip
    return packed(sealed_envelope(box=box, kind="group", priority=Priority.P1, first_tai_ns=tai, last_tai_ns=tai, content=message.packed([one])))  # fmt: skip


def bulk(box: str, number: int, tai: int) -> bytes:
    """A megabyte nobody can compress."""
    stamp = Timestamp(tai, 1000, "ptp", ClockState.LOCKED)
    noise = ("application/octet-stream", os.urandom(BULK_ITEM_BYTES))
    one = Message("robot-1", "video", "published", Priority.P4, Severity.DEBUG, stamp, stamp, sequence=number, attachment=noise)
    return packed(sealed_envelope(box=box, kind="group", priority=Priority.P4, first_tai_ns=tai, last_tai_ns=tai, content=message.packed([one])))  # fmt: skip


def through_scrubjay(directory: Path, count: int, *, with_bulk: bool, shaped: bool) -> dict[str, float]:
    """Figures of one run of the real uplink and the real hub."""
    directory.mkdir()
    with Lab(directory).open() as lab:
        if shaped:
            LinuxEgress(prefix=["ip", "netns", "exec", lab.box]).shape(DEVICE, KBIT * 95 // 100)
        database, address = f"{directory}/hub.sqlite", f"{ADDRESSES[1]}:{PORT}"
        hub = lab.within(lab.hub, [*SCRUBJAY, "run", "hub", "--without=web", f"--root={directory}/hub", f"--set=hub.brokers=['{address}']", f"--set=hub.database={database}"])  # fmt: skip
        others = [
            f"--without={name}" for name in ("capture", "clock", "roomside", "gate", "steward", "console", "feedback", "update")
        ]
        box = lab.within(
            lab.box, [*SCRUBJAY, "run", "box", *others, f"--root={directory}/box", f"--set=uplink.brokers=['{address}']"]
        )
        with program(hub, says="state=ready"), program(box, says="process=uplink state=ready"):
            clock, disk = LinuxClock(), LinuxDisk(directory / "box")
            name = (directory / "box/identity/name").read_text().strip()
            outbox = Spool(disk, "outbox")
            if with_bulk:
                for number in range(BULK_BYTES // BULK_ITEM_BYTES):
                    tai = clock.now().timestamp.tai_ns
                    outbox.publish(release.name_of(Priority.P4, tai, f"bulk-{number}"), bulk(name, number, tai))
            wait(SETTLE_S)
            sent: dict[str, int] = {}
            began, had, carried = time.monotonic(), received(directory, database), lab.carried()
            for number in range(count):
                tai = clock.now().timestamp.tai_ns
                outbox.publish(release.name_of(Priority.P1, tai, f"alarm-{number}"), alarm(name, number, tai))
                sent[f"alarm {number:05d} joint 2 stopped"] = clock.now().timestamp.tai_ns
                wait(began + (number + 1) / ALARMS_PER_S - time.monotonic())
            took, has, carried = time.monotonic() - began, received(directory, database), lab.carried() - carried
            wait(2.0)
            repository = Repository(database)
            rows = repository.rows("select text, arrived_tai_ns from messages where priority = 1")
            repository.close()
    arrived = {row["text"]: row["arrived_tai_ns"] for row in rows}
    figures = of([(arrived[text] - at) / 1e6 for text, at in sent.items() if text in arrived])
    used = (has - had) * 8 / 1000 / took
    return figures | {
        "lost": float(count - figures["count"]),
        "bulk_kbit_s": round(used),
        "link_used": round(carried * 8 / 1000 / took / KBIT, 3),
    }


def received(directory: Path, database: str) -> int:
    """Bytes of long items the hub has: whole, or so far."""
    repository = Repository(database)
    rows = repository.rows("select coalesce(sum(size), 0) as size from envelopes where priority = 4")
    repository.close()
    parts = 0
    for path in (directory / "hub/incoming").glob("*"):
        try:
            parts += path.stat().st_size
        except FileNotFoundError:
            continue
    return int(rows[0]["size"]) + parts


def naive(directory: Path, count: int, bulk_bytes: int) -> dict[str, float]:
    """One paho connection: all the bulk published, then the alarms; until the last has arrived."""
    directory.mkdir()
    with Lab(directory).open() as lab:
        seen: dict[bytes, int] = {}
        ready = threading.Event()
        wait(0.5)
        listener = client("listener", lab.hub)
        listener.on_subscribe = lambda *_: ready.set()
        listener.on_message = lambda _, __, got: (
            seen.setdefault(bytes(got.payload[:5]), time.monotonic_ns()) if got.topic == "p1" else None
        )
        listener.loop_start()
        listener.subscribe([("p1", 1), ("p4", 1)])
        ready.wait(5)
        speaker = client("speaker", lab.box)
        speaker.loop_start()
        for _ in range(bulk_bytes // BULK_ITEM_BYTES):
            speaker.publish("p4", os.urandom(BULK_ITEM_BYTES), 1)
        sent: dict[bytes, int] = {}
        for number in range(count):
            payload = b"%05d" % number + bytes(400)
            sent[payload[:5]] = time.monotonic_ns()
            speaker.publish("p1", payload, 1)
            wait(1 / ALARMS_PER_S)
        until = time.monotonic() + bulk_bytes * 8 / KBIT / 1000 * 1.5 + 20
        while len(seen) < count and time.monotonic() < until:
            wait(0.2)
        for one in (speaker, listener):
            one.disconnect()
            one.loop_stop()
    figures = of([(seen[name] - at) / 1e6 for name, at in sent.items() if name in seen])
    return figures | {"lost": float(count - figures["count"])}


def client(name: str, namespace: str) -> mqtt.Client:
    """Connected, with its socket in that namespace."""
    made = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
    made.on_socket_open = lambda _, __, wire: wire.setsockopt(6, 1, 1)  # TCP_NODELAY

    def connect() -> None:
        enter(namespace)
        made.connect(ADDRESSES[1], PORT)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    return made


def of(values: list[float]) -> dict[str, float]:
    """count, p50, p99 and the longest, ms."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    pick: Callable[[float], float] = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]  # noqa: E731
    return {"count": len(ordered), "p50_ms": round(pick(0.5), 1), "p99_ms": round(pick(0.99), 1), "max_ms": round(ordered[-1], 1)}


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--naive-bulk", type=int, default=BULK_BYTES, help="bytes; each megabyte costs the naive one 4 s")
    parser.add_argument("--only", choices=("idle", "bulk", "shaped", "naive"), action="append")
    a = parser.parse_args()
    missing = what_is_missing()
    if missing is not None:
        print(f"there is no slow link here: {missing}", file=sys.stderr)
        sys.exit(1)
    wanted = a.only or ["idle", "bulk", "shaped", "naive"]
    rows: dict[str, dict[str, float]] = {}
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REAL_TIME))
    except OSError:
        print("no right to go first: what else this machine does is in the figures", file=sys.stderr)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-", dir=memory) as place:
        directory = Path(place)
        if "idle" in wanted:
            rows["Scrubjay, idle link"] = through_scrubjay(directory / "idle", a.count, with_bulk=False, shaped=False)
        if "bulk" in wanted:
            rows["Scrubjay, 50 MB of bulk"] = through_scrubjay(directory / "bulk", a.count, with_bulk=True, shaped=False)
        if "shaped" in wanted:
            rows["Scrubjay, 50 MB of bulk, egress shaped"] = through_scrubjay(
                directory / "shaped", a.count, with_bulk=True, shaped=True
            )
        if "naive" in wanted:
            rows[f"one paho connection, {a.naive_bulk // 1_000_000} MB"] = naive(directory / "naive", a.count, a.naive_bulk)
    print(
        f"{KBIT} kbit/s, round trip {ROUND_TRIP_MS} ms{'':17}{'count':>7}{'lost':>6}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}{'bulk kbit/s':>13}{'link used':>11}"
    )
    for name, row in rows.items():
        columns = "".join(f"{row.get(key, float('nan')):>10.1f}" for key in ("p50_ms", "p99_ms", "max_ms"))
        # The naive one's bulk is in the link's way, not measured: it is published before the first alarm.
        bulk = f"{row['bulk_kbit_s']:>13.0f}{row['link_used']:>11.1%}" if "link_used" in row else ""
        print(f"{name:44}{row['count']:>7.0f}{row['lost']:>6.0f}{columns}{bulk}")
    if a.json:
        a.json.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
