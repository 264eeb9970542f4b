"""The health station: figures every minute, losses at once."""

from firmware.core import message
from firmware.core.message import Message, Priority
from firmware.core.report import Report, publish
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.health.settings import HealthSettings
from firmware.health.station import HealthStation
from simulator.board import SimulatedBoard


def _station(board: SimulatedBoard, settings: HealthSettings | None = None) -> HealthStation:
    station = HealthStation(board, settings or HealthSettings())
    station.start(board.clock.now())
    return station


def _run(board: SimulatedBoard, station: HealthStation, seconds: int, *reports: Report) -> None:
    """Virtual seconds; the given reports are published each of them, as a live process does."""
    for _ in range(seconds):
        board.clock.advance(SECOND)
        if reports:
            publish(board.disk, "capture", list(reports), board.clock.now())
        station.step(board.clock.now())


def _said(board: SimulatedBoard, kind: str) -> list[Message]:
    inbox = Spool(board.disk, "inbox")
    rows = [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]
    return [row for row in rows if row.kind == kind]


def test_figures_of_all_processes_are_said_each_minute() -> None:
    """The hub gets counts, losses and the disk's room once a minute, at the lowest priority."""
    board = SimulatedBoard()
    station = _station(board)
    report = Report("capture", counts={"frames": 12}, drops={"ring_full": 3}, gauges={"state": "recording"})
    _run(board, station, 130, report)

    said = _said(board, "health")
    assert 3 == len(said)
    assert {Priority.P4} == {row.priority for row in said}
    assert (12, 3, "recording") == tuple(
        said[-1].fields[f"capture.{name}"] for name in ("counts.frames", "drops.ring_full", "gauges.state")
    )
    assert board.disk.free_bytes() > 0 and said[-1].fields["free_bytes"]


def test_loss_is_reported_when_it_begins_and_when_it_ends() -> None:
    """One message at the beginning, one at the end with the sum, none in between; what was lost before we looked is no news."""
    board = SimulatedBoard()
    report = Report("capture", drops={"disk_full": 100})
    board.disk.mkdir("state")
    publish(board.disk, "capture", [report], board.clock.now())
    station = _station(board)
    _run(board, station, 10, report)
    for _ in range(30):
        report.drop("disk_full", 2)
        _run(board, station, 1, report)
    _run(board, station, 100, report)

    said = _said(board, "error")
    assert [True, False] == [row.fields["began"] for row in said]
    assert 60 == said[-1].fields["lost"]
    assert {Priority.P2} == {row.priority for row in said}
    assert {"capture"} == {row.fields["station"] for row in said}


def test_a_loss_at_one_of_several_interfaces_names_it() -> None:
    """Who reads the alarm learns what is lost and where: at one of several interfaces the cause has its name behind it."""
    board = SimulatedBoard()
    station, report = _station(board), Report("capture")
    _run(board, station, 10, report)
    report.drop("ring_full@eth2", 75)
    report.drop("ring_full@\u202eeth", 1)
    report.drop("with a space@eth2", 2)
    _run(board, station, 10, report)

    said = {row.text for row in _said(board, "error")}
    assert {
        "capture began to lose: ring_full at eth2, 75 so far",
        "capture began to lose: ring_full at an interface, 1 so far",
        "capture began to lose: a cause, 2 so far",
    } == said


def test_what_was_too_old_to_be_sent_is_said_with_the_urgency_of_what_it_was() -> None:
    """The uplink counts an item that expired in the outbox; the hub hears of it once at the beginning and once in all, as of any discard. (S2-053)"""
    board = SimulatedBoard()
    station, report = _station(board), Report("uplink")
    _run(board, station, 10, report)
    report.drop("expired_p2", 3)
    report.drop("expired_p4", 40)
    _run(board, station, 10, report)
    report.drop("expired_p4", 2)
    _run(board, station, 80, report)

    said = [
        (row.priority, row.event, row.fields["priority"], row.fields["lost"], row.fields["began"])
        for row in _said(board, "discarded")
    ]
    assert {
        (Priority.P2, "expired", 2, 3, True), (Priority.P3, "expired", 4, 40, True),
        (Priority.P2, "expired", 2, 3, False), (Priority.P3, "expired", 4, 42, False),
    } == set(said)  # fmt: skip
    assert [] == _said(board, "error")


