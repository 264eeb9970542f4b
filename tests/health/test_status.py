"""The table of `scrubjay status`: what was lost comes first."""

from firmware.core.report import Report, publish
from firmware.core.timestamp import SECOND
from firmware.health.status import as_json, lines, read_states
from simulator.board import SimulatedBoard


def _board() -> SimulatedBoard:
    board = SimulatedBoard()
    board.disk.mkdir("state")
    report = Report("capture", counts={"frames": 12}, drops={"ring_full": 3}, gauges={"state": "recording"})
    publish(board.disk, "capture", [report], board.clock.now())
    return board


def test_losses_come_first_by_cause() -> None:
    """A person sees what was lost before anything else."""
    board = _board()
    table = lines(read_states(board.disk), now_tai_ns=board.clock.now().timestamp.tai_ns)

    assert "LOST OR REFUSED, by cause" == table[0]
    assert "  capture  ring_full  3" == table[1]
    assert "  capture  state  recording" in table


def test_silent_process_is_named_above_all() -> None:
    """Figures that are old are shown as old."""
    board = _board()
    board.clock.advance(60 * SECOND)
    states = read_states(board.disk)
    now_tai_ns = board.clock.now().timestamp.tai_ns

    assert ["NOT REPORTING", "  capture: silent for 60 s"] == lines(states, now_tai_ns=now_tai_ns)[:2]
    assert as_json(states, now_tai_ns=now_tai_ns)["capture"]["silent"] is True  # type: ignore[index]


def test_nothing_running_says_so() -> None:
    """An empty store is no error and no riddle."""
    assert ["no process has reported yet; is the role running?"] == lines([], now_tai_ns=0)
