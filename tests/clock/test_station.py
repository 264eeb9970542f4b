"""The clock station: what it says when the clock steps, loses its source, or drifts."""

import json

from drivers.clock import ClockState
from firmware.clock.settings import ClockSettings
from firmware.clock.station import ClockStation
from firmware.core import message
from firmware.core.arrivals import Arrivals
from firmware.core.certificate import DeviceOffset, account_from
from firmware.core.message import Message, Priority
from firmware.core.spool import Spool
from firmware.core.timestamp import MS, SECOND
from simulator.board import SimulatedBoard


def _station(board: SimulatedBoard) -> ClockStation:
    station = ClockStation(board, ClockSettings())
    station.start(board.clock.now())
    station.step(board.clock.now())
    return station


def _tick(board: SimulatedBoard, station: ClockStation, seconds: int = 1, *, drift_ns: int = 0) -> None:
    for _ in range(seconds):
        board.clock.advance(SECOND)
        board.clock.offset_ns += drift_ns
        station.step(board.clock.now())


def _said(board: SimulatedBoard) -> list[Message]:
    inbox = Spool(board.disk, "inbox")
    return [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]


def test_state_file_says_how_good_the_time_is() -> None:
    """Source, state and uncertainty are published each second, for seals and for people."""
    board = SimulatedBoard()
    station = _station(board)
    _tick(board, station, 3)

    state = json.loads(board.disk.read("state/clock"))
    assert ("ptp", "locked", 50_000, 0) == (state["source"], state["state"], state["uncertainty_ns"], state["steps"])
    assert board.clock.now().timestamp.tai_ns == state["at_tai_ns"]
    assert [] == _said(board)


def test_step_is_reported_with_its_size() -> None:
    """A clock set forward or back by an hour is one P2 message each, and changes nothing else."""
    board = SimulatedBoard()
    station = _station(board)
    for hours in (1, -1):
        board.clock.step(hours * 3600 * SECOND)
        _tick(board, station, 5)

    # By time the second comes first: it was said an hour earlier, by the clock that was set back.
    assert {3600 * SECOND, -3600 * SECOND} == {row.fields["stepped_ns"] for row in _said(board)}
    assert [("clock", Priority.P2)] * 2 == [(row.kind, row.priority) for row in _said(board)]
    assert {"steps": 2} == station.report.counts


def test_slewing_is_no_step() -> None:
    """A servo's correction of 500 ppm is what clocks do; the edge lies at the setting."""
    board = SimulatedBoard()
    station = _station(board)
    _tick(board, station, 100, drift_ns=500_000)
    assert [] == _said(board)
    _tick(board, station, drift_ns=50 * MS)
    assert [] == _said(board)
    _tick(board, station, drift_ns=50 * MS + 1)

    assert 1 == len(_said(board))


def test_lost_source_is_reported_once_and_its_return_too() -> None:
    """Locked, holdover, locked: two P3 messages."""
    board = SimulatedBoard()
    station = _station(board)
    for state in (ClockState.HOLDOVER, ClockState.LOCKED):
        board.clock.state = state
        _tick(board, station, 10)

    assert ["holdover", "locked"] == [row.fields["state"] for row in _said(board)]
    assert {Priority.P3} == {row.priority for row in _said(board)}


def test_flapping_clock_is_counted_not_sung() -> None:
    """A clock that steps each second costs a bounded number of messages."""
    board = SimulatedBoard()
    station = _station(board)
    for _ in range(100):
        board.clock.step(SECOND)
        _tick(board, station)

    assert len(_said(board)) < 30
    assert 100 == station.report.counts["steps"] == len(_said(board)) + station.report.drops["notice_withheld"]


def test_full_disk_does_not_stop_the_watch() -> None:
    """What could not be said is counted; the watch goes on."""
    board = SimulatedBoard()
    station = _station(board)
    board.disk.fill(leave_bytes=0)
    board.clock.step(SECOND)
    _tick(board, station, 3)

    assert {"steps": 1} == station.report.counts
    assert {"notice_disk_full", "state_not_written"} == set(station.report.drops)


def test_stamps_against_arrival_bound_a_clock_from_one_side() -> None:
    """Without a room interface, what messages say is all there is: unknown, at most so far behind; until the box itself is stepped."""
    board = SimulatedBoard()
    station = _station(board)
    arrivals = Arrivals()

    def heard(seconds: int) -> list[DeviceOffset]:
        for _ in range(seconds):
            now = board.clock.now()
            arrivals.note(
                "10.0.0.5", stamp_tai_ns=now.timestamp.tai_ns - 3 * MS, arrived_tai_ns=now.timestamp.tai_ns, now=now.monotonic
            )
            board.disk.write("state/arrivals", arrivals.packed(now))
            _tick(board, station)
        return list(account_from(board.disk.read("state/clock")).devices)

    assert ["unknown, at most 3 ms behind"] == [row.words() for row in heard(3)]
    board.clock.step(SECOND)
    assert [] == heard(3)
