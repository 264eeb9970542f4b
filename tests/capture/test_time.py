"""Recording through moments at which time is strange: nothing lost, nothing overwritten, everything labelled."""

from datetime import UTC, datetime

import pytest

from drivers.clock import ClockState
from firmware.core.store import Query, Store
from firmware.core.timestamp import iso
from simulator.clock import START_TAI_NS, TAI_OFFSET_S

MS, SECOND = 1_000_000, 1_000_000_000
MOMENTS = {
    "the NTP era ends": datetime(2036, 2, 7, 6, 28, 16, tzinfo=UTC),
    "2^31 seconds": datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    "a leap day": datetime(2028, 2, 29, 0, 0, 0, tzinfo=UTC),
    "a century": datetime(2100, 1, 1, 0, 0, 0, tzinfo=UTC),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_years_that_break_others(make_recorder, moment):
    """Three minutes before to seven after: cut where it should be, every frame found by its time, the chain verifies. (S2-092, S2-014)"""
    recorder = make_recorder()
    recorder.stop()
    at_ns = int(MOMENTS[moment].timestamp()) * SECOND
    recorder.clock.advance(at_ns + TAI_OFFSET_S * SECOND - START_TAI_NS - 180 * SECOND)
    recorder.boot()
    recorder.run(600, every_ms=1000)
    recorder.stop()
    found = list(Store(recorder.disk).search(Query(since_utc_ns=at_ns, until_utc_ns=at_ns + 60 * SECOND - 1)))

    assert list(range(600)) == recorder.numbers()
    assert recorder.verify().ok
    assert 60 == sum(hit.frame_count for hit in found)
    assert any(made.name.startswith(f"{MOMENTS[moment]:%Y%m%d}T") for made in recorder.seals())
    assert [made.name for made in recorder.seals()] == sorted(
        (made.name for made in recorder.seals()), key=lambda name: name[-6:]
    )


def test_a_leap_second(make_recorder):
    """UTC says 23:59:59 twice: frames of both are recorded in the order heard, no step is claimed, and TAI minus UTC is in the seal. (S2-014)"""
    recorder = make_recorder()
    recorder.run(30)
    recorder.clock.tai_offset_s += 1
    recorder.run(30)
    recorder.stop()
    (made,) = [made for made in recorder.seals() if made.frames]

    assert list(range(600)) == recorder.numbers()
    assert (38, 0) == (made.tai_offset_s, made.time.steps)
    assert recorder.verify().ok
    # Twice the same second: a search for it gives both.
    second = recorder.clock.now().utc_ns - 30 * SECOND
    assert 20 == sum(
        hit.frame_count for hit in Store(recorder.disk).search(Query(since_utc_ns=second, until_utc_ns=second + SECOND - 1))
    )


@pytest.mark.parametrize("step_s", [3600, -3600, -1_795_000_000])
def test_a_step_overwrites_no_segment(make_recorder, step_s):
    """Set forward or back by an hour, or to 1970: names stay distinct by their sequence, the step is in the seal it fell into. (S2-015)"""
    recorder = make_recorder()
    recorder.run(400, every_ms=1000)
    recorder.clock.step(step_s * SECOND)
    recorder.clock.state = ClockState.FREE
    recorder.run(400, every_ms=1000)
    recorder.stop()
    made = recorder.seals()

    assert list(range(800)) == recorder.numbers()
    assert len({seal.sequence for seal in made}) == len({seal.name for seal in made}) == len(made)
    assert [(1, step_s * SECOND)] == [(seal.time.steps, seal.time.stepped_ns) for seal in made if seal.time.steps]
    assert ClockState.FREE is made[-1].time.state
    assert recorder.verify().ok
    assert any("stepped once" in row.text for row in recorder.verify().statements)
    assert iso(recorder.clock.now().utc_ns).startswith("1970" if step_s < -(10**9) else "2026")
