"""The five rules of a spool directory, each tried with the power lost before every disk operation of it."""

from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import DiskFull
from firmware.core.spool import ATTEMPTS_MAX, Item, Spool
from simulator.disk import PowerCut, SimulatedDisk

ITEMS = [(f"writer-{number}", f"contents {number} ".encode() * 3) for number in range(3)]
SEEDS = range(12)  # how the undecided is decided, for each operation lost


def spool_on(disk: SimulatedDisk, path: str = "in") -> Spool:
    spool = Spool(disk, path)
    spool.start(lambda cause: None)
    return spool


def with_power_lost(prepare: Callable[[SimulatedDisk], None], deed: Callable[[SimulatedDisk], None]) -> Iterator[SimulatedDisk]:
    """A disk for each operation of `deed` before which the power goes, and for each way that may end; last, without a cut."""
    number = 0
    while True:
        for seed in SEEDS:
            disk = SimulatedDisk()
            prepare(disk)
            limit = disk.operations + number

            def cut(operation: int, what: str, path: str, limit: int = limit) -> None:
                if operation == limit:
                    raise PowerCut

            disk.before = cut
            try:
                deed(disk)
            except PowerCut:
                disk.before = None
                disk.power_cut(Random(seed))
                yield disk
                continue
            disk.before = None
            yield disk
            return
        number += 1


def empty(disk: SimulatedDisk) -> None:
    spool_on(disk)


def published(disk: SimulatedDisk) -> None:
    spool_on(disk).publish_all(ITEMS)


def contents(disk: SimulatedDisk, path: str = "in") -> dict[str, bytes]:
    return {name: Spool(disk, path).peek(name) or b"" for name in Spool(disk, path).names()}


def test_published_is_there_to_stay() -> None:
    """Rule 1: once publish has returned the item survives the power; before that it is there whole or not at all (S2-042)."""
    returned: dict[int, list[str]] = {}

    def deed(disk: SimulatedDisk) -> None:
        returned[id(disk)] = []
        for name, data in ITEMS:
            Spool(disk, "in").publish(name, data)
            returned[id(disk)].append(name)

    for disk in with_power_lost(empty, deed):
        spool_on(disk)
        found = contents(disk)

        assert set(returned[id(disk)]) <= set(found)
        assert found.items() <= dict(ITEMS).items()
        assert not [name for name in disk.list("in") if name.startswith(".")]


def test_several_at_once_are_as_safe_as_one() -> None:
    """Rule 1 for a batch: any of them may be missing before it returns, none may be half; none is missing after it."""
    for disk in with_power_lost(empty, lambda disk: Spool(disk, "in").publish_all(ITEMS)):
        spool_on(disk)

        assert contents(disk).items() <= dict(ITEMS).items()
    assert dict(ITEMS) == contents(disk)


def test_hidden_is_invisible() -> None:
    """Rule 1: what is still being written is no item."""
    disk = SimulatedDisk()
    spool = spool_on(disk)
    disk.write("in/.writer-9", b"half")

    assert ([], None) == (spool.names(), spool.take())


def test_writers_do_not_meet() -> None:
    """Rule 2: a writer needs no spool started but the consumer's, and items come in the order of their names."""
    disk = SimulatedDisk()
    spool = spool_on(disk)
    for name in ("b-2", "a-9", "b-1"):
        Spool(disk, "in").publish(name, name.encode())

    assert ["a-9", "b-1", "b-2"] == spool.names()
    assert ["a-9", "b-1", "b-2"] == [item.name for item in taken(spool)]


def taken(spool: Spool) -> Iterator[Item]:
    while (item := spool.take()) is not None:
        yield item
        spool.settle(item)


def test_take_counts_before_the_work() -> None:
    """Rule 3: four attempts that end the process, and the fifth finds the item in quarantine with its reason, the next item in hand."""
    disk = SimulatedDisk()
    spool_on(disk).publish_all([("a-poison", b"poison"), ("b-good", b"good")])
    attempts = []
    for _ in range(ATTEMPTS_MAX - 1):
        item = spool_on(disk).take()  # the process ends here and is started again
        assert item is not None
        attempts.append((item.name, item.attempt))
    spool = spool_on(disk)
    item = spool.take()

    assert [("a-poison", number) for number in (1, 2, 3, 4)] == attempts
    assert Item("b-good", 1, b"good") == item
    assert ["a-poison", "a-poison.reason"] == disk.list("quarantine/in")
    assert b"poison" == disk.read("quarantine/in/a-poison")
    assert b"too many attempts: 4 of 4 did not finish" == disk.read("quarantine/in/a-poison.reason")
    assert 1 == spool.quarantined_count


