"""Stamps against arrival: one side only, the quickest message says it best, and never more than that."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import Monotonic
from firmware.core.arrivals import WINDOW_NS, Arrivals, bounds_from
from firmware.core.certificate import DEVICES_MAX, Method
from firmware.core.timestamp import SECOND
from simulator.clock import SimulatedClock

START = Monotonic(0)


def test_the_quickest_message_bounds_it() -> None:
    """Of a clock 3 s ahead and messages 5 to 90 ms on their way: at least 2.995 s ahead, and nothing from above. (S2-014)"""
    clock, arrivals = SimulatedClock(), Arrivals()
    for late_ms in (90, 5, 40):
        arrived = clock.now().timestamp.tai_ns
        arrivals.note(
            "10.77.0.21", stamp_tai_ns=arrived - late_ms * 10**6 + 3 * SECOND, arrived_tai_ns=arrived, now=clock.now().monotonic
        )
        clock.advance(SECOND)
    row = bounds_from(arrivals.packed(clock.now()), now=clock.now(), not_before=START)[0]

    assert ("10.77.0.21", Method.BOUNDED, 2_995_000_000, None) == (row.device, row.method, row.low_ns, row.high_ns)
    assert "unknown, at least 3 s ahead" == row.words()


def test_old_ones_are_forgotten() -> None:
    """A bound is of this window or the one before; one nobody renews goes."""
    clock, arrivals = SimulatedClock(), Arrivals()
    for address, windows in (("old", 0), ("middle", 2), ("new", 1)):
        clock.advance(windows * (WINDOW_NS + SECOND))
        arrivals.note(address, stamp_tai_ns=0, arrived_tai_ns=5, now=clock.now().monotonic)

    assert {"middle", "new"} == {
        row.device for row in bounds_from(arrivals.packed(clock.now()), now=clock.now(), not_before=START)
    }


def test_a_step_of_the_box_makes_them_worthless() -> None:
    """What was gathered before it compares with another clock; so does a file of another start, or one nobody renews."""
    clock, arrivals = SimulatedClock(), Arrivals()
    arrivals.note("a", stamp_tai_ns=0, arrived_tai_ns=5, now=clock.now().monotonic)
    data = arrivals.packed(clock.now())
    clock.advance(5)
    assert [] == bounds_from(data, now=clock.now(), not_before=clock.now().monotonic)
    clock.advance(61 * SECOND)
    assert [] == bounds_from(data, now=clock.now(), not_before=START)


def test_senders_are_bounded() -> None:
    """A flood of forged senders keeps no more than a seal can hold."""
    clock, arrivals = SimulatedClock(), Arrivals()
    for number in range(1000):
        arrivals.note(str(number), stamp_tai_ns=0, arrived_tai_ns=5, now=clock.now().monotonic)

    assert DEVICES_MAX == len(bounds_from(arrivals.packed(clock.now()), now=clock.now(), not_before=START))


@pytest.mark.parametrize("change", [{"lower": 5}, {"lower": [[1, 2, 3]]}, {"lower": [["a", True, 3]]}, {"lower": [["a"]]}, {"monotonic_ns": "x"}, {"lower": None}])  # fmt: skip
def test_a_file_of_another_form(change: dict[str, object]) -> None:
    """Bounds nothing, and is no error."""
    good = {"since_monotonic_ns": 0, "monotonic_ns": 0, "lower": [["a", -5, 0]]}
    now = SimulatedClock().now()

    assert 1 == len(bounds_from(json.dumps(good).encode(), now=now, not_before=START))
    assert [] == bounds_from(json.dumps(good | change).encode(), now=now, not_before=START)


@given(st.binary(max_size=50))
def test_any_bytes(data: bytes) -> None:
    """Never raises."""
    assert [] == bounds_from(data, now=SimulatedClock().now(), not_before=START)
