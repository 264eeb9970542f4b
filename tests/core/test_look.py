"""A damaged store answers with what can still be read, and names what cannot: which segment, when, why."""

from collections.abc import Callable

import pytest

from drivers.errors import DiskFailed
from firmware.core import pcapng
from firmware.core.ahead import Ahead
from firmware.core.hit import Hit
from firmware.core.look import ALTERED, CUT_OFF, DAMAGES_MAX, MANY, MISSING, UNREADABLE, VARIOUS, Damage, Damages
from firmware.core.query import Query
from firmware.core.segment import Segment
from firmware.core.store import Store
from firmware.core.timestamp import SECOND
from simulator.board import SimulatedBoard
from simulator.written_store import begin_segment, frame, write_segment

STRETCHES = 6
FRAMES_EACH = 4


def stored(segments: int = 2) -> tuple[SimulatedBoard, int, list[str]]:
    """Segments of six stretches of four frames, a frame a second, port 1 to 6 by its stretch."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    names = []
    for number in range(segments):
        at = start + number * STRETCHES * FRAMES_EACH * SECOND
        rows = [
            [frame(at + (s * FRAMES_EACH + n) * SECOND, port=1 + s, payload=b"%d" % n * 50) for n in range(FRAMES_EACH)]
            for s in range(STRETCHES)
        ]
        names.append(write_segment(board, rows).name)
    return board, start, names


def looked(board: SimulatedBoard, query: Query, *, newest_first: bool = False) -> tuple[list[int], tuple[Damage, ...]]:
    """(stamps of the frames found, what was named), the same by one hand and by several"""
    alone = looked_by(1, board, query, newest_first=newest_first)
    assert alone == looked_by(3, board, query, newest_first=newest_first)
    return alone


def looked_by(hands: int, board: SimulatedBoard, query: Query, *, newest_first: bool) -> tuple[list[int], tuple[Damage, ...]]:
    section = pcapng.section_header() + pcapng.interface("")
    damages, stamps = Damages(), []
    with Ahead(hands) as ahead:
        steps = list(Store(board.disk).walk(query, newest_first=newest_first, ahead=ahead))
    for step in steps:
        if isinstance(step, Damage):
            damages.add(step)
        elif isinstance(step, Hit):
            stamps += [packet.stamp_ns for packet in pcapng.packets(section + step.blocks)]
    return stamps, damages.all()


def changed(board: SimulatedBoard, path: str, change: Callable[[bytearray], object]) -> None:
    data = bytearray(board.disk.read(path))
    change(data)
    board.disk.write(path, data)


def flip(at: int) -> Callable[[bytearray], object]:
    def change(data: bytearray) -> None:
        data[at] ^= 1

    return change


def seconds(start: int, *numbers: int) -> list[int]:
    return [start + number * SECOND for number in numbers]


def test_altered_stretch_is_named_with_its_time() -> None:
    """One wrong bit costs its stretch; the rest is found, and the stretch's time is said. (S2-107)"""
    board, start, names = stored()
    record = Segment(board.disk, "segments", names[0]).records()[3]
    changed(board, f"segments/{names[0]}/frames.pcapng.lz4", flip(record.offset + 20))
    stamps, damaged = looked(board, Query())

    assert seconds(start, *range(8), *range(12, 48)) == stamps
    assert (Damage(names[0], record.first_ns, record.last_ns, ALTERED),) == damaged


def test_damage_that_cannot_concern_the_question_is_not_named() -> None:
    """Who asks for what the index excludes is not told of damage in it."""
    board, start, names = stored()
    record = Segment(board.disk, "segments", names[0]).records()[3]
    changed(board, f"segments/{names[0]}/frames.pcapng.lz4", flip(record.offset + 20))

    assert ([], 1) == (
        looked(board, Query(ports=(3,), until_utc_ns=start + 20 * SECOND))[0],
        len(looked(board, Query(ports=(3,)))[1]),
    )
    assert (seconds(start, *range(12, 16)), ()) == looked(board, Query(ports=(4,), until_utc_ns=start + 20 * SECOND))
    assert () == looked(board, Query(since_utc_ns=start + 24 * SECOND))[1]


@pytest.mark.parametrize("newest_first", [False, True])
def test_index_altered_in_the_middle_costs_no_frame(newest_first: bool) -> None:
    """From the wrong record on, the frames themselves are read."""
    board, start, names = stored()
    changed(board, f"segments/{names[0]}/index", flip(64 * 3 + 40))
    stamps, damaged = looked(board, Query(), newest_first=newest_first)

    assert (seconds(start, *range(48)), ()) == (sorted(stamps), damaged)


@pytest.mark.parametrize("cut", ["a record", "half a record", "all but the header", "all"])
def test_index_cut_off_costs_no_frame(cut: str) -> None:
    """An index that ends early, be it between two records, is noticed: it does not reach to the end of the frames."""
    board, start, names = stored()
    path = f"segments/{names[0]}/index"
    data = board.disk.read(path)
    last = max(at for at in range(64, len(data) - 60) if len(data) - at == int.from_bytes(data[at : at + 4], "little"))
    board.disk.write(path, data[: {"a record": last, "half a record": last - 30, "all but the header": 64, "all": 0}[cut]])

    assert (seconds(start, *range(48)), ()) == looked(board, Query())


