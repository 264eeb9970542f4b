"""Those who keep the box's clock: chronyd and ptp4l as they speak, followed, lost, come back, and told what they may announce."""

import struct

import pytest

from firmware.clock.ptp4l import announced
from firmware.clock.settings import ClockSettings
from firmware.clock.station import ClockStation
from firmware.core import message
from firmware.core.ptp import ClockQuality, Flags
from firmware.core.ptp_datasets import PortState
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND, ClockState
from simulator.board import SimulatedBoard
from simulator.daemon import SimulatedDaemon
from simulator.ptp.control import Control

# chronyd 4.3's tracking report, from its own bytes (tests/core/test_chrony.py): 16.5 µs of error, an update each second.
TRACKING = bytearray.fromhex(
    "0602000000210005000000000000000099517ca000000000000000000a4e00020a4e00020000000000000000000000000001000000090000000000006b07626c"
    "0ceb9508e1207e43d90ca453de80ebf900fee7e2f5774a0502c56800e2e62ef4dec66342048103dd"
)


class Chronyd:
    """heard_ns: its source's last word, UTC; None: it has no source. leap: 0 none, 1 insert, 2 delete."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board = board
        self.heard_ns: int | None = board.clock.now().utc_ns
        self.follows = True
        self.leap = 0
        self.reference = b""

    def answer(self, data: bytes) -> list[bytes]:
        if self.follows:
            self.heard_ns = self.board.clock.now().utc_ns
        row = bytearray(TRACKING)
        row[16:20] = data[8:12]
        row[54:56] = struct.pack("!H", self.leap if self.heard_ns is not None else 3)
        seconds, ns = divmod(self.heard_ns or 0, SECOND)
        row[56:68] = struct.pack("!iII", seconds >> 32, seconds & 0xFFFF_FFFF, ns)
        if self.reference:
            row[28:32], row[48:50] = self.reference, bytes(2)
        return [bytes(row)]


class Box:
    """A clock station with a chronyd, and a ptp4l where it has a room interface."""

    def __init__(self, **settings: object) -> None:
        self.daemon = SimulatedDaemon()
        self.control = Control(bytes.fromhex("020000fffe00000a"))
        ptp4l = SimulatedDaemon(self.control.answer)
        self.board = SimulatedBoard(daemons={"127.0.0.1:323": self.daemon, "/run/scrubjay-ptp/ptp4l": ptp4l})
        self.board.clock.state, self.board.clock.source, self.board.clock.uncertainty_ns = ClockState.FREE, "rtc", 600 * SECOND
        self.chronyd = Chronyd(self.board)
        self.daemon.answer = self.chronyd.answer
        self.station = ClockStation(self.board, ClockSettings(**settings))  # type: ignore[arg-type]
        self.station.start(self.board.clock.now())

    def run(self, seconds: int) -> tuple[str, ClockState, int]:
        for _ in range(seconds):
            self.station.step(self.board.clock.now())
            self.board.clock.advance(SECOND)
        gauges = self.station.report.gauges
        return str(gauges["source"]), ClockState(gauges["state"]), int(gauges["uncertainty_ns"])

    def said(self) -> list[tuple[str | None, object]]:
        inbox = Spool(self.board.disk, "inbox")
        rows = [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]
        return [(row.event, row.fields.get("state")) for row in rows]


def test_ntp_is_followed_to_microseconds() -> None:
    """What used to be \"free, 600 s\" is locked by NTP, and known as chronyd knows it. (S2-013)"""
    source, state, uncertainty_ns = Box().run(5)

    assert ("ntp", ClockState.LOCKED) == (source, state)
    assert 16_477 == pytest.approx(uncertainty_ns, abs=5)


def test_a_silent_source_is_holdover_that_grows() -> None:
    """chronyd itself goes on saying \"synchronised\": half a minute after the last word it is holdover, 10 ppm worse, said once; and back. (S2-013)"""
    box = Box()
    box.run(10)
    box.chronyd.follows = False
    assert ClockState.LOCKED is box.run(25)[1]
    source, state, first_ns = box.run(20)
    _, _, later_ns = box.run(100)
    assert ("ntp", ClockState.HOLDOVER) == (source, state)
    assert 1_000_000 == pytest.approx(later_ns - first_ns, rel=0.02)
    box.chronyd.follows = True

    assert ClockState.LOCKED is box.run(5)[1]
    assert [("clock_state", "locked"), ("clock_state", "holdover"), ("clock_state", "locked")] == box.said()


