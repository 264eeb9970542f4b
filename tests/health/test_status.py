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


def test_what_all_processes_say_alike_is_said_once() -> None:
    """Eight processes of one version are one line; a count is each process's own, equal or not."""
    board = SimulatedBoard()
    board.disk.mkdir("state")
    for process, since in (("capture", "start"), ("uplink", "handover")):
        report = Report("succession", counts={"switches": 1}, gauges={"since": since, "version": "1.2"})
        publish(board.disk, process, [report], board.clock.now())
    table = lines(read_states(board.disk), now_tai_ns=board.clock.now().timestamp.tai_ns)

    now, done = table.index("NOW"), table.index("DONE since start")
    assert table[now + 1 : done - 1] == [
        "  succession of capture  since    start",
        "  succession of uplink   since    handover",
        "  succession             version  1.2",
    ]
    assert table[done + 1 :] == ["  succession of capture  switches  1", "  succession of uplink   switches  1"]


def test_single_devices_do_not_bury_the_rest() -> None:
    """A room has a hundred devices with three figures each: they are on the clock page, here it is said that there are some."""
    board = SimulatedBoard()
    board.disk.mkdir("state")
    gauges: dict[str, int | float | str] = {f"offset_low_ns/10.0.0.{number}": number for number in range(40)}
    publish(board.disk, "clock", [Report("clock", gauges={**gauges, "state": "locked"})], board.clock.now())
    states = read_states(board.disk)
    table = lines(states, now_tai_ns=board.clock.now().timestamp.tai_ns)

    assert table[table.index("NOW") + 1 : -2] == ["  clock  state  locked", "  and 40 figures of single devices: see clock"]
    assert "offset_low_ns/10.0.0.7" in str(as_json(states, now_tai_ns=0))