def test_settle_comes_after_publish_onward() -> None:
    """Rule 4: take, publish onward, settle, with the power lost at each operation and the work taken up again:
    everything arrives, whole, once by name, and nothing is left."""

    def work(disk: SimulatedDisk) -> None:
        source, target = spool_on(disk), spool_on(disk, "out")
        while (item := source.take()) is not None:
            target.publish(item.name, item.data.upper())
            source.settle(item)

    count = 0
    for disk in with_power_lost(published, work):
        work(disk)
        count += 1

        assert {name: data.upper() for name, data in ITEMS} == contents(disk, "out")
        assert {} == contents(disk)
    assert count > 200


def test_rejected_is_in_quarantine_with_its_reason() -> None:
    """Rule 3: whenever the power goes, a rejected item is still in the spool or already in quarantine, there never without its reason."""

    def work(disk: SimulatedDisk) -> None:
        spool = spool_on(disk)
        while (item := spool.take()) is not None:
            spool.reject(item, "no sense in it")

    for disk in with_power_lost(published, work):
        for name, data in ITEMS:
            if disk.exists(f"quarantine/in/{name}"):
                assert b"no sense in it" == disk.read(f"quarantine/in/{name}.reason")
                assert data == disk.read(f"quarantine/in/{name}")
            else:
                assert data == Spool(disk, "in").peek(name)
        work(disk)

        assert {} == contents(disk)
        assert sorted([name for name, _ in ITEMS] + [f"{name}.reason" for name, _ in ITEMS]) == disk.list("quarantine/in")


def test_start_removes_hidden_leftovers_and_nothing_else() -> None:
    """Rule 5: that is all the recovery there is, and twice is as good as once."""
    disk = SimulatedDisk()
    published(disk)
    taken_before = Spool(disk, "in").take()
    disk.write("in/.half", b"")
    spool_on(disk)
    spool_on(disk)

    assert taken_before is not None
    assert dict(ITEMS) == contents(disk)


def test_twice_is_as_good_as_once() -> None:
    """Publishing again what is still there or already taken, settling again, settling by name: no second item comes of it."""
    disk = SimulatedDisk()
    spool = spool_on(disk)
    spool.publish("a", b"1")
    spool.publish("a", b"1")
    item = spool.take()
    assert item is not None
    spool.publish("a", b"1")
    again = spool.take()
    assert again is not None
    spool.settle(item)
    spool.settle(again)
    spool.settle(again)
    spool.settle_named("a")

    assert [] == disk.list("in")


def test_taking_by_name_and_after() -> None:
    """A consumer with an order of its own takes by name; `after` skips; what is gone is None."""
    disk = SimulatedDisk()
    published(disk)
    spool = spool_on(disk)
    by_name = spool.take_named("writer-1")
    after = spool.take(after="writer-1")

    assert by_name is not None and after is not None
    assert ("writer-1", "writer-2") == (by_name.name, after.name)
    assert spool.take_named("writer-7") is None
    assert spool.take(after="writer-2") is None


def test_put_back_does_not_count() -> None:
    """An item looked at and put back waits as if never touched, and can be settled as it was handed out."""
    disk = SimulatedDisk()
    published(disk)
    for _ in range(2 * ATTEMPTS_MAX):
        spool = spool_on(disk)
        item = spool.take()
        assert item is not None
        spool.put_back(item)

    assert ("writer-0", 1) == (item.name, item.attempt)
    assert ["writer-0", "writer-1", "writer-2"] == disk.list("in")


def test_full_disk_publishes_nothing() -> None:
    """DiskFull leaves no item and no half of one, and the same publish works when there is room."""
    disk = SimulatedDisk()
    spool = spool_on(disk)
    disk.fill(leave_bytes=4)
    with pytest.raises(DiskFull):
        spool.publish("a", b"12345")

    assert [] == spool.names()
    disk.fill(leave_bytes=5)
    spool.publish("a", b"12345")
    assert ["a"] == spool.names()


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,40}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=50), min_size=1, max_size=6), st.integers(0, 99), st.integers(0, 2**32))
def test_any_names_any_bytes_any_cut(items: dict[str, bytes], lost: int, seed: int) -> None:
    """For any items, and the power lost anywhere in publish, take and settle: nothing returned is lost, nothing is half, names come back."""
    disk = SimulatedDisk()
    spool_on(disk)
    spool_on(disk, "out")
    start = disk.operations
    safe: list[str] = []

    def cut(operation: int, what: str, path: str) -> None:
        if operation == start + lost:
            raise PowerCut

    disk.before = cut
    try:
        for name, data in items.items():
            Spool(disk, "in").publish(name, data)
            safe.append(name)
        while (item := Spool(disk, "in").take()) is not None:
            Spool(disk, "out").publish(item.name, item.data)
            Spool(disk, "in").settle(item)
    except PowerCut:
        disk.power_cut(Random(seed))
    disk.before = None
    spool_on(disk)
    spool_on(disk, "out")
    found = contents(disk) | contents(disk, "out")

    assert set(safe) <= set(found)
    assert found.items() <= items.items()
