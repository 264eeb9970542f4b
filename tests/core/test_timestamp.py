"""Moments in text: file names, people, and what a person types."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.timestamp import SECOND, Monotonic, Timestamp, compact, iso, parse_utc, parse_utc_us, span
from simulator.clock import SimulatedClock

NS = 1_795_342_500 * SECOND  # 2026-11-22T10:15:00Z


def test_the_same_moment_in_every_form() -> None:
    """One moment as a file name, as people read it, and back from each way of writing it."""
    assert "20261122T101500Z" == compact(NS)
    assert "2026-11-22T10:15:00.123Z" == iso(NS + 123_456_789)
    for text in ("2026-11-22T10:15", "2026-11-22T10:15:00Z", "2026-11-22 11:15:00+01:00", "1795342500", "1795342500.0"):
        assert parse_utc(text) == NS


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "25:00", "1.2.3", "-5", "９９９９", "1e9"])
def test_what_is_no_time_is_said(text: str) -> None:
    """Anything else is an error that shows what a time looks like; never another exception."""
    try:
        parse_utc(text)
    except ValueError as problem:
        assert "expected a time such as" in str(problem)


@pytest.mark.parametrize(
    ("text", "why"),
    [("20261122", "a date is written 2026-11-22"), ("1795342500000", "milliseconds thirteen"), ("1" * 19, "ten digits")],
)
def test_digits_that_are_seconds_of_a_moment_nobody_means(text: str, why: str) -> None:
    """A date without dashes would be a day of 1970, milliseconds a year behind 58000: an answer to that would be to another question."""
    with pytest.raises(ValueError, match=f"expected a time such as .*{text}.*{why}"):
        parse_utc(text)
    assert 20_261_122 * SECOND == parse_utc("20261122.0")
    assert NS == parse_utc("20261122T101500Z")
    assert 20_261_322 * SECOND == parse_utc("20261322")  # no date


def test_seconds_keep_their_nanoseconds() -> None:
    """A frame's own stamp can be typed as it is printed by other programs."""
    for text in ("1795342500.123456789", "2026-11-22T10:15:00.123456789Z", "2026-11-22 11:15:00,1234567891+01:00"):
        assert 1_795_342_500_123_456_789 == parse_utc(text)
    assert 1_795_342_500_123_456_700 == parse_utc("2026-11-22T10:15:00.1234567")
    # A message's identity follows from what it says of its time: that stays as it was read when it was heard.
    assert 1_795_342_500_123_456_000 == parse_utc_us("2026-11-22T10:15:00.123456789Z")


@given(st.integers(-(2**70), 2**70))
def test_no_stamp_prevents_a_name(utc_ns: int) -> None:
    """Any stamp a lying clock may give makes a file name of the usual form."""
    assert 16 == len(compact(utc_ns))
    assert iso(utc_ns).endswith("Z")


@given(st.integers(0, 250_000_000_000))
def test_names_sort_as_time_does(seconds: int) -> None:
    """Text order is time order."""
    assert compact(seconds * SECOND) < compact((seconds + 1) * SECOND)


def test_kinds_of_time_do_not_mix() -> None:
    """Monotonic moments compare and shift; a monotonic moment and a stamp do not compare (S2-014)."""
    now = SimulatedClock().now()

    assert 5 == now.monotonic.after(5).since(now.monotonic)
    with pytest.raises(TypeError):
        sorted([now.monotonic, now.timestamp])  # type: ignore[type-var]
    assert isinstance(now.monotonic, Monotonic) and isinstance(now.timestamp, Timestamp)
    assert 37 * SECOND == now.timestamp.tai_ns - now.utc_ns


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (40, "40 ns"), (9_000, "9 µs"), (12_500_000, "12.5 ms"), (600 * SECOND, "600 s"), (86_400 * SECOND, "86400 s"),
     (999_499, "999 µs"), (999_500, "1000 µs"), (-999_999_999, "-1000 ms"), (999_600 * SECOND // 1000, "1000 s")],
)  # fmt: skip
def test_spans_are_for_people(ns: int, text: str) -> None:
    """A length of time is written in the unit a person would choose."""
    assert text == span(ns)
