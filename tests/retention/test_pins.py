"""Pins: what a person holds is found again, with its reason, and only sealed segments of the interval are taken."""

from random import Random

import pytest

from firmware.core.errors import Missing
from firmware.core.timestamp import SECOND
from firmware.retention.pins import Pin, overlapping, pin, pins, still_open, unpin
from simulator.board import SimulatedBoard
from simulator.disk import SimulatedDisk
from simulator.written_store import begin_segment, frame, write_segment

FIRST, SECOND_ONE = "20261122T101500Z-000001", "20261122T102000Z-000002"
NS = 1_795_342_500 * SECOND


def test_a_pin_lasts_and_says_why():
    """A pin survives a power cut, names its reason and its time, and can be taken back. (S2-094)"""
    disk = SimulatedDisk()
    pin(disk, [FIRST, SECOND_ONE], reason="case 17, asked by the safety officer", now_utc_ns=NS)
    disk.power_cut(Random(1))
    unpin(disk, SECOND_ONE)

    assert [Pin(FIRST, "case 17, asked by the safety officer", "2026-11-22T10:15:00.000Z")] == pins(disk)


def test_two_pin_the_same_segment_at_the_same_time():
    """Wherever one stands when the other begins and ends, both are done, and a reason of theirs is there. (S2-094)"""
    for at in range(20):
        disk = SimulatedDisk()

        def meanwhile(count: int, _what: str, _path: str, *, disk: SimulatedDisk = disk, at: int = at) -> None:
            if count == at:
                disk.before = None
                pin(disk, [FIRST, SECOND_ONE], reason="case 18", now_utc_ns=NS, own=".18")

        disk.before = meanwhile
        pin(disk, [FIRST, SECOND_ONE], reason="case 17", now_utc_ns=NS, own=".17")

        assert [FIRST, SECOND_ONE] == [entry.segment for entry in pins(disk)] == disk.list("pins")
        assert {"case 17", "case 18"} >= {entry.reason for entry in pins(disk)}


def test_a_file_that_makes_no_sense_holds_all_the_same():
    """An empty or broken file in pins/ is a pin without a reason; other names are none."""
    disk = SimulatedDisk()
    disk.mkdir("pins")
    disk.write(f"pins/{FIRST}", b"\xff{")
    disk.write("pins/README", b"")
    pin(disk, [SECOND_ONE], reason="case 17", now_utc_ns=NS)
    disk.spoil(f"pins/{SECOND_ONE}")

    assert [Pin(FIRST, "", ""), Pin(SECOND_ONE, "", "")] == pins(disk)


@pytest.mark.parametrize("letter", ["x", "\N{BELL}", "\N{CJK UNIFIED IDEOGRAPH-624B}", "\N{SYRINGE}"])
def test_the_longest_reason_is_read_again(letter):
    """However many bytes its letters take in the file. (S2-094)"""
    disk = SimulatedDisk()
    pin(disk, [FIRST], reason=letter * 1000, now_utc_ns=NS)

    assert [Pin(FIRST, letter * 1000, "2026-11-22T10:15:00.000Z")] == pins(disk)


@pytest.mark.parametrize("reason", ["", "x" * 1001])
def test_a_reason_is_wanted(reason):
    """Nobody holds evidence without saying why."""
    with pytest.raises(ValueError, match="reason"):
        pin(SimulatedDisk(), [FIRST], reason=reason, now_utc_ns=NS)


def test_what_is_not_held_cannot_be_let_go():
    """Letting go of what is not held, or of what is no segment, is an error that says so."""
    for name in (FIRST, "../identity"):
        with pytest.raises(Missing):
            unpin(SimulatedDisk(), name)


def test_segments_of_an_interval():
    """Exactly the sealed segments with frames in the interval, both ends included. (S2-095)"""
    board = SimulatedBoard()
    board.disk.mkdir("segments")
    seals = [write_segment(board, [[frame(NS + second * SECOND)]]) for second in (0, 10, 20)]

    assert [seals[1].name] == overlapping(board.disk, since_utc_ns=NS + SECOND, until_utc_ns=NS + 10 * SECOND)
    assert [] == overlapping(board.disk, since_utc_ns=NS + 11 * SECOND, until_utc_ns=NS + 19 * SECOND)


def test_what_is_still_open_is_known():
    """A segment being recorded cannot be held yet; that an interval reaches into it can be said. (S2-095)"""
    board = SimulatedBoard()
    write_segment(board, [[frame(NS)]])
    opened = begin_segment(board, [[frame(NS + 300 * SECOND)]]).name

    assert [opened] == still_open(board.disk, until_utc_ns=NS + 400 * SECOND)
    assert [] == still_open(board.disk, until_utc_ns=NS + 200 * SECOND)
