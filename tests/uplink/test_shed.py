"""An outbox with bounds: what a relay keeps goes first, then the least important and oldest, alarms last, and each is counted."""

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType

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


@pytest.mark.parametrize(("hours", "every_min", "backoff_s"), [(24, 10, 60), (7 * 24, 180, 1800)], ids=["day", "week"])
def test_a_broker_away_for_a_day(hours: int, every_min: int, backoff_s: int) -> None:
    """(S2-060, S2-072) A report every ten minutes and an alarm an hour for 24 h of virtual time, and likewise for a week; then everything
    drains in order, and memory was flat."""
    world = World(backoff_s_max=backoff_s)
    world.run(1)
    away(world)
    world.run(60)
    alarms, reports = [], []
    for minute in range(0, hours * 60, every_min):
        reports.append(world.put(4, 10_000 + minute))
        if minute % (6 * every_min) == 0:
            alarms.append(world.put(1, 10_000 + minute))
        world.run(every_min * 60)
        if minute == 6 * every_min:
            first = held_by(world)
    count = len(alarms) + len(reports)
    assert held_by(world) - first < count * 200 + 20_000  # the names of what waits, and nothing for each attempt
    assert count == len(names(world))
    back(world)
    world.hub.envelopes.clear()
    world.run(5 * backoff_s)

    assert [] == names(world)
    assert alarms == world.hub.envelopes[: len(alarms)]
    assert reports == world.hub.envelopes[len(alarms) :]
    assert {} == world.station.report.drops


def held_by(world: World) -> int:
    """Bytes of what the uplink holds: all that can be reached from it, but not the world it is in."""
    seen = {id(thing) for thing in (world, world.board, world.disk, world.timeline, *world.links, *world.brokers.values())}
    waiting, size = [world.station], 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(thing))
        size += sys.getsizeof(thing)
        waiting += gc.get_referents(thing)
    return size


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