def test_chronyd_gone_is_holdover() -> None:
    """Nobody answers: the last good word ages. Before there ever was one, the kernel's stays: free."""
    box = Box()
    box.daemon.answer = None
    assert ("rtc", ClockState.FREE, 600 * SECOND) == box.run(10)
    box.daemon.answer = box.chronyd.answer
    box.run(10)
    box.daemon.answer = None

    assert ClockState.HOLDOVER is box.run(20)[1]


@pytest.mark.parametrize("jump_s", [3600, -3600, 5, -5])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_clock_that_is_set_is_not_as_good_as_before(jump_s: int, is_there: bool) -> None:
    """Its source silent, or chronyd gone: the box does not know which of the two times was right, and claims neither; heard anew, it does."""
    box = Box()
    box.run(10)
    box.chronyd.follows = False
    box.daemon.answer = box.chronyd.answer if is_there else None
    box.run(10)
    box.board.clock.step(jump_s * SECOND)
    soon = box.run(3)
    later = box.run(60)

    assert abs(jump_s) * SECOND <= soon[2] and ClockState.HOLDOVER is later[1]
    assert abs(jump_s) * SECOND <= later[2] < (abs(jump_s) + 1) * SECOND
    box.chronyd.follows, box.daemon.answer = True, box.chronyd.answer
    source, state, uncertainty_ns = box.run(5)
    assert ("ntp", ClockState.LOCKED) == (source, state) and uncertainty_ns < 20_000


def test_a_chronyd_without_a_source() -> None:
    """Leap status \"not synchronised\" is free at first, holdover afterwards."""
    box = Box()
    box.chronyd.heard_ns, box.chronyd.follows = None, False
    assert ClockState.FREE is box.run(5)[1]
    box.chronyd.follows = True
    box.run(5)
    box.chronyd.heard_ns, box.chronyd.follows = None, False

    assert ClockState.HOLDOVER is box.run(5)[1]


def test_nonsense_from_the_control_socket() -> None:
    """Another packet, a torn one, an answer to somebody else's question: counted, and the clock is what it was."""
    box = Box()
    box.run(5)
    box.daemon.answer = lambda data: [b"", b"x" * 200, bytes(TRACKING)]
    source, state, _ = box.run(3)

    assert ("ntp", ClockState.LOCKED) == (source, state)
    assert box.station.report.drops["chronyd_not_understood"] >= 6


def test_an_announced_leap_second_is_on_the_page() -> None:
    """What chronyd announces is published for people, and handed to ptp4l."""
    box = Box()
    box.chronyd.leap = 1
    box.run(3)

    assert b'"leap": 1' in box.board.disk.read("state/clock")


def test_the_room_may_be_told_no_more_than_is_known() -> None:
    """clockAccuracy by the uncertainty, traceable while locked only, the timescale by who stamps; a free box claims nothing. (S2-012)"""
    good = announced(state=ClockState.LOCKED, uncertainty_ns=16_477, source="ntp", tai_offset_s=37, leap=0, is_tai=True)
    held = announced(state=ClockState.HOLDOVER, uncertainty_ns=1_100_000, source="ntp", tai_offset_s=37, leap=1, is_tai=False)
    free = announced(state=ClockState.FREE, uncertainty_ns=10**12, source="rtc", tai_offset_s=37, leap=0, is_tai=False)

    assert (0x26, 0x50, 37) == (good.clockQuality.clockAccuracy, good.timeSource, good.currentUtcOffset)
    assert Flags.PTP_TIMESCALE | Flags.UTC_OFFSET_VALID | Flags.TIME_TRACEABLE | Flags.FREQUENCY_TRACEABLE == Flags(good.flags)
    assert (0x2A, 0xA0) == (held.clockQuality.clockAccuracy, held.timeSource)
    assert Flags.UTC_OFFSET_VALID | Flags.LEAP61 == Flags(held.flags)
    assert 0xFE == free.clockQuality.clockAccuracy
    assert {248} == {row.clockQuality.clockClass for row in (good, held, free)}


