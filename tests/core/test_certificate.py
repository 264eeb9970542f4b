"""Certificates: what is claimed of a clock, how it ages, and what may be concluded from it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core import certificate
from firmware.core.certificate import Account, DeviceOffset, Method, TimeQuality, TimeWatch, account_from, corrected, strongest
from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND, ClockState, Monotonic, Timestamp
from simulator.clock import SimulatedClock

AT = 1_795_342_537_000_000_000
MEASURED = DeviceOffset("10.7.0.11", Method.MONITORED, -21_800, -12_700, AT)


def test_an_interval_ages() -> None:
    """Ten seconds later, or earlier, two crystals may have drifted apart by a millisecond. (S2-012)"""
    for moment in (AT + 10 * SECOND, AT - 10 * SECOND):
        assert (-1_021_800, 987_300) == (MEASURED.at(moment).low_ns, MEASURED.at(moment).high_ns)
    assert MEASURED == MEASURED.at(AT)


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (MEASURED, "certified ±21.8 µs"),
        (DeviceOffset("a", Method.QUERIED, -2_000_000, 400, AT), "certified ±2 ms"),
        (DeviceOffset("a", Method.REPORTED, 3_000, 3_000, AT), "self-reported ±3 µs"),
        (DeviceOffset("a", Method.BOUNDED, -2_000_000, None, AT), "unknown, at most 2 ms behind"),
        (DeviceOffset("a", Method.BOUNDED, 5 * SECOND, None, AT), "unknown, at least 5 s ahead"),
        (DeviceOffset("a", Method.PRESENT, None, None, AT), "unknown"),
    ],
)
def test_words(offset: DeviceOffset, words: str) -> None:
    """Only what was measured is called certified. (S2-012)"""
    assert words == offset.words()


def test_the_strongest_is_believed() -> None:
    """A measurement an hour old stands before a claim of now; of two of a kind the newer one."""
    claim = DeviceOffset("a", Method.REPORTED, 0, 0, AT + 3600 * SECOND)
    older = DeviceOffset("a", Method.MONITORED, 1, 2, AT - 1)

    assert MEASURED == strongest([claim, older, MEASURED])
    assert claim == strongest([claim, DeviceOffset("a", Method.PRESENT, None, None, AT)])
    assert strongest([]) is None


def test_a_devices_stamp_corrected() -> None:
    """A stamp of a clock 12.7 to 21.8 µs behind means a moment so much later; a claim corrects nothing. (S2-014)"""
    stamp = Timestamp(AT, SECOND, "device", ClockState.FREE)

    assert (AT + 12_700, AT + 21_800) == corrected(stamp, MEASURED, near_tai_ns=AT)
    assert corrected(stamp, DeviceOffset("a", Method.REPORTED, 0, 0, AT), near_tai_ns=AT) is None
    assert corrected(stamp, None, near_tai_ns=AT) is None


offsets = st.builds(
    lambda device, method, ends, at: DeviceOffset(device, method, min(ends), max(ends), at),
    st.text(min_size=1, max_size=64), st.sampled_from(Method), st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=2),
    st.integers(0, 2**62),
)  # fmt: skip


@given(
    st.builds(
        TimeQuality, st.integers(0, 2**62), st.sampled_from(ClockState), st.integers(0, 99), st.integers(-(2**62), 2**62),
        st.sampled_from(["", "001b19fffe000001"]), st.lists(offsets, max_size=4).map(tuple),
    )
)  # fmt: skip
def test_stored_and_read(quality: TimeQuality) -> None:
    """Whatever is sealed is read again."""
    assert quality == certificate.from_list(quality.as_list())


@pytest.mark.parametrize(
    "row",
    [None, [], [1, "locked", 0, 0, ""], [-1, "locked", 0, 0, "", []], [1, "sure", 0, 0, "", []], [1, "locked", 0, 0, "", [[]]],
     [1, "locked", 0, 0, "", [["a", "netsync", 2, 1, 0]]], [1, "locked", 0, 0, "", [["a", "hearsay", 1, 2, 0]]],
     [1, "locked", 0, 0, "", [["a", "netsync", 1, 2, 0]] * 257]],
)  # fmt: skip
def test_what_nobody_would_seal(row: object) -> None:
    """Another shape, an unknown word, an interval upside down, more devices than a seal holds: refused."""
    with pytest.raises(BadItem):
        certificate.from_list(row)


def test_the_state_file() -> None:
    """What the clock station wrote; and a file that is torn, foreign or hostile certifies nothing."""
    good = {"grandmaster": "001b19fffe000001", "offsets": [["10.7.0.11", "netsync", -21_800, -12_700, AT]]}
    account = account_from(json.dumps(good).encode())

    assert MEASURED == account.of("10.7.0.11")
    assert account.of("10.7.0.12") is None
    for age_ns, expected in ((-1, None), (0, MEASURED), (10 * SECOND, MEASURED), (10 * SECOND + 1, None)):
        aged = json.dumps(good | {"monotonic_ns": 77}).encode()
        assert expected == account_from(aged, now=Monotonic(77 + age_ns)).of("10.7.0.11")
    assert Account() == account_from(json.dumps(good).encode(), now=Monotonic(77))
    for bad in (b"", b"{", b"[]", b'{"offsets": 5}', b'{"offsets": [["a"]]}', b"[" * 100_000, b"\xff"):
        assert Account() == account_from(bad)


def test_the_worst_of_a_stretch() -> None:
    """A minute of holdover and a step forward and back are not forgotten when the end of the stretch is fine again. (S2-012)"""
    clock, watch = SimulatedClock(), TimeWatch()
    watch.look(clock.now())
    for state, uncertainty, step in ((ClockState.HOLDOVER, 800_000, 0), (ClockState.LOCKED, 50_000, 3600 * SECOND), (ClockState.LOCKED, 50_000, -7200 * SECOND)):  # fmt: skip
        clock.advance(60 * SECOND)
        clock.state, clock.uncertainty_ns = state, uncertainty
        clock.step(step)
        watch.look(clock.now())

    assert TimeQuality(800_000, ClockState.HOLDOVER, 2, -3600 * SECOND) == watch.quality(Account())
    watch.clear()
    clock.step(SECOND)
    watch.look(clock.now())
    assert (ClockState.LOCKED, 1, SECOND) == (watch.quality(Account()).state, watch.quality(Account()).steps, watch.quality(Account()).stepped_ns)  # fmt: skip
