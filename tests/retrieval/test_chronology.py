"""`scrubjay find --order` on a store: messages out of frames, corrected by the certificates in the seals."""

import json

import pytest

from drivers.tap import HeardFrame
from firmware.core.certificate import DeviceOffset, Method, TimeQuality
from firmware.core.errors import BadItem
from firmware.core.query import Query
from firmware.core.segment_writer import Losses
from firmware.core.timestamp import MS, SECOND, ClockState
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings
from firmware.retrieval import chronology
from firmware.retrieval.chronology import order
from firmware.retrieval.sums import sum_up
from simulator.board import SimulatedBoard
from simulator.written_store import begin_segment, frame, write_segment

AHEAD, RIGHT = "10.77.0.21", "10.77.0.22"
RULES = rules_of(IntakeSettings())


def said(board: SimulatedBoard, text: str, *, source: str, sent_ms: int, ahead_ns: int = 0, late_ms: int = 1) -> HeardFrame:
    """A message sent at this many ms, stamped by a clock so far ahead, heard `late_ms` later."""
    start = board.clock.now().utc_ns
    body = json.dumps({"version": 1, "text": text, "time_utc_ns": start + sent_ms * MS + ahead_ns}).encode()
    return frame(start + (sent_ms + late_ms) * MS, source=source, payload=body, port=47002)


def sealed(board: SimulatedBoard, frames: list[HeardFrame], *, steps: int = 0, ahead_ns: int = 0) -> None:
    at = board.clock.now().timestamp.tai_ns
    rows = (DeviceOffset(AHEAD, Method.MONITORED, ahead_ns - 20_000, ahead_ns + 20_000, at), DeviceOffset(RIGHT, Method.MONITORED, -20_000, 20_000, at))  # fmt: skip
    writer = begin_segment(board, [frames])
    time = TimeQuality(50_000, ClockState.LOCKED, steps, 0, "", rows)
    writer.seal(board.identity, previous=None, losses=Losses({}), cause="time", now=board.clock.now(), time=time)


def test_by_corrected_time(board: SimulatedBoard) -> None:
    """A device 3 s ahead whose message also came 40 ms late: it is placed where it was sent, and that is certain. (S2-014, S2-015)"""
    frames = [
        said(board, "second", source=RIGHT, sent_ms=20),
        said(board, "first", source=AHEAD, sent_ms=5, ahead_ns=3 * SECOND, late_ms=40),
        said(board, "third", source=RIGHT, sent_ms=60),
    ]
    sealed(board, frames, ahead_ns=3 * SECOND)
    found = order(board.disk, Query(), None, rules=RULES, now=board.clock.now())

    assert ["first", "second", "third"] == [row.happened.message.text for row in found.rows]
    assert [0, 0, 0] == [row.swaps for row in found.rows]
    assert found.lines()[0].startswith("3 messages by corrected time; 0 marked")
    assert all(row["certified"] for row in found.as_json())


