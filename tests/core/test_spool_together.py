"""Taking several items at one look: `Spool.take_new`."""

import pytest

from firmware.core.spool import Item, Spool
from simulator.disk import SimulatedDisk


@pytest.fixture
def spool() -> Spool:
    spool = Spool(SimulatedDisk(), "inbox")
    spool.start(lambda cause: None)
    spool.publish_all([(f"item-{n}", b"%d" % n) for n in range(6)])
    return spool


def test_in_order_and_no_more_than_asked(spool: Spool) -> None:
    """Names in order, those already known passed over."""
    items = spool.take_new({"item-1"}, count_max=3)

    assert ["item-0", "item-2", "item-3"] == [item.name for item in items]


def test_one_that_was_put_back_is_settled(spool: Spool) -> None:
    """A gatherer that kept only the name settles what it put back."""
    (item,) = spool.take_new((), count_max=1)
    spool.put_back(item)
    spool.settle(Item(item.name, 0, b""))

    assert "item-0" not in spool.names()


def test_a_poison_item_takes_no_innocent_with_it(spool: Spool) -> None:
    """An item that ends the process each time it is looked at goes to quarantine alone."""
    poison, lives, done = "item-2", 0, []
    while spool.names():
        lives += 1
        for item in spool.take_new((), count_max=4):
            if item.name == poison:
                break  # the process ends here; the items behind it were taken and not looked at
            done.append(item.name)
            spool.settle(item)
        assert lives < 50

    assert [f"item-{n}" for n in (0, 1, 3, 4, 5)] == sorted(done)
    assert [poison, f"{poison}.reason"] == spool.disk.list("quarantine/inbox")
