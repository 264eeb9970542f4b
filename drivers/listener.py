"""The listener: a port of ours to which devices of the room send or connect. It frames nothing and keeps nothing.

What a message is, who waits for an answer and how long somebody may take are the station's decisions, not the socket's.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Transport = Literal["udp", "tcp", "tls"]


@dataclass(frozen=True, slots=True)
class ListenRequest:
    """What to listen on.

    port: 0 takes a free one, for tests. interface: the only one that is listened on, "" for all. address: "" for all, IPv4 and IPv6.
    connections_max: at the same time; beyond it a caller is turned away at once. certificate, key: PEM files, for "tls". ca: PEM file
    of those whose certificates are asked of callers, None when they need none.
    """

    transport: Transport
    port: int
    interface: str = ""
    address: str = ""
    connections_max: int = 32
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """Somebody has connected; with "tls", has shown what was asked of him. peer: an IP address."""

    connection: int
    peer: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Some bytes. Over UDP one datagram, and connection is None."""

    connection: int | None
    peer: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """This connection is no more, whoever ended it, `drop` included. reason: for the counter, a word of "closed", "failed", "slow"."""

    connection: int
    reason: str


ListenEvent = Opened | Heard | Closed


class Listener(Protocol):
    """One port. Every call returns at once."""

    @property
    def port(self) -> int: ...

    @property
    def refused(self) -> int:
        """Callers turned away so far: too many at once, or no certificate we accept."""
        ...

    def fileno(self) -> int:
        """Readable when `events` has something; -1 where there is none (simulator)."""
        ...

    def events(self) -> list[ListenEvent]:
        """What happened since the last call, in order: at most some 64 KiB of each connection. Empty when there is nothing more now."""
        ...

    def send(self, connection: int, data: bytes) -> None:
        """An answer. A caller who does not take his answers is dropped ("slow"); one who has gone does not get it, and nothing is raised."""
        ...

    def drop(self, connection: int) -> None:
        """End this connection; Closed follows. One that is gone already is no trouble."""
        ...

    def close(self) -> None:
        """Stop listening, end every connection. Twice is as good as once."""
        ...
