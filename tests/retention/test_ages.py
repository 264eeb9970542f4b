"""Ages when clocks cannot be believed."""

from dataclasses import replace

from drivers.clock import ClockState, Now, Timestamp
from firmware.core.timestamp import SECOND
from firmware.retention.ages import Believer
from simulator.clock import SimulatedClock

HOUR = 3600 * SECOND


def _believer() -> Believer:
    return Believer(step_ns=60 * SECOND, doubt_ns=24 * HOUR)


def test_steady_clock_is_believed_less_its_uncertainty() -> None:
    """The time that is certain to have come, not the time that may have."""
    clock = SimulatedClock()
    clock.uncertainty_ns = 5 * SECOND
    believer = _believer()

    assert clock.now().timestamp.tai_ns - 5 * SECOND == believer.tai_ns(clock.now())


def test_small_correction_is_believed_and_a_step_is_not() -> None:
    """A minute is corrected in passing; a second more puts the clock in doubt, forward and backward."""
    for sign in (1, -1):
        clock, believer = SimulatedClock(), _believer()
        believer.tai_ns(clock.now())
        clock.step(sign * 60 * SECOND)
        assert believer.tai_ns(clock.now()) is not None
        clock.step(sign * 61 * SECOND)
        assert believer.tai_ns(clock.now()) is None
        clock.advance(24 * HOUR - 1)
        assert believer.tai_ns(clock.now()) is None
        clock.advance(1)

        assert believer.tai_ns(clock.now()) is not None


def test_every_further_step_begins_the_doubt_anew() -> None:
    """A clock that steps each hour is never believed."""
    clock, believer = SimulatedClock(), _believer()
    believer.tai_ns(clock.now())
    for _ in range(48):
        clock.advance(HOUR)
        clock.step(HOUR)
        assert believer.tai_ns(clock.now()) is None


def test_free_clock_is_believed_after_a_day_or_once_it_has_a_source() -> None:
    """A boot without a source is doubted; finding one without a jump settles it, finding one with a jump does not."""
    for jump_ns, believed in ((0, True), (1000 * HOUR, False)):
        clock, believer = SimulatedClock(), _believer()
        clock.state = ClockState.FREE
        assert believer.tai_ns(clock.now()) is None
        clock.state = ClockState.LOCKED
        clock.step(jump_ns)

        assert believed is (believer.tai_ns(clock.now()) is not None)


def test_holdover_is_still_a_clock() -> None:
    """A clock that lost its source keeps its word, with growing uncertainty."""
    now = SimulatedClock().now()
    held: Now = replace(now, timestamp=Timestamp(now.timestamp.tai_ns, 0, "ptp", ClockState.HOLDOVER))

    assert now.timestamp.tai_ns == _believer().tai_ns(held)
