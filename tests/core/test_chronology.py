"""The order of what several clocks stamped: right where it is certain, and marked where it is not."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from firmware.core.certificate import DeviceOffset, Method
from firmware.core.chronology import Happened, happened, lines, placed
from firmware.core.message import Message, Priority, Severity
from firmware.core.timestamp import SECOND, ClockState, Timestamp

AT = 1_795_342_537_000_000_000


def message(text: str, *, stamp_ns: int, arrived_ns: int, source: str = "device", device: str = "a") -> Message:
    return Message(
        device=device, process="p", kind="published", priority=Priority.P2, severity=Severity.NOTICE,
        origin_time=Timestamp(stamp_ns, SECOND, source, ClockState.FREE),
        received_time=Timestamp(arrived_ns, 50_000, "ptp", ClockState.LOCKED), text=text,
    )  # fmt: skip


def certified(low_ns: int, high_ns: int, device: str = "a") -> DeviceOffset:
    return DeviceOffset(device, Method.MONITORED, low_ns, high_ns, AT)


def test_corrected_time_decides_not_arrival() -> None:
    """A clock 5 s ahead and one right: what was sent first comes first, though its stamp is later and it arrived later. (S2-014, S2-015)"""
    first = happened(message("first", stamp_ns=AT + 5 * SECOND, arrived_ns=AT + 90_000_000), "s", certified(5 * SECOND - 9000, 5 * SECOND + 9000))  # fmt: skip
    second = happened(message("second", stamp_ns=AT + 1_000_000, arrived_ns=AT + 2_000_000), "s", certified(-9000, 9000))
    rows = placed([second, first])

    assert ["first", "second"] == [row.happened.message.text for row in rows]
    assert [0, 0] == [row.swaps for row in rows]


def test_an_order_that_is_not_certain_is_marked() -> None:
    """10 µs apart by clocks known to ±9 µs: either may have been first, and the page says so. (S2-015)"""
    rows = placed(
        happened(message(text, stamp_ns=AT + after_ns, arrived_ns=AT + SECOND), "s", certified(-9000, 9000))
        for text, after_ns in (("a", 0), ("b", 10_000), ("c", 900_000))
    )

    assert [0, 1, 0] == [row.swaps for row in rows]
    page = lines(rows, tai_offset_s=37, words=lambda one: one.text or "")
    assert [" ", "~", " "] == [row[0] for row in page]
    assert "±" in page[0]


def test_without_a_certificate_nothing_but_arrival_is_known() -> None:
    """A stamp of an unmeasured clock, or none at all: at the latest when it arrived, and never certain to be after anything."""
    plain = happened(message("plain", stamp_ns=AT - 10**15, arrived_ns=AT + 5), "s", None)
    mute = happened(message("mute", stamp_ns=AT + 7, arrived_ns=AT + 7, source="arrival"), "s", certified(0, 0))
    sure = happened(message("sure", stamp_ns=AT, arrived_ns=AT + 9), "s", certified(-1, 1))
    rows = placed([mute, plain, sure])

    assert (None, AT + 5) == (plain.earliest_ns, plain.latest_ns)
    assert (None, AT + 7) == (mute.earliest_ns, mute.latest_ns)
    assert {"sure": 0, "plain": 1, "mute": 2} == {row.happened.message.text: row.swaps for row in rows}
    assert "at the latest" in lines(rows, tai_offset_s=37, words=lambda one: one.text or "")[1]


def test_nothing_happens_after_it_arrived() -> None:
    """Arrival cuts an interval; a stamp that says it was sent after it arrived is of a clock that is not where it was measured."""
    cut = happened(message("cut", stamp_ns=AT, arrived_ns=AT + 1000), "s", certified(-9000, 9000))
    absurd = happened(message("absurd", stamp_ns=AT + SECOND, arrived_ns=AT), "s", certified(-9000, 9000))

    assert (AT - 9000, AT + 1000) == (cut.earliest_ns, cut.latest_ns)
    assert (None, AT) == (absurd.earliest_ns, absurd.latest_ns)


intervals = st.tuples(st.none() | st.integers(0, 100), st.integers(0, 100)).map(
    lambda ends: Happened(message("x", stamp_ns=0, arrived_ns=200), "s", None if ends[0] is None else min(ends), max(ends[0] or 0, ends[1]))  # type: ignore[type-var]
)  # fmt: skip


@given(st.lists(intervals, max_size=12))
def test_unmarked_is_certain(rows: list[Happened]) -> None:
    """A message without a mark happened after all those shown before it; one with n marks may precede exactly n."""
    shown = placed(rows)

    for index, row in enumerate(shown):
        earliest = row.happened.earliest_ns
        overlapping = [earlier for earlier in shown[:index] if earliest is None or earlier.happened.latest_ns >= earliest]
        assert len(overlapping) == row.swaps
    for one, other in itertools.pairwise(shown):
        assert one.happened.best_ns <= other.happened.best_ns
