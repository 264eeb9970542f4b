"""A broker in virtual time, and links to it. It keeps MQTT's promises and not one more, and breaks those a broker may break.

What it took and acknowledged it may lose (`lose`, `kill`): a PUBACK is not durable (fleet study §1: 0 of 1000 survive a SIGKILL).
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from drivers.errors import NotConnected, TooLarge
from drivers.link import WE_LEFT, Acknowledged, Connected, Disconnected, LinkEvent, LinkRequest, Received, Refused
from simulator.clock import Timeline

MUTE_NS = 30_000_000_000  # one and a half times the keep-alive; drivers/linux/link.py finds out after 20 s of sending


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """How often what goes wrong; probabilities 0..1, drawn from the seed at each occasion.

    refuse: a connection attempt. drop: the connection, at a publication. quota: PUBACK 0x97 instead of taking it.
    twice: a second PUBACK, later. never: taken, but no PUBACK. late: the PUBACK overtaken by others. lose: PUBACK, then the broker
    dies with what it took. again: a subscriber is given the same publication twice. delay_ns: longest way one way.
    mute: the path of a connection dies at a publication. Nothing passes any more in either direction, what the broker sends there it has
    sent, and both ends find out up to MUTE_NS later.
    """

    refuse: float = 0.0
    drop: float = 0.0
    quota: float = 0.0
    twice: float = 0.0
    never: float = 0.0
    late: float = 0.0
    lose: float = 0.0
    again: float = 0.0
    mute: float = 0.0
    delay_ns: int = 0


@dataclass(slots=True, eq=False)
class _Client:
    """A connection as the broker sees it."""

    link: "SimulatedLink"
    request: LinkRequest
    filters: list[str]
    unacknowledged: set[int]
    arrives_ns: int = 0  # nothing it is sent may arrive before what was sent earlier
    mute_until_ns: int | None = None


class SimulatedBroker:
    """One broker. `faults` may be changed at any time; `up` False refuses everybody."""

    def __init__(
        self,
        timeline: Timeline,
        *,
        seed: int = 1,
        faults: LinkFaults | None = None,
        receive_maximum: int = 100,
        packet_bytes_max: int = 1 << 20,
    ) -> None:
        self.timeline = timeline
        self.faults = faults or LinkFaults()
        self.receive_maximum = receive_maximum
        self.packet_bytes_max = packet_bytes_max
        self.up = True
        self.keeps_retained = True  # Clusters do not: not by wildcard, not on another node (fleet study §1).
        self.published: list[tuple[str, bytes]] = []  # all it took, in order; for tests
        self._random = Random(seed)
        self._clients: list[_Client] = []
        self._retained: dict[str, bytes] = {}

    # What the world does to it.

    def kill(self) -> None:
        """SIGKILL: every connection drops, what was taken and not yet delivered is gone. It is up again at once; set `up` for longer."""
        self._retained.clear()
        for client in list(self._clients):
            self._end(client, "the broker died", will=False)

    def drop(self, name: str) -> None:
        """The connection of this client (MQTT client identifier) is lost; its will is published."""
        for client in [entry for entry in self._clients if entry.request.client == name]:
            self._end(client, "the connection was lost", will=True)

    # What links do.

    def connect(self, link: "SimulatedLink", request: LinkRequest) -> None:
        """An attempt arrives."""
        self._miss_the_mute()
        arrives = self._after()
        if not self.up or self._happens(self.faults.refuse):
            link.push(arrives, Disconnected("the broker refused: 0x88"))
            return
        for former in [entry for entry in self._clients if entry.request.client == request.client]:
            self._end(former, "the broker ended the connection: 0x8e", will=True)
        client = _Client(link, request, [], set(), arrives)
        self._clients.append(client)
        link.push(arrives, Connected(self.receive_maximum, self.packet_bytes_max))

    def leave(self, link: "SimulatedLink", *, will: bool) -> None:
        """A link says goodbye, or (will) simply goes."""
        client = self._client(link)
        if client is not None:
            self._end(client, WE_LEFT, will=will or client.mute_until_ns is not None)  # The farewell does not arrive.

    def subscribe(self, link: "SimulatedLink", topics: Sequence[str]) -> None:
        """Filters of one client; retained publications that match come at once."""
        client = self._must(link)
        if client.mute_until_ns is not None:
            return
        for topic_filter in topics:
            client.filters = [*[entry for entry in client.filters if entry != topic_filter], topic_filter]
            for topic, payload in self._retained.items():
                if matches(topic_filter, topic):
                    self._give(client, topic, payload)

    def publish(self, link: "SimulatedLink", token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        """A publication arrives, QoS 1."""
        self._miss_the_mute()
        client = self._must(link)
        if len(payload) + len(topic) + 10 > self.packet_bytes_max:
            raise TooLarge(f"expected a packet of at most {self.packet_bytes_max} bytes, the payload has {len(payload)}")
        client.unacknowledged.add(token)
        if client.mute_until_ns is None and self._happens(self.faults.mute):
            client.mute_until_ns = self.timeline.tai_ns + self._random.randrange(MUTE_NS)
            link.fall_silent(client.mute_until_ns)
        if client.mute_until_ns is not None:
            return
        if len(client.unacknowledged) > self.receive_maximum:
            self._end(client, "the broker ended the connection: 0x93", will=True)
            return
        if self._happens(self.faults.drop):
            self._end(client, "the connection was lost", will=True)
            return
        if self._happens(self.faults.quota):
            self._answer(client, token, Refused(token, "0x97"))
            return
        if self._happens(self.faults.lose):
            # The answer is on its way when the broker dies: it arrives.
            link.push(self.timeline.tai_ns, Acknowledged(token))
            self.kill()
            return
        taken_by_someone = self._route(topic, payload, retain=retain)
        if self._happens(self.faults.never):
            return
        self._answer(client, token, Acknowledged(token) if taken_by_someone else Refused(token, "0x10"))
        if self._happens(self.faults.twice):
            self._answer(client, token, Acknowledged(token))

    def _route(self, topic: str, payload: bytes, *, retain: bool) -> bool:
        self.published.append((topic, payload))
        if retain and self.keeps_retained:
            self._retained[topic] = payload
        subscribers = [entry for entry in self._clients if any(matches(topic_filter, topic) for topic_filter in entry.filters)]
        for subscriber in subscribers:
            self._give(subscriber, topic, payload)
            if self._happens(self.faults.again):
                self._give(subscriber, topic, payload)
        return bool(subscribers)

    def _miss_the_mute(self) -> None:
        """Whoever has said nothing for too long is gone, and its will speaks."""
        for client in [
            entry for entry in self._clients if (entry.mute_until_ns or self.timeline.tai_ns + 1) <= self.timeline.tai_ns
        ]:
            self._clients.remove(client)
            self._say_will(client)

    def _give(self, client: _Client, topic: str, payload: bytes) -> None:
        if client.mute_until_ns is not None:
            return
        client.arrives_ns = max(client.arrives_ns, self._after())
        client.link.push(client.arrives_ns, Received(topic, payload))

    def _answer(self, client: _Client, token: int, event: Acknowledged | Refused) -> None:
        client.unacknowledged.discard(token)
        if client.mute_until_ns is not None:
            return
        late = self._random.randrange(self.faults.delay_ns + 1_000_000) if self._happens(self.faults.late) else 0
        client.link.push(self._after() + late, event)

    def _end(self, client: _Client, reason: str, *, will: bool) -> None:
        self._clients.remove(client)
        client.link.lose(Disconnected(reason))
        if will:
            self._say_will(client)

    def _say_will(self, client: _Client) -> None:
        if client.request.will_topic is not None:
            self._route(client.request.will_topic, client.request.will_payload, retain=True)

    def _after(self) -> int:
        return self.timeline.tai_ns + (self._random.randrange(self.faults.delay_ns) if self.faults.delay_ns else 0)

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability

    def _client(self, link: "SimulatedLink") -> _Client | None:
        return next((entry for entry in self._clients if entry.link is link), None)

    def _must(self, link: "SimulatedLink") -> _Client:
        client = self._client(link)
        if client is None:
            raise NotConnected("expected a connection to a broker, there is none")
        return client


class SimulatedLink:
    """A Link to the brokers of a network (by "host:port"). `ring` wakes the loop of the process it belongs to."""

    def __init__(
        self, network: Mapping[str, SimulatedBroker], timeline: Timeline, *, ring: Callable[[], None] = lambda: None
    ) -> None:
        self._network = network
        self._timeline = timeline
        self._ring = ring
        self._broker: SimulatedBroker | None = None
        self._is_up = False  # as this side knows: not before Connected was seen
        self._coming: list[tuple[int, int, LinkEvent]] = []  # heap: true time of arrival, order, event
        self._number = 0
        self._token = 0

    # The contract.

    def fileno(self) -> int:
        return -1

    def connect(self, request: LinkRequest) -> None:
        self._drop()
        self._coming = [entry for entry in self._coming if isinstance(entry[2], Received)]
        broker = self._network.get(request.broker)
        if broker is None:
            self.push(self._timeline.tai_ns, Disconnected("ConnectionRefusedError"))
            return
        self._broker = broker
        broker.connect(self, request)

    def disconnect(self) -> None:
        if self._broker is not None:
            self._broker.leave(self, will=False)

    def subscribe(self, topics: Sequence[str]) -> None:
        self._up().subscribe(self, topics)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        broker = self._up()
        self._token += 1
        broker.publish(self, self._token, topic, payload, retain=retain)
        return self._token

    def events(self) -> list[LinkEvent]:
        found: list[LinkEvent] = []
        while self._coming and self._coming[0][0] <= self._timeline.tai_ns:
            event = heapq.heappop(self._coming)[2]
            if isinstance(event, Connected | Disconnected):
                self._is_up = isinstance(event, Connected)
            found.append(event)
        return found

    def close(self) -> None:
        self._drop()
        self._coming = []

    # What the broker and the world do.

    def push(self, arrives_ns: int, event: LinkEvent) -> None:
        """Something is on its way to this side; true time of its arrival, TAI ns."""
        self._number += 1
        heapq.heappush(self._coming, (arrives_ns, self._number, event))
        self._ring()

    def lose(self, event: Disconnected) -> None:
        """The connection ends now: what had not arrived never will."""
        now = self._timeline.tai_ns
        self._coming = [entry for entry in self._coming if entry[0] <= now]
        heapq.heapify(self._coming)
        self._broker = None
        self.push(now, event)

    def fall_silent(self, until_ns: int) -> None:
        """The path has died: nothing arrives any more, and then this side finds out."""
        now = self._timeline.tai_ns
        self._coming = [entry for entry in self._coming if entry[0] <= now]
        heapq.heapify(self._coming)
        self.push(until_ns, Disconnected("the connection was lost"))

    def crash(self) -> None:
        """The process on this side was killed: the broker sees the connection lost, and nobody is told here."""
        if self._broker is not None:
            self._broker.leave(self, will=True)
        self._is_up = False
        self._coming = []

    def next_ns(self) -> int | None:
        """When the next event arrives (true time, TAI ns), or None; the world's loop moves time there."""
        return self._coming[0][0] if self._coming else None

    def _drop(self) -> None:
        if self._broker is not None:
            self._broker.leave(self, will=False)
        self._broker, self._is_up = None, False

    def _up(self) -> SimulatedBroker:
        if self._broker is None or not self._is_up:
            raise NotConnected("expected a connection to a broker, there is none")
        return self._broker


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic fits a filter with + and # (MQTT 5 §4.7)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for depth, level in enumerate(wanted):
        if level == "#":
            return True
        if depth >= len(levels) or level not in ("+", levels[depth]):
            return False
    return len(wanted) == len(levels)
