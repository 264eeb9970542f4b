"""What is said not to be held."""

import pytest

from firmware.core.recovery import recover
from firmware.core.seal import Gap
from firmware.core.shelf import rows
from firmware.core.timestamp import SECOND
from firmware.retrieval.coverage import HOLES_SAID_MAX, Held, Hole, held_by, not_held, sentence
from simulator.board import SimulatedBoard
from simulator.written_store import begin_segment, end_segment, frame, write_segment

S = SECOND


def test_segments_that_follow_each_other_leave_no_hole() -> None:
    """Silence between two segments of one recording is silence, not a hole."""
    held = [Held(1, 0, 60 * S, True), Held(2, 90 * S, 120 * S, True)]

    assert [] == not_held(held, {}, from_ns=0, until_ns=120 * S)


def test_a_stop_leaves_a_hole() -> None:
    """Between a stop and the next start nobody listened."""
    held = [Held(1, 0, 60 * S, False), Held(2, 90 * S, 120 * S, True)]

    assert [Hole(60 * S, 90 * S, "not recorded")] == not_held(held, {}, from_ns=0, until_ns=120 * S)


@pytest.mark.parametrize(("cause", "silent_s"), [("handover", 60), ("stop", 60), ("interrupted", 0), ("disk_failed", 0)])
def test_silence_before_an_orderly_end_was_heard(cause: str, silent_s: int) -> None:
    """Whoever stops, or hands over to another version of himself, has listened until then, whenever the last frame came; a segment that
    was found at the next start says nothing of what came after it."""
    board = SimulatedBoard()
    board.disk.mkdir("segments")
    at_ns = board.clock.now().utc_ns
    begun = begin_segment(board, [[frame(at_ns)]])
    board.clock.advance(60 * S)
    made = end_segment(board, begun, cause=cause)

    assert (at_ns, at_ns + silent_s * S) == (held_by(made).from_ns, held_by(made).until_ns)


@pytest.mark.parametrize("from_s", [0, 70])
def test_after_an_orderly_stop_the_hole_says_so(from_s: int) -> None:
    """Also where the interval begins after it: that nobody recorded for forty minutes has its reason in the seal before."""
    held = [Held(1, 0, 60 * S, False, is_stopped=True), Held(2, 90 * S, 120 * S, True)]
    begin = max(60, from_s) * S

    assert [Hole(begin, 90 * S, "not recorded (stopped)")] == not_held(held, {}, from_ns=from_s * S, until_ns=120 * S)
    assert [Hole(begin, 80 * S, "not recorded (stopped)")] == not_held(held, {}, from_ns=from_s * S, until_ns=80 * S)


def test_an_interruption_is_one_hole() -> None:
    """The seal made at the next start says since when and why; the same time is not said once more, as never recorded."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    begin_segment(board, [[frame(start)]]).close()
    board.clock.advance(40 * S)
    recover(board.disk, "segments", "receipts", identity=board.identity, now=board.clock.now())
    later = write_segment(board, [[frame(start + 50 * S)]])
    held = [held_by(made) for made in (row.seal for row in rows(board.disk)) if made is not None]

    assert 2 == len(held) and later.sequence == 2
    assert [Hole(start, start + 40 * S, "interrupted")] == not_held(held, {}, from_ns=start, until_ns=start + 40 * S)


def test_before_after_and_nothing_at_all() -> None:
    """An interval beyond what was ever recorded is a hole on both sides; an empty store is one hole."""
    held = [Held(1, 100 * S, 200 * S, True)]

    assert [Hole(0, 100 * S, "not recorded"), Hole(200 * S, 300 * S, "not recorded")] == not_held(
        held, {}, from_ns=0, until_ns=300 * S
    )
    assert [Hole(0, 300 * S, "not recorded")] == not_held([], {}, from_ns=0, until_ns=300 * S)


def test_deleted_is_told_from_never_recorded() -> None:
    """Where there is a receipt there was a segment."""
    held = [Held(3, 200 * S, 300 * S, True)]

    assert [Hole(0, 200 * S, "deleted")] == not_held(held, {1: 0, 2: 100 * S}, from_ns=0, until_ns=300 * S)


def test_gaps_in_seals_are_said_within_the_interval() -> None:
    """What the recorder itself says it lost is repeated, cut to what was asked for."""
    held = [Held(1, 0, 300 * S, True, (Gap("ring_full", 50 * S, 150 * S, 7), Gap("ring_full", 250 * S, 260 * S, 1)))]

    assert [Hole(100 * S, 150 * S, "ring_full")] == not_held(held, {}, from_ns=100 * S, until_ns=200 * S)


def test_sentence_is_bounded() -> None:
    """A thousand holes are sixteen and a number."""
    holes = [Hole(n * S, n * S + 1, "not recorded") for n in range(1000)]

    assert sentence(holes).endswith(f"and {1000 - HOLES_SAID_MAX} more")
    assert "" == sentence([])


def test_what_only_a_sum_of_receipts_tells_of_is_deleted() -> None:
    """From the earliest to the latest it accounts for; before that nothing was recorded. (S2-107)"""
    summed = {-2: 100 * S, -1: 900 * S}

    assert [Hole(200 * S, 300 * S, "deleted")] == not_held([], summed, from_ns=200 * S, until_ns=300 * S)
    assert [Hole(0, 50 * S, "not recorded")] == not_held([], summed, from_ns=0, until_ns=50 * S)
