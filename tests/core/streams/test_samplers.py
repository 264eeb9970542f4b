"""Samplers: what stays, and the law of the stated error."""

import math
import sys
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core.streams.samplers import LONGEST_NS, Change, EveryNth, Rate, Tolerance
from firmware.core.timestamp import MS, SECOND

Judge = Any  # tests/core/streams/conftest.py
START = 1_790_000_000 * SECOND

_VALUES = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, 1e-300, -1e300, 27.875]), st.integers(-40_000, 40_000).map(float)
)
_GAPS = st.one_of(st.integers(1, 3 * MS), st.integers(1, 1500 * MS), st.just(MS))


@st.composite
def series(draw: st.DrawFn) -> list[tuple[int, tuple[float, ...]]]:
    """Walks, ramps, steps and noise of one to three values, at steady and unsteady moments."""
    width = draw(st.integers(1, 3))
    stamp, values = START, [draw(_VALUES) for _ in range(width)]
    rows = []
    for _ in range(draw(st.integers(1, 60))):
        stamp += draw(_GAPS)
        move = draw(st.sampled_from(["hold", "walk", "jump"]))
        if move == "walk":
            values = [value + draw(st.floats(-1, 1)) for value in values]
        elif move == "jump":
            values = [draw(_VALUES) for _ in values]
        rows.append((stamp, tuple(values)))
    return rows


@settings(max_examples=400, deadline=None)
@given(rows=series(), error=st.one_of(st.floats(0, 10), st.sampled_from([0.0, 1e-9, 0.1, 1e5])))
def test_a_line_is_never_further_than_the_stated_error(judge: Judge, rows: list[Any], error: float) -> None:
    """Whatever the signal: between two samples that stay, a straight line is within the error of all that went. (S2-101)"""
    kept_by, furthest = judge
    kept = kept_by(Change(Tolerance(plus=error)), rows)

    assert kept[0] == 0 and kept[-1] == len(rows) - 1
    assert all(furthest(rows, kept, number) <= error for number in range(len(rows[0][1])))


@settings(max_examples=300, deadline=None)
@given(rows=series(), share=st.floats(0, 0.5), plus=st.sampled_from([0.0, 0.01, 3.0]))
def test_the_error_may_be_a_share_of_the_range(judge: Judge, rows: list[Any], share: float, plus: float) -> None:
    """A share is of the range met so far, so never more than that share of the range of all of it. (S2-101)"""
    kept_by, furthest = judge
    kept = kept_by(Change(Tolerance(share, plus)), rows)

    for number in range(len(rows[0][1])):
        values = [row[1][number] for row in rows]
        assert furthest(rows, kept, number) <= share * (max(values) - min(values)) * (1 + 1e-12) + plus


@settings(max_examples=300, deadline=None)
@given(rows=series(), error=st.floats(0, 10), data=st.data())
def test_samples_that_stay_for_others_do_not_bend_the_line_too_far(
    judge: Judge, rows: list[Any], error: float, data: st.DataObject
) -> None:
    """A frame of several streams stays for the most eventful: for the others, too, the law holds over all that a reader sees."""
    _, furthest = judge
    sampler = Change(Tolerance(plus=error))
    kept: set[int] = set()
    for index, (stamp, values) in enumerate(rows):
        kept |= set(sampler.feed(index, stamp, values, shared=True).kept)
    kept |= set(sampler.settle().kept)
    others = data.draw(st.sets(st.integers(0, len(rows) - 1)))

    assert all(furthest(rows, sorted(kept | others), number) <= error for number in range(len(rows[0][1])))


@settings(max_examples=300, deadline=None)
@given(
    signs=st.lists(st.sampled_from([-1.0, -0.7, 0.0, 0.7, 1.0]), min_size=4, max_size=40),
    size=st.floats(0.3, 1.2),
    data=st.data(),
)
def test_noise_as_large_as_the_error_does_not_add_up(judge: Judge, signs: list[float], size: float, data: st.DataObject) -> None:
    """The worst there is: a corner that is off by all of the error to one side, beside a sample that is to the other."""
    _, furthest = judge
    rows = [(START + n * MS, (100 + size * sign,)) for n, sign in enumerate(signs)]
    sampler = Change(Tolerance(plus=1.0))
    kept: set[int] = set()
    for index, (stamp, values) in enumerate(rows):
        kept |= set(sampler.feed(index, stamp, values, shared=True).kept)
    kept |= set(sampler.settle().kept)
    others = data.draw(st.sets(st.integers(0, len(rows) - 1)))

    assert furthest(rows, sorted(kept | others), 0) <= 1


