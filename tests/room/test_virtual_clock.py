"""A virtual clock: exact, and the truth about it is known afterwards; and the servo that steers it."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.ptp.servo import Servo
from simulator.ptp.virtual_clock import PPM, Stretch, Truth, VirtualClock, line, truth

START_NS = 1_795_342_500_000_000_000
SECOND = 1_000_000_000


def test_drifts_and_is_set() -> None:
    """40 ppm fast is 40 µs in a second; a step moves it once; a correction of −40 ppm holds it."""
    clock = VirtualClock(true_ns=START_NS, offset_ns=5_000_000, drift=40 * PPM)
    errors = [clock.error_ns(START_NS), clock.error_ns(START_NS + SECOND)]
    clock.adjust(START_NS + SECOND, -40 * PPM)
    clock.step(START_NS + 2 * SECOND, -5_040_000)
    errors += [clock.error_ns(START_NS + 2 * SECOND), clock.error_ns(START_NS + 100 * SECOND)]

    assert [5_000_000, 5_040_000, 0, 0] == errors


def test_a_stamp_is_read_by_the_clock_of_its_moment() -> None:
    """A frame that arrived before the clock was set, and is looked at after it, has the time of before."""
    clock = VirtualClock(true_ns=START_NS)
    clock.step(START_NS + SECOND, 3600 * SECOND)

    assert [0, 3600 * SECOND] == [clock.error_ns(START_NS + SECOND - 1), clock.error_ns(START_NS + SECOND)]


@given(
    st.lists(
        st.tuples(st.integers(1, 10**10), st.sampled_from(("adjust", "step", "drift")), st.floats(-5e-4, 5e-4)),
        max_size=12,
    )
)
def test_truth_file_tells_what_the_clock_showed(changes: list[tuple[int, str, float]]) -> None:
    """Read back from its file, to the nanosecond, at any moment of its life, and its bounds hold between any two."""
    rows: list[Stretch] = []
    clock, now, seen = VirtualClock(true_ns=START_NS, offset_ns=-7, changed=rows.append), START_NS, {}
    for wait_ns, what, value in changes:
        seen |= {moment: clock.error_ns(moment) for moment in (now, now + wait_ns // 2, now + wait_ns - 1)}
        now += wait_ns
        if what == "adjust":
            clock.adjust(now, value)
        elif what == "drift":
            clock.drift_by(now, value)
        else:
            clock.step(now, round(value * 1e12))
    seen[now + 1] = clock.error_ns(now + 1)
    text = "".join(line(row) for row in rows)
    known = truth(text + "[1795342500000000000, 17953")  # and a line that is just being written
    least, most = known.bounds(START_NS, now + 1)

    assert seen == {moment: known.error_ns(moment) for moment in seen}
    assert all(least <= error <= most for error in seen.values())


def test_bounds_include_the_peak_between() -> None:
    """A clock that ran 100 µs ahead and came back was 100 µs ahead, though it was right at both ends."""
    known = Truth([Stretch(0, 0, 100 * PPM), Stretch(SECOND, SECOND + 100_000, -100 * PPM)])

    assert (0, 100_000) == known.bounds(0, 2 * SECOND)
    assert (0, 0) == (known.error_ns(0), known.error_ns(2 * SECOND))


@pytest.mark.parametrize("drift_ppm", [-80.0, 0.0, 40.0])
def test_servo_settles(drift_ppm: float) -> None:
    """Within 20 s of eight Syncs a second, stamped with the noise of software stamps, it is within 20 µs and has learnt the drift."""
    random = Random(7)
    clock = VirtualClock(true_ns=START_NS, offset_ns=250_000_000, drift=drift_ppm * PPM)
    servo, now, errors = Servo(), START_NS, []
    for _ in range(480):
        now += SECOND // 8
        measured = clock.error_ns(now) + round(random.gauss(0, 5_000))
        correction = servo.sample(measured, clock.reads(now))
        if correction is not None:
            clock.adjust(now, correction.gain)
            if correction.step_ns:
                clock.step(now, correction.step_ns)
        errors.append(abs(clock.error_ns(now)))

    assert max(errors[160:]) < 20_000
    assert clock.correction / PPM == pytest.approx(-drift_ppm, abs=5)


def test_servo_steps_when_slewing_would_take_minutes() -> None:
    """A master that jumps by 7 ms is followed by a jump after two more offsets, not by a slew of 14 s at the most there is."""
    servo = Servo()
    corrections = [servo.sample(offset, at * SECOND) for offset, at in ((0, 1), (0, 3), (7_000_000, 4), (7_000_000, 6))]

    assert [0, 0, 0, -7_000_000] == [0 if found is None else found.step_ns for found in corrections]
