"""The ledger: losses are counted exactly and told briefly."""

from hypothesis import given
from hypothesis import strategies as st

from firmware.capture.ledger import JOIN_NS, Ledger
from firmware.core.seal import GAPS_MAX, Gap


def test_losses_close_together_are_one_gap():
    """A full ring that drops a little in every poll is one gap, not a thousand."""
    ledger = Ledger()
    for n in range(1000):
        ledger.lost("ring_full", 2, first_ns=n * JOIN_NS, last_ns=n * JOIN_NS + 1)

    assert (Gap("ring_full", 0, 999 * JOIN_NS + 1, 2000),) == ledger.closed().gaps


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.one_of(st.none(), st.integers(0, 100)), st.integers(0, 1 << 50)), max_size=200
    )
)
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
