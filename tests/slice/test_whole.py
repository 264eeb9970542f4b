"""The whole record of a quiet room: ordered stretch by stretch, and at the hub without a hole."""

from itertools import pairwise
from random import Random
from typing import Any

import pytest

from firmware.core.errors import BadSettings
from firmware.core.message import Priority
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.slice.station import ORDERS
from simulator.disk import PowerCut

EVERY_S = 600
Slicer = Any  # tests/slice/conftest.py


def stretches(slicer: Slicer) -> list[tuple[int, int]]:
    return [(request.query.since_utc_ns, request.query.until_utc_ns) for request in slicer.requests()]


def carried_out(slicer: Slicer) -> list[tuple[int, int]]:
    """What waits among the orders, as retrieval would take it: done and gone."""
    found = stretches(slicer)
    spool = Spool(slicer.board.disk, ORDERS)
    for name in spool.names():
        spool.settle_named(name)
    return found


def test_stretch_after_stretch(make_slicer):
    """From when it was switched on, each as long as the setting says, with the lowest priority; the next begins where the last ends. (S2-105)"""
    slicer = make_slicer(whole_every_s=EVERY_S)
    began, found = slicer.utc_ns, []
    for _ in range(3):
        slicer.run(EVERY_S + 15)
        assert {Priority.P4} == {request.priority for request in slicer.requests()}
        found += carried_out(slicer)

    assert began == found[0][0]
    assert [EVERY_S * SECOND] * 3 == [until - since for since, until in found]
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert [] == slicer.said()


def test_nothing_unless_it_is_wanted(slicer):
    """By default an event's frames leave, and nothing else does."""
    slicer.run(2 * EVERY_S)

    assert [] == slicer.orders()
    assert not slicer.board.disk.exists("slice/whole")


def test_on_a_slow_line_a_stretch_gets_longer(make_slicer):
    """While one is being sent no other is ordered; then all that has come together meanwhile. (S2-105)"""
    slicer = make_slicer(whole_every_s=EVERY_S)
    slicer.run(4 * EVERY_S)
    assert 1 == len(slicer.orders())
    first = carried_out(slicer)[0]
    slicer.run(15)

    assert [(first[1], first[1] + 3 * EVERY_S * SECOND)] == stretches(slicer)


def test_a_box_that_was_off_asks_day_by_day(make_slicer):
    """Three days and a half: what one order may ask for at the most, again and again, until it is up to date. (S2-105)"""
    slicer = make_slicer(whole_every_s=EVERY_S)
    slicer.run(5)
    slicer.board.clock.advance(3 * 86_400 * SECOND + 43_200 * SECOND)
    slicer.boot()
    found = []
    for _ in range(6):
        slicer.run(15)
        found += carried_out(slicer)

    assert [86_400] * 3 == [(until - since) // SECOND for since, until in found[:3]]
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert slicer.utc_ns - found[-1][1] < (EVERY_S + 100) * SECOND


@pytest.mark.parametrize("hours", [-72, -1, 1])
def test_the_clock_is_set(make_slicer, hours):
    """Back: it begins anew, for what is recorded now has stamps that were ordered already. Forward: the stretch is longer. (S2-105)"""
    slicer = make_slicer(whole_every_s=EVERY_S)
    slicer.run(EVERY_S + 15)
    ((_, ended),) = carried_out(slicer)
    slicer.board.clock.step(hours * 3600 * SECOND)
    slicer.run(EVERY_S + 15)
    ((since, until),) = stretches(slicer)

    assert (since == ended) == (hours > 0)
    assert EVERY_S <= (until - since) // SECOND <= max(hours, 0) * 3600 + 2 * EVERY_S
    assert 0 <= slicer.utc_ns - until < 2 * EVERY_S * SECOND


def test_a_board_that_keeps_no_time(make_slicer):
    """Two years behind until somebody tells it the time, at its first start and at the next: what was recorded is ordered, under the wrong
    time and the right one, and not the years between, which would use up the orders of a day. (S2-105)"""
    slicer, two_years_ns = make_slicer(whole_every_s=EVERY_S), 2 * 365 * 86_400 * SECOND
    found, recorded = [], []

    def run(seconds):
        begun = slicer.utc_ns
        for _ in range(seconds // 20):
            slicer.run(20)
            found.extend(carried_out(slicer))
        recorded.append((begun, slicer.utc_ns))

    slicer.board.clock.step(-two_years_ns)
    run(100)
    slicer.board.clock.step(two_years_ns)
    run(3 * EVERY_S + 300)
    slicer.boot()
    slicer.board.clock.step(-two_years_ns)
    run(100)
    slicer.board.clock.step(two_years_ns)
    run(3 * EVERY_S)

    assert len(found) < 20
    for begin, end in recorded:
        covered = begin
        for since, until in sorted(found):
            covered = until if since <= covered < until else covered
        is_last = (begin, end) == recorded[-1]
        assert end - covered <= (EVERY_S * SECOND if is_last else 0)  # at the end what is not a whole stretch yet


def test_the_power_goes_before_any_operation(make_slicer):
    """What is ordered after it joins what was ordered before: no hole, and the same stretch only under the same name. (S2-105)"""
    doom, is_past = 0, False
    while not is_past:
        slicer = make_slicer(whole_every_s=EVERY_S)
        slicer.run(3)
        began = slicer.utc_ns - 3 * SECOND
        at = slicer.board.disk.operations + doom

        def before(count: int, what: str, path: str, at: int = at) -> None:
            if count >= at:
                raise PowerCut

        slicer.board.disk.before = before
        found: set[tuple[int, int]] = set()
        try:
            slicer.run(EVERY_S + 15)
            is_past = True
        except PowerCut:
            slicer.board.disk.before = None
            slicer.board.disk.power_cut(Random(doom))
            slicer.boot()
        slicer.board.disk.before = None
        for _ in range(4):
            found |= set(stretches(slicer))
            carried_out(slicer)
            slicer.run(EVERY_S)
        rows = sorted(found)
        assert abs(rows[0][0] - began) < EVERY_S * SECOND, doom
        assert all(before[1] == after[0] for before, after in pairwise(rows)), doom
        doom += 1
    assert doom > 5


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[" * 4000, b'{"since_utc_ns": "x"}', b'{"since_utc_ns": -5, "until_utc_ns": 1, "last": ""}', b"\xff"]
)
def test_a_file_that_makes_no_sense_is_none(make_slicer, data):
    """It begins from now, as on a new box."""
    slicer = make_slicer(whole_every_s=EVERY_S)
    slicer.board.disk.write("slice/whole", data)
    slicer.boot()
    began = slicer.utc_ns
    slicer.run(EVERY_S + 15)

    assert [(began, began + EVERY_S * SECOND)] == stretches(slicer)


def test_too_often_is_refused(make_slicer):
    """An order each minute would be more than all who ask may have in a day."""
    with pytest.raises(BadSettings, match="at least 300"):
        make_slicer(whole_every_s=60)
