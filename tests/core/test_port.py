"""One broker as a hub or a relay hears it."""

from drivers.link import Connected, LinkRequest, Received
from firmware.core.envelope import ack_unpacked
from firmware.core.port import Port
from firmware.core.topics import Topic
from firmware.relay.settings import RelaySettings
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.link import SimulatedBroker, SimulatedLink

BROKER = "broker:1883"


def test_acknowledgements_fit_the_packets_of_the_broker() -> None:
    """A broker that takes 1 kB at once: a thousand identities of each kind for one box reach it in parts, and the next box gets its own."""
    timeline = Timeline()
    brokers = {BROKER: SimulatedBroker(timeline, packet_bytes_max=1024)}
    board = SimulatedBoard(clock=SimulatedClock(timeline), make_link=lambda: SimulatedLink(brokers, timeline))
    port = Port(board, RelaySettings(brokers=(BROKER,)), BROKER, role="relay", hears=["scrubjay/#"])
    boxes = SimulatedLink(brokers, timeline)
    boxes.connect(LinkRequest(BROKER, "boxes"))
    assert [Connected] == [type(event) for event in boxes.events()]
    boxes.subscribe(["+/+/+/+/ack"])
    port.hear(board.clock.now())
    first, second = Topic("site-1", "box-1", "ack"), Topic("site-1", "b" * 63, "ack")
    identities = [number.to_bytes(16, "big") for number in range(3000)]
    port.hear(board.clock.now())
    for number, identity in enumerate(identities):
        [port.committed, port.custody, lambda topic, one: port.partial(topic, one, 65_536)][number % 3](first, identity)
    port.committed(second, identities[0])
    heard: dict[str, set[bytes]] = {str(first): set(), str(second): set()}
    for _ in range(50):
        timeline.advance(1_000_000)
        port.hear(board.clock.now())
        port.send_acknowledgements(board.clock.now().monotonic)
        for event in boxes.events():
            if isinstance(event, Received):
                ack = ack_unpacked(event.payload)
                heard[event.topic] |= {*ack.committed, *ack.custody, *ack.partial}

    assert {str(first): set(identities), str(second): {identities[0]}} == heard