def test_restart_of_a_process_is_no_loss() -> None:
    """Counters that begin again at zero are no loss; what they count afterwards is."""
    board = SimulatedBoard()
    station = _station(board)
    _run(board, station, 10, Report("capture"))
    _run(board, station, 10, Report("capture", drops={"ring_full": 50}))
    assert 1 == len(_said(board, "error"))
    _run(board, station, 100, Report("capture"))
    _run(board, station, 100, Report("capture", drops={"ring_full": 1}))

    assert [50, 50, 1, 1] == [row.fields["lost"] for row in _said(board, "error")]


def test_process_that_stops_reporting_is_an_error() -> None:
    """A process that says nothing for longer than its watchdog allows is reported, and so is its return."""
    board = SimulatedBoard()
    station = _station(board)
    _run(board, station, 10, Report("capture"))
    _run(board, station, 30)
    _run(board, station, 100, Report("capture"))

    assert ["capture does not report any more", "capture reports again"] == [row.text for row in _said(board, "error")]


def test_a_clock_that_is_set_silences_nobody() -> None:
    """Reports of a moment ago are an hour old, or an hour ahead: nobody is silent, and who falls silent then is said as soon as ever."""
    for step_s in (3600, -3600):
        board = SimulatedBoard()
        station = _station(board)
        _run(board, station, 10, Report("capture"))
        board.clock.step(step_s * SECOND)
        _run(board, station, 5)
        _run(board, station, 10, Report("capture"))
        assert [] == _said(board, "error")
        _run(board, station, 30)

        assert ["capture does not report any more"] == [row.text for row in _said(board, "error")]


def test_nonsense_in_a_state_file_is_reported_not_believed() -> None:
    """Half a file, another type or a deep nest ends nothing and is said."""
    for nonsense in (b"", b"{", b"[]", b"[" * 100_000, b'{"at_tai_ns": "x", "stations": []}', b"\xff\xfe"):
        board = SimulatedBoard()
        station = _station(board)
        board.disk.write("state/capture.json", nonsense)
        _run(board, station, 10)

        assert ["silent"] == [row.fields["cause"] for row in _said(board, "error")]


def test_a_file_that_cannot_be_read_for_a_moment_makes_no_loss() -> None:
    """What a process had lost long ago is no news when its file can be read again, also where that was so at the first look; what it has
    lost meanwhile is.
    """
    for seconds_before in (20, 0):
        board = SimulatedBoard()
        station = _station(board)
        report = Report("capture", drops={"ring_full": 1000})
        board.disk.write("state/capture.json", b"")
        if seconds_before:
            publish(board.disk, "capture", [report], board.clock.now())
        station.step(board.clock.now())
        _run(board, station, seconds_before, report)
        board.disk.write("state/capture.json", b"")
        _run(board, station, 6)
        _run(board, station, 20, report)
        assert ["silent"] == [row.fields["cause"] for row in _said(board, "error")]
        report.drop("ring_full", 5)
        _run(board, station, 20, report)

        assert [("silent", 1), ("ring_full", 5)] == [(row.fields["cause"], row.fields["lost"]) for row in _said(board, "error")]


def test_a_station_that_several_processes_have_is_counted_in_each() -> None:
    """None hides what another loses, and one that falls silent makes no loss of another's."""
    board = SimulatedBoard()
    station = _station(board)
    for first, second in ((0, 0), (5, 0), (5, 1), (7, 1)):
        publish(board.disk, "capture", [Report("succession", drops={"heir_failed": first})], board.clock.now())
        publish(board.disk, "uplink", [Report("succession", drops={"heir_failed": second})], board.clock.now())
        _run(board, station, 5)
    board.disk.remove("state/uplink.json")
    _run(board, station, 70)

    said = [row.fields["lost"] for row in _said(board, "error") if row.fields["station"] == "succession"]
    assert [5, 8] == said


def test_full_disk_keeps_what_is_to_be_said() -> None:
    """What began while the disk was full is said when there is room again."""
    board = SimulatedBoard()
    station = _station(board)
    report = Report("capture")
    _run(board, station, 10, report)
    report.drop("ring_full")
    publish(board.disk, "capture", [report], board.clock.now())
    room = board.disk.capacity_bytes
    board.disk.fill(leave_bytes=0)
    _run(board, station, 6)
    board.disk.capacity_bytes = room
    _run(board, station, 6, report)

    assert [True] == [row.fields["began"] for row in _said(board, "error")]
    assert station.report.drops["disk_full"] > 0