def test_ptp4l_is_told_while_it_leads(make_hall) -> None:
    """As the box's clock gets worse, so does what the room is told; a slave's ptp4l is told nothing. (S2-012)"""
    hall = make_hall()
    hall.clock.uncertainty_ns = 800
    hall.run(5)
    assert 0x23 == hall.control.settings.clockQuality.clockAccuracy
    hall.clock.state, hall.clock.uncertainty_ns = ClockState.HOLDOVER, 90_000
    hall.run(5)
    assert (0x27, 0) == (hall.control.settings.clockQuality.clockAccuracy, hall.control.settings.flags & Flags.TIME_TRACEABLE)
    hall.control.state, hall.control.grandmaster = PortState.SLAVE, bytes(8)
    hall.run(5)
    hall.clock.state, hall.clock.uncertainty_ns = ClockState.LOCKED, 10
    hall.run(5)

    assert 0x27 == hall.control.settings.clockQuality.clockAccuracy


def test_following_a_better_clock_and_back(make_hall) -> None:
    """The grandmaster changes: a P2 message each way, the source is \"ptp\", its uncertainty offset and path; then the box leads again. (S2-012)"""
    hall = make_hall()
    hall.clock.source, hall.clock.state = "rtc", ClockState.FREE
    hall.run(5)
    hall.control.state, hall.control.grandmaster, hall.control.offset_ns = (
        PortState.SLAVE,
        bytes.fromhex("001b19fffe000001"),
        -3_000,
    )
    hall.run(5)
    assert ("ptp", "locked", 23_000) == tuple(hall.state()[key] for key in ("source", "state", "uncertainty_ns"))
    assert hall.account().grandmaster == "001b19fffe000001"
    hall.control.state, hall.control.grandmaster = PortState.MASTER, bytes.fromhex("020000fffe00000a")
    hall.run(5)

    assert "holdover" == hall.state()["state"]
    assert 2 == hall.events().count("grandmaster_changed")


def test_a_master_that_is_not_sure_itself(make_hall) -> None:
    """It tells that it is right to a millisecond (another box, hours without its source): who follows it to 23 µs is no better, nor
    when it is lost. (S2-012)"""
    hall = make_hall()
    hall.clock.source, hall.clock.state = "rtc", ClockState.FREE
    hall.control.state, hall.control.grandmaster, hall.control.offset_ns = (
        PortState.SLAVE,
        bytes.fromhex("001b19fffe000001"),
        -3_000,
    )
    hall.control.followed = ClockQuality(248, 0x29, 0xFFFF)
    hall.run(5)
    followed = hall.state()
    hall.control.state, hall.control.grandmaster = PortState.MASTER, bytes.fromhex("020000fffe00000a")
    hall.run(5)

    assert ("ptp", "locked", 1_023_000) == tuple(followed[key] for key in ("source", "state", "uncertainty_ns"))
    assert "holdover" == hall.state()["state"] and hall.state()["uncertainty_ns"] > 1_023_000


def test_through_chronyd_as_well() -> None:
    """With software stamps chronyd follows what ptp4l hands on, and knows its own error only."""
    box = Box(interface="eth2")
    box.control.state, box.control.grandmaster = PortState.SLAVE, bytes.fromhex("001b19fffe000001")
    box.chronyd.reference = b"PTP\0"
    source, state, sure_ns = box.run(5)
    box.control.followed = ClockQuality(248, 0x2C, 0xFFFF)
    unsure_ns = box.run(5)[2]

    assert ("ptp", ClockState.LOCKED) == (source, state)
    assert 25_000_000 == unsure_ns - sure_ns


def test_a_lost_ptp4l_is_said_within_seconds(make_hall) -> None:
    """It ends without a word: five seconds later the page and a P2 message say so; its return needs no help."""
    hall = make_hall()
    hall.add("10.77.0.21")
    hall.run(10)
    hall.control.is_on = False
    hall.run(7)
    assert hall.state()["ptp"] is None and "ptp4l_gone" in hall.events()
    hall.control.is_on = True
    hall.run(3)

    assert hall.state()["ptp"]["is_grandmaster"]
