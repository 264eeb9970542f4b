"""Holdings: whatever comes and goes, what is asked is what a fresh look would answer."""

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import ClockState, Timestamp
from firmware.retention.ages import Candidate, dates
from firmware.retention.holdings import Holdings


def candidate(sequence: int, size: int, *, free: bool = False) -> Candidate:
    state = ClockState.FREE if free else ClockState.LOCKED
    return Candidate(f"s{sequence:06d}", sequence, size, Timestamp(sequence * 10**9, 1000, "ptp", state), b"")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 100), st.booleans(), st.sampled_from("pppd")), max_size=60))
def test_holdings_are_what_a_fresh_look_finds(deeds):
    """A law: order, dates and size after any deeds are those of what is left."""
    held, model = Holdings(), {}
    for sequence, size, free, deed in deeds:
        row = candidate(sequence, size, free=free)
        if deed == "p":
            held.put(row)
            model[row.name] = row
        else:
            held.drop(row.name)
            model.pop(row.name, None)
        rows = sorted(model.values(), key=lambda row: row.sequence)
        assert (rows, dates(rows)) == (held.rows, held.dates)
        assert sum(row.size for row in rows) == held.size
        assert len(rows) == len(held)


def test_a_hundred_thousand_are_deleted_one_by_one():
    """What goes one by one from the front leaves the dates of the others as they were; nobody judges them anew each time."""
    held = Holdings()
    for sequence in range(1, 100_001):
        held.put(candidate(sequence, 10))
    judged = held.dates
    for sequence in range(1, 1001):
        held.drop(f"s{sequence:06d}")

    assert judged is held.dates
    assert (99_000, 990_000, 1001) == (len(held), held.size, held.rows[0].sequence)
