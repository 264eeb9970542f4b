"""`scrubjay record`: in virtual time on the simulated board, and as a real process on a wire of its own."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from drivers.clock import Monotonic, Now
from drivers.disk import Buffer
from drivers.errors import BadFilter, NotAllowed, OutletClosed, TapFailed
from drivers.linux.disk import LinuxDisk
from drivers.tap import HeardFrame, Tap, TapRequest
from firmware.capture.record import check, record
from firmware.capture.settings import CaptureSettings
from firmware.capture.stops import Stops
from firmware.core import pcapng
from firmware.core.report import Report
from firmware.core.store import Query, Store
from firmware.core.verify import verify
from firmware.retention.settings import RetentionSettings
from firmware.retention.station import RetentionStation
from simulator.board import SimulatedBoard
from simulator.outlet import SimulatedOutlet
from simulator.tap import SimulatedTap

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()

FRAME = bytes.fromhex("020000000001 020000000002 0800 4500001c00000000401100000a0000010a000002 2710 0068 0008 0000") + bytes(18)
SECOND = 1_000_000_000


class Room:
    """A station beside the recorder that makes traffic on the board's taps, so that virtual time has something to hear."""

    name = "room"

    def __init__(self, *, a_second: int = 10, until_s: int = 1_000_000) -> None:
        self.report = Report(self.name)
        self.taps: list[SimulatedTap] = []
        self.sent = 0
        self._a_second, self._until_s, self._seconds = a_second, until_s, 0
        self._next: Monotonic | None = None

    def open(self, request: TapRequest) -> Tap:
        self.taps.append(SimulatedTap(request))
        return self.taps[-1]

    def start(self, now: Now) -> None:
        self._next = now.monotonic

    def step(self, now: Now) -> Monotonic | None:
        assert self._next is not None
        if now.monotonic >= self._next and self._seconds < self._until_s:
            self._next = self._next.after(SECOND)
            self._seconds += 1
            for tap in self.taps:
                tap.hear([HeardFrame(now.utc_ns + n, FRAME, len(FRAME)) for n in range(self._a_second)])
                self.sent += self._a_second
        return self._next if self._seconds < self._until_s else None

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return


def test_records_for_its_time():
    """After the given time it seals and tells what it did, and on the way every second. (S2-090)"""
    board = SimulatedBoard(open_tap=SimulatedTap)
    lines: list[str] = []
    summary = record(board, CaptureSettings(segment_s=5), stops=Stops(duration_s=12), progress=lines.append)

    assert ("stopped", 3) == (summary.report.gauges["state"], summary.report.counts["segments_sealed"])
    assert verify(board.disk).ok
    assert 12 == len(lines)
    assert lines[0].startswith("    1 s  heard  0 frames/s  0.0 Mbit/s  lost 0")
    assert [] == board.disk.list("inbox")


@pytest.mark.parametrize("stops", [Stops(frames=95), Stops(bytes_disk=1500)])
def test_records_until_it_has_enough(stops):
    """So many frames, or so much on the disk: then it ends, with whole blocks, sealed."""
    room = Room()
    board = SimulatedBoard(open_tap=room.open)
    summary = record(board, CaptureSettings(), stops=stops, beside=[room])

    assert 95 <= summary.report.counts["frames"] <= 400
    assert stops.are_reached(summary.report)
    assert summary.is_whole and verify(board.disk).ok


def test_keeps_what_it_may():
    """Beyond the budget the oldest sealed segments go, each with its receipt in the chain; the newest are there. (S2-095)"""
    room = Room(a_second=2000)
    board = SimulatedBoard(open_tap=room.open)
    keep = RetentionStation(board, RetentionSettings(budget_bytes=60_000, retain_days=36_500))
    summary = record(board, CaptureSettings(segment_s=5), stops=Stops(duration_s=300), beside=[room, keep])
    kept, receipts = Store(board.disk).names(), board.disk.list("receipts")

    assert 60 <= summary.report.counts["segments_sealed"] <= 62
    assert summary.report.counts["segments_sealed"] == len(kept) + len(receipts)
    assert 2 <= len(kept) <= 30
    assert [] == verify(board.disk).findings