def test_index_of_another_segment_costs_no_frame() -> None:
    """Swapped indexes are noticed by their sequence."""
    board, start, names = stored()
    one, other = (f"segments/{name}/index" for name in names)
    first, second = board.disk.read(one), board.disk.read(other)
    board.disk.write(one, second)
    board.disk.write(other, first)

    assert (seconds(start, *range(48)), ()) == looked(board, Query())


@pytest.mark.parametrize("with_index", [True, False])
def test_frames_cut_off_are_named(with_index: bool) -> None:
    """What the index lists and the frames do not hold is named; without the index, from where the frames end to the seal's end."""
    board, start, names = stored()
    path, record = f"segments/{names[0]}/frames.pcapng.lz4", Segment(board.disk, "segments", names[0]).records()[4]
    board.disk.write(path, board.disk.read(path)[: record.offset + 9])
    if not with_index:
        board.disk.remove(f"segments/{names[0]}/index")
    stamps, damaged = looked(board, Query())

    assert seconds(start, *range(12), *range(24, 48)) == stamps
    begins = 12 if with_index else 11  # The last frame that was read is the last that is known.
    assert [Damage(names[0], *seconds(start, begins, 23), ALTERED if with_index else CUT_OFF)] == list(damaged)


def test_missing_frames_are_one_sentence() -> None:
    """A segment without its frames is named once, not once a stretch."""
    board, start, names = stored()
    board.disk.remove(f"segments/{names[0]}/frames.pcapng.lz4")
    stamps, damaged = looked(board, Query())

    assert (seconds(start, *range(24, 48)), (Damage(names[0], *seconds(start, 0, 23), MISSING),)) == (stamps, damaged)


def test_frames_of_another_segment_are_named() -> None:
    """Exchanged files do not pass: either a stretch does not read where the index says, or it holds frames of another time."""
    board, start, names = stored()
    board.disk.write(
        f"segments/{names[0]}/frames.pcapng.lz4", board.disk.read(f"segments/{names[1]}/frames.pcapng.lz4")[:-4] + bytes(9)
    )
    stamps, damaged = looked(board, Query(until_utc_ns=start + 23 * SECOND))

    assert ([], True) == (stamps, all(row.segment == names[0] for row in damaged))


@pytest.mark.parametrize("what", ["missing", "altered"])
def test_without_its_seal_a_segment_is_searched(what: str) -> None:
    """A seal says when the segment was; without it everything is looked at."""
    board, start, names = stored()
    path = f"segments/{names[0]}/seal"
    board.disk.remove(path) if what == "missing" else changed(board, path, flip(30))

    assert (seconds(start, *range(48)), ()) == looked(board, Query())


def test_altered_stretch_without_index_lies_between_its_neighbours() -> None:
    """Without an index nobody knows when an unreadable stretch was, but what was before it and behind it."""
    board, start, names = stored()
    record = Segment(board.disk, "segments", names[0]).records()[3]
    changed(board, f"segments/{names[0]}/frames.pcapng.lz4", flip(record.offset + 20))
    board.disk.remove(f"segments/{names[0]}/index")
    stamps, damaged = looked(board, Query())

    assert seconds(start, *range(8), *range(12, 48)) == stamps
    assert (Damage(names[0], *seconds(start, 7, 12), ALTERED),) == damaged


def test_a_disk_that_does_not_read_is_named() -> None:
    """A bad sector is a place without frames, not the end of the search."""
    board, start, names = stored()
    read = board.disk.read

    def failing(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        if path == f"segments/{names[0]}/frames.pcapng.lz4" and offset:
            raise DiskFailed("expected the disk to obey")
        return read(path, offset=offset, size=size)

    board.disk.read = failing  # type: ignore[method-assign]

    assert (seconds(start, *range(24, 48)), (Damage(names[0], *seconds(start, 0, 23), UNREADABLE),)) == looked(board, Query())


def test_open_segment_with_a_torn_tail_is_not_damaged() -> None:
    """What is being written ends wherever it ends."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    writer = begin_segment(board, [[frame(start + n * SECOND)] for n in range(3)])
    path = f"{writer.hidden}/frames.pcapng.lz4"
    board.disk.write(path, board.disk.read(path) + b"\x50\x00\x00")

    assert (seconds(start, 0, 1, 2), ()) == looked(board, Query())


def test_newest_first() -> None:
    """Stretches from the last to the first, through all segments, the open one before the sealed ones."""
    board, start, _ = stored()
    begin_segment(board, [[frame(start + 48 * SECOND)], [frame(start + 49 * SECOND)]])
    stamps, _ = looked(board, Query(ports=(2, 5, 47001)), newest_first=True)

    assert seconds(start, 49, 48, 40, 41, 42, 43, 28, 29, 30, 31, 16, 17, 18, 19, 4, 5, 6, 7) == stamps


def test_share_grows_to_one() -> None:
    """How much of the store is behind a search is known at every step of it."""
    board, _, _ = stored(10)
    walk = Store(board.disk).walk(Query(ports=(3,)))
    shares = [walk.share for _ in walk]

    assert sorted(shares) == shares
    assert (0, 1) == (shares[0], walk.share)


def test_damages_are_bounded() -> None:
    """However damaged a store is, so many rows are kept; the last stands for all further ones."""
    damages = Damages()
    for number in range(1000):
        damages.add(Damage(f"s{number}", number, number, ALTERED if number % 2 else MISSING))

    assert DAMAGES_MAX == len(damages.all())
    assert Damage(MANY, DAMAGES_MAX - 1, 999, VARIOUS) == damages.all()[-1]