def test_of_a_large_store_only_what_may_answer_is_opened(board: SimulatedBoard) -> None:
    """With a summary, the segment that has the messages and the one before it, whose certificates count; not the seals of years."""
    for number in range(6):
        sealed(board, [said(board, f"segment {number}", source=AHEAD, sent_ms=1)])
        board.clock.advance(60 * SECOND)
    sum_up(board.disk, progress=lambda done, of: None)
    opened: set[str] = set()
    read = board.disk.read

    def watched(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        opened.update(part for part in path.split("/") if part[:1] == "2")
        return read(path, offset=offset, size=size)

    board.disk.read = watched  # type: ignore[method-assign]
    since = board.clock.now().utc_ns - 130 * SECOND
    found = order(board.disk, Query(since, since + 30 * SECOND), None, rules=RULES, now=board.clock.now())

    assert ["segment 4"] == [row.happened.message.text for row in found.rows]
    assert 2 == len(opened)


def test_a_box_that_was_stepped_certifies_nothing(board: SimulatedBoard) -> None:
    """Within a segment in which the box's own clock jumped, no offset means anything: arrival is all there is. (S2-015)"""
    sealed(board, [said(board, "a", source=AHEAD, sent_ms=1), said(board, "b", source=RIGHT, sent_ms=2)], steps=1)
    found = order(board.disk, Query(), None, rules=RULES, now=board.clock.now())

    assert [False, False] == [row["certified"] for row in found.as_json()]
    assert found.lines()[2].startswith("~")


def test_a_leap_second_certifies_nothing(board: SimulatedBoard) -> None:
    """From the segment before on there was a leap second: for a while a device that was told of it and one that was not are a second
    apart, so nothing of this segment is certain; of the next one it is again. (S2-014, S2-015)"""
    sealed(board, [said(board, "before", source=AHEAD, sent_ms=1)])
    for text in ("leap", "after"):
        board.clock.advance(300 * SECOND)
        if text == "leap":
            board.clock.leap()
        sealed(board, [said(board, text, source=AHEAD, sent_ms=1)])
    found = order(board.disk, Query(), None, rules=RULES, now=board.clock.now())

    assert {"before": True, "leap": False, "after": True} == {
        row.happened.message.text: entry["certified"] for row, entry in zip(found.rows, found.as_json(), strict=True)
    }


def test_while_it_is_being_recorded(board: SimulatedBoard) -> None:
    """The open segment has no seal yet: the clock station's account of now serves, and an old one does not."""
    begin_segment(board, [[said(board, "a", source=AHEAD, sent_ms=1)]])
    row = [AHEAD, "netsync", -20_000, 20_000, board.clock.now().timestamp.tai_ns]
    board.disk.mkdir("state")
    state = {"grandmaster": "", "offsets": [row], "monotonic_ns": board.clock.now().monotonic.ns}
    board.disk.write("state/clock", json.dumps(state).encode())
    found = order(board.disk, Query(), None, rules=RULES, now=board.clock.now())
    board.clock.advance(60 * SECOND)
    later = order(board.disk, Query(), None, rules=RULES, now=board.clock.now())

    assert [True] == [entry["certified"] for entry in found.as_json()]
    assert [False] == [entry["certified"] for entry in later.as_json()]


def test_a_seal_without_a_certificate(board: SimulatedBoard) -> None:
    """Segments of version 1 are put in order by arrival, and every doubt is marked."""
    write_segment(board, [[said(board, "a", source=AHEAD, sent_ms=1), said(board, "b", source=RIGHT, sent_ms=2)]])
    found = order(board.disk, Query(), None, rules=RULES, now=board.clock.now())

    assert ["a", "b"] == [row.happened.message.text for row in found.rows]
    assert [0, 1] == [row.swaps for row in found.rows]


def test_a_seal_the_disk_does_not_give_back(board: SimulatedBoard) -> None:
    """Its messages are shown, by arrival: one bad place was the end of the whole list."""
    sealed(board, [said(board, "a", source=AHEAD, sent_ms=1)])
    board.clock.advance(300 * SECOND)
    sealed(board, [said(board, "b", source=AHEAD, sent_ms=1)])
    board.disk.spoil(f"segments/{board.disk.list('segments')[0]}/seal")
    found = order(board.disk, Query(), None, rules=RULES, now=board.clock.now())

    assert [("a", False), ("b", True)] == [
        (row.happened.message.text, entry["certified"]) for row, entry in zip(found.rows, found.as_json(), strict=True)
    ]


def test_each_once(board: SimulatedBoard) -> None:
    """A mirror port carries a frame twice; a message is one."""
    row = said(board, "a", source=AHEAD, sent_ms=1)
    sealed(board, [row, HeardFrame(row.stamp_ns + 5, row.data, row.wire_bytes)])

    assert 1 == len(order(board.disk, Query(), None, rules=RULES, now=board.clock.now()).rows)


def test_no_name_is_shown(board: SimulatedBoard) -> None:
    """What identifies is masked on the screen and in JSON, as `show` masks it; an order needs no names."""
    sealed(board, [said(board, "joint stopped for #phi Jane Doe #end now", source=AHEAD, sent_ms=1)])
    found = order(board.disk, Query(), None, rules=RULES, now=board.clock.now())

    shown = "\n".join(found.lines()) + json.dumps(found.as_json())
    assert "Jane" not in shown and "joint stopped for" in shown


def test_too_many(board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than anybody can read is refused with what to do."""
    monkeypatch.setattr(chronology, "MESSAGES_MAX", 3)
    sealed(board, [said(board, str(n), source=AHEAD, sent_ms=n) for n in range(5)])
    with pytest.raises(BadItem, match="narrow"):
        order(board.disk, Query(), None, rules=RULES, now=board.clock.now())


@pytest.fixture
def board() -> SimulatedBoard:
    return SimulatedBoard()
