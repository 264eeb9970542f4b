"""What an ordinary clock speaks through: a contract, so that the same clock runs over real sockets and in virtual time."""

from dataclasses import dataclass
from typing import Protocol

from firmware.core.ptp import MULTICAST

GROUP = MULTICAST  # everybody
PEERS = "peers"  # whoever is at the other end of the cable (§11.4): a switch hands such a message to nobody else


@dataclass(frozen=True, slots=True)
class Heard:
    """A datagram. source: the sender's address. stamp_ns: true time of its arrival; None of a general message, which has none."""

    data: bytes
    source: str
    stamp_ns: int | None


class Line(Protocol):
    """The way out."""

    def send(self, data: bytes, *, to: str | None, event: bool) -> int | None:
        """To one host, to PEERS, or with None to everybody. The true time an event message left, ns; None when that is not known."""
        ...
