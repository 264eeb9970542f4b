"""The station on real interfaces, and what befalls them: down and up, renamed, removed and made again, unplugged, overrun.

Two cables in a network namespace of the test's own (tests/drivers/wire.py); the other one must notice nothing.
"""

import importlib.util
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import pytest

from drivers.linux.board import LinuxBoard
from drivers.linux.identity import introduce
from firmware.capture.settings import CaptureSettings
from firmware.capture.station import CaptureStation
from firmware.core import pcapng
from firmware.core.hit import Section
from firmware.core.layout import FRAMES
from firmware.core.pcapng import Packet
from firmware.core.seal import Seal
from firmware.core.store import Query, Store
from firmware.core.verify import verify

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
WAIT_S = 15.0
SECOND = 1_000_000_000


class Recorder:
    """The real station on the real board, run by the real bell, between two cables."""

    def __init__(self, line: "wire.Wire", root: Path, **settings: int | str) -> None:  # type: ignore[name-defined]
        introduce(root / "identity", name="box-1", site="")
        self.line, self.root = line, root
        self.board = LinuxBoard(root, root / "identity")
        self.board.disk.mkdir("inbox")
        given = {"ring_block_kb": 64, "ring_block_count": 16, "ring_retire_ms": 10, "stretch_ms": 50, **settings}
        names = f"{wire.HEARS},{wire.HEARS_TOO}"
        self.station = CaptureStation(self.board, CaptureSettings(interface=names, **given))  # type: ignore[arg-type]
        self.sent = {wire.SENDS: 0, wire.SENDS_TOO: 0}
        self.bell = self.board.bell()
        self.station.start(self.board.clock.now())

    def send(self, end: str, count: int, *, size: int = 60) -> None:
        """Frames numbered in their last bytes."""
        head = bytes.fromhex("020000000001 020000000002 88b5")
        rows = [head + bytes(size - 22) + struct.pack(">Q", self.sent[end] + n) for n in range(count)]
        self.line.send(rows, end=end)
        self.sent[end] += count

    def run_until(self, reached: Callable[[], bool]) -> None:
        """As the loop does it, until this is so."""
        end = time.monotonic() + WAIT_S
        while not reached():
            assert time.monotonic() < end, f"expected it within {WAIT_S} s; gauges {self.station.report.gauges}"
            self.run_once(SECOND // 20)

    def run_once(self, rest_ns: int = SECOND // 200) -> None:
        """A step, and a rest of so much at the most."""
        wish = self.station.step(self.board.clock.now())
        self.bell.watch_descriptors([fd for fd in self.station.descriptors() if fd >= 0])
        soon = self.board.clock.now().monotonic.after(rest_ns)
        self.bell.wait(soon if wish is None else min(soon, wish))

    def run_until_recorded(self, *counts: int) -> None:
        self.run_until(lambda: counts == tuple(len(self.numbers(n)) for n in range(len(counts))))

    def gauge(self, name: str) -> object:
        return self.station.report.gauges.get(name)

    def stop(self) -> list[Seal]:
        self.station.stop(self.board.clock.now())
        store = Store(self.board.disk)
        return [made for name in store.names() if (made := store.segment(name).seal()) is not None]

    def found(self) -> list[Packet]:
        section = Section()
        data = section.head + b"".join(section.of(hit) for hit in Store(self.board.disk).search(Query())) + section.end()
        return list(pcapng.packets(data))

    def numbers(self, interface: int) -> list[int]:
        return [struct.unpack(">Q", packet.data[-8:])[0] for packet in self.found() if packet.interface == interface]


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with wire.Wire(cables=2) as line:
        made = Recorder(line, tmp_path)
        yield made
        made.station.stop(made.board.clock.now())
        made.bell.close()


def gaps(seals: list[Seal]) -> dict[str, int]:
    """ns of each cause."""
    found: dict[str, int] = {}
    for made in seals:
        for gap in made.gaps:
            found[gap.cause] = found.get(gap.cause, 0) + gap.last_ns - gap.first_ns
    return found


def test_both_directions_of_a_tap(recorder):
    """What passes on either cable is recorded once, with its interface; found in time order; Wireshark opens it as it lies. (S2-090, S2-091)"""
    for _ in range(20):
        recorder.send(wire.SENDS, 5)
        recorder.send(wire.SENDS_TOO, 5)
    recorder.run_until_recorded(100, 100)
    (made,) = recorder.stop()
    stamps = [packet.stamp_ns for packet in recorder.found()]
    order = [packet.interface for packet in recorder.found()]

    assert (200, "hears+hears2", {}) == (made.frames, made.interface, dict(made.drops))
    assert sorted(stamps) == stamps
    assert ([0] * 5 + [1] * 5) * 20 == order
    assert verify(recorder.board.disk).ok
    if shutil.which("capinfos"):
        path = recorder.root / "segments" / made.name / FRAMES
        told = subprocess.run(["capinfos", "-M", str(path)], capture_output=True, text=True, timeout=60, check=True).stdout
        assert "Number of interfaces in file: 2" in told
        assert 2 == told.count("Number of packets = 100")


def test_down_and_up(recorder):
    """An interface that is down is away once, however often it is tried; when it is up it is heard again. (S2-090)"""
    recorder.send(wire.SENDS, 10)
    recorder.send(wire.SENDS_TOO, 10)
    recorder.run_until_recorded(10, 10)
    recorder.line.set(wire.HEARS_TOO, "down")
    recorder.run_until(lambda: recorder.gauge("interface@hears2") == "gone")
    tried = recorder.board.clock.now().monotonic
    recorder.run_until(lambda: recorder.board.clock.now().monotonic.since(tried) > SECOND)
    recorder.send(wire.SENDS, 10)
    recorder.run_until_recorded(20, 10)
    meanwhile = str(recorder.gauge("interface_trouble"))
    recorder.line.set(wire.HEARS_TOO, "up")
    recorder.run_until(lambda: recorder.gauge("interface@hears2") == "heard")
    recorder.send(wire.SENDS_TOO, 10)
    recorder.run_until_recorded(20, 20)

    assert 1 == recorder.station.report.counts["interface_lost"]
    assert "hears2: expected interface 'hears2' to be up, it is down (`ip link set hears2 up`)" == meanwhile
    found = gaps(recorder.stop())
    assert {"interface_gone@hears2"} == set(found) - {"no_carrier@hears2"}
    assert SECOND <= found["interface_gone@hears2"] <= 10 * SECOND
    assert list(range(20)) == recorder.numbers(0)


def test_removed_and_made_again(recorder):
    """Taken out in mid-record, another put in under its name: heard again; the first cable missed nothing."""
    recorder.send(wire.SENDS_TOO, 10)
    recorder.run_until_recorded(0, 10)
    recorder.line.cut(wire.HEARS_TOO)
    for _ in range(5):
        recorder.send(wire.SENDS, 10)
    recorder.run_until_recorded(50, 10)
    recorder.run_until(lambda: recorder.gauge("interface@hears2") == "gone")
    recorder.line.connect(wire.HEARS_TOO, wire.SENDS_TOO)
    recorder.run_until(lambda: recorder.gauge("interface@hears2") == "heard")
    recorder.send(wire.SENDS_TOO, 10)
    recorder.send(wire.SENDS, 10)
    recorder.run_until_recorded(60, 20)
    (made,) = recorder.stop()

    assert (80, {}) == (made.frames, dict(made.drops))
    assert "interface_gone@hears2" in gaps([made])
    assert not any(cause.endswith("@hears") for cause in gaps([made]))
    assert verify(recorder.board.disk).ok


def test_renamed_in_mid_record(recorder):
    """It is the same cable whatever it is called: heard on without a gap, its counters still its own, though another takes its name."""
    recorder.send(wire.SENDS, 10)
    recorder.run_until_recorded(10)
    recorder.line.set(wire.HEARS, "name", "other")
    recorder.line.set(wire.HEARS_TOO, "name", wire.HEARS)
    recorder.send(wire.SENDS, 10)
    recorder.send(wire.SENDS_TOO, 7)
    recorder.run_until_recorded(20, 7)
    polled = recorder.board.clock.now().monotonic
    recorder.run_until(lambda: recorder.board.clock.now().monotonic.since(polled) > 1.2 * SECOND)
    (made,) = recorder.stop()

    assert (27, {}, {}) == (made.frames, dict(made.drops), gaps([made]))
    assert "heard" == recorder.gauge("interface")


def test_a_pulled_cable_is_no_silence(recorder):
    """An interface without a carrier is open and hears nothing; the seal says from when to when nobody could have been heard."""
    recorder.send(wire.SENDS_TOO, 3)
    recorder.run_until_recorded(0, 3)
    recorder.line.set(wire.SENDS_TOO, "down")
    recorder.run_until(lambda: recorder.gauge("interface@hears2") == "no carrier")
    recorder.send(wire.SENDS, 5)
    recorder.run_until_recorded(5, 3)
    recorder.line.set(wire.SENDS_TOO, "up")
    recorder.run_until(lambda: recorder.gauge("interface") == "heard")
    recorder.send(wire.SENDS_TOO, 3)
    recorder.run_until_recorded(5, 6)
    (made,) = recorder.stop()

    assert {"no_carrier@hears2"} == set(gaps([made]))
    assert 1 == recorder.station.report.counts["carrier_lost"]
    assert (11, {}) == (made.frames, dict(made.drops))


def test_an_overrun_ring_is_counted_for_its_interface(recorder):
    """While the recorder is kept from its work one ring runs over: what it lost is counted to the frame, for that interface."""
    for _ in range(10):
        recorder.send(wire.SENDS_TOO, 1000, size=1514)
    recorder.send(wire.SENDS, 100)
    recorder.run_until(lambda: len(recorder.numbers(0)) == 100)
    (made,) = recorder.stop()
    lost = made.drops["ring_full@hears2"]

    assert {"ring_full@hears2": lost} == dict(made.drops)
    assert 10_000 == len(recorder.numbers(1)) + lost
    assert list(range(100)) == recorder.numbers(0)
    assert {"ring_full@hears2"} == set(gaps([made]))


def test_nothing_is_sent_on_either_cable(recorder):
    """From opening to closing, asked by ARP, ping and neighbour solicitation, down and up in between: not one frame leaves. (S2-008)"""
    far = []
    for end in (wire.SENDS, wire.SENDS_TOO):
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(wire.ETH_P_ALL))
        listener.bind((end, wire.ETH_P_ALL))
        far.append(listener)
    asked = [
        bytes.fromhex("ffffffffffff 020000000002 0806 0001 0800 06 04 0001 020000000002 0a000002 000000000000 0a000001")
        + bytes(18),
        bytes.fromhex("ffffffffffff 020000000002 0800 4500001c00000000400166df0a0000020a000001 0800f7ff00000000") + bytes(18),
        bytes.fromhex(
            "3333ff000001 020000000002 86dd 6000000000183aff fe800000000000000000000000000002 ff0200000000000000000001ff000001"
            "8700000000000000 fe800000000000000000000000000001"
        ),
    ]
    for end in (wire.SENDS, wire.SENDS_TOO):
        recorder.line.send(asked * 50, end=end)
    recorder.run_until(lambda: 300 == len(recorder.found()))
    recorder.line.set(wire.HEARS, "down")
    recorder.run_until(lambda: recorder.gauge("interface@hears") == "gone")
    recorder.line.set(wire.HEARS, "up")
    recorder.run_until(lambda: recorder.gauge("interface") == "heard")
    for end in (wire.SENDS, wire.SENDS_TOO):
        recorder.line.send(asked * 50, end=end)
    recorder.run_until(lambda: 600 == len(recorder.found()))
    recorder.stop()
    answers = []
    for listener in far:
        while select.select([listener], [], [], 0)[0]:
            data, address = listener.recvfrom(65_535)
            if address[2] != socket.PACKET_OUTGOING:
                answers.append(data)
        listener.close()

    assert [] == answers


def test_a_busy_and_a_quiet_direction(tmp_path):
    """Blocks of one ring are full in a millisecond, of the other after a tenth of a second: in time order all the same. (S2-015)"""
    with wire.Wire(cables=2) as line:
        recorder = Recorder(line, tmp_path, ring_block_count=64, ring_retire_ms=100)
        for _ in range(300):
            recorder.send(wire.SENDS, 20, size=1514)
            recorder.send(wire.SENDS_TOO, 1)
            recorder.run_once()
        recorder.run_until(lambda: 6300 == sum(hit.frame_count for hit in Store(recorder.board.disk).search(Query())))
        recorder.stop()
    stamps = [packet.stamp_ns for packet in recorder.found()]
    stored = list(as_stored(recorder))
    highest = accumulate((packet.stamp_ns for packet in stored), max)
    late = [high - packet.stamp_ns for high, packet in zip(highest, stored, strict=True) if packet.interface == 1]

    assert {} == recorder.station.report.drops
    assert sorted(stamps) == stamps
    # As it lies: late by a block of the quick ring, and not by one of the slow. Few, for a busy machine may keep anybody waiting.
    assert sum(ns > SECOND // 30 for ns in late) < 300 // 5


def as_stored(recorder: Recorder) -> Iterator[Packet]:
    """Frames in the order in which they lie in the segments."""
    store = Store(recorder.board.disk)
    for name in store.names():
        segment = store.segment(name)
        raw = b"".join(segment.stretch(record) for record in segment.records())
        yield from pcapng.packets(raw)
