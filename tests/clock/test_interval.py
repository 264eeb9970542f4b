"""Intervals intersected: laws, and the edges where drift, a learnt rate and a jump meet."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import Monotonic
from firmware.clock.interval import WINDOW_NS, Interval, OffsetTrack
from firmware.core.timestamp import MS, SECOND


def probe(truth_ns: float, at_ns: int, random: Random) -> Interval:
    """As a probe bounds it: the truth, and what queues add on either side."""
    return Interval(
        int(truth_ns) - random.randrange(5_000, 60_000), int(truth_ns) + random.randrange(5_000, 60_000), Monotonic(at_ns)
    )


@given(st.integers(0, 2**32), st.floats(-90, 90), st.integers(-(10**12), 10**12), st.integers(50, 5_000))
def test_the_truth_is_inside(seed: int, drift_ppm: float, start_ns: int, every_ms: int) -> None:
    """For any crystal up to 90 ppm, however often it is measured, between measurements as well. (S2-012)"""
    random, track = Random(seed), OffsetTrack()

    def truth(at_ns: int) -> float:
        return start_ns + at_ns * drift_ppm / 1e6

    for number in range(60):
        at_ns = number * every_ms * MS
        assert 0 == track.measure(probe(truth(at_ns), at_ns, random))
        later_ns = at_ns + random.randrange(every_ms * MS)
        found = track.at(Monotonic(later_ns))
        assert found is not None and found.low_ns <= truth(later_ns) <= found.high_ns


def test_many_are_better_than_one() -> None:
    """Bursts of three every half a second and a steady crystal: little more than half as wide as single probes are. (S2-011)"""
    random, track = Random(3), OffsetTrack()
    single, joint = 0, 0
    for number in range(300):
        seen = probe(0, number // 3 * 500 * MS + number % 3 * 20 * MS, random)
        track.measure(seen)
        found = track.at(seen.at)
        assert found is not None
        single, joint = single + seen.width_ns, joint + found.width_ns

    assert joint < 0.7 * single


@pytest.mark.parametrize(("jump_ns", "reported"), [(40_000, False), (300_000, True), (-300_000, True)])
def test_a_jump_is_known_when_nothing_else_explains_it(jump_ns: int, reported: bool) -> None:
    """Beyond what 100 ppm and the width allow it is a jump, and at least so large; within, nobody can know."""
    track = OffsetTrack()
    for number in range(10):
        track.measure(Interval(-20_000, 20_000, Monotonic(number * 500 * MS)))
    found = track.measure(Interval(jump_ns - 20_000, jump_ns + 20_000, Monotonic(5 * SECOND)))

    assert reported == (found != 0)
    if reported:
        assert abs(jump_ns) - 150_000 < abs(found) <= abs(jump_ns) and (found > 0) == (jump_ns > 0)


def test_a_hidden_step_is_over_soon() -> None:
    """2 ms within intervals 4 ms wide contradict nothing; after WINDOW_NS the truth is inside again."""
    track = OffsetTrack()
    for number in range(10):
        track.measure(Interval(-50_000, 4_050_000, Monotonic(number * 500 * MS)))
    last = 10 + WINDOW_NS // (500 * MS)
    for number in range(10, last + 1):
        assert 0 == track.measure(Interval(-2_050_000, 2_050_000, Monotonic(number * 500 * MS)))
    found = track.at(Monotonic(last * 500 * MS))

    assert found is not None and found.low_ns <= -2_000_000 <= found.high_ns


def test_before_and_after() -> None:
    """Nothing is known before the first measurement, nor after the box's own clock was stepped."""
    track = OffsetTrack()
    assert track.at(Monotonic(5)) is None and track.measured_at is None
    track.measure(Interval(1, 2, Monotonic(5)))
    assert Monotonic(5) == track.measured_at
    track.forget()
    assert track.at(Monotonic(5)) is None and track.measured_at is None


def test_a_servo_that_is_far_off_may_go_fast() -> None:
    """One that believes to be 300 µs off may slew by 300 ppm: the interval widens by as much, and only then. (S2-012)"""
    quiet, restless = OffsetTrack(), OffsetTrack()
    for number in range(20):
        seen = Interval(-20_000, 20_000, Monotonic(number * 500 * MS))
        quiet.measure(seen, believed_ns=5_000)
        restless.measure(seen, believed_ns=300_000 if number == 19 else 0)
    moment = Monotonic(10 * SECOND)
    calm, wild = quiet.at(moment), restless.at(moment)

    assert calm is not None and wild is not None
    assert calm.width_ns < 80_000
    assert wild.low_ns <= -20_000 - 150_000 and wild.high_ns >= 20_000 + 150_000
    assert 0 == restless.measure(Interval(100_000, 160_000, moment), believed_ns=-100_000)
