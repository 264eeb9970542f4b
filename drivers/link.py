"""The link: one MQTT 5 connection, as a thin wire. It holds no queue and remembers nothing over a reconnect.

What may be in flight, when to try again and what counts as delivered are the uplink's decisions, not the wire's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

# How the packets of a connection should be treated on their way, where anybody heeds it: our own egress (drivers/egress.py) and
# routers that honour DSCP.
Service = Literal["urgent", "ordinary", "bulk"]

# How reasons of Disconnected begin that a person has to do something about. A session outlives its certificates; the next attempt does not.
OUR_CERTIFICATE_EXPIRED = "our certificate has expired"
THEIR_CERTIFICATE_EXPIRED = "the broker's certificate has expired"
CA_EXPIRED = "the certificate in ca has expired"
WE_LEFT = "we left"  # No trouble: the answer to `disconnect`.


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What to connect to.

    broker: "host:port". client: MQTT client identifier, unique in the fleet. will_topic, will_payload: published by the broker
    (QoS 1, retained) when the connection is lost; None for no will. keepalive_s: 1..65535.
    ca, certificate, key: paths of PEM files for TLS; ca None means plain TCP, for loopback and the laptop only.
    service: how its packets are marked.
    """

    broker: str
    client: str
    will_topic: str | None = None
    will_payload: bytes = b""
    keepalive_s: int = 20
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    service: Service = "ordinary"


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker said yes. Subscribe again now: it may have forgotten.

    receive_maximum: QoS 1 publications it takes in flight (MQTT 5 §3.2.2.3.3). maximum_packet_bytes: largest packet (§3.2.2.3.6).
    """

    receive_maximum: int
    maximum_packet_bytes: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, or an attempt failed. Nothing in flight may be assumed delivered."""

    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker took this publication (PUBACK below 0x80, not 0x10). A broker's word is not durable: keep the item."""

    token: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker did not take it: PUBACK 0x80 and above, or 0x10 nobody listens. Keep the item."""

    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """A publication from the other side."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Deaf:
    """The broker does not let us hear what we subscribed to, or some of it (SUBACK 0x80 and above). It goes on with all else."""

    reason: str


LinkEvent = Connected | Disconnected | Acknowledged | Refused | Received | Deaf


class Link(Protocol):
    """One connection. Every call returns at once; what happens comes back as events."""

    def fileno(self) -> int:
        """Readable when `events` has something; -1 where there is none (simulator)."""
        ...

    def connect(self, request: LinkRequest) -> None:
        """One attempt; Connected or Disconnected follows as an event. An earlier connection is dropped."""
        ...

    def disconnect(self) -> None:
        """Leave politely: the broker does not publish the will. Disconnected follows."""
        ...

    def subscribe(self, topics: Sequence[str]) -> None:
        """QoS 1. Raises NotConnected."""
        ...

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """QoS 1; returns a token that Acknowledged or Refused will name. Raises NotConnected or TooLarge."""
        ...

    def events(self) -> list[LinkEvent]:
        """What happened since the last call, in order."""
        ...

    def close(self) -> None:
        """Give everything up, threads included."""
        ...
