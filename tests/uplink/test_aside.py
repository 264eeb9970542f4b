"""What the broker refuses for good waits for itself alone: what is behind it goes on, nothing is lost, and it is said."""

from collections.abc import Callable

import pytest

from drivers.errors import NotConnected
from drivers.link import Acknowledged, Refused
from firmware.core.download import Wish, wish_packed
from firmware.core.envelope import chunk_unpacked, unpacked
from firmware.core.spool import Spool
from simulator.link import LinkFaults, SimulatedBroker, SimulatedLink
from tests.uplink.conftest import BROKERS, World


def identity_of(topic: str, payload: bytes) -> bytes:
    """Of the envelope that a publication is, or is a piece of; empty for any other."""
    last = topic.rpartition("/")[2]
    if last in ("p1", "p2", "p3", "p4"):
        return unpacked(payload).identity
    return bytes.fromhex(last) if "/bulk/" in topic else b""


def forbid(broker: SimulatedBroker, link_of: World, forbidden: set[bytes]) -> None:
    """From now on it refuses these envelopes (PUBACK 0x87), as an access list would."""
    take = broker.publish

    def publish(link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        if "/bulk/" not in topic and identity_of(topic, payload) in forbidden:
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


def end_at(broker: SimulatedBroker, forbidden: set[bytes]) -> None:
    """From now on it ends the connection at these envelopes, as AWS IoT does at what no policy allows."""
    take = broker.publish

    def publish(link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        if identity_of(topic, payload) in forbidden:
            client = broker._client(link)
            if client is None:
                raise NotConnected("gone")
            if "/bulk/" not in topic or len(chunk_unpacked(payload).data) > 1:
                broker._end(client, "the connection was lost", will=True)
                return
        take(link, token, topic, payload, retain=retain)

    broker.publish = publish  # type: ignore[method-assign]


def assemble(world: World) -> None:
    """From now on the hub answers what it has of long items."""
    have: dict[bytes, int] = {}

    def answer() -> None:
        world.hub.step()  # What has arrived is answered now, not when something else happens.
        for identity, chunk in world.hub.take_chunks():
            had = have.get(identity, 0)
            have[identity] = max(had, chunk.offset + len(chunk.data)) if chunk.offset <= had else had
            world.hub.tell(identity) if have[identity] == chunk.size else world.hub.tell(**{identity.hex(): have[identity]})

    world.before_step = answer


@pytest.mark.parametrize(("priority", "size"), [(1, 1), (3, 1), (1, 200_000), (3, 200_000)])
def test_one_that_ends_the_connection_holds_nothing_up(priority: int, size: int) -> None:
    """A broker that closes the connection at one item, whole or in pieces: found out by sending alone what was unanswered, it waits for itself,
    and the hub has all else. Nothing is lost, and it goes when the broker takes it. (S2-072)"""
    world = World(brokers=BROKERS[:1])
    forbidden = {world.put(priority, 0, world.noise(size))}
    poison = set(forbidden)
    assemble(world)
    end_at(world.brokers[BROKERS[0]], forbidden)
    others = {world.put(number % 4 + 1, number) for number in range(1, 60)}
    world.run(60)
    assert others == set(world.hub.envelopes)
    assert 1 == world.station.report.gauges["set_aside"]
    assert f"p{priority}: ended the connection, the connection was lost" == world.station.report.gauges["broker_refuses"]

    late = 0
    for number in range(60, 120):
        world.run(29)
        alarm = world.put(1, number)
        world.run(1)
        late += alarm not in world.hub.envelopes
    assert late <= 4  # each time it is tried, all else waits for a new connection

    forbidden.clear()
    world.run(700)
    assert size > 1 or poison <= set(world.hub.envelopes)
    assert [] == world.disk.list("outbox")
    assert "nothing" == world.station.report.gauges["broker_refuses"]


@pytest.mark.parametrize("priority", [1, 3])
def test_a_priority_that_ends_the_connection_holds_no_other_up(priority: int) -> None:
    """A broker that closes the connection at each of thirty items of a priority: all others are at the hub within a minute and hardly
    ever wait for a new connection then, and when the broker takes them, they go. (S2-060) (S2-072)"""
    world = World(brokers=BROKERS[:1])
    forbidden = {world.put(priority, number) for number in range(30)}
    poison = set(forbidden)
    end_at(world.brokers[BROKERS[0]], forbidden)
    others = {world.put(number % 4 + 1, 100 + number) for number in range(100) if number % 4 + 1 != priority}
    world.run(60)
    assert others == set(world.hub.envelopes)

    late, losses = 0, world.station.report.counts["connected"]
    for number in range(1000, 1060):
        world.run(29)
        warning = world.put(2, number)
        world.run(1)
        late += warning not in world.hub.envelopes
    assert late <= 2
    assert world.station.report.counts["connected"] - losses <= 35  # one a minute, of thirty that are tried

    forbidden.clear()
    world.run(700)
    assert poison <= set(world.hub.envelopes)
    assert [] == world.disk.list("outbox")
    assert "nothing" == world.station.report.gauges["broker_refuses"]


@pytest.mark.parametrize("longest", [10_000, 3_000, 1_200])
def test_a_broker_that_hangs_up_on_what_is_long(longest: int) -> None:
    """It says nothing of a limit (MQTT 3.1.1, or a gateway before it): what is longer goes in shorter pieces, an alarm first. (S2-072)"""
    world = World(brokers=BROKERS[:1])
    assemble(world)
    broker, take = world.brokers[BROKERS[0]], world.brokers[BROKERS[0]].publish

    def publish(link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        client = broker._client(link)
        if client is not None and len(payload) > longest:
            broker._end(client, "the connection was lost", will=True)
        else:
            take(link, token, topic, payload, retain=retain)

    broker.publish = publish  # type: ignore[method-assign]
    world.put(1, 1, world.noise(20_000))
    world.put(3, 2, world.noise(200_000))
    for number in range(10, 50):
        world.put(number % 4 + 1, number)
    world.run(60)

    assert [] == world.disk.list("outbox")
    assert "ended_connection" not in world.station.report.counts
    assert world.station.report.counts["connected"] <= 6


def test_bad_luck_sets_nothing_aside() -> None:
    """A window of alarms unanswered at each of three losses goes at once when there is a connection that lasts. (S2-072)"""
    world = World(brokers=BROKERS[:1])
    broker = world.brokers[BROKERS[0]]
    alarms = {world.put(1, number) for number in range(20)}
    broker.faults = LinkFaults(never=1.0)
    for lost in range(3):
        world.run(60, until=lambda: world.station.report.counts.get("connected", 0) == lost + 1)  # noqa: B023
        world.run(0.1)
        broker.drop("site-1/box-1")
    broker.faults = LinkFaults()
    world.run(60, until=lambda: world.station.report.counts.get("connected", 0) == 4)
    world.run(0.1)

    assert alarms <= set(world.hub.envelopes)
    assert "ended_connection" not in world.station.report.counts


def keep_back(broker: SimulatedBroker, forbidden: set[bytes]) -> None:
    """From now on it says it took these envelopes, and gives them to nobody, as a bridge without their topic would."""
    take = broker.publish

    def publish(link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        if identity_of(topic, payload) in forbidden:
            if broker._client(link) is None:
                raise NotConnected("gone")
            link.push(broker.timeline.tai_ns, Acknowledged(token))
            return
        take(link, token, topic, payload, retain=retain)

    broker.publish = publish  # type: ignore[method-assign]


@pytest.mark.parametrize(("priority", "size", "count"), [(1, 1, 50), (3, 1, 50), (3, 200_000, 1), (1, 200_000, 1)])
def test_what_never_reaches_the_hub_holds_nothing_up(priority: int, size: int, count: int) -> None:
    """The broker says it took them and the hub never hears of them, more than a window, or one in pieces: what is behind goes on, nothing is
    lost, and when the way is free they go. (S2-060) (S2-072)"""
    world = World(brokers=BROKERS[:1])
    assemble(world)
    forbidden = {world.put(priority, number, world.noise(size)) for number in range(count)}
    kept = set(forbidden)
    keep_back(world.brokers[BROKERS[0]], forbidden)
    done = 0
    for number in range(1000, 1150):
        identity = world.put(4, number)
        alarm = world.put(1, number)
        world.run(10)
        assert priority == 1 or alarm in world.hub.envelopes
        done += identity in world.hub.envelopes
    assert done >= 120
    assert world.station.report.gauges["set_aside"] == count
    assert f"p{priority}: taken, and never confirmed by the hub" == world.station.report.gauges["broker_refuses"]

    forbidden.clear()
    world.run(1500)
    assert size > 1 or kept <= set(world.hub.envelopes)
    assert [] == world.disk.list("outbox")


def wish_for_a_file(world: World) -> None:
    """A file that nobody has is to come down."""
    world.disk.mkdir("wanted")
    wish = Wish(bytes(32), 1000)
    Spool(world.disk, "wanted").publish(wish.name, wish_packed(wish))


def not_at(broker: SimulatedBroker, channel: str, *, refuses: bool) -> Callable[[], None]:
    """From now on it refuses what is said on this channel, or ends the connection over it; until what is returned is called."""
    take = broker.publish

    def publish(link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        client = broker._client(link)
        if not topic.endswith("/" + channel) or client is None:
            take(link, token, topic, payload, retain=retain)
        elif refuses:
            link.push(broker.timeline.tai_ns, Refused(token, "0x87"))
        else:
            broker._end(client, "the connection was lost", will=False)

    def again() -> None:
        broker.publish = take  # type: ignore[method-assign]

    broker.publish = publish  # type: ignore[method-assign]
    return again


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("channel", ["state", "want"])
def test_what_is_no_item_holds_nothing_up(channel: str, *, refuses: bool) -> None:
    """A broker that does not take that we are there, or what we ask for: all items go, it is said, and it is tried again. (S2-072)"""
    world = World(brokers=BROKERS[:1])
    assemble(world)
    again = not_at(world.brokers[BROKERS[0]], channel, refuses=refuses)
    wish_for_a_file(world)
    sent = {world.put(number % 4 + 1, number) for number in range(40)}
    world.put(3, 40, world.noise(200_000))
    world.run(60)
    assert sent == set(world.hub.envelopes)
    assert [] == world.disk.list("outbox")
    said = "refused, 0x87" if refuses else "ended the connection, the connection was lost"
    assert f"{channel}: {said}" == world.station.report.gauges["broker_refuses"]

    late, attempts = 0, world.station.report.counts["connected"]
    for number in range(100, 200):
        world.run(29)
        alarm = world.put(1, number)
        world.run(1)
        late += alarm not in world.hub.envelopes
    assert late <= 5
    assert world.station.report.counts["connected"] < attempts + 15  # each try is a connection, longer apart each time

    again()
    world.run(800)
    assert "nothing" == world.station.report.gauges["broker_refuses"]
    assert any(topic.endswith("/" + channel) for topic, _ in world.brokers[BROKERS[0]].published)


@pytest.mark.parametrize("channel", ["p3", "bulk"])
def test_what_nobody_listens_to_holds_nothing_else_up(channel: str) -> None:
    """The hub hears no p3, or nothing that is long (an access list of its own): alarms are there at once and all else goes on; it is said,
    and when the hub listens everything goes. (S2-060) (S2-072)"""
    world = World(brokers=BROKERS[:1])
    assemble(world)
    broker, take = world.brokers[BROKERS[0]], world.brokers[BROKERS[0]].publish

    def publish(link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        if f"/{channel}" in topic and broker._client(link) is not None:
            link.push(broker.timeline.tai_ns, Refused(token, "0x10"))
        else:
            take(link, token, topic, payload, retain=retain)

    broker.publish = publish  # type: ignore[method-assign]
    for number in range(200):
        world.put(number % 4 + 1, number)
    world.put(3, 50, world.noise(200_000))
    for number in range(1000, 1100):
        world.run(15)
        alarm = world.put(1, number)
        world.run(0.1)
        assert number < 1005 or alarm in world.hub.envelopes
    assert {"p3"} == {name[:2] for name in world.disk.list("outbox")}
    assert channel == "p3" or 1 == len(world.disk.list("outbox"))
    assert "p3: nobody listens" == world.station.report.gauges["broker_refuses"]

    broker.publish = take  # type: ignore[method-assign]
    world.hub.tell()
    world.run(5)
    assert [] == world.disk.list("outbox")
    assert "nothing" == world.station.report.gauges["broker_refuses"]
