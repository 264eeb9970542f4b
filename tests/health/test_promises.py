"""What has to be seen before a new system is kept: each promise alone is enough to say no."""

import json
from collections.abc import Callable

import pytest

from drivers.tap import HeardFrame, pack_block
from firmware.core._kernel import Stretch
from firmware.core.report import Report, publish
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.state import read_states
from firmware.core.timestamp import SECOND
from firmware.health.promises import Promise, account_of, as_json, lines, promises
from simulator.board import SimulatedBoard
from simulator.identity import SimulatedIdentity

PROCESSES = ("capture", "console")
KEPT = {"capture": Report("capture", gauges={"state": "recording"}), "console": Report("console", gauges={"line": "open"})}


def started() -> SimulatedBoard:
    """A board that started a minute ago."""
    board = SimulatedBoard()
    for place in ("state", "segments"):
        board.disk.mkdir(place)
    board.clock.advance(60 * SECOND)
    return board


def seal(board: SimulatedBoard, *, sequence: int = 1, identity: SimulatedIdentity | None = None) -> str:
    now = board.clock.now()
    writer = SegmentWriter(board.disk, "segments", sequence=sequence, first_utc_ns=now.utc_ns, source=Source("m0"), now=now)
    stretch = Stretch(1 << 20)
    stretch.add(pack_block([HeardFrame(now.utc_ns, bytes(60), 60)], sequence=0), 0, 0, 0, 0)
    writer.write(stretch)
    writer.seal(identity or board.identity, previous=None, losses=Losses({}), cause="time", now=now)
    return writer.name


def say(board: SimulatedBoard, *, without: str = "") -> None:
    """What the processes and the clock station write in their turns."""
    now = board.clock.now()
    for process, report in KEPT.items():
        if process != without:
            publish(board.disk, process, [report], now)
    if without != "clock":
        board.disk.write("state/clock", json.dumps({"state": "free", "source": "rtc", "monotonic_ns": now.monotonic.ns}).encode())


def seen(board: SimulatedBoard) -> dict[str, bool]:
    return {row.name: row.is_kept for row in asked(board)}


def asked(board: SimulatedBoard) -> list[Promise]:
    states, account = read_states(board.disk), account_of(board.disk)
    return promises(board.disk, states, account, PROCESSES, board.identity.public_key(), now=board.clock.now())


ALL = {"capture_reports", "console_reports", "recording", "sealed", "tells_time", "console_answers"}


def test_all_are_kept() -> None:
    """A box that reports, records, has sealed, states its time and has its console is what it promised. (S1-16)"""
    board = started()
    seal(board)
    say(board)

    assert dict.fromkeys(ALL, True) == seen(board)
    assert as_json(asked(board))["kept"] is True
    assert all(line.startswith("kept ") for line in lines(asked(board)))


def silent(process: str) -> Callable[[SimulatedBoard], None]:
    def spoil(board: SimulatedBoard) -> None:
        board.disk.remove(f"state/{process}.json")

    return spoil


def not_recording(board: SimulatedBoard) -> None:
    publish(board.disk, "capture", [Report("capture", gauges={"state": "disk_failed"})], board.clock.now())


def line_gone(board: SimulatedBoard) -> None:
    publish(board.disk, "console", [Report("console", gauges={"line": "missing"})], board.clock.now())


def no_clock(board: SimulatedBoard) -> None:
    board.disk.remove("state/clock")


def nonsense_clock(board: SimulatedBoard) -> None:
    board.disk.write("state/clock", b"[1]")


def no_segment(board: SimulatedBoard) -> None:
    for name in board.disk.list("segments"):
        board.disk.remove(f"segments/{name}")


def altered(file: str) -> Callable[[SimulatedBoard], None]:
    def spoil(board: SimulatedBoard) -> None:
        path = f"segments/{board.disk.list('segments')[0]}/{file}"
        data = board.disk.read(path)
        board.disk.write(path, data[:-1] + bytes((data[-1] ^ 1,)))

    return spoil


