"""`scrubjay find`, `ls` and `show`: the store on this machine, without any upload."""

from drivers.clock import ClockState, Timestamp
from firmware.core import message, pcapng, release
from firmware.core.envelope import Command, Order, command_packed, order_packed
from firmware.core.errors import BadItem
from firmware.core.message import Message, Priority, Severity, Tag
from firmware.core.query import Query
from firmware.core.receipt import Receipt, sum_packed, summed
from firmware.core.release import Release
from firmware.core.shelf import as_json, lines, rows
from firmware.core.store import Store
from firmware.core.timestamp import SECOND
from firmware.retrieval.find import find
from firmware.retrieval.listing import MASK, shown
from firmware.retrieval.sums import sum_up
from simulator.board import SimulatedBoard
from simulator.written_store import begin_segment, frame, write_segment

NOW = Timestamp(1_795_342_537_000_000_000, 50_000, "ptp", ClockState.LOCKED)


def _store() -> SimulatedBoard:
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    write_segment(board, [[frame(start + n * SECOND, port=47001 + n % 2) for n in range(10)]])
    board.clock.advance(10 * SECOND)
    begin_segment(board, [[frame(start + 10 * SECOND)]])
    return board


def test_find_writes_a_section_with_the_frames_that_match() -> None:
    """Local access to selected frames, the open segment included; what is written opens as pcapng (S2-108)."""
    board = _store()
    written: list[bytes] = []
    summary = find(board.disk, Query(ports=(47001,)), clock=board.clock, sink=written.append, progress=lambda line: None)

    packets = list(pcapng.packets(b"".join(written)))
    assert 6 == len(packets) == summary.frame_count
    assert sum(map(len, written)) == summary.size
    assert 2 == len(summary.segments)
    assert (packets[0].stamp_ns, packets[-1].stamp_ns) == (summary.first_utc_ns, summary.last_utc_ns)


def test_find_without_a_match_says_so() -> None:
    """Nothing found is an empty section and a plain sentence."""
    written: list[bytes] = []
    board = _store()
    summary = find(board.disk, Query(ports=(9,)), clock=board.clock, sink=written.append, progress=lambda line: None)

    assert [] == list(pcapng.packets(b"".join(written)))
    assert ["no frames match"] == summary.lines()


