"""Several interfaces in one recorder: one chain of segments, each interface with its own ring, counters and troubles."""

import struct
from dataclasses import dataclass
from itertools import accumulate

import pytest

from drivers.errors import TapFailed
from drivers.tap import Block, HeardFrame, Tap, TapRequest
from firmware.capture.ledger import Ledger
from firmware.capture.settings import CaptureSettings
from firmware.capture.station import CaptureStation
from firmware.core import lz4chain, pcapng
from firmware.core.errors import BadSettings
from firmware.core.hit import Section
from firmware.core.layout import FRAMES
from firmware.core.pcapng import Packet
from firmware.core.seal import Gap, Seal
from firmware.core.store import Query, Store
from firmware.core.verify import verify
from simulator.board import SimulatedBoard
from simulator.tap import SimulatedTap

MS, SECOND = 1_000_000, 1_000_000_000
LENGTH_NS = 10 * SECOND
FRAME = bytes.fromhex("020000000001 020000000002 88b5") + bytes(50)


@dataclass
class Port:
    """One interface of the simulated machine."""

    is_there: bool = True
    tap: SimulatedTap | None = None
    sent: int = 0


class Recorder:
    """The station on a board with several interfaces."""

    def __init__(self, *names: str, **settings: int | str) -> None:
        self.ports = {name: Port() for name in names}
        self.board = SimulatedBoard(open_tap=self._open)
        self.clock = self.board.clock
        self.settings = CaptureSettings(interface=",".join(names), **settings)  # type: ignore[arg-type]
        self.boot()

    def boot(self) -> None:
        self.station = CaptureStation(self.board, self.settings)
        self.station.start(self.clock.now())

    def _open(self, request: TapRequest) -> Tap:
        port = self.ports[request.interface]
        if not port.is_there:
            raise TapFailed("expected an interface, it is gone")
        port.tap = SimulatedTap(request)
        return port.tap

    def hear(self, name: str, count: int = 1, *, stamp_ns: int | None = None, size: int = 64) -> None:
        """Frames on one interface, numbered in their last bytes."""
        port, first = self.ports[name], self.clock.now().utc_ns if stamp_ns is None else stamp_ns
        assert port.tap is not None
        for n in range(count):
            data = FRAME[:14] + bytes(size - 22) + struct.pack(">Q", port.sent)
            port.tap.hear([HeardFrame(first + n, data, size)])
            port.sent += 1

    def pull(self, name: str) -> None:
        port = self.ports[name]
        port.is_there = False
        assert port.tap is not None
        port.tap.break_off()

    def step(self) -> None:
        for _ in range(10_000):
            now = self.clock.now()
            if self.station.step(now) != now.monotonic:
                return
        raise AssertionError("expected the station to come to rest")

    def run(self, seconds: float, *, every_ms: int = 100) -> None:
        """Time passes; each interface that is there hears a frame in each tick, a little after the one before it."""
        for _ in range(int(seconds * 1000 / every_ms)):
            for place, (name, port) in enumerate(self.ports.items()):
                if port.is_there:
                    self.hear(name, stamp_ns=self.clock.now().utc_ns + place * 1000)
            self.step()
            self.clock.advance(every_ms * MS)

    def stop(self) -> list[Seal]:
        self.station.stop(self.clock.now())
        store = Store(self.board.disk)
        return [made for name in store.names() if (made := store.segment(name).seal()) is not None]

    def found(self) -> list[Packet]:
        section = Section()
        data = section.head + b"".join(section.of(hit) for hit in Store(self.board.disk).search(Query())) + section.end()
        return list(pcapng.packets(data))

    def numbers(self, interface: int) -> list[int]:
        return [struct.unpack(">Q", packet.data[-8:])[0] for packet in self.found() if packet.interface == interface]

    @property
    def gauges(self) -> dict[str, object]:
        return dict(self.station.report.gauges)


