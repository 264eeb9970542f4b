"""What waited too long for a broker is not sent any more, and is counted; alarms are. (S2-053)"""

from typing import Any

import pytest

from simulator.clock import ClockState

World = Any  # conftest's; a fixture's class cannot be imported here

DAY_NS = 86_400 * 1_000_000_000


@pytest.mark.parametrize("size", [1, 200_000])
def test_a_broker_away_for_longer_than_it_is_worth(world: World, size: int) -> None:
    """A day's debugging is dropped, a report still good and every alarm go; small items and those sent in pieces. (S2-053)"""
    for broker in world.brokers.values():
        broker.up = False
    now = world.board.clock.now().timestamp.tai_ns
    world.put(4, 1, world.noise(size), expires_tai_ns=now + DAY_NS)
    report = world.put(3, 2, world.noise(size), expires_tai_ns=now + 7 * DAY_NS)
    alarm = world.put(1, 3, expires_tai_ns=now + DAY_NS)
    world.timeline.advance(2 * DAY_NS)
    for broker in world.brokers.values():
        broker.up = True
    world.hub.connect("first:1883")
    world.run(120, until=lambda: {alarm, report} <= {*world.hub.envelopes, *world.hub.transfers})
    world.run(5)

    assert {"expired_p4": 1} == {name: count for name, count in world.station.report.drops.items() if name.startswith("expired")}
    assert not [name for name in world.disk.list("outbox") if name.startswith("p4-")]


def test_a_clock_without_a_source_drops_nothing(world: World) -> None:
    """It may be off by years."""
    world.board.clock.state = ClockState.FREE
    late = world.put(4, 1, expires_tai_ns=1)
    world.run(5)

    assert [late] == world.hub.envelopes
