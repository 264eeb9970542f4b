"""A recorder whose ring outlives it: killed anywhere, asked to end, replaced; frames are recorded once, none less, none more."""

import struct
from dataclasses import replace

import pytest

from drivers.errors import TapFailed
from drivers.supervisor import Standing
from drivers.tap import BLOCK_HEADER, Block, HeardFrame, Tap, TapRequest
from firmware.capture.overlap import Overlap
from firmware.capture.settings import CaptureSettings
from firmware.capture.station import CaptureStation
from firmware.core import pcapng
from firmware.core.pcapng import Packet
from firmware.core.seal import Seal
from firmware.core.store import Query, Store
from firmware.core.verify import verify
from simulator.board import SimulatedBoard
from simulator.disk import Failing
from simulator.supervisor import SimulatedSupervisor
from simulator.tap import SimulatedTap

MS, SECOND = 1_000_000, 1_000_000_000


class Killed(BaseException):
    """SIGKILL."""


class Lives:
    """Lives of one recorder, on one disk, with one keeper; its rings are the keeper's."""

    def __init__(self, *interfaces: str, **settings: int) -> None:
        self.settings = CaptureSettings(interface=",".join(interfaces or ("eth1",)), **settings)  # type: ignore[arg-type]
        self.store: dict[str, int] = {}
        self.taps: dict[str, SimulatedTap] = {}
        self.are_away = False
        self.board = SimulatedBoard(open_tap=self._open, supervisor=SimulatedSupervisor(self.store))
        self.clock, self.disk = self.board.clock, self.board.disk
        self.sent = 0
        self.start()

    def _open(self, request: TapRequest) -> Tap:
        former = self.taps.get(request.interface)
        if former is not None and former.title in self.store:
            former.outlive()
            return former
        if self.are_away:
            raise TapFailed("expected the interface, it is away")
        self.taps[request.interface] = SimulatedTap(request, store=self.store)
        return self.taps[request.interface]

    def start(self) -> None:
        self.station = CaptureStation(self.board, self.settings)
        self.station.start(self.clock.now())

    def go_away(self) -> None:
        """The interfaces are gone, and nobody hears what passes."""
        self.are_away = True
        for tap in self.taps.values():
            tap.break_off()

    def come_back(self) -> None:
        """The interfaces are there again, and the recorder has noticed."""
        self.are_away = False
        self.taps.clear()
        while not self.taps:
            self.run(1, rate=0)

    def kill(self) -> None:
        """Nothing is done any more, and a new process begins."""
        self.disk.before = None
        self.start()

    def hear(self, count: int, *, size: int = 90) -> None:
        """Numbered frames, in turns on each interface."""
        for _ in range(count):
            tap = list(self.taps.values())[self.sent % len(self.taps)]
            data = bytes.fromhex("020000000001 020000000002 88b5") + struct.pack(">Q", self.sent) + bytes(size - 22)
            tap.hear([HeardFrame(self.clock.now().utc_ns + self.sent, data, size)])
            self.sent += 1

    def step(self) -> None:
        while self.station.step(self.clock.now()) == self.clock.now().monotonic:
            pass

    def run(self, ticks: int, *, rate: int = 3, size: int = 90) -> None:
        for _ in range(ticks):
            self.hear(rate, size=size)
            self.step()
            self.clock.advance(100 * MS)

    def numbers(self) -> list[int]:
        data = b"".join(hit.blocks for hit in Store(self.disk).search(Query()))
        section = pcapng.section_header() + pcapng.interface("a") + pcapng.interface("b")
        return [struct.unpack(">Q", packet.data[14:22])[0] for packet in pcapng.packets(section + data)]

    def seals(self) -> list[Seal]:
        store = Store(self.disk)
        return [made for name in store.names() if (made := store.segment(name).seal()) is not None]


@pytest.mark.parametrize("interfaces", [("eth1",), ("eth1", "eth2")], ids=["one ring", "two rings"])
def test_killed_at_any_operation_nothing_is_lost_and_nothing_twice(interfaces):
    """kill -9 before each disk operation of three segments: every frame is recorded once, and no gap is claimed. (S1-08, S2-092)"""
    count = 1_000
    for doom in range(count):
        lives = Lives(*interfaces, segment_s=2, stretch_ms=300, sync_interval_ms=200)
        first = lives.disk.operations

        def before(count: int, what: str, path: str, at: int = first + doom) -> None:
            if count >= at:
                raise Killed

        lives.disk.before = before
        try:
            lives.run(45)
        except Killed:
            lives.kill()
        else:
            count = doom
        lives.disk.before = None
        lives.run(5)
        lives.station.stop(lives.clock.now())

        assert list(range(lives.sent)) == sorted(lives.numbers()), f"killed before operation {doom}"
        assert [] == [gap for made in lives.seals() for gap in made.gaps]
        assert verify(lives.disk, "segments", lives.board.identity.public_key()).ok
        if count == doom:
            break
    assert 40 < count < 1_000, "expected some dozen operations to be killed at, and an end of them"


