"""An outbox with bounds: what a relay keeps goes first, then the least important and oldest, alarms last, and each is counted."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core import release
from firmware.core.envelope import Ack, ack_packed
from firmware.core.message import Priority
from firmware.uplink.shed import Row, too_many
from firmware.uplink.waiting import HELD_MAX
from tests.uplink.conftest import BROKERS, World


def away(world: World) -> None:
    for broker in world.brokers.values():
        broker.up = False
        broker.kill()


def back(world: World) -> None:
    world.brokers[BROKERS[0]].up = True  # the one the hub is at
    world.hub.connect(BROKERS[0])


def names(world: World) -> list[str]:
    return [name for name in world.disk.list("outbox") if not name.startswith(".")]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 50), st.integers(1, 100)), unique=True),
    st.integers(0, 2000),
    st.integers(0, 60),
)
def test_what_goes_is_worth_less_than_what_stays(items: list[tuple[int, int, int]], bytes_max: int, items_max: int) -> None:
    """Never more than needed; whatever stays is more important than what went, or as important and later."""
    rows = [Row(release.name_of(Priority(priority), moment, f"x{size}"), size) for priority, moment, size in items]
    going = too_many(rows, (), bytes_max=bytes_max, items_max=items_max)
    gone = {row.name for row in going}
    stays = [row for row in rows if row.name not in gone]

    assert sum(row.size for row in stays) <= bytes_max and len(stays) <= items_max
    if going:
        without_last = [*stays, going[-1]]
        assert sum(row.size for row in without_last) > bytes_max or len(without_last) > items_max
    for stay in stays:
        assert all(stay.name[1] < row.name[1] or (stay.name[1] == row.name[1] and stay.name > row.name) for row in going)


def test_the_least_important_and_oldest_goes_first() -> None:
    """(S2-060, S2-061) A broker away: 300 items where 100 may wait; all alarms and the latest reports are still there, and each loss has its cause."""
    world = World(outbox_items_max=100)
    away(world)
    for number in range(300):
        world.put((1, 3, 4)[number % 3] if number % 10 == 0 else 4, number)
    world.run(180)
    kept = names(world)

    assert 100 == len(kept)
    assert 10 == sum(name.startswith("p1-") for name in kept)
    assert [name for name in kept if name.startswith("p4-")][-1].endswith("g299")
    assert {"shed_p4": 200} == world.station.report.drops


def test_alarms_go_last_and_never_in_silence() -> None:
    """(S2-053, S2-060) Only alarms, more than there is room for: the oldest go, under a cause of their own that health tells on."""
    world = World(outbox_items_max=100)
    away(world)
    for number in range(130):
        world.put(1, number)
    world.run(180)

    assert {"shed_p1": 30} == world.station.report.drops
    assert names(world)[0].endswith("g30")


def test_by_bytes_as_well() -> None:
    """Whichever bound is met first."""
    world = World(outbox_bytes_max=1 << 20)
    away(world)
    for number in range(30):
        world.put(4, number, world.noise(50_000))
    world.run(180)

    assert sum(world.disk.size(f"outbox/{name}") for name in names(world)) <= 1 << 20
    assert world.station.report.drops["shed_p4"] == 10


def test_what_a_relay_keeps_goes_before_what_nobody_keeps() -> None:
    """(S2-068) An alarm in custody is at the relay; a report nobody has is nowhere else."""
    world = World(outbox_items_max=100)
    world.hub.answers = False
    kept = [world.put(1, number) for number in range(20)]
    world.run(1)
    world.hub.link.publish("scrubjay/v1/site-1/box-1/ack", ack_packed(Ack(custody=tuple(kept))))
    world.run(1)
    away(world)
    for number in range(20, 115):
        world.put(4, number)
    world.run(180)

    assert {"shed_in_custody": 15} == world.station.report.drops
    assert 95 == sum(name.startswith("p4-") for name in names(world))


def test_a_broker_away_for_a_day() -> None:
    """(S2-060, S2-072) A report every ten minutes and an alarm an hour for 24 h of virtual time; then everything drains in order, and memory was flat."""
    world = World(backoff_s_max=60)
    world.run(1)
    away(world)
    world.run(60)
    alarms, reports = [], []
    tracemalloc.start()
    try:
        for minute in range(0, 24 * 60, 10):
            reports.append(world.put(4, 10_000 + minute))
            if minute % 60 == 0:
                alarms.append(world.put(1, 10_000 + minute))
            world.run(600)
            if minute == 60:
                first = of_the_uplink()
        grown = of_the_uplink() - first
    finally:
        tracemalloc.stop()
    assert grown < 24 * 7 * 200 + 50_000  # the names of what waits, and nothing for each attempt
    assert 24 * 7 == len(names(world))
    back(world)
    world.hub.envelopes.clear()
    world.run(300)

    assert [] == names(world)
    assert alarms == world.hub.envelopes[:24]
    assert reports == world.hub.envelopes[24:]
    assert {} == world.station.report.drops


def of_the_uplink() -> int:
    """Bytes of Python's memory that the uplink's own code holds."""
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/firmware/uplink/*")])
    return sum(row.size for row in snapshot.statistics("filename"))


@pytest.mark.parametrize("count", [HELD_MAX - 1, HELD_MAX, HELD_MAX + 1, 2 * HELD_MAX])
def test_more_than_is_held_in_memory(count: int) -> None:
    """(S2-060) An outbox of any length is sent in order, though only so many of its names are held at a time."""
    world = World(window=1000, receive_maximum=1000)
    away(world)
    identities = [world.put(4, number) for number in range(count)]
    world.run(5)
    assert len(world.station._standing.waiting) <= HELD_MAX
    alarm = world.put(1, 1)
    back(world)
    world.run(300, until=lambda: not names(world))

    assert [alarm, *identities] == world.hub.envelopes