@settings(max_examples=200, deadline=None)
@given(rows=series(), error=st.floats(0, 10), data=st.data())
def test_samples_that_stay_anyway_end_a_line(judge: Judge, rows: list[Any], error: float, data: st.DataObject) -> None:
    """A frame that stays for what else is in it is a corner of the line, and the law holds on both sides."""
    _, furthest = judge
    forced = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    sampler = Change(Tolerance(plus=error))
    kept: set[int] = set()
    for index, (stamp, values) in enumerate(rows):
        kept |= set(sampler.feed(index, stamp, values, stays=index in forced).kept)
    kept |= set(sampler.settle().kept)

    assert forced <= kept
    assert all(furthest(rows, sorted(kept), number) <= error for number in range(len(rows[0][1])))


def test_a_step_keeps_its_edges(judge: Judge) -> None:
    """A sudden change stays at full fidelity: the last sample before it and the first after it. (S2-101)"""
    kept_by, _ = judge
    rows = [(START + n * MS, (0.0 if n < 400 else 7.0,)) for n in range(900)]

    assert [0, 399, 400, 899] == kept_by(Change(Tolerance(plus=0.01)), rows)


def test_smooth_is_few_and_sudden_is_all(judge: Judge) -> None:
    """Two seconds of a slow sine cost few samples, the shake in its middle stays sample by sample. (S2-101)"""
    kept_by, _ = judge
    rows = []
    for n in range(2000):
        shake = (-1) ** n * 5.0 if 1000 <= n < 1050 else 0.0
        rows.append((START + n * MS, (10 * math.sin(n / 300) + shake,)))
    kept = kept_by(Change(Tolerance(plus=0.1)), rows)

    assert set(range(999, 1051)) <= set(kept)
    assert 60 > len([index for index in kept if not 998 <= index <= 1052])


