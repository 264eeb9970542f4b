"""What the broker refuses for good waits for itself alone: what is behind it goes on, nothing is lost, and it is said."""

from typing import Any

import pytest

from drivers.errors import NotConnected
from drivers.link import Refused
from firmware.core.envelope import unpacked
from simulator.link import SimulatedBroker, SimulatedLink
from tests.uplink.conftest import BROKERS

World = Any  # conftest's; a fixture's class cannot be imported here


def forbid(broker: SimulatedBroker, link_of: World, forbidden: set[bytes]) -> None:
    """From now on it refuses these envelopes (PUBACK 0x87), as an access list would."""
    take = broker.publish

    def publish(link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        if topic.rpartition("/")[2] in ("p1", "p2", "p3", "p4") and unpacked(payload).identity in forbidden:
            if broker._client(link) is None:
                raise NotConnected("gone")
            link.push(link_of.timeline.tai_ns, Refused(token, "0x87"))
        else:
            take(link, token, topic, payload, retain=retain)

    broker.publish = publish  # type: ignore[method-assign]


@pytest.mark.parametrize("priority", [1, 3])
def test_one_that_is_refused_makes_no_alarm_wait(world: World, priority: int) -> None:
    """One item the broker does not take, for an hour: each alarm of that hour is at the hub within 100 ms. (S2-072)"""
    forbidden = {world.put(priority, 1)}
    forbid(world.brokers[BROKERS[0]], world, forbidden)
    world.run(30)
    for number in range(2, 62):
        world.run(59.37)
        alarm = world.put(1, number)
        world.run(0.1)
        assert alarm in world.hub.envelopes

    assert 1 == len(world.disk.list("outbox"))
    assert 1000 > world.station.report.counts["refused_by_broker"]
    assert 1 == world.station.report.gauges["set_aside"]
    assert f"p{priority}: refused, 0x87" == world.station.report.gauges["broker_refuses"]


@pytest.mark.parametrize("priority", [1, 3])
def test_many_that_are_refused_hold_nothing_up(world: World, priority: int) -> None:
    """A hundred items of a priority the broker does not take, more than the window: what is less important goes, and what was refused goes
    as soon as it is taken. (S2-060) (S2-072)"""
    forbidden = {world.put(priority, number) for number in range(100)}
    refused = set(forbidden)
    forbid(world.brokers[BROKERS[0]], world, forbidden)
    later = {world.put(4, number) for number in range(50)}
    world.run(10)
    assert later == set(world.hub.envelopes)
    assert 100 == len(world.disk.list("outbox"))

    forbidden.clear()
    world.run(70)
    assert refused <= set(world.hub.envelopes)
    assert [] == world.disk.list("outbox")
    assert "nothing" == world.station.report.gauges["broker_refuses"]
