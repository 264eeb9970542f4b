"""One broker as a hub or a relay hears it."""

from drivers.link import Connected, Deaf, LinkRequest, Received
from firmware.core.envelope import ack_unpacked
from firmware.core.port import Port, trouble_of
from firmware.core.timestamp import SECOND
from firmware.core.topics import Topic
from firmware.relay.settings import RelaySettings
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.link import LinkFaults, SimulatedBroker, SimulatedLink

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


def test_why_there_is_no_connection_is_said() -> None:
    """A broker that refuses, one that has come back, one that lets nothing be heard: of the first that has any, for people."""
    timeline = Timeline()
    brokers = {BROKER: SimulatedBroker(timeline), "second:1883": SimulatedBroker(timeline)}
    board = SimulatedBoard(clock=SimulatedClock(timeline), make_link=lambda: SimulatedLink(brokers, timeline))
    settings = RelaySettings(brokers=tuple(brokers))
    ports = [Port(board, settings, broker, role="relay", hears=["scrubjay/#"]) for broker in brokers]
    brokers["second:1883"].up = False
    said = []

    def hear() -> None:
        for _ in range(300):
            for port in ports:
                port.hear(board.clock.now())
            timeline.advance(SECOND // 10)
        said.append(trouble_of(ports))

    hear()
    brokers["second:1883"].up = True
    for _ in range(5):
        hear()
    link = ports[0].connection.link
    assert isinstance(link, SimulatedLink)
    link.push(timeline.tai_ns, Deaf("0x87"))
    hear()

    refused = "second:1883: the broker refused: 0x88"
    assert [refused, "none", f"{BROKER}: the broker refuses what we are to hear: 0x87"] == [said[0], said[-2], said[-1]]


def test_an_attempt_nobody_answers_is_said() -> None:
    """Name servers that say nothing: a hub or a relay does not go on saying that nothing was tried yet."""
    timeline = Timeline()
    brokers = {BROKER: SimulatedBroker(timeline, faults=LinkFaults(delay_ns=10**6 * SECOND))}
    board = SimulatedBoard(clock=SimulatedClock(timeline), make_link=lambda: SimulatedLink(brokers, timeline))
    port = Port(board, RelaySettings(brokers=(BROKER,)), BROKER, role="relay", hears=["scrubjay/#"])
    said = []
    for _ in range(2):
        port.hear(board.clock.now())
        said.append(trouble_of([port]))
        timeline.advance(16 * SECOND)

    assert [f"{BROKER}: none yet", f"{BROKER}: no answer within 15 s: are the name servers reached, and the broker?"] == said


def test_another_hub_under_this_name_is_said() -> None:
    """Also while this one is connected; not once the other has been gone for a while."""
    timeline = Timeline()
    brokers = {BROKER: SimulatedBroker(timeline)}
    board = SimulatedBoard(clock=SimulatedClock(timeline), make_link=lambda: SimulatedLink(brokers, timeline))
    port, other = (Port(board, RelaySettings(brokers=(BROKER,)), BROKER, role="relay", hears=["scrubjay/#"]) for _ in range(2))

    def hear(*ports: Port) -> str:
        for _ in range(40):
            for one in ports:
                one.hear(board.clock.now())
            timeline.advance(SECOND)
        return trouble_of([port])

    assert hear(port, other).endswith(" times in a row soon after connecting; does another machine have this name?")
    assert "none" == hear(port)
