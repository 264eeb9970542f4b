"""When a segment ends: laws of the pure part."""

from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from firmware.capture.cut import GRACE_NS, MAD_NS, cut_after, first_moment

SECOND = 1_000_000_000
moments = st.integers(min_value=0, max_value=(1 << 62))
lengths = st.integers(min_value=1, max_value=86_400).map(lambda s: s * SECOND)


def at(utc_ns: int, monotonic_ns: int = 0) -> Now:
    return Now(Monotonic(monotonic_ns), Timestamp(utc_ns + 37 * SECOND, 0, "ptp", ClockState.LOCKED), 37)


@given(moments, moments, lengths)
def test_a_stamp_never_cuts_the_segment_it_began(stamp, utc, length):
    """Whatever the stamp and the clock: the frame that began a segment does not end it, so cutting cannot go on for ever."""
    now = at(utc)
    cut = cut_after(first_moment(stamp, now), length_ns=length, now=now)
    from_ns, before_ns = cut.stamps(now)

    assert not from_ns <= stamp < before_ns


@given(moments, lengths)
def test_the_end_comes(utc, length):
    """A segment that is asked at its wake time, whatever the clock did, ends."""
    now = at(utc)
    cut = cut_after(utc, length_ns=length, now=now)
    wake = cut.wake(now)

    assert cut.is_due(at(utc + wake.ns, wake.ns))
    assert wake.ns <= length + GRACE_NS


def test_segments_begin_together():
    """Five minutes are from 10:15 to 10:20 whenever the box was started. (S2-092)"""
    noon = 1_795_342_500 * SECOND

    assert noon + 300 * SECOND == cut_after(noon + 17 * SECOND, length_ns=300 * SECOND, now=at(noon)).at_ns


def test_mad_stamps_are_not_believed():
    """A stamp more than a minute from the box's clock names nothing."""
    noon = 1_795_342_500 * SECOND

    assert noon == first_moment(noon + MAD_NS + 1, at(noon))
    assert noon + MAD_NS == first_moment(noon + MAD_NS, at(noon))
    assert noon == first_moment(None, at(noon))
