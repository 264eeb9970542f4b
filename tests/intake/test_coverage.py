"""What intake owes: nothing it heard and wrote, everything else, whatever was done to the clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from firmware.core.errors import BadItem
from firmware.core.missed import Missed
from firmware.core.timestamp import SECOND
from firmware.intake.coverage import AROUND_NS, DEBTS_MAX, HANDED_OVER_NS, Coverage, Mark, packed, silence, unpacked

UTC = 1_795_342_500 * SECOND


def at(utc_s: float, monotonic_s: float) -> Now:
    """A moment, s after some other."""
    return Now(Monotonic(int(monotonic_s * SECOND)), Timestamp(UTC + int((utc_s + 37) * SECOND), 1, "ptp", ClockState.LOCKED))


@given(st.integers(0, 3600), st.integers(-7200, 7200), st.integers(0, 3600))
def test_no_frame_of_the_silence_is_outside(before_s: int, step_s: int, after_s: int) -> None:
    """Frames are stamped by a clock that is set once during the silence, forward or back: all lie in what is owed. (S2-034)"""
    mark = Mark(UTC, Monotonic(5 * SECOND))
    now = at(before_s + step_s + after_s, 5 + before_s + after_s)
    begin, end = silence(mark, now)

    for stamp_s in (0, before_s, before_s + step_s, before_s + step_s + after_s):
        assert begin <= UTC + stamp_s * SECOND <= end


@pytest.mark.parametrize("clock_s", [600, -3_000_000])
def test_after_a_restart_of_the_machine(clock_s: int) -> None:
    """The monotonic clock began anew; a clock that was never set does not hide what was recorded before the power went."""
    begin, end = silence(Mark(UTC, Monotonic(5_000 * SECOND)), at(clock_s, 20))

    assert begin <= min(UTC, UTC + (clock_s - 20) * SECOND)
    assert end >= (UTC + 600 * SECOND)


@pytest.mark.parametrize("ahead_s", [10, 1800])
def test_a_clock_set_back_while_the_machine_started(ahead_s: int) -> None:
    """Frames stamped before it was, by a clock that ran ahead while the power was off, are owed, too. (S2-034)"""
    _, end = silence(Mark(UTC, Monotonic(5_000 * SECOND)), at(60, 20))

    assert end >= UTC + (60 + ahead_s) * SECOND


@pytest.mark.parametrize(("monotonic_s", "is_owed"), [(20, True), (5_060, False)])
def test_a_clock_that_began_in_1970(monotonic_s: int, is_owed: bool) -> None:
    """A board without a battery stamps the first seconds after its start so; systemd sets its clock before intake runs. (S2-034)"""
    coverage = Coverage(Mark(UTC, Monotonic(5_000 * SECOND)))
    coverage.owe_since_mark("start", at(60, monotonic_s))

    assert is_owed == any(debt.from_utc_ns == 0 and debt.until_utc_ns >= 60 * SECOND for debt in coverage.debts)


def test_at_the_first_start_an_hour_is_owed() -> None:
    """Capture may have begun before intake ever kept a mark."""
    coverage = Coverage(None)
    coverage.owe_since_mark("start", at(0, 1))
    (debt,) = coverage.debts

    assert debt.from_utc_ns <= UTC - 3600 * SECOND < UTC <= debt.until_utc_ns


def test_the_mark_stays_behind_what_waits_and_what_is_owed() -> None:
    """It moves with time when all is written, and stops at the earliest message that is not."""
    coverage = Coverage(None)

    assert UTC - HANDED_OVER_NS == coverage.advance(at(0, 1), pending_utc_ns=None).utc_ns
    assert UTC + SECOND - 1 == coverage.advance(at(9, 10), pending_utc_ns=UTC + SECOND).utc_ns
    coverage.owe(UTC - 5 * SECOND, UTC, "disk_full")
    (debt,) = coverage.debts
    assert debt.from_utc_ns - 1 == coverage.advance(at(20, 21), pending_utc_ns=None).utc_ns
    coverage.paid(debt)
    assert UTC + 20 * SECOND - HANDED_OVER_NS == coverage.advance(at(20, 21), pending_utc_ns=None).utc_ns


def test_debts_that_touch_are_one_and_their_number_is_bounded() -> None:
    """A disk full for an hour is one search; a hundred short losses are sixteen at most, and nothing of them is left out."""
    coverage = Coverage(None)
    for second in range(100):
        coverage.owe(UTC + second * SECOND, UTC + second * SECOND, "disk_full")
    assert (Missed(UTC - AROUND_NS, UTC + 99 * SECOND + AROUND_NS, "disk_full"),) == coverage.debts
    for number in range(100):
        coverage.owe(UTC + number * 1_000 * SECOND, UTC + number * 1_000 * SECOND, "ring_full")

    assert DEBTS_MAX == len(coverage.debts)
    for number in range(100):
        stamp = UTC + number * 1_000 * SECOND
        assert any(debt.from_utc_ns <= stamp <= debt.until_utc_ns for debt in coverage.debts)


@given(st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 63) - 1))
def test_the_mark_is_read_back(utc_ns: int, monotonic_ns: int) -> None:
    """As it was kept."""
    assert Mark(utc_ns, Monotonic(monotonic_ns)) == unpacked(packed(Mark(utc_ns, Monotonic(monotonic_ns))))


@given(st.binary(max_size=40))
def test_a_damaged_mark_is_refused(data: bytes) -> None:
    """Any bytes: a mark or BadItem."""
    try:
        unpacked(data)
    except BadItem:
        pass
