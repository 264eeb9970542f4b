"""A box's uplink in virtual time, opposite a hub that answers as the test wishes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from drivers.errors import NotConnected
from drivers.link import Acknowledged, Connected, Disconnected, LinkEvent, LinkRequest, Received, Refused
from firmware.core import release
from firmware.core.envelope import Ack, Chunk, ack_packed, chunk_unpacked, packed, sealed_envelope, unpacked
from firmware.core.message import Priority
from firmware.core.spool import Spool
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.link import SimulatedBroker, SimulatedLink

SECOND = 1_000_000_000
BROKERS = ("first:1883", "second:1883")
HUB_TOPICS = ("scrubjay/v1/+/+/state", "scrubjay/v1/+/+/p1", "scrubjay/v1/+/+/p2", "scrubjay/v1/+/+/p3", "scrubjay/v1/+/+/p4", "scrubjay/v1/+/+/bulk/+")  # fmt: skip


@dataclass
class Hub:
    """What a hub would see. answers: acknowledge whole envelopes at once."""

    link: SimulatedLink
    answers: bool = True
    envelopes: list[bytes] = field(default_factory=list)  # identities, in order of arrival
    topics: list[str] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    transfers: list[bytes] = field(default_factory=list)  # to which envelope each chunk belongs
    states: list[bytes] = field(default_factory=list)

    def connect(self, broker: str) -> None:
        self.link.connect(LinkRequest(broker, "hub"))

    def step(self) -> None:
        for event in self.link.events():
            match event:
                case Connected():
                    try:
                        self.link.subscribe(HUB_TOPICS)
                    except NotConnected:
                        continue
                case Received(topic, payload):
                    self._hear(topic, payload)
                case Acknowledged() | Refused() | Disconnected():
                    continue

    def take_chunks(self) -> list[tuple[bytes, Chunk]]:
        found = list(zip(self.transfers, self.chunks, strict=True))
        self.transfers.clear()
        self.chunks.clear()
        return found

    def tell(self, *committed: bytes, **partial: int) -> None:
        offsets = {bytes.fromhex(identity): size for identity, size in partial.items()}
        self.link.publish("scrubjay/v1/site-1/box-1/ack", ack_packed(Ack(committed, offsets)))

    def _hear(self, topic: str, payload: bytes) -> None:
        self.topics.append(topic.rsplit("/", 2)[1] if "/bulk/" in topic else topic.rpartition("/")[2])
        if topic.endswith("state"):
            self.states.append(payload)
        elif "/bulk/" in topic:
            self.chunks.append(chunk_unpacked(payload))
            self.transfers.append(bytes.fromhex(topic.rpartition("/")[2]))
        else:
            self.envelopes.append(unpacked(payload).identity)
            if self.answers:
                self.tell(self.envelopes[-1])


class World:
    """One box, two brokers, a hub. Time moves only here."""

    def __init__(self, *, receive_maximum: int = 100, **settings: object) -> None:
        self.timeline = Timeline()
        self.brokers = {name: SimulatedBroker(self.timeline, seed=number, receive_maximum=receive_maximum) for number, name in enumerate(BROKERS)}  # fmt: skip
        self.links: list[SimulatedLink] = []
        self.disk = SimulatedDisk()
        self.board = SimulatedBoard(
            disk=self.disk, clock=SimulatedClock(self.timeline), identity=SimulatedIdentity(), make_link=self._link
        )
        self.settings = UplinkSettings(**({"brokers": BROKERS} | settings))  # type: ignore[arg-type]
        self.hub = Hub(self._link())
        self.hub.connect(BROKERS[0])
        self.outbox = Spool(self.disk, "outbox")
        self.steps = 0
        self.start()
        self.before_step: Callable[[], None] = lambda: None

    def _link(self) -> SimulatedLink:
        self.links.append(SimulatedLink(self.brokers, self.timeline))
        return self.links[-1]

    def start(self) -> None:
        self.station = UplinkStation(self.board, self.settings)
        self.station.start(self.board.clock.now())

    def crash(self) -> None:
        """The process ends without a word and starts again."""
        for link in self.links[1:]:
            link.crash()
        self.start()

    def run(self, seconds: float = 1.0, *, until: Callable[[], bool] = lambda: False) -> None:
        end = self.timeline.tai_ns + int(seconds * SECOND)
        while not until():
            self.before_step()
            self.hub.step()
            wish = self.station.step(self.board.clock.now())
            self.steps += 1
            wishes = [end] if wish is None else [end, self.board.clock.moment(wish)]
            wishes += [link.next_ns() or end for link in self.links]
            if self.timeline.tai_ns >= end:
                return
            # A microsecond at least: a station that wants to be stepped at once again takes some time over it.
            self.timeline.advance(max(1000, min(wishes) - self.timeline.tai_ns))

    def put(self, priority: int, number: int, content: bytes = b"x", *, expires_tai_ns: int | None = None) -> bytes:
        """An envelope into the outbox; returns its identity."""
        facts = {} if expires_tai_ns is None else {"expires_tai_ns": expires_tai_ns}
        envelope = sealed_envelope(
            box="box-1",
            kind="group",
            priority=Priority(priority),
            first_tai_ns=number,
            last_tai_ns=number,
            content=content,
            facts=facts,
        )
        self.outbox.publish(release.name_of(Priority(priority), number, f"g{number}"), packed(envelope))
        return envelope.identity

    def noise(self, size: int) -> bytes:
        return self.board.identity.entropy(size)

    def events(self) -> list[LinkEvent]:
        return self.links[1].events()


@pytest.fixture
def world() -> Iterator[World]:
    yield World()