def test_find_writes_while_it_searches() -> None:
    """The first frames are out before the second segment is opened; a section that ends anywhere between two hits is whole. (S2-108)"""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    names = [write_segment(board, [[frame(start + n * SECOND)]]).name for n in range(3)]
    written = bytearray()
    seen: list[tuple[str, int]] = []
    read = board.disk.read

    def noted(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        seen.append((path, len(list(pcapng.packets(written)))))
        return read(path, offset=offset, size=size)

    board.disk.read = noted  # type: ignore[method-assign]
    find(board.disk, Query(), clock=board.clock, sink=written.extend, progress=lambda line: None)

    assert [0, 1, 2] == [next(count for path, count in seen if f"/{name}/" in path) for name in names]


def test_stopped_find_says_how_far_it_got() -> None:
    """What was written until then is a whole section, and the rest is said to be unsearched. (S2-108)"""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    for number in range(10):
        write_segment(board, [[frame(start + number * SECOND)]])
    written = bytearray()
    found = find(
        board.disk, Query(), clock=board.clock, sink=written.extend, progress=lambda line: None,
        is_stopped=lambda: len(list(pcapng.packets(written))) >= 4,
    )  # fmt: skip

    assert 4 == found.frame_count == len(list(pcapng.packets(written)))
    assert 0.3 <= found.share <= 0.5
    assert any(line.startswith("stopped after") for line in found.lines())


def test_progress_says_how_much_and_how_long() -> None:
    """A line a second: the part of the store that is behind, and how long the rest will take."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    for number in range(100):
        write_segment(board, [[frame(start + number * SECOND)]])
    lines: list[str] = []
    find(board.disk, Query(), clock=board.clock, sink=lambda data: board.clock.advance(SECOND // 10), progress=lines.append)

    assert 4 <= len(lines) <= 10
    assert all("% of the store" in line and "to go" in line for line in lines)


def test_find_names_what_it_could_not_read() -> None:
    """A damaged stretch is said on its own line and in JSON, with its time and its cause. (S2-108)"""
    board = _store()
    name = next(name for name in board.disk.list("segments") if not name.startswith("."))
    path = f"segments/{name}/frames.pcapng.lz4"
    data = bytearray(board.disk.read(path))
    data[len(data) // 2] ^= 1
    board.disk.write(path, data)
    found = find(board.disk, Query(), clock=board.clock, sink=lambda data: None, progress=lambda line: None)

    assert (1, 1) == (found.frame_count, len(found.damaged))
    assert [
        f"NOT READ: {name}, 2026-11-22T10:15:00.000Z to 2026-11-22T10:15:09.000Z: altered, as its checksum says"
    ] == found.lines()[-1:]
    assert [{"segment": name, "cause": found.damaged[0].cause}] == [
        {key: row[key] for key in ("segment", "cause")}
        for row in found.as_json()["damaged"]  # type: ignore[attr-defined]
    ]


def test_listing_shows_sealed_open_and_damaged_segments() -> None:
    """Each segment is a row, also the one being written and one whose seal cannot be read."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    write_segment(board, [[frame(start + n) for n in range(10)]])
    damaged = write_segment(board, [[frame(start)]]).name
    board.disk.write(f"segments/{damaged}/seal", b"\x00")
    begin_segment(board, [[frame(start)]])
    table = rows(board.disk)

    assert [(10, False, True), (0, False, False), (1, True, True)] == [
        (row.frames, row.is_open, row.readable) for row in sorted(table, key=lambda row: row.is_open)
    ]
    assert any("UNREADABLE" in line for line in lines(table))
    assert 3 == len(as_json(table))


def test_show_tells_what_each_file_is() -> None:
    """Seal, index, order, command, release item and section each say what they are."""
    board = _store()
    name = next(name for name in board.disk.list("segments") if not name.startswith("."))
    order = Order(bytes(16), "hub-1", "box-1", "retrieval", 1, NOW.tai_ns, NOW.tai_ns, {"hosts": "10.0.0.1"})
    section = pcapng.section_header() + pcapng.interface("x") + pcapng.enhanced_packet(5, b"abcd", 4)
    evidence = release.packed(Release("evidence", Priority.P2, 5, 5, section, bytes(16), {"part": 0}))

    assert f"seal of segment {name}, box box-1, interface mirror" == shown(board.disk.read(f"segments/{name}/seal"))[0]
    assert shown(board.disk.read(f"segments/{name}/index"))[0].startswith("index of the segment with sequence 1")
    assert "  hosts: 10.0.0.1" in shown(order_packed(order))
    assert shown(command_packed(Command(order_packed(order), bytes(64))))[0].startswith("signed command")
    assert "pcapng section: 1 frames, 4 bytes on the wire, 1970-01-01T00:00:00.000Z to 1970-01-01T00:00:00.000Z" in shown(
        evidence
    )


def test_show_masks_what_is_sensitive() -> None:
    """Tagged spans, sensitive fields and markers are masked, control characters do not reach the terminal."""
    row = Message(
        "arm", "main", "published", Priority.P1, Severity.ERROR, NOW, NOW,
        text="arm stopped for #phi Jane Doe #end at Secret\x1b[2J", fields={"patient_name": "Jane Doe", "force": 12},
        tags=(Tag("text", 38, 44, "field"),),
    )  # fmt: skip
    lines = "\n".join(shown(message.packed([row])))

    assert "Jane" not in lines and "Secret" not in lines and "\x1b" not in lines
    assert f"patient_name={MASK}" in lines
    assert "force=12" in lines and "arm stopped for" in lines


def test_show_says_when_it_is_none_of_ours() -> None:
    """A foreign file is an error that says what was expected."""
    for foreign in (b"", b"hello", b"\x0a\x0d\x0d\x0a", bytes(100)):
        try:
            shown(foreign)
        except BadItem as problem:
            assert "expected a seal" in str(problem)
        else:
            raise AssertionError("expected BadItem")


def test_show_tells_a_sum_of_receipts_and_a_summary_for_what_they_are() -> None:
    """The one was none of our formats, the other the index of a segment 0 of 1970."""
    board = _store()
    names = Store(board.disk).names()
    row = Receipt(names[0], 1, bytes(32), "room", NOW, None)
    total = summed(None, [row], number=1, digest=bytes(32), made=NOW)
    sum_up(board.disk, progress=lambda done, of: None)
    said = shown(sum_packed(total.signed(board.identity.sign(total.body()))))

    assert f"sum of the receipts up to number 1, for segments from {names[0]} to {names[0]}" == said[0]
    assert "causes    room 1" in said
    assert ["summary of segments, for find: 1 rows, 10 frames"] == shown(board.disk.read("summary/segments"))
