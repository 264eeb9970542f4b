"""The power is cut at any write of a real file system: whatever was synced is there, and what is there proves itself.

Recorder, retention, cold station and a person's pins work on a real ext4 whose block writes are on record (block_log.py). Then, for
cuts all over the record, the file system is mounted as it would have been found, and the stations start on it as on any morning.
SCRUBJAY_CUTS=all tries every cut, in order, and each once more with unsynced writes lost or torn; the default tries some.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest

from drivers.disk import AppendFile, Buffer
from drivers.linux.disk import LinuxDisk
from drivers.tap import TapRequest
from firmware.capture.settings import CaptureSettings
from firmware.capture.station import CaptureStation
from firmware.cold.settings import ColdSettings
from firmware.cold.station import ColdStation
from firmware.core import pcapng, receipt, seal
from firmware.core.layout import FRAMES, SEAL
from firmware.core.segment import Segment
from firmware.core.store import Store
from firmware.core.thaw import restored
from firmware.core.timestamp import MS, SECOND
from firmware.core.verify import verify
from firmware.retention.pins import pin, pins
from firmware.retention.settings import RetentionSettings
from firmware.retention.station import RetentionStation
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock
from simulator.identity import SimulatedIdentity
from simulator.tap import SimulatedTap
from simulator.written_store import frame
from tests.storm.block_log import RecordedDisk, Write, image_at, mounted, why_not

CUTS = os.environ.get("SCRUBJAY_CUTS", "40")
# Every cut in two ways is half an hour's work: 0 is no limit.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(0 if CUTS == "all" else 900)]
SEED = 20_261_126
MINUTES = 24
BUDGET_BYTES = 60_000


@dataclass(slots=True)
class Promises:
    """What a sync that returned has promised. Each with the position in the block log from which on it must hold."""

    frames: dict[int, int] = field(default_factory=dict)  # by number
    pinned: dict[str, int] = field(default_factory=dict)
    # Of every segment that was sealed, by the digest of its seal: a segment that was interrupted is sealed again under its name.
    in_segment: dict[bytes, frozenset[int]] = field(default_factory=dict)
    digests: dict[bytes, bytes] = field(default_factory=dict)  # of the frames file


class PromisingDisk(LinuxDisk):
    """The real disk; tells of every sync of a frames file that has returned."""

    def __init__(self, root: Path, recorded: RecordedDisk, promises: Promises) -> None:
        super().__init__(root)
        self._recorded, self._promises = recorded, promises

    def create(self, path: str) -> Any:
        file = super().create(path)
        return _PromisingFile(file, path, self) if path.endswith(FRAMES) else file

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        directory, _, name = new.partition("/")
        if directory == "segments" and "/" not in name and not name.startswith("."):
            sealed = seal.digest(self.read(f"{new}/{SEAL}"))
            self._promises.in_segment[sealed] = frozenset(numbers(self, name))
            self._promises.digests[sealed] = hashlib.sha256(self.read(f"{new}/{FRAMES}")).digest()

    def promise(self, path: str, size: int) -> None:
        """So much of this file is on the platter."""
        position = self._recorded.log.position
        name = path.split("/")[1].removeprefix(".")
        for number in numbers(self, name, size=size):
            self._promises.frames.setdefault(number, position)


class _PromisingFile:
    """An AppendFile whose syncs are looked at when they have returned."""

    def __init__(self, file: AppendFile, path: str, disk: PromisingDisk) -> None:
        self._file, self._path, self._disk = file, path, disk
        self._begun = 0

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def is_cached_only(self) -> bool:
        return self._file.is_cached_only

    def append(self, parts: Sequence[Buffer]) -> None:
        self._file.append(parts)

    def sync(self) -> None:
        self._file.sync()
        self._disk.promise(self._path, self.size)

    def start_sync(self) -> None:
        self._file.start_sync()
        self._begun = self.size

    def is_syncing(self) -> bool:
        if self._file.is_syncing():
            return True
        if self._begun:
            self._disk.promise(self._path, self._begun)
            self._begun = 0
        return False

    def close(self) -> None:
        self._file.close()


def numbers(disk: LinuxDisk, name: str, *, size: int | None = None) -> Iterator[int]:
    """The numbers of the frames in a segment, open or sealed; size: only stretches that lie within so many bytes."""
    segment = Segment(disk, "segments", name)
    for record in segment.records_from_frames():
        if size is None or record.offset + record.stored_bytes <= size:
            section = segment.stretch(record)
            head = b"" if section[:4] == b"\x0a\x0d\x0d\x0a" else pcapng.section_header() + pcapng.interface("x")
            for packet in pcapng.packets(head + section):
                yield int.from_bytes(packet.data[42:46], "big")


class Box:
    """Recorder, retention and cold station on a disk, stepped by the test."""

    def __init__(self, disk: LinuxDisk, clock: SimulatedClock, *, identity: SimulatedIdentity) -> None:
        self.clock, self.taps = clock, cast("list[SimulatedTap]", [])
        self.board = SimulatedBoard(disk=cast(Any, disk), clock=clock, identity=identity, open_tap=self._open_tap)
        self.capture = CaptureStation(
            self.board, CaptureSettings(segment_s=60, stretch_ms=100, sync_interval_ms=100, reserve_mb=0), says=False
        )
        self.retention = RetentionStation(self.board, RetentionSettings(budget_bytes=BUDGET_BYTES, keep_free_bytes=0))
        self.cold = ColdStation(self.board, ColdSettings(cold_after_h=0, keep_free_bytes=0))
        self.stations = (self.capture, self.retention, self.cold)

    def start(self) -> None:
        for station in self.stations:
            station.start(self.clock.now())

    def work(self, seconds: int, random: Random) -> None:
        """Step in any order while the time passes."""
        for _ in range(seconds * 4):
            for station in random.sample(self.stations, 3):
                station.step(self.clock.now())
            self.clock.advance(SECOND // 4)

    def _open_tap(self, request: TapRequest) -> SimulatedTap:
        self.taps.append(SimulatedTap(request))
        return self.taps[-1]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """In memory where there is such a place: what is synced here thousands of times is an image of a disk, not this machine's disk."""
    with TemporaryDirectory(prefix="scrubjay-cut-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def lived(place: Path) -> tuple[list[Write], int, Promises]:
    """Twenty minutes of a box on a recorded disk: the log, where the box began in it, and what was promised."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    random, promises, clock = Random(SEED), Promises(), SimulatedClock()
    number = 0
    with RecordedDisk(place) as recorded:
        os.sync()
        begins = recorded.log.position
        disk = PromisingDisk(recorded.root / "store", recorded, promises)
        for directory in ("segments", "receipts", "pins", "trash", "state", "inbox"):
            disk.mkdir(directory)
        disk.sync_dir("")
        box = Box(disk, clock, identity=SimulatedIdentity())
        box.start()
        for minute in range(MINUTES):
            for _ in range(5):
                rows = []
                for _ in range(random.randrange(5, 60)):
                    stamp = clock.now().utc_ns + len(rows) * MS
                    rows.append(frame(stamp, payload=number.to_bytes(4, "big") + random.randbytes(4) + bytes(90)))
                    number += 1
                box.taps[0].hear(rows)
                box.work(12, random)
            if minute % 5 == 3:
                held = random.choice(Store(disk).names())
                pin(disk, [held], reason="case 12", now_utc_ns=clock.now().utc_ns)
                promises.pinned[held] = recorded.log.position
        box.capture.stop(clock.now())
        entries_wanted = recorded.log.position
        disk.close()  # A process holds its store to its end; here the file system has to be let go of.
    entries = recorded.log.entries()
    receipts, cold = box.retention.report.counts, box.cold.report.counts
    assert receipts["segments_deleted_budget"] >= 3 and cold["segments_rewritten"] >= 10, "a life in which nothing happened"
    assert len(promises.frames) > 1000 and len(entries) >= entries_wanted
    return entries, begins, promises


def cuts(count: int, begins: int) -> list[tuple[int, int | None]]:
    """(entry, seed) of the cuts to try; no seed: every write up to there is on the disk."""
    if CUTS == "all":
        return [(cut, seed) for cut in range(begins, count + 1) for seed in (None, cut)]
    random = Random(SEED)
    return [(random.randrange(begins, count + 1), seed) for seed in range(int(CUTS))] + [(count, None)]


def test_power_cut_at_any_block_write(lived: tuple[list[Write], int, Promises], place: Path) -> None:
    """Every synced frame is there or deleted with a receipt; pins hold; what is cold restores as sealed; the chain goes on. (S2-090, S2-094)"""
    entries, begins, promises = lived
    at = place / "mnt"
    tried = 0
    for cut, seed in cuts(len(entries), begins):
        # A file of its own each time: the loop device of the one before may live on for a moment, with what it remembers.
        image = place / f"cut-{cut}-{seed}"
        how = image_at(entries, cut, image, None if seed is None else Random(seed))
        with mounted(image, at) as root:
            if not (root / "store" / "inbox").is_dir():
                continue  # before the box was first started
            disk = LinuxDisk(root / "store")
            try:
                look(disk, promises, cut, f"{how} (seed {seed})")
            finally:
                disk.close()
        image.unlink()
        tried += 1

    assert tried > min(30, int(CUTS) // 2 if CUTS != "all" else 30)


def look(disk: LinuxDisk, promises: Promises, cut: int, how: str) -> None:
    """Start the stations on what a cut has left, and hold it to what was promised before the cut."""
    identity, clock = SimulatedIdentity(), SimulatedClock()
    clock.advance(3 * 3600 * SECOND)
    box = Box(disk, clock, identity=identity)
    box.start()
    check(disk, promises, cut, how)
    # The second life: it records, deletes and rewrites on top of what it found.
    stamp = clock.now().utc_ns
    box.taps[0].hear([frame(stamp + n, payload=(2**31 + n).to_bytes(4, "big")) for n in range(20)])
    box.work(70, Random(cut))
    box.capture.stop(clock.now())
    check(disk, promises, cut, f"{how}, a minute later")
    recorded = {number for name in Store(disk).names() for number in numbers(disk, name)}
    assert set(range(2**31, 2**31 + 20)) <= recorded, f"{how}: nothing was recorded afterwards"


def check(disk: LinuxDisk, promises: Promises, cut: int, how: str) -> None:
    verdict = verify(disk, public_key=SimulatedIdentity().public_key())
    assert [] == verdict.findings, how
    there = {number for name in [*Store(disk).names(), *Store(disk).open_names()] for number in numbers(disk, name)}
    receipts = [receipt.unpacked(disk.read(f"receipts/{name}")) for name in disk.list("receipts") if name[0] != "."]
    deleted = {number for row in receipts for number in promises.in_segment.get(row.seal_digest, ())}
    promised = {number for number, position in promises.frames.items() if position <= cut}
    assert set() == promised - there - deleted, f"{how}: synced, and gone"
    held = {name for name, position in promises.pinned.items() if position <= cut}
    assert held <= {row.segment for row in pins(disk)}, how
    assert held <= set(Store(disk).names()), f"{how}: pinned, and gone"
    for name in Store(disk).names():
        sealed = seal.digest(disk.read(f"segments/{name}/{SEAL}"))
        if sealed in promises.digests and Store(disk).segment(name).is_cold():
            digest = hashlib.sha256(b"".join(restored(disk, "segments", name))).digest()
            assert promises.digests[sealed] == digest, f"{how}: {name} restores other bytes"
