"""How many plain messages a second go from the inbox to the outbox: grouped, kept, de-identified, compressed, every hand-over synced.

All stations of the box's process `gate`, on an inbox that is full when they begin, as after 10,000 messages a second, which they need not
keep up with: items of 500 messages of one priority, 25 a group. What they take is processor time a message, and syncs; so beside them, in
the same run: as many files as they publish, of the same size, written and synced by a bare loop. What the disk alone allows is its rate.
"""

import argparse
import json
import os
import select
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cbor2

from drivers.linux.board import LinuxBoard
from drivers.linux.disk import LinuxDisk
from firmware.core import envelope, message
from firmware.core.entrance import message_of
from firmware.core.message import Priority
from firmware.core.settings import Settings
from firmware.core.spool import Spool
from firmware.core.station import Station
from firmware.intake.publisher import PORTS
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings
from firmware.roles import BOX, SECTIONS

ROOT = Path(__file__).parents[2]
ITEM, GROUP = 500, 25  # messages; as intake batches, and as a group is closed
SOON = "[group]\np2_interval_s = 1\np3_interval_s = 1\np4_interval_s = 1\n"  # what is not a full group does not wait ten minutes


def fill(board: LinuxBoard, count: int) -> None:
    """An inbox as intake leaves it, a quarter of each priority, by eight devices."""
    rules, now, inbox = rules_of(IntakeSettings()), board.clock.now(), Spool(board.disk, "inbox")
    singles: dict[Priority, list[bytes]] = {priority: [] for priority in Priority}
    for number in range(count):
        stamp = now.utc_ns + number * 100_000
        row = {
            "version": 1, "process": f"arm-{number // 4 % 8}", "sequence": number, "text": f"{number:08d} joint 2 torque above its limit",
            "severity": "warning", "event": "wear", "fields": {"torque_nm": 4.2, "joint": 2}, "time_utc_ns": stamp,
        }  # fmt: skip
        heard = message_of(
            cbor2.dumps(row), source_ip=bytes((10, 0, 0, 5)), port=PORTS[number % 4], stamp_utc_ns=stamp, now=now, rules=rules, count=lambda name: None
        )  # fmt: skip
        singles[heard.priority].append(message.packed_single(heard)[1])
    for priority, rows in singles.items():
        for at in range(0, len(rows), ITEM):
            name = f"intake-{now.timestamp.tai_ns + at:020d}-{int(priority):06d}"
            inbox.publish(name, message.joined(rows[at : at + ITEM]))


def drained(board: LinuxBoard, stations: Sequence[Station]) -> None:
    """Step them as their loop does until nothing waits any more."""
    while any(not name.startswith(".") for path in ("inbox", "release") for name in board.disk.list(path)):
        began = board.clock.now().monotonic
        wishes = [station.step(board.clock.now()) for station in stations]
        if all(wish is None or wish > began for wish in wishes):
            select.select([], [], [], 0.005)


def synced(disk: LinuxDisk, count: int, size: int) -> float:
    """Seconds for so many files, written and synced one after the other."""
    disk.mkdir("bare")
    began = time.monotonic()
    for number in range(count):
        disk.write(f"bare/{number}", bytes(size))
        disk.sync(f"bare/{number}")
    disk.sync_dir("bare")
    return time.monotonic() - began


def measured(count: int) -> dict[str, float]:
    """One row."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scrubjay-bench-", dir=ROOT / "build") as place:
        board = LinuxBoard(Path(place) / "store", Path(place) / "identity")
        for directory in ("state", "inbox"):
            board.disk.mkdir(directory)
        fill(board, count)
        gate = next(process for process in BOX if process.name == "gate")
        assert gate.build is not None
        stations = gate.build(board, Settings(SECTIONS["box"], [("bench", SOON)]))
        for station in stations:
            station.start(board.clock.now())
        began, used = time.monotonic(), time.process_time()
        drained(board, stations)
        took, used = time.monotonic() - began, time.process_time() - used
        names = [name for name in board.disk.list("outbox") if not name.startswith(".")]
        bodies = [board.disk.read(f"outbox/{name}") for name in names]
        arrived = {row.sequence for body in bodies for row in message.unpacked(envelope.content_of(envelope.unpacked(body)))}
        assert set(range(count)) <= arrived, f"expected {count} messages in the outbox, found {len(arrived)}"
        bare = synced(LinuxDisk(Path(place)), len(names), sum(map(len, bodies)) // len(names))
        return {
            "messages": count, "groups": len(names), "seconds": round(took, 2), "messages_per_s": round(count / took),
            "cpu_us_per_message": round(used / count * 1e6, 1), "bare_seconds": round(bare, 2), "times_bare": round(took / bare, 2),
        }  # fmt: skip


def main() -> None:
    """Print the row, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    row = measured(arguments.count)
    print(
        f"{row['messages']} messages, {row['groups']} groups of up to {GROUP}: {row['seconds']} s, {row['messages_per_s']}/s;"
        f" {row['cpu_us_per_message']} us of one processor each ({os.cpu_count()} here, load {os.getloadavg()[0]:.1f})"
    )
    print(f"as many files written and synced once: {row['bare_seconds']} s; gate takes {row['times_bare']} times that")
    if arguments.json:
        arguments.json.write_text(json.dumps(row))


if __name__ == "__main__":
    main()
