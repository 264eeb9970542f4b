"""The asker: datagrams out of one interface, and the moment each of them left. Answers are not its business: a tap hears them.

Why not one socket for both: ptp4l holds UDP 319 and 320 on the same interface, and a second socket there would take unicast
requests of its clients away from it. A tap only listens along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Left:
    """A datagram has left. number: as `ask` returned it. stamp_ns: UTC, by the clock frames are stamped with, and never after it left."""

    number: int
    stamp_ns: int


class Asker(Protocol):
    """One interface to ask on. Nothing here ever waits."""

    @property
    def mac(self) -> bytes:
        """The interface's address, 6 bytes."""
        ...

    def ask(self, data: bytes, address: str, port: int) -> int:
        """Send to an IPv4 or IPv6 address, multicast included; returns the number its stamp will carry, growing by one.

        Raises Unreachable when nothing can be sent there, and NotConnected when the interface is gone; nothing was sent.
        """
        ...

    def left(self) -> Sequence[Left]:
        """Stamps that have come since last asked, oldest first."""
        ...

    def close(self) -> None:
        """Stop asking; closing twice is as good as once."""
        ...
