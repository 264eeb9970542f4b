"""The journal: each order once, in whatever order they come."""

from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.command.journal import JOURNAL_BYTES_MAX, WINDOW, Journal, Novelty, packed, unpacked
from firmware.core.envelope import Order
from firmware.core.errors import BadItem


def order(counter: int, *, number: int = 0) -> Order:
    return Order(
        identity=counter.to_bytes(8, "big") + number.to_bytes(8, "big"), signer="hub-1", box="box-1", deed="retrieval",
        counter=counter, made_tai_ns=0, expires_tai_ns=1, parameters={},
    )  # fmt: skip


def taken(journal: Journal, *orders: Order) -> tuple[Journal, list[Novelty]]:
    """Each judged; the new ones accepted and handed on."""
    found = []
    for row in orders:
        found.append(journal.novelty(row))
        if found[-1] is Novelty.NEW:
            journal = journal.accepting(row, row.counter).handing_on(row)
    return journal, found


@pytest.mark.parametrize("counters", list(permutations((1_000, 5_000, 5_001))))
def test_three_orders_in_any_order(counters: tuple[int, ...]) -> None:
    """An order that was overtaken is accepted all the same, and every one of them only once (S2-109)."""
    orders = [order(counter) for counter in counters]
    _, found = taken(Journal(), *orders, *orders)

    assert [Novelty.NEW] * 3 + [Novelty.REPEAT] * 3 == found


def test_counter_or_identity_used_by_another_order() -> None:
    """A counter belongs to one order, and so does an identity."""
    journal, _ = taken(Journal(), order(7))
    again = Order(
        identity=order(7).identity, signer="hub-1", box="box-1", deed="retrieval", counter=8, made_tai_ns=0, expires_tai_ns=1
    )

    assert Novelty.REPLAYED is journal.novelty(order(7, number=1))
    assert Novelty.REPLAYED is journal.novelty(again)


def test_window_has_the_edge_it_says() -> None:
    """The last 64 are known; what lies below the lowest of them is refused, what lies between them is not."""
    full, _ = taken(Journal(), *(order(counter) for counter in range(10, 10 + 10 * WINDOW, 10)))

    assert Novelty.REPLAYED is full.novelty(order(9))
    assert Novelty.REPEAT is full.novelty(order(10))
    assert Novelty.NEW is full.novelty(order(11))
    moved, _ = taken(full, order(11))
    assert Novelty.REPLAYED is moved.novelty(order(10)), "forgotten, and not new again"
    assert Novelty.REPEAT is moved.novelty(order(11))


def test_window_that_is_not_full_has_no_lower_end() -> None:
    """Nothing was forgotten, so nothing old can be taken for new."""
    journal, _ = taken(Journal(), *(order(1_000 + counter) for counter in range(WINDOW - 1)))

    assert Novelty.NEW is journal.novelty(order(0))


def test_interrupted_orders_are_remembered_each() -> None:
    """Two accepted and not handed on, then a third in between: all of them are still to be finished."""
    journal = Journal().accepting(order(5), 50).accepting(order(2), 20).accepting(order(3), 30).handing_on(order(3))

    assert [Novelty.UNFINISHED, Novelty.UNFINISHED, Novelty.REPEAT] == [journal.novelty(order(n)) for n in (5, 2, 3)]
    assert [50, 20] == [journal.accepted_at(order(n)) for n in (5, 2)]


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 1)), max_size=400))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a machine with five others at work is slow
def test_no_order_is_new_twice(sent: list[tuple[int, int]]) -> None:
    """Whatever comes in whatever order: nothing is accepted twice, no counter is shared, and the journal comes back as stored."""
    orders = [order(counter, number=number) for counter, number in sent]
    journal, found = taken(Journal(), *orders)
    accepted = [row for row, novelty in zip(orders, found, strict=True) if novelty is Novelty.NEW]

    assert len(accepted) == len({row.counter for row in accepted})
    assert journal == unpacked(packed(journal))
    assert len(packed(journal)) < JOURNAL_BYTES_MAX


def test_stored_bytes() -> None:
    """Pinned: a box updated reads what it wrote before."""
    data = packed(Journal().accepting(order(1), 3).accepting(order(2), 4).handing_on(order(1)))

    assert "a2000201828401500000000000000001000000000000000003f5840250000000000000000200000000000000000" + "4f4" == data.hex()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        bytes.fromhex("a2000101 80"),
        bytes.fromhex("a2000201 8180"),
        bytes.fromhex("a2000201 81840141000 3f5".replace(" ", "")),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    """Torn, of another version, or with rows that are none."""
    with pytest.raises(BadItem):
        unpacked(data)