def test_what_stands_still_is_heard_once_a_second(judge: Judge) -> None:
    """A value that never changes says so each second, and no more often."""
    kept_by, _ = judge
    rows = [(START + n * MS, (3.5,)) for n in range(10_000)]
    kept = kept_by(Change(Tolerance()), rows)

    assert [*range(0, 10_000, LONGEST_NS // MS), 9_999] == kept


def test_what_no_line_joins_stays_on_both_sides(judge: Judge) -> None:
    """A clock set back, a value that is no number, another count of values: no line leads across."""
    kept_by, _ = judge
    hold = [(START + n * MS, (1.0,)) for n in range(20)]
    back = [(START - SECOND + n * MS, (1.0,)) for n in range(20)]
    odd = [(START + SECOND, (math.nan,)), (START + SECOND + MS, (math.inf,)), (START + SECOND + 2 * MS, (1.0, 2.0))]
    rows = hold + back + odd
    kept = kept_by(Change(Tolerance(plus=0.5)), rows)

    assert [0, 19, 20, 39, 40, 41, 42] == kept


@pytest.mark.parametrize("tolerance", [Tolerance(share=0.01), Tolerance(share=0.5, plus=1.0), Tolerance(plus=1.0)])
def test_a_range_beyond_all_numbers_is_no_leave_to_drop(judge: Judge, tolerance: Tolerance) -> None:
    """A limit said as the largest double, of either sign, is a value like others: the law holds beside it. (S2-101)"""
    kept_by, furthest = judge
    largest = sys.float_info.max
    values = [
        0.0,
        largest,
        -largest,
        largest,
        0.9 * largest,
        -largest,
        *([0.0] * 5),
        *(largest * math.sin(n) for n in range(100)),
    ]
    rows = [(START + n * MS, (value,)) for n, value in enumerate(values)]
    kept = kept_by(Change(tolerance), rows)

    assert furthest(rows, kept, 0) <= Fraction(tolerance.share) * (Fraction(largest) * 2) + Fraction(tolerance.plus)


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("tolerance", [Tolerance(), Tolerance(share=0.01), Tolerance(plus=0.1), Tolerance(plus=math.inf)])
def test_what_never_is_a_number_is_no_change(judge: Judge, nothing: float, tolerance: Tolerance) -> None:
    """An effort that nobody measures is said as not a number for ever: it costs no more than one that stands still. (S2-101)"""
    kept_by, _ = judge
    still = [(START + n * MS, (math.sin(n / 300), 3.5)) for n in range(3_000)]
    absent = [(stamp, (value, nothing)) for stamp, (value, _) in still]

    assert kept_by(Change(tolerance), still) == kept_by(Change(tolerance), absent)


@settings(max_examples=30, deadline=None)
@given(rows=series(), share=st.floats(0, 0.5), plus=st.sampled_from([0.0, 0.01, 3.0]), data=st.data())
def test_numbers_that_come_and_go_bend_no_line(
    judge: Judge, rows: list[Any], share: float, plus: float, data: st.DataObject
) -> None:
    """Where a value becomes a number, or ceases to be one, both sides stay; the law holds for the others, and for it while it is one."""
    kept_by, furthest = judge
    nothing = st.sampled_from([None, None, math.nan, math.inf, -math.inf])
    odd = [item for _ in range(len(rows)) for item in [data.draw(nothing)] * 5][: len(rows)]
    rows = [(at, (*values, values[0] if other is None else other)) for (at, values), other in zip(rows, odd, strict=True)]
    kept = kept_by(Change(Tolerance(share, plus)), rows)

    edges = [index for index in range(1, len(rows)) if repr(odd[index]) != repr(odd[index - 1])]
    assert {*edges, *(index - 1 for index in edges)} <= set(kept)
    for number in range(len(rows[0][1])):
        # In runs of numbers only: what is left out is what stays on both sides of it.
        known = [index for index in range(len(rows)) if math.isfinite(rows[index][1][number])]
        spans = [rows[index][1][number] for index in known]
        error = share * (max(spans) - min(spans)) * (1 + 1e-12) + plus if spans else 0.0
        numbers = [rows[index] for index in known]
        assert furthest(numbers, [place for place, index in enumerate(known) if index in set(kept)], number) <= error


def test_every_nth(judge: Judge) -> None:
    """Every other sample, counted from the first. (S2-098)"""
    kept_by, _ = judge
    rows = [(START + n, (float(n),)) for n in range(9)]

    assert [0, 2, 4, 6, 8] == kept_by(EveryNth(2), rows)


@settings(max_examples=200, deadline=None)
@given(
    rate_mhz=st.integers(1, 2_000_000),
    gaps=st.lists(st.integers(0, 50 * MS), min_size=1, max_size=200),
    begin=st.integers(0, 10 * SECOND),
)
def test_a_rate_is_never_exceeded(judge: Judge, rate_mhz: int, gaps: list[int], begin: int) -> None:
    """Over any span at most rate × span + 1 samples stay, whatever the moments; and the first in every slot does. (S2-099)"""
    kept_by, _ = judge
    stamp, rows = START + begin, []
    for gap in gaps:
        stamp += gap
        rows.append((stamp, (0.0,)))
    kept = kept_by(Rate(rate_mhz), rows)

    assert len(kept) <= (rows[-1][0] - rows[0][0]) * rate_mhz // (1000 * SECOND) + 2
    assert kept == kept_by(Rate(rate_mhz), rows)
    slots = {row[0] * rate_mhz // (1000 * SECOND) for row in rows}
    assert len(slots) == len(kept)


def test_a_thousand_a_second_become_sixty(judge: Judge) -> None:
    """Ten seconds at 1 kHz: 600 samples stay, none two slots apart. (S2-098, S2-099)"""
    kept_by, _ = judge
    kept = kept_by(Rate(60_000), [(START + n * MS, (0.0,)) for n in range(10_000)])

    assert 600 == len(kept)
    assert {16, 17} == {right - left for left, right in pairwise(kept)}


def test_answers_that_overlap_agree(judge: Judge) -> None:
    """Asked from another moment on, the same samples stay: slots are the clock's."""
    kept_by, _ = judge
    rows = [(START + n * MS, (0.0,)) for n in range(1000)]
    whole = {rows[index][0] for index in kept_by(Rate(20_000), rows)}
    later = {rows[333 + index][0] for index in kept_by(Rate(20_000), rows[333:])}

    assert later - {rows[333][0]} <= whole