def test_killed_while_a_block_is_given_back(monkeypatch):
    """A block of which the kernel is told in three words, and the end came behind the first: it is empty, and those behind it still known."""

    def release(tap: SimulatedTap, block: Block) -> None:
        monkeypatch.undo()
        tap._handed[0] = [replace(block, data=memoryview(BLOCK_HEADER.pack(1, 48, 1, 0, 48, 0, 0, 0, 0, 0, 0)), frame_count=0)]
        raise Killed

    lives = Lives(segment_s=60, stretch_ms=300)
    lives.run(1)
    monkeypatch.setattr(SimulatedTap, "release", release)
    with pytest.raises(Killed):
        lives.run(9)
    lives.kill()
    lives.run(5)
    lives.station.stop(lives.clock.now())

    assert list(range(lives.sent)) == sorted(lives.numbers())


def test_killed_in_the_middle_of_a_block(monkeypatch):
    """A block that is longer than a stretch was recorded in part; its rest is recorded by the next life, and no frame of it twice."""
    lives = Lives(segment_s=60, ring_block_kb=4096)
    lives.hear(2400, size=1500)  # 3.6 MB in one block: the stretch takes 2 MiB

    def before(count: int, what: str, path: str) -> None:
        if lives.station.report.counts.get("stretches"):
            raise Killed  # the first stretch is written, the second is not

    lives.disk.before = before
    with pytest.raises(Killed):
        lives.run(20, rate=0)
    assert 1000 < len(lives.numbers()) < 2400
    lives.kill()
    lives.run(20, rate=0)
    lives.station.stop(lives.clock.now())

    assert list(range(2400)) == lives.numbers()
    assert 1000 < lives.station.report.counts["frames_recorded_before"] < 2400


def test_a_disk_that_fails_when_it_is_looked_for_what_was_recorded():
    """The recorder does not die of it: what it cannot write it states, and goes on when the disk is back. (S2-090)"""
    lives = Lives(segment_s=60, stretch_ms=300)
    lives.run(20)
    lives.kill()
    lives.disk.failing = Failing.GONE
    lives.run(20)
    lives.disk.failing = Failing.NOT
    lives.run(20)
    lives.station.stop(lives.clock.now())

    numbers = lives.numbers()
    missing = set(range(lives.sent)) - set(numbers)
    stated = sum(made.drops.get("disk_failed", 0) for made in lives.seals())
    assert 0 < len(missing) == stated == lives.station.report.drops["disk_failed"]
    assert len(numbers) == len(set(numbers))
    assert verify(lives.disk, "segments", lives.board.identity.public_key()).ok


def test_lives_one_after_the_other():
    """Asked to end and started again, twelve times: what comes meanwhile waits in the ring; none lost, none twice. (S1-08)"""
    lives = Lives(segment_s=60)
    for _ in range(12):
        lives.run(7)
        lives.station.stop(lives.clock.now())
        lives.hear(5)
        lives.clock.advance(SECOND)
        lives.start()
    lives.run(5)
    lives.station.stop(lives.clock.now())

    assert list(range(lives.sent)) == lives.numbers()
    assert {"stop"} == {made.cause for made in lives.seals()}
    assert [] == [gap for made in lives.seals() for gap in made.gaps]
    assert [] == [row for row in verify(lives.disk).statements if row.what == "gap"]


def test_what_did_not_fit_the_ring_is_stated():
    """A ring that overflows while nobody reads it: as many frames as it lost are stated as dropped by the next life. (S2-092)"""
    lives = Lives(segment_s=60, ring_block_kb=64, ring_block_count=4)
    lives.run(5)
    lives.hear(4000)
    lives.kill()
    lives.run(20)
    lives.station.stop(lives.clock.now())
    dropped = sum(made.drops.get("ring_full", 0) for made in lives.seals())

    assert dropped > 0
    assert lives.sent == len(lives.numbers()) + dropped
    assert len(set(lives.numbers())) == len(lives.numbers())