def anothers(board: SimulatedBoard) -> None:
    no_segment(board)
    seal(board, identity=SimulatedIdentity(name="another", seed=7))


@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (silent("capture"), {"capture_reports", "recording"}),
        (silent("console"), {"console_reports", "console_answers"}),
        (not_recording, {"recording"}),
        (line_gone, {"console_answers"}),
        (no_clock, {"tells_time"}),
        (nonsense_clock, {"tells_time"}),
        (no_segment, {"sealed"}),
        (altered("frames.pcapng.lz4"), {"sealed"}),
        (altered("index"), {"sealed"}),
        (altered("seal"), {"sealed"}),
        (anothers, {"sealed"}),
    ],
)
def test_each_alone_is_enough_to_say_no(spoil: Callable[[SimulatedBoard], None], broken: set[str]) -> None:
    """Whichever promise was not seen kept, it is named, and no other. (S1-16)"""
    board = started()
    seal(board)
    say(board)
    spoil(board)

    assert broken == {name for name, is_kept in seen(board).items() if not is_kept}
    assert as_json(asked(board))["kept"] is False
    assert lines(asked(board))[0].startswith("NOT KEPT ")


def test_what_was_kept_before_this_start_does_not_count() -> None:
    """Reports and segments of the system that ran before are no evidence for the one that runs now."""
    board = started()
    seal(board)
    say(board)
    board.clock.advance(SECOND)
    board.clock.restart()
    board.clock.advance(10 * SECOND)

    assert {"recording", "console_answers"} == {name for name, is_kept in seen(board).items() if is_kept}


def test_a_segment_of_a_start_that_knew_the_time_does_not_count() -> None:
    """A box without a battery starts in 1970, and everything it has recorded lies ahead: none of it is of this start. (S1-16)"""
    board = started()
    seal(board)
    board.clock.advance(3600 * SECOND)
    board.clock.restart()
    board.clock.step(-56 * 365 * 86_400 * SECOND)
    board.clock.advance(60 * SECOND)
    say(board)

    assert {"sealed"} == {name for name, is_kept in seen(board).items() if not is_kept}
    seal(board, sequence=2)
    assert as_json(asked(board))["kept"] is True


def test_what_was_kept_before_the_rest_was_exchanged_does_not_count() -> None:
    """Where all but the kernel was exchanged, what counts begins then: the boot was the former system's."""
    board = started()
    seal(board)
    say(board)
    board.clock.advance(SECOND)
    since = board.clock.now().monotonic
    board.clock.advance(SECOND)

    def missing() -> set[str]:
        states, account = read_states(board.disk), account_of(board.disk)
        rows = promises(board.disk, states, account, PROCESSES, board.identity.public_key(), now=board.clock.now(), since=since)
        return {row.name for row in rows if not row.is_kept}

    assert {"capture_reports", "console_reports", "sealed"} == missing()
    say(board)
    assert {"sealed"} == missing()
    seal(board, sequence=2)
    assert set() == missing()


def test_what_is_said_while_a_long_segment_is_read_is_no_promise_broken() -> None:
    """The clock station says the time once a second, and to read a segment takes longer: what it says then is not of a start to come."""
    board = started()
    seal(board)
    say(board)
    read = board.disk.read

    def slow(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        if path.startswith("segments/"):
            board.clock.advance(SECOND)
            say(board)
        return read(path, offset=offset, size=size)

    board.disk.read = slow  # type: ignore[method-assign]

    assert dict.fromkeys(ALL, True) == seen(board)


def test_a_process_that_has_stopped_reporting() -> None:
    """A hung process keeps its last report, and its age gives it away."""
    board = started()
    seal(board)
    say(board)
    board.clock.advance(40 * SECOND)
    say(board, without="console")

    assert {"console_reports"} == {name for name, is_kept in seen(board).items() if not is_kept}