def test_both_directions_in_one_chain():
    """Two interfaces, one chain of segments: every frame of both, each with its interface, found in time order. (S2-090, S2-091)"""
    recorder = Recorder("eth1", "eth2", segment_s=10)
    recorder.run(35)
    seals = recorder.stop()
    stamps = [packet.stamp_ns for packet in recorder.found()]

    assert {"eth1+eth2"} == {made.interface for made in seals}
    assert 700 == sum(made.frames for made in seals)
    assert list(range(350)) == recorder.numbers(0) == recorder.numbers(1)
    assert sorted(stamps) == stamps
    assert verify(recorder.board.disk).ok
    assert {} == recorder.station.report.drops
    assert "heard" == recorder.gauges["interface"]


def test_a_segment_describes_both():
    """As it lies: a section with both interfaces, and a statistics block for each at its end. (S2-092)"""
    recorder = Recorder("eth1", "eth2")
    recorder.run(3)
    recorder.hear("eth2", 5)
    (made,) = recorder.stop()
    data = recorder.board.disk.read(f"segments/{made.name}/{FRAMES}")
    links = [(at, size) for at, size in lz4chain.spans(lambda at, size: data[at : at + size], len(data))]
    raw = b"".join(lz4chain.decompressed(data[at : at + size]) for at, size in links)
    heard = [packet.interface for packet in pcapng.packets(raw)]

    assert [("eth1", "time stamps: software"), ("eth2", "time stamps: software")] == pcapng.interfaces(raw)
    assert (30, 35) == (heard.count(0), heard.count(1))
    assert [(0, 30, 0), (1, 35, 0)] == statistics(raw)


def statistics(raw: bytes) -> list[tuple[int, int, int]]:
    """(interface, received, dropped) of each Interface Statistics Block."""
    rows, at = [], 0
    while at < len(raw):
        kind, size = struct.unpack_from("<II", raw, at)
        if kind == pcapng.INTERFACE_STATISTICS:
            (number,), options, place = struct.unpack_from("<I", raw, at + 8), {}, at + 20
            while (code := struct.unpack_from("<HH", raw, place))[0]:
                options[code[0]] = struct.unpack_from("<Q", raw, place + 4)[0]
                place += 4 + code[1]
            rows.append((number, options[4], options[5]))
        at += size
    return rows


def test_one_goes_the_other_is_heard():
    """An interface that goes costs its own frames only; the seal says which, from when to when, and that it came back. (S2-090)"""
    recorder = Recorder("eth1", "eth2")
    recorder.run(5)
    recorder.pull("eth2")
    gone_at = recorder.clock.now().utc_ns
    recorder.run(30)
    meanwhile = recorder.gauges
    recorder.ports["eth2"].is_there = True
    recorder.run(20)
    (made,) = recorder.stop()
    (gap,) = made.gaps

    assert list(range(550)) == recorder.numbers(0)
    assert recorder.ports["eth1"].sent + 230 <= made.frames <= recorder.ports["eth1"].sent + 250
    assert ("interface_gone@eth2", None) == (gap.cause, gap.frames)
    assert abs(gap.first_ns - gone_at) <= SECOND and 29 * SECOND <= gap.last_ns - gap.first_ns <= 37 * SECOND
    assert ("partly heard", "heard", "gone") == (meanwhile["interface"], meanwhile["interface@eth1"], meanwhile["interface@eth2"])
    assert "eth2: expected an interface, it is gone" == meanwhile["interface_trouble"]
    assert ("heard", "none") == (recorder.gauges["interface"], recorder.gauges["interface_trouble"])


def test_both_gone_is_nothing_recorded():
    """Only when none is there is the interface "gone", as with a single one."""
    recorder = Recorder("eth1", "eth2")
    recorder.run(2)
    for name in recorder.ports:
        recorder.pull(name)
    recorder.run(5)

    assert "gone" == recorder.gauges["interface"]
    assert 2 == recorder.station.report.counts["interface_lost"]
    assert {"interface_gone@eth1", "interface_gone@eth2"} == {gap.cause for gap in recorder.stop()[0].gaps}


