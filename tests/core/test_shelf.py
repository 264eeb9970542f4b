"""The table of segments, and that a question about a minute costs the same in a small store and in a large one."""

import pytest

from firmware.core.query import Query
from firmware.core.shelf import PAGE_ROWS, each, lines, rows
from firmware.core.store import Store
from firmware.core.summary import Summary, summed_up
from firmware.core.timestamp import SECOND
from firmware.retention.pins import overlapping, pin
from firmware.retrieval.find import find
from simulator.board import SimulatedBoard
from simulator.written_store import frame, write_segment

EVERY_S = 10


def stored(count: int, *, is_summed_up: bool = True) -> tuple[SimulatedBoard, list[str], int]:
    """Segments of two frames, one after the other; when the first began, UTC ns."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    names = [
        write_segment(board, [[frame(start + (EVERY_S * number + n) * SECOND) for n in range(2)]]).name for number in range(count)
    ]
    if is_summed_up:
        summary = Summary(board.disk)
        summary.start(names)
        for name in names:
            (row,) = [row for row in summed_up(Store(board.disk).segment(name)) if row is not None]
            summary.add(row)
    return board, names, start


QUESTIONS = {
    "find": lambda board, since, until: (
        find(board.disk, Query(since, until), clock=board.clock, sink=lambda data: None, progress=lambda line: None).frame_count
    ),
    "ls": lambda board, since, until: len(list(each(board.disk, since_utc_ns=since, until_utc_ns=until))),
    "pin": lambda board, since, until: len(overlapping(board.disk, since_utc_ns=since, until_utc_ns=until)),
    "pin, by name": lambda board, since, until: pin(
        board.disk, [Store(board.disk).names()[1]], reason="case 1", now_utc_ns=since
    ),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_a_question_about_a_minute_costs_the_same_in_any_store(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few segments or ten times as many: as many files are read, but for the summary itself. (S2-107, S2-108)"""
    reads, answers = [], []
    for count in (20, 200):
        board, _, start = stored(count)
        read, paths = board.disk.read, list[str]()
        monkeypatch.setattr(
            board.disk, "read", lambda path, read=read, paths=paths, **rest: (paths.append(path), read(path, **rest))[1]
        )
        answers.append(QUESTIONS[what](board, start + 5 * EVERY_S * SECOND, start + (5 * EVERY_S + 5) * SECOND))
        reads.append(len([path for path in paths if not path.startswith("summary/")]))

    assert answers[0] == answers[1] != 0
    assert reads[0] == reads[1] <= 8


def test_without_a_summary_a_glance_at_the_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who pins a minute of a store that was only recorded into does not wait until each segment's files were listed and measured."""
    board, names, start = stored(40, is_summed_up=False)
    measured: list[str] = []
    size = board.disk.size
    monkeypatch.setattr(board.disk, "size", lambda path: (measured.append(path.split("/")[1]), size(path))[1])

    assert names[5:7] == overlapping(board.disk, since_utc_ns=start + 50 * SECOND, until_utc_ns=start + 65 * SECOND)
    assert set(names[5:7]) == set(measured)


def test_with_and_without_a_summary_the_answer_is_one() -> None:
    """The summary saves looks and changes nothing: an interval's segments, one with a seal that cannot be read among them. (S2-095)"""
    lists = []
    for is_summed_up in (True, False):
        board, names, start = stored(12, is_summed_up=is_summed_up)
        board.disk.write(f"segments/{names[6]}/seal", b"altered")
        at = [start + seconds * SECOND for seconds in (35, 71)]
        lists.append([row.name for row in each(board.disk, since_utc_ns=at[0], until_utc_ns=at[1])])

    assert [[*names[4:8]]] * 2 == lists


def test_the_table_begins_before_the_last_segment_is_read() -> None:
    """A page at a time, in columns that line up, with one head and one sum. (S2-108)"""
    board, names, _ = stored(PAGE_ROWS + 40)
    table = list(lines(rows(board.disk)))
    reading = each(board.disk)
    said = lines(reading)

    assert "segment" in next(said) and names[0] in next(said)
    assert names[PAGE_ROWS] == next(reading).name
    assert [*names] == [line.split()[0] for line in table[1:-1]]
    assert 1 == len({line.index("T", 30) for line in table[1:-1]})
    assert f"{len(names)} segments" in table[-1]
    assert ["no segments"] == list(lines([]))
