"""The summary: it excludes only what certainly holds nothing, and what it does not know is asked itself."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core import index
from firmware.core.index import Record, packed_record
from firmware.core.query import UNTIL_MAX, Query, terms_of
from firmware.core.store import Store
from firmware.core.summary import Summary, key_of, summed_up
from firmware.core.timestamp import SECOND
from simulator.board import SimulatedBoard
from simulator.written_store import frame, write_segment

PATH = "summary/segments"


def stored(count: int = 5) -> tuple[SimulatedBoard, list[str], int]:
    """Segments of ten seconds, each with a host and a port of its own, all summed up."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    names = [
        write_segment(
            board,
            [[frame(start + (10 * number + n) * SECOND, source=f"10.0.0.{number}", port=100 + number) for n in range(10)]],
        ).name
        for number in range(count)
    ]
    summary = Summary(board.disk)
    summary.start(names)
    add(board, names)
    return board, names, start


def add(board: SimulatedBoard, names: list[str]) -> None:
    for name in names:
        (row,) = [row for row in summed_up(Store(board.disk).segment(name)) if row is not None]
        Summary(board.disk).add(row)


def possible(board: SimulatedBoard, names: list[str], query: Query) -> list[int]:
    left = Summary(board.disk).left(names, terms_of(query))
    return [number for number, name in enumerate(names) if name in left]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), [0, 1, 2, 3, 4]),
        (Query(hosts=("10.0.0.3",)), [3]),
        (Query(hosts=("10.0.0.3", "10.0.0.1")), [1, 3]),
        (Query(hosts=("10.0.0.3",), ports=(101,)), []),
        (Query(ports=(9,)), []),
    ],
)
def test_only_what_may_answer_is_left(query: Query, expected: list[int]) -> None:
    """By keys as by time, without opening a segment. (S2-109)"""
    board, names, start = stored()

    assert expected == possible(board, names, query)
    assert [1, 2] == possible(board, names, Query(start + 15 * SECOND, start + 20 * SECOND))


def test_a_search_with_it_finds_the_same_and_reads_less() -> None:
    """What is excluded is not opened, and nothing else changes."""
    board, names, _ = stored()
    query = Query(hosts=("10.0.0.3",))
    expected = list(Store(board.disk).search(query))
    reads: list[str] = []
    read = board.disk.read

    def counted(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        reads.append(path)
        return read(path, offset=offset, size=size)

    board.disk.read = counted  # type: ignore[method-assign]
    found = list(Store(board.disk, summary=Summary(board.disk)).search(query))

    assert expected == found
    assert {names[3]} == {path.split("/")[1] for path in reads if path.startswith("segments/")}


def test_what_it_does_not_know_is_asked() -> None:
    """Segments sealed since, and those of another name, are no rows of it."""
    board, names, _ = stored(3)
    new = write_segment(board, [[frame(board.clock.now().utc_ns)]]).name

    assert [3] == possible(board, [*names, new], Query(ports=(9,)))
    assert [new] == Summary(board.disk).unknown([*names, new])
    assert key_of(names[0]) != key_of(names[0].replace("20261122", "20261123"))


@pytest.mark.parametrize("size", [0, 63, 64, 100, -1, -9])
def test_a_torn_end_is_cut_off(size: int) -> None:
    """After a power cut it goes on behind its last whole row."""
    board, names, _ = stored()
    data = board.disk.read(PATH)
    board.disk.write(PATH, data[:size])
    left = possible(board, names, Query(ports=(9,)))
    Summary(board.disk).start(names)
    missing = Summary(board.disk).unknown(names)
    assert [names[number] for number in left] == missing
    add(board, missing)

    assert data == board.disk.read(PATH)


def test_a_wrong_bit_excludes_nothing_behind_it() -> None:
    """Every row has its checksum; where one does not hold, the rest is asked itself."""
    board, names, _ = stored()
    data = board.disk.read(PATH)
    random = Random(1)
    for _ in range(200):
        changed = bytearray(data)
        changed[random.randrange(64, len(data))] ^= 1 << random.randrange(8)
        board.disk.write(PATH, changed)

        assert {3} <= set(possible(board, names, Query(hosts=("10.0.0.3",))))


def test_a_damaged_segment_may_hold_anything() -> None:
    """What could not be summed up is looked into at every question."""
    board, names, _ = stored(2)
    for change in (lambda path: board.disk.remove(path), lambda path: board.disk.write(path, bytes(90))):
        change(f"segments/{names[1]}/index")
        (row,) = [row for row in summed_up(Store(board.disk).segment(names[1])) if row is not None]

        assert (True, 0, UNTIL_MAX) == (row.anything, row.first_ns, row.last_ns)


def test_segment_without_frames_answers_nothing() -> None:
    """An empty minute is excluded from every question."""
    board = SimulatedBoard()
    name = write_segment(board, []).name
    Summary(board.disk).start([name])
    add(board, [name])

    assert [] == possible(board, [name], Query())


def test_rows_of_deleted_segments_go_in_the_end() -> None:
    """When most rows are of segments that are gone, it is written anew with those that are there."""
    board, names, _ = stored()
    file = board.disk.reopen(PATH, size=board.disk.size(PATH))
    for number in range(index.KEYS_MAX + 50):
        file.append([packed_record(Record(number, 0, 0, 0, 1, 0, 0, 1, True, b""))])
    file.close()
    before = board.disk.size(PATH)
    Summary(board.disk).start(names)

    assert board.disk.size(PATH) < before / 10
    assert [3] == possible(board, names, Query(hosts=("10.0.0.3",)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(0, 45), st.integers(0, 45))
def test_it_never_excludes_what_a_search_finds(ports: list[int], asked: int, second: int) -> None:
    """A law: what a search without it finds, it lets through."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    rows = [frame(start + n * SECOND, port=1 + port) for n, port in enumerate(ports)]
    names = [write_segment(board, [rows[at : at + 7]]).name for at in range(0, len(rows), 7)]
    Summary(board.disk).start(names)
    add(board, names)
    query = Query(ports=(1 + asked,), since_utc_ns=start + second * SECOND)

    assert list(Store(board.disk).search(query)) == list(Store(board.disk, summary=Summary(board.disk)).search(query))