def test_a_full_ring_is_its_own():
    """What one ring could not hold is counted for that interface, in the report, the seal and its statistics block."""
    recorder = Recorder("eth1", "eth2", ring_block_count=4, ring_block_kb=64)
    recorder.hear("eth2", 3000, size=1500)
    recorder.run(3)
    (made,) = recorder.stop()
    lost = made.drops["ring_full@eth2"]
    data = recorder.board.disk.read(f"segments/{made.name}/{FRAMES}")
    raw = lz4chain.decompressed(data[list(lz4chain.spans(lambda at, size: data[at : at + size], len(data)))[-1][0] :])

    assert {"ring_full@eth2": lost} == dict(made.drops) == recorder.station.report.drops
    assert 30 == len(recorder.numbers(0))
    assert recorder.ports["eth2"].sent == len(recorder.numbers(1)) + lost
    assert [(0, 30, 0), (1, recorder.ports["eth2"].sent, lost)] == statistics(raw)
    assert {"ring_full@eth2"} == {gap.cause for gap in made.gaps}


def test_a_restart_names_both():
    """A segment that was interrupted is sealed with the interfaces its section names."""
    recorder = Recorder("eth1", "eth2")
    recorder.run(5)
    recorder.boot()
    recorder.run(2)
    seals = recorder.stop()

    assert ["eth1+eth2"] * 2 == [made.interface for made in seals]
    assert ["interrupted", "stop"] == [made.cause for made in seals]


def test_other_interfaces_later():
    """Settings that name other interfaces after a restart: each frame keeps the interface on which it was heard."""
    recorder = Recorder("eth1", "eth2")
    recorder.run(3)
    recorder.stop()
    recorder.settings = CaptureSettings(interface="eth2")
    recorder.ports.pop("eth1")
    recorder.boot()
    recorder.run(3)
    recorder.stop()

    assert (list(range(30)), list(range(60))) == (recorder.numbers(0), recorder.numbers(1))


def test_blocks_come_oldest_first():
    """Two rings with much in them are emptied in turns, so that frames lie near their place in time."""
    recorder = Recorder("a", "b", ring_block_kb=64)
    start = recorder.clock.now().utc_ns
    for n in range(8):
        recorder.hear("a", 40, stamp_ns=start + 2 * n * MS, size=1500)
        recorder.hear("b", 40, stamp_ns=start + (2 * n + 1) * MS, size=1500)
    ears = recorder.station._ears
    order = []
    while (heard := ears.next(recorder.clock.now())) is not None:
        order.append(heard.interface)
        ears.hold(heard)

    assert 16 == len(order)
    assert all(order[at] != order[at + 1] for at in range(0, 16, 2))
    ears.release()


@pytest.mark.parametrize("text", ["", "eth1,", "eth1,eth1", " , ", ",".join(f"eth{n}" for n in range(9))])
def test_names_that_make_no_sense(text):
    """No name, the same twice, or more than there may be: said when the settings are read."""
    with pytest.raises(BadSettings, match="expected 1 to 8 different interfaces"):
        CaptureSettings(interface=text)


def test_gaps_of_two_causes_in_turns_stay_two():
    """Two interfaces that lose in turns are two gaps in the seal, not one for each loss."""
    ledger = Ledger()
    for n in range(500):
        ledger.lost(f"ring_full@eth{n % 2}", 1, first_ns=n * SECOND, last_ns=n * SECOND)

    assert (Gap("ring_full@eth0", 0, 498 * SECOND, 250), Gap("ring_full@eth1", SECOND, 499 * SECOND, 250)) == ledger.closed().gaps


class Filling(SimulatedTap):
    """A tap whose next block is not handed over before the test says so."""

    holds_back = False

    def next(self, most: int = 1) -> Block | None:
        return None if self.holds_back else super().next(most)

    def is_filling(self) -> bool:
        return self.holds_back


class SlowRecorder(Recorder):
    """Its taps can hold back."""

    def _open(self, request: TapRequest) -> Tap:
        port = self.ports[request.interface]
        port.tap = Filling(request)
        return port.tap

    def hold_back(self, name: str, is_so: bool) -> None:
        tap = self.ports[name].tap
        assert isinstance(tap, Filling)
        tap.holds_back = is_so


