"""One of the uplink's two connections, and what is on it that the broker has not answered."""

from dataclasses import dataclass

from drivers.clock import Monotonic, Now
from drivers.link import Link
from firmware.core.connection import Connection
from firmware.core.timestamp import SECOND

# A publication the broker says nothing about is a connection lost (mosquitto #2362: QoS 0 flows, QoS 1 is stuck, for hours).
STUCK_NS_MAX = 30 * SECOND


@dataclass(frozen=True, slots=True)
class OnWire:
    """A publication the broker has not answered. identity: of the envelope it belongs to; None for what is no item, and then `own` says
    what it is ("state"). size: of the payload."""

    identity: bytes | None
    since: Monotonic
    size: int
    own: str | None = None


class Lane:
    """link: publishes and tells events. connection: when to try, and how it stands."""

    def __init__(self, link: Link, connection: Connection) -> None:
        self.link = link
        self.connection = connection
        self._on_wire: dict[int, OnWire] = {}  # by token

    def __len__(self) -> int:
        return len(self._on_wire)

    def publish(self, topic: str, payload: bytes, identity: bytes, now: Monotonic) -> int:
        """Put it on the wire; returns its token. Raises NotConnected or TooLarge."""
        token = self.link.publish(topic, payload)
        self._on_wire[token] = OnWire(identity, now, len(payload))
        return token

    def say(self, own: str, topic: str, payload: bytes, now: Monotonic, *, retain: bool = False) -> None:
        """Likewise of what is no item, and is not kept. own: what it is, in a word."""
        token = self.link.publish(topic, payload, retain=retain)
        self._on_wire[token] = OnWire(None, now, len(payload), own)

    def answered(self, token: int) -> OnWire | None:
        """The broker has said something about this one; None when it was not waiting for a word."""
        return self._on_wire.pop(token, None)

    def is_stuck(self, now: Monotonic) -> bool:
        """Connected in name only."""
        return any(now.since(entry.since) >= STUCK_NS_MAX for entry in self._on_wire.values())

    def identities(self) -> set[bytes]:
        """Envelopes of which something is on this wire."""
        return {entry.identity for entry in self._on_wire.values() if entry.identity is not None}

    def longest(self) -> int:
        """Bytes of the longest publication on this wire."""
        return max((entry.size for entry in self._on_wire.values()), default=0)

    def own(self) -> set[str]:
        """What of no item is on this wire."""
        return {entry.own for entry in self._on_wire.values() if entry.own is not None}

    def forget(self) -> None:
        """The connection is gone, and with it everything on it."""
        self._on_wire.clear()

    def leave(self, now: Now) -> None:
        """Go, politely; the next attempt is the connection's to plan."""
        self.link.disconnect()
        self.forget()
        self.connection.lost(now.monotonic)

    def next_wish(self) -> Monotonic | None:
        """When this lane wants to be looked at without anything having arrived."""
        stuck = min((entry.since for entry in self._on_wire.values()), default=None)
        wishes = [self.connection.next_wish(), stuck.after(STUCK_NS_MAX) if stuck is not None and self.connection.is_up else None]
        return min((wish for wish in wishes if wish is not None), default=None)