def test_what_did_not_fit_the_ring_is_stated_by_whoever_comes_next():
    """Told to a recorder that was killed before its seal, the kernel tells it nobody else: it is written down before. (S2-092)"""
    lives = Lives(segment_s=60, ring_block_kb=64, ring_block_count=4)
    lives.run(15)
    lives.hear(4000)
    lives.run(15)
    lives.kill()
    lives.run(15)
    lives.station.stop(lives.clock.now())
    stated = [made.drops.get("ring_full", 0) for made in lives.seals()]

    assert lives.sent == len(lives.numbers()) + sum(stated)
    assert [lives.sent - len(lives.numbers()), 0] == stated, "where it was lost"
    assert lives.disk.list(f"segments/{lives.seals()[0].name}") == ["frames.pcapng.lz4", "index", "seal"]


def test_killed_after_an_interface_was_away():
    """Its new ring is whole, and what passed before it was there is a gap all the same (storm seed 6070). (S2-090, S2-092)"""
    lives = Lives(segment_s=60)
    lives.run(20)
    lives.go_away()
    lives.run(30)
    away_ns = lives.clock.now().utc_ns
    lives.come_back()
    lives.run(3)
    lives.kill()
    lives.run(10)
    lives.station.stop(lives.clock.now())

    (gap,) = [gap for made in lives.seals() for gap in made.gaps]
    assert ("interface_gone", None) == (gap.cause, gap.frames)
    assert away_ns - 3 * SECOND - 200 * MS <= gap.first_ns and away_ns - 200 * MS <= gap.last_ns
    assert verify(lives.disk, "segments", lives.board.identity.public_key()).ok


def test_what_was_lost_before_the_first_stretch_is_not_forgotten():
    """A segment that holds nothing yet is kept for what its writer knew to be lost. (S2-092)"""
    lives = Lives(segment_s=60)
    lives.go_away()
    lives.run(30, rate=0)
    lives.come_back()
    lives.kill()
    lives.run(10)
    lives.station.stop(lives.clock.now())

    assert ["interface_gone"] == [gap.cause for made in lives.seals() for gap in made.gaps]
    assert list(range(lives.sent)) == lives.numbers()