def test_a_block_waits_for_what_may_have_passed_before():
    """While the other interface has heard something it cannot hand over yet, a block waits; then both come in order."""
    recorder = SlowRecorder("eth1", "eth2")
    start = recorder.clock.now().utc_ns
    recorder.hear("eth2", stamp_ns=start)
    recorder.hold_back("eth2", True)
    recorder.hear("eth1", stamp_ns=start + MS)
    recorder.clock.advance(10 * MS)
    recorder.step()
    assert (None, ()) == (recorder.station._stretch_since, recorder.station.descriptors())
    recorder.hold_back("eth2", False)
    recorder.step()
    recorder.stop()
    data = recorder.board.disk.read(f"segments/{Store(recorder.board.disk).names()[0]}/{FRAMES}")
    links = [data[at : at + size] for at, size in lz4chain.spans(lambda at, size: data[at : at + size], len(data))]

    assert [1, 0] == [packet.interface for packet in pcapng.packets(b"".join(map(lz4chain.decompressed, links)))]


def test_no_block_waits_for_ever():
    """One older than twice the kernel's own time is taken; so is any when a quarter of the ring is full; so are all at the end."""
    recorder = SlowRecorder("eth1", "eth2", ring_retire_ms=100)
    recorder.hold_back("eth2", True)
    recorder.hear("eth1")
    for _ in range(3):
        recorder.step()
        recorder.clock.advance(100 * MS)
    assert recorder.station._stretch_since is not None
    recorder = SlowRecorder("eth1", "eth2", ring_block_count=16, ring_block_kb=64)
    recorder.hold_back("eth2", True)
    recorder.hear("eth1", 4 * 50, size=1500)
    recorder.step()
    assert recorder.station._stretch_since is not None
    recorder = SlowRecorder("eth1", "eth2")
    recorder.hold_back("eth2", True)
    recorder.hear("eth1", 3)
    recorder.step()

    assert 3 == recorder.stop()[0].frames


def test_a_slow_block_is_taken_in_slices():
    """A block that spans many of the other ring's is taken as far as each of them goes: every frame once, a block from its place."""
    recorder = Recorder("eth1", "eth2", ring_block_kb=64)
    start = recorder.clock.now().utc_ns
    for n in range(400):
        recorder.hear("eth1", stamp_ns=start + n * MS, size=1500)
        if n % 10 == 5:
            recorder.hear("eth2", stamp_ns=start + n * MS + 1)
    recorder.step()
    (made,) = recorder.stop()
    data = recorder.board.disk.read(f"segments/{made.name}/{FRAMES}")
    links = [data[at : at + size] for at, size in lz4chain.spans(lambda at, size: data[at : at + size], len(data))]
    stored = [packet.stamp_ns for packet in pcapng.packets(b"".join(map(lz4chain.decompressed, links)))]
    late = [high - stamp for high, stamp in zip(accumulate(stored, max), stored, strict=True)]

    assert (400, 40) == (len(recorder.numbers(0)), len(recorder.numbers(1)))
    assert list(range(400)) == recorder.numbers(0)
    assert 0 < max(late) <= 44 * MS  # a block of 64 KiB has 42 of these


def test_segments_are_cut_between_slices():
    """The end of a segment within a block that is taken in slices: each frame in the interval of its stamp, none twice. (S2-092)"""
    recorder = Recorder("eth1", "eth2", segment_s=LENGTH_NS // SECOND, ring_block_kb=64)
    recorder.run(1)
    recorder.clock.advance(LENGTH_NS - 1 * SECOND)
    recorder.step()
    edge = recorder.clock.now().utc_ns // (LENGTH_NS) * LENGTH_NS + LENGTH_NS
    recorder.clock.advance(LENGTH_NS)
    sent = {name: port.sent for name, port in recorder.ports.items()}
    for n in range(-60, 60):
        recorder.hear("eth1", stamp_ns=edge + n * MS, size=1500)
        if n % 20 == 10:
            recorder.hear("eth2", stamp_ns=edge + n * MS + 1)
    recorder.step()
    seals = recorder.stop()

    assert list(range(sent["eth1"] + 120)) == recorder.numbers(0)
    assert list(range(sent["eth2"] + 6)) == recorder.numbers(1)
    assert {edge} == {made.first_ns for made in seals if made.first_ns is not None and made.first_ns >= edge}
    assert all(made.last_ns < edge for made in seals if made.first_ns is not None and made.last_ns and made.first_ns < edge)