def test_what_is_deleted_while_it_records_is_said():
    """Who asked for a hundred years of a disk that others fill hears, in each line and at the end, that for want of room it is not so."""
    room, said = Room(a_second=1000), list[str]()
    board = SimulatedBoard(open_tap=room.open)
    keep = RetentionStation(board, RetentionSettings(retain_days=36_500))
    board.disk.capacity_bytes = 30 << 20
    board.disk.write("others", bytes(9 * (board.disk.capacity_bytes // 10) - 100_000))
    settings = CaptureSettings(segment_s=2, reserve_mb=1)
    summary = record(board, settings, stops=Stops(duration_s=30), beside=[room, keep], progress=said.append)
    receipts = board.disk.list("receipts")

    assert 0 == summary.lost and 0 < len(receipts)
    assert {"room": len(receipts)} == summary.deleted == summary.as_json()["deleted"]
    assert f"segments deleted {len(receipts)} ({len(receipts)} room)" in said[-1]
    assert "segments deleted" not in said[0]
    assert any(f"segments deleted {len(receipts)} (" in line and "less free than" in line for line in summary.lines())


def test_a_copy_as_well():
    """One plain pcapng with the same frames in one section, its statistics at the end; what was there before is not in it."""
    room = Room()
    board = SimulatedBoard(open_tap=room.open)
    record(board, CaptureSettings(), stops=Stops(duration_s=5), beside=[room])
    room.taps.clear()
    before, outlet = room.sent, SimulatedOutlet()
    summary = record(board, CaptureSettings(segment_s=3), stops=Stops(duration_s=20), beside=[room], outlet=outlet)
    copied = bytes(outlet.took)

    assert room.sent - before == summary.copied == summary.report.counts["frames"] == len(list(pcapng.packets(copied)))
    assert 1 == copied.count(pcapng.section_header()[:12])
    assert [("eth1", "")] == pcapng.interfaces(copied)
    assert summary.copied.to_bytes(8, "little") in copied[-60:]
    assert outlet.is_closed and not summary.copy_trouble


def test_a_copy_of_two_interfaces_is_in_time_order():
    """Frames of both rings by their stamps, across stretches and segments."""
    room = Room(a_second=50)
    board = SimulatedBoard(open_tap=room.open)
    outlet = SimulatedOutlet()
    record(board, CaptureSettings(interface="a,b", segment_s=3), stops=Stops(duration_s=20), beside=[room], outlet=outlet)
    packets = list(pcapng.packets(bytes(outlet.took)))

    assert room.sent == len(packets)
    assert sorted(packet.stamp_ns for packet in packets) == [packet.stamp_ns for packet in packets]
    assert {0, 1} == {packet.interface for packet in packets}


def test_a_copy_does_not_wait_for_the_next_frame():
    """Whoever watches two interfaces sees the last frames before a silence while it lasts, and not when it ends."""
    room = Room(a_second=10, until_s=3)
    board = SimulatedBoard(open_tap=room.open)
    outlet = SimulatedOutlet()
    seen: list[int] = []
    record(
        board, CaptureSettings(interface="a,b", stretch_ms=200), stops=Stops(duration_s=10), beside=[room], outlet=outlet,
        progress=lambda line: seen.append(len(list(pcapng.packets(bytes(outlet.took))))),
    )  # fmt: skip

    assert 60 == room.sent == seen[4]


def test_a_slow_reader_costs_nothing():
    """A reader that stands still for a minute: every frame is recorded; at the end what it never took is said."""
    room = Room(a_second=1000)
    board = SimulatedBoard(open_tap=room.open)
    outlet = SimulatedOutlet(room=50_000)
    summary = record(board, CaptureSettings(), stops=Stops(duration_s=60), beside=[room], outlet=outlet)

    assert room.sent == summary.report.counts["frames"] >= 60_000
    assert summary.is_whole
    assert 50_000 == len(outlet.took)
    assert "copy_unread_bytes" in summary.copy_trouble
    assert not summary.failed


def test_a_reader_that_goes_away_ends_it():
    """Wireshark was closed: the recording is sealed and that is no failure."""
    room = Room()
    outlet = SimulatedOutlet()
    board = SimulatedBoard(open_tap=room.open)
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        if len(lines) == 5:
            outlet.go_away()

    summary = record(board, CaptureSettings(), stops=Stops(duration_s=600), beside=[room], outlet=outlet, progress=progress)

    assert 5 <= len(lines) <= 7
    assert ("the reader went away", False) == (summary.copy_trouble, summary.failed)
    assert verify(board.disk).ok and room.sent == summary.report.counts["frames"]


class Full(SimulatedOutlet):
    """A file on a disk that is full from the beginning."""

    def write(self, data: Buffer, *, patience_s: float = 0.0) -> int:
        raise OutletClosed("it takes nothing more: No space left on device", is_reader=False)


@pytest.mark.parametrize(("is_all", "seconds"), [(False, 30), (True, 1)])
def test_a_copy_that_fails(is_all, seconds):
    """The copy's disk is full: the recording goes on when there is one, it ends when there is none; a failure either way."""
    board = SimulatedBoard(open_tap=SimulatedTap)
    lines: list[str] = []
    summary = record(
        board, CaptureSettings(), stops=Stops(duration_s=30), outlet=Full(), is_copy_all=is_all, progress=lines.append
    )

    assert summary.failed
    assert "No space left on device" in summary.copy_trouble
    assert abs(seconds - summary.duration_s) <= 1


def test_bad_filter_is_said_before_anything_is_recorded():
    """A filter that does not compile ends it at once."""
    board = SimulatedBoard(open_tap=SimulatedTap)
    with pytest.raises(BadFilter):
        check(board.tap, CaptureSettings(filter="port eleventy"))
    with pytest.raises(BadFilter):
        record(board, CaptureSettings(filter="port eleventy"), stops=Stops(duration_s=1))

    assert [] == board.disk.list("segments")


@pytest.mark.parametrize(
    ("trouble", "wait", "said"), [(TapFailed, False, True), (TapFailed, True, False), (NotAllowed, True, True)]
)
def test_what_can_be_known_before(trouble, wait, said):
    """An interface that is not there, unless it is waited for; a right that is missing, always."""

    def refuse(request: TapRequest) -> Tap:
        raise trouble("no")

    board = SimulatedBoard(open_tap=refuse)
    with pytest.raises(trouble) if said else nullcontext():
        check(board.tap, CaptureSettings(), wait=wait)


@pytest.mark.lab
@pytest.mark.skipif(REASON is not None, reason=REASON or "")
def test_records_a_wire(tmp_path):
    """The real program on a real wire: what was sent is sealed, verified and found. (S2-090, S2-092, S2-107)"""
    with wire.Wire() as line:
        command = [sys.executable, "-m", "firmware.cli", "record", wire.HEARS, "-o", str(tmp_path), "--duration", "2.5", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            assert program.stderr is not None and program.stdout is not None
            assert "    1 s  heard" in program.stderr.readline()
            line.send([FRAME] * 500)
            told = json.loads(program.stdout.read())
        disk = LinuxDisk(tmp_path)

    assert (0, 500, "stopped", True) == (program.returncode, told["frames"], told["state"], told["whole"])
    assert [] == verify(disk).findings
    assert 500 == sum(hit.frame_count for hit in Store(disk).search(Query(hosts=("10.0.0.2",), ports=(104,))))
