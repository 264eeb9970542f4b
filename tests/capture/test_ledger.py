"""The ledger: losses are counted exactly and told briefly."""

from hypothesis import given
from hypothesis import strategies as st

from firmware.capture.ledger import JOIN_NS, Ledger, unsaid
from firmware.core.seal import GAPS_MAX, Gap


def test_losses_close_together_are_one_gap():
    """A full ring that drops a little in every poll is one gap, not a thousand."""
    ledger = Ledger()
    for n in range(1000):
        ledger.lost("ring_full", 2, first_ns=n * JOIN_NS, last_ns=n * JOIN_NS + 1)

    assert (Gap("ring_full", 0, 999 * JOIN_NS + 1, 2000),) == ledger.closed().gaps


rows = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.one_of(st.none(), st.integers(0, 100)), st.integers(0, 1 << 50)), max_size=200
)


@given(rows)
def test_nothing_lost_is_forgotten(rows):
    """Whatever order and number: the drops add up, the gaps stay few, and cover every moment told."""
    ledger = Ledger()
    for cause, frames, moment in rows:
        ledger.lost(cause, frames, first_ns=moment, last_ns=moment)
    losses = ledger.closed()

    assert sum(frames or 0 for _, frames, _ in rows) == sum(losses.drops.values())
    assert len(losses.gaps) <= GAPS_MAX
    assert all(any(gap.first_ns <= moment <= gap.last_ns for gap in losses.gaps) for _, frames, moment in rows if frames != 0)
    assert ({}, ()) == (ledger.closed().drops, ledger.closed().gaps)


def test_unpublished_losses_come_again():
    """What was told to a seal that never appeared is told to the next."""
    ledger = Ledger()
    ledger.lost("disk_full", 3, first_ns=0, last_ns=1)
    losses = ledger.closed()
    ledger.lost("disk_full", 4, first_ns=10 * JOIN_NS, last_ns=10 * JOIN_NS)
    ledger.again(losses)

    assert {"disk_full": 7} == dict(ledger.closed().drops)


def test_a_seal_that_waits_long_says_it_briefly():
    """Closed and taken up again each second for an hour: what adjoins is one gap, and none falls out."""
    ledger = Ledger()
    for second in range(3600):
        ledger.again(ledger.closed())
        ledger.lost("disk_full", 1, first_ns=second * JOIN_NS, last_ns=second * JOIN_NS)

    assert (Gap("disk_full", 0, 3599 * JOIN_NS, 3600),) == ledger.closed().gaps


@given(rows, rows)
def test_what_a_seal_has_said_is_not_said_twice(before, after):
    """Of losses that grew after a seal was written, the rest is what came then: each frame once, each moment told."""
    ledger = Ledger()
    for cause, frames, moment in before:
        ledger.lost(cause, frames, first_ns=moment, last_ns=moment)
    said = ledger.closed()
    ledger.again(said)
    for cause, frames, moment in after:
        ledger.lost(cause, frames, first_ns=moment, last_ns=moment)
    rest = unsaid(ledger.closed(), said)
    gaps = (*said.gaps, *rest.gaps)

    assert sum(frames or 0 for _, frames, _ in after) == sum(rest.drops.values())
    assert all(any(gap.first_ns <= moment <= gap.last_ns for gap in gaps) for _, frames, moment in after if frames != 0)