@pytest.mark.parametrize("trouble", ["full", "failing"])
def test_what_was_given_up_and_not_said_leaves_a_gap(trouble):
    """Killed while the disk takes nothing: only that process knew what was lost, so its seal has a gap, ring or no ring (storm seed 6). (S2-092)"""
    lives = Lives(segment_s=60)
    room = lives.disk.capacity_bytes
    lives.run(20)
    _ail(lives, trouble)
    lives.run(60)
    lives.kill()
    lives.run(10)
    lives.disk.capacity_bytes, lives.disk.failing = room, Failing.NOT
    lives.run(60)
    lives.station.stop(lives.clock.now())

    recorded = set(lives.numbers())
    began_ns = min(made.first_ns for made in lives.seals() if made.first_ns is not None)
    gaps = [gap for made in lives.seals() for gap in made.gaps if gap.frames is None]
    missing = [began_ns + number // 3 * 100 * MS for number in range(lives.sent) if number not in recorded]
    stated = sum(count for made in lives.seals() for count in made.drops.values())
    assert len(missing) > 150
    assert stated >= sum(not any(gap.first_ns - SECOND <= at <= gap.last_ns + SECOND for gap in gaps) for at in missing)
    assert stated < len(missing)
    assert verify(lives.disk, "segments", lives.board.identity.public_key()).ok


@pytest.mark.parametrize("trouble", ["full", "failing"])
def test_what_a_seal_has_said_leaves_no_gap_when_killed_later(trouble):
    """From the seal that tells what was given up, the ring is left with the keeper again: a kill after it costs nothing. (S2-092)"""
    lives = Lives(segment_s=5)
    room = lives.disk.capacity_bytes
    lives.run(20)
    _ail(lives, trouble)
    lives.run(20)
    assert {} == lives.store
    lives.disk.capacity_bytes, lives.disk.failing = room, Failing.NOT
    lives.run(120)
    assert {"ring/eth1"} == {title.rpartition("/")[0] for title in lives.store}
    lives.kill()
    lives.run(20)
    lives.station.stop(lives.clock.now())

    assert 0 < sum(count for made in lives.seals() for count in made.drops.values()) == lives.sent - len(lives.numbers())
    assert "interrupted" not in [gap.cause for made in lives.seals() for gap in made.gaps]


def test_killed_after_a_seal_that_had_to_wait():
    """A seal that found no room says, when it has it, all that was given up until then: killed before the next one, nothing is unsaid. (S2-092)"""
    lives = Lives(segment_s=10, reserve_mb=0)
    room = lives.disk.capacity_bytes
    lives.run(15)
    lives.run(20, rate=0)
    lives.disk.fill(leave_bytes=0)
    lives.run(100, rate=0)  # beyond the cut: the seal is the first that finds no room
    assert "disk_full" == lives.station.report.gauges["state"]
    lives.run(110)
    lives.disk.capacity_bytes = room
    lives.run(25)
    assert "recording" == lives.station.report.gauges["state"]
    lives.kill()
    lives.run(5)
    lives.station.stop(lives.clock.now())

    lost = lives.sent - len(set(lives.numbers()))
    assert lost > 300
    assert lost == sum(count for made in lives.seals() for count in made.drops.values())
    assert [] == [gap for made in lives.seals() for gap in made.gaps if gap.frames is None]
    assert verify(lives.disk, "segments", lives.board.identity.public_key()).ok


def test_killed_twice_around_a_full_disk():
    """Who took a ring over and then gave frames up says that something is missing, even if it is killed before it can say how much. (S2-092)"""
    lives = Lives(segment_s=60, reserve_mb=0)
    room = lives.disk.capacity_bytes
    lives.run(20)
    lives.disk.fill(leave_bytes=0)
    lives.kill()
    lives.run(60)
    lives.disk.capacity_bytes = room
    lives.run(25)
    assert "recording" == lives.station.report.gauges["state"]
    lives.kill()
    lives.run(5)
    lives.station.stop(lives.clock.now())

    recorded = set(lives.numbers())
    missing = [number for number in range(lives.sent) if number not in recorded]
    gaps = [gap for made in lives.seals() for gap in made.gaps if gap.frames is None]
    began_ns = min(made.first_ns for made in lives.seals() if made.first_ns is not None)
    at_ns = [began_ns + number // 3 * 100 * MS for number in missing]
    assert len(missing) > 150
    assert [] == [at for at in at_ns if not any(gap.first_ns - SECOND <= at <= gap.last_ns + SECOND for gap in gaps)]


def test_a_disk_that_is_full_at_the_hand_over():
    """An elder that has announced its heir, and only then has to give frames up, leaves it no ring: there is a gap, and it is said. (S1-08, S2-092)"""
    lives = Lives(segment_s=60, reserve_mb=0)
    room = lives.disk.capacity_bytes
    lives.run(20)
    lives.hear(9)
    heir = lives.board.supervisor.bequeath(("heir",), {})
    heir.stands = Standing.READY
    lives.disk.fill(leave_bytes=0)
    heir.announce()
    lives.station.stop(lives.clock.now())
    assert {} == lives.store
    lives.board.supervisor.hands_over = False  # the heir has not announced one
    lives.disk.capacity_bytes = room
    lives.start()
    lives.run(20)
    lives.station.stop(lives.clock.now())

    assert lives.sent > len(lives.numbers())
    assert ["interrupted"] == [gap.cause for made in lives.seals() for gap in made.gaps]


def _ail(lives: Lives, trouble: str) -> None:
    if trouble == "full":
        lives.disk.fill(leave_bytes=0)
    else:
        lives.disk.failing = Failing.READ_ONLY


def test_after_a_power_cut_there_is_a_gap_again():
    """Rings end with the machine: what a new one did not hear is a gap, and said to be one. (S2-092)"""
    lives = Lives(segment_s=60)
    lives.run(20)
    lives.store.clear()
    lives.clock.advance(9 * SECOND)
    lives.kill()
    lives.run(5)
    lives.station.stop(lives.clock.now())

    assert ["interrupted"] == [gap.cause for made in lives.seals() for gap in made.gaps]


@pytest.mark.parametrize(
    ("recorded", "comes", "known"),
    [
        ("abcd", ["cdef"], [2]),
        ("abcd", ["efgh"], [0]),
        ("abcd", ["cd", "ef"], [2, 0]),
        ("abcdef", ["cd", "efgh", "ij"], [2, 2, 0]),
        ("abcdef", ["cx", "ef"], [0, 0]),
        ("aab", ["abc"], [2]),
        ("", ["ab"], [0]),
        ("ab", [""], [0]),
    ],
)  # fmt: skip
def test_an_overlap_is_a_run_at_the_end_and_at_the_beginning(recorded, comes, known):
    """What was recorded last and what comes first, over any borders of blocks; a run that breaks off was none."""
    packets = {letter: Packet(ord(letter), letter.encode(), 1) for letter in "abcdefghijx"}
    overlap = Overlap([packets[letter] for letter in recorded])

    assert known == [overlap.known([packets[letter] for letter in piece]) for piece in comes]
    assert overlap.is_over
