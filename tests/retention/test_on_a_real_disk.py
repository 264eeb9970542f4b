"""The steward's stations and retrieval on a directory of this machine: what the simulated disk promises, the real one keeps."""

from pathlib import Path
from typing import Any, cast

import pytest

from drivers.linux.disk import LinuxDisk
from firmware.command.settings import CommandSettings
from firmware.command.station import CommandStation
from firmware.core import message, pcapng, release
from firmware.core.durable import make_directory
from firmware.core.envelope import SIGNED_PREFIX, Command, Order, command_packed, order_packed
from firmware.core.errors import DiskFailed
from firmware.core.query import Query
from firmware.core.request import Request, as_parameters
from firmware.core.spool import Spool
from firmware.core.station import Station
from firmware.core.timestamp import SECOND
from firmware.core.verify import verify
from firmware.health.settings import HealthSettings
from firmware.health.station import HealthStation
from firmware.retention.settings import RetentionSettings
from firmware.retention.station import RetentionStation
from firmware.retrieval.settings import RetrievalSettings
from firmware.retrieval.station import RetrievalStation
from simulator.board import SimulatedBoard
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.written_store import begin_segment, end_segment, frame

DAY = 86_400 * SECOND


def _work(board: SimulatedBoard, stations: list[Station], *, seconds: int) -> None:
    for _ in range(seconds):
        for _ in range(200):
            now = board.clock.now()
            if all(station.step(now) != now.monotonic for station in stations):
                break
        board.clock.advance(SECOND)


def test_order_evidence_and_deletion_on_a_real_directory(tmp_path: Path) -> None:
    """A signed order brings its frames; two weeks later the segments go, with receipts, and the rest verifies (S2-094, S2-107)."""
    disk = LinuxDisk(tmp_path)
    board = SimulatedBoard(disk=cast(Any, disk))  # the real disk in an otherwise simulated board
    hub = SimulatedIdentity(name="hub-1", seed=7)
    board.identity.trust("hub-1", hub.public_key())
    start = board.clock.now().utc_ns
    for _ in range(3):
        writer = begin_segment(board, [[frame(board.clock.now().utc_ns + n) for n in range(5)]])
        board.clock.advance(DAY)
        end_segment(board, writer)
    stations: list[Station] = [
        CommandStation(board, CommandSettings()), RetentionStation(board, RetentionSettings()),
        HealthStation(board, HealthSettings()), RetrievalStation(board, RetrievalSettings(span_s_max=7 * 86_400)),
    ]  # fmt: skip
    for station in stations:
        station.start(board.clock.now())
    tai_ns = board.clock.now().timestamp.tai_ns
    parameters = as_parameters(Request(Query(start, start + 2 * DAY - 1, hosts=("10.77.0.11",))))
    order = order_packed(Order(bytes(16), "hub-1", "box-1", "retrieval", 1, tai_ns, tai_ns + DAY, parameters))
    Spool(disk, "commands/received").publish("cmd-00", command_packed(Command(order, hub.sign(SIGNED_PREFIX + order))))
    _work(board, stations, seconds=10)

    (name,) = disk.list("release")
    assert 10 == len(list(pcapng.packets(release.unpacked(disk.read(f"release/{name}")).body)))
    board.clock.advance(13 * DAY)
    _work(board, stations, seconds=2)
    assert 1 == len(disk.list("segments"))
    verdict = verify(disk, public_key=board.identity.public_key())
    assert verdict.ok, verdict.findings
    kinds = {row.kind for name in disk.list("inbox") for row in message.unpacked(disk.read(f"inbox/{name}"))}
    assert {"command-result", "evidence-result", "health"} == kinds


def test_directory_somebody_else_made_needs_no_right_to_its_parents() -> None:
    """On the box the image makes the directories, and a process may not even open their parents; one it makes itself must last."""
    disk = SimulatedDisk()
    disk.mkdir("commands/received")

    def forbid(number: int, what: str, path: str) -> None:
        if what == "sync_dir":
            raise DiskFailed("expected the disk to obey, the kernel answered EACCES")

    disk.before = forbid
    make_directory(disk, "commands/received")
    with pytest.raises(DiskFailed):
        make_directory(disk, "commands/other")
