"""One broker as a receiver hears it, be it a hub or a relay: a connection, and the acknowledgements that wait for room on it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.link import WE_LEFT, Acknowledged, Connected, Deaf, Disconnected, LinkRequest, Received, Refused
from firmware.core.connection import Connection
from firmware.core.envelope import ACK_IDENTITIES_MAX, Ack, ack_packed
from firmware.core.errors import NotConnected, TooLarge
from firmware.core.timestamp import SECOND
from firmware.core.topics import Topic

PUBLISHED_MAX = 50  # On the wire at once; below every broker's Receive Maximum we have met, and a fleet's acks fit in seconds.
STUCK_NS_MAX = 30 * SECOND
_IDENTITIES_MAX = ACK_IDENTITIES_MAX // 4  # of each kind in one acknowledgement
_IDENTITY_BYTES = 17 + 17 + 23  # one of each kind, with the head CBOR gives it, and how much there is of a long one
_ACK_HEAD_BYTES = 320  # a topic of 245 bytes where site, relay and box have 63 characters, and what MQTT and CBOR put around it


class PortSettings(Protocol):
    """What a port has to be told: how to connect."""

    @property
    def ca(self) -> str: ...
    @property
    def certificate(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def keepalive_s(self) -> int: ...
    @property
    def backoff_s_max(self) -> int: ...


@dataclass(slots=True)
class _Pending:
    """What one box has not been told yet. An empty one is a greeting: the receiver is here."""

    committed: list[bytes] = field(default_factory=list)
    partial: dict[bytes, int] = field(default_factory=dict)
    custody: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Told:
    """What came of an acknowledgement. was_heard: somebody listens there; False: nobody does; None: the connection went, nobody knows."""

    topic: Topic
    committed: tuple[bytes, ...]
    was_heard: bool | None


@dataclass(frozen=True, slots=True)
class _OnWire:
    since: Monotonic
    topic: Topic | None = None
    committed: tuple[bytes, ...] = ()


class Port:
    """One broker. Boxes are addressed by the topic of their acknowledgements, which says through whom they speak.

    role: last word of its MQTT name. greeted: set when it has just been connected to, until the station has greeted all boxes.
    trouble: why there is no connection, or nothing is heard on it; for people, "" while all is well. unsteady: that it comes and goes,
    likewise.
    told: what came of acknowledgements since the station took them; only kept where it asks for them (keep_told).
    """

    def __init__(
        self, board: Board, settings: PortSettings, broker: str, *, role: str, hears: Sequence[str], keep_told: bool = False
    ) -> None:
        self.greeted = False
        self.trouble = "none yet"
        self.unsteady = ""
        self.told: list[Told] = []
        self.connection = Connection(
            board.link(), board.identity, (broker,), backoff_s_max=settings.backoff_s_max, request=self._request
        )
        self._settings = settings
        self._hears = hears
        self._keep_told = keep_told
        # One hub at a broker: a second with this name takes its place, as it would after a restart.
        self._client = f"{board.identity.site}/{board.identity.name}/{role}"
        self._on_wire: dict[int, _OnWire] = {}
        self._pending: dict[Topic, _Pending] = {}

    def hear(self, now: Now) -> list[Received]:
        """What has arrived; keeps the connection meanwhile."""
        received = []
        for event in self.connection.link.events():
            match event:
                case Connected():
                    self._forget()
                    self.trouble = ""
                    self.connection.connected(event, now.monotonic)
                    try:
                        self.connection.link.subscribe(self._hears)
                    except NotConnected:
                        continue  # Disconnected is on its way.
                    self.greeted = False
                case Disconnected(reason):
                    self.trouble = self.trouble if reason == WE_LEFT else reason
                    self._forget()
                    self.connection.lost(now.monotonic)
                case Deaf(reason):
                    self.trouble = f"the broker refuses what we are to hear: {reason}"
                case Acknowledged(token):
                    self._answered(token, was_heard=True)
                case Refused(token, _):
                    # A box that is not there is told again when it comes back.
                    self._answered(token, was_heard=False)
                case Received():
                    self.connection.works()
                    received.append(event)
        self.trouble = self.connection.connect_when_due(now) or self.trouble
        self.unsteady = self.connection.unsteady(now.monotonic)
        if self.connection.is_up and any(now.monotonic.since(entry.since) >= STUCK_NS_MAX for entry in self._on_wire.values()):
            self.connection.link.disconnect()
            self.trouble = "the broker answered nothing"
            self._forget()
            self.connection.lost(now.monotonic)
        return received

    def committed(self, topic: Topic, identity: bytes) -> None:
        """The box may forget this envelope. topic: any of its own."""
        pending = self._of(topic)
        pending.committed.append(identity)
        pending.partial.pop(identity, None)

    def partial(self, topic: Topic, identity: bytes, size: int) -> None:
        """The receiver has so many bytes of this long envelope."""
        self._of(topic).partial[identity] = size

    def custody(self, topic: Topic, identity: bytes) -> None:
        """A relay has this envelope on its disk."""
        pending = self._of(topic)
        pending.custody.append(identity)
        pending.partial.pop(identity, None)

    def greet(self, topic: Topic) -> None:
        """Tell the box that the receiver is here: what it sent before may have been thrown away."""
        self._of(topic)

    def take_told(self) -> list[Told]:
        """What came of acknowledgements since the last call."""
        told, self.told = self.told, []
        return told

    def send_acknowledgements(self, now: Monotonic) -> bool:
        """As many as there is room for. Returns whether some wait for room."""
        while self._pending:
            topic, pending = next(iter(self._pending.items()))
            most, partial = self._identities_max(), list(pending.partial.items())
            committed, custody = tuple(pending.committed[:most]), tuple(pending.custody[:most])
            if not self._publish(topic, ack_packed(Ack(committed, dict(partial[:most]), custody)), committed, now):
                return True
            later = _Pending(pending.committed[most:], dict(partial[most:]), pending.custody[most:])
            if later.committed or later.partial or later.custody:
                self._pending[topic] = later
            else:
                del self._pending[topic]
        return False

    def publish(self, topic: Topic, payload: bytes, now: Monotonic) -> bool:
        """Whether it is on the wire; not so without a connection or room."""
        return self._publish(topic, payload, (), now)

    def room(self) -> int:
        """Publications that may be put on the wire now; 0 without a connection."""
        return max(0, self.window() - len(self._on_wire)) if self.connection.is_up else 0

    def window(self) -> int:
        """Publications that may be on the wire at once, as this broker has it."""
        return min(PUBLISHED_MAX, self.connection.receive_maximum)

    def next_wish(self) -> Monotonic | None:
        """When it wants to be heard again without anything having arrived."""
        stuck = min((entry.since for entry in self._on_wire.values()), default=None)
        wishes = [self.connection.next_wish(), stuck.after(STUCK_NS_MAX) if stuck is not None else None]
        return min((wish for wish in wishes if wish is not None), default=None)

    def _identities_max(self) -> int:
        """Of each kind in one acknowledgement, as this broker takes it: one that is too long would keep all others from theirs."""
        return max(1, min(_IDENTITIES_MAX, (self.connection.packet_bytes_max - _ACK_HEAD_BYTES) // _IDENTITY_BYTES))

    def _of(self, topic: Topic) -> _Pending:
        return self._pending.setdefault(topic.to("ack"), _Pending())

    def _publish(self, topic: Topic, payload: bytes, committed: tuple[bytes, ...], now: Monotonic) -> bool:
        if not self.room():
            return False
        try:
            self._on_wire[self.connection.link.publish(str(topic), payload)] = _OnWire(now, topic, committed)
        except (NotConnected, TooLarge):
            return False
        return True

    def _answered(self, token: int, *, was_heard: bool) -> None:
        entry = self._on_wire.pop(token, None)
        if self._keep_told and entry is not None and entry.topic is not None:
            self.told.append(Told(entry.topic, entry.committed, was_heard))

    def _forget(self) -> None:
        # Boxes send again what was not acknowledged, and are told again.
        if self._keep_told:
            self.told += [Told(entry.topic, entry.committed, None) for entry in self._on_wire.values() if entry.topic is not None]
            self.told += [Told(topic, tuple(pending.committed), None) for topic, pending in self._pending.items()]
        self._on_wire.clear()
        self._pending.clear()

    def _request(self, broker: str, now: Now) -> LinkRequest:
        return LinkRequest(
            broker,
            client=self._client,
            keepalive_s=self._settings.keepalive_s,
            ca=self._settings.ca or None,
            certificate=self._settings.certificate or None,
            key=self._settings.key or None,
        )


def trouble_of(ports: Sequence[Port]) -> str:
    """Of the first broker that has any, for people."""
    said = ((port.connection.broker, "; ".join(filter(None, (port.trouble, port.unsteady)))) for port in ports)
    return next((f"{broker}: {trouble}" for broker, trouble in said if trouble), "none")
