"""A daemon on this machine with a control socket of datagrams: ptp4l, chronyd. What is said there is their callers' affair."""

from collections.abc import Sequence
from typing import Protocol


class Daemon(Protocol):
    """One daemon's control socket. It may come and go; nothing here ever waits."""

    def fileno(self) -> int:
        """Readable when `heard` has something; -1 where there is none (simulator, or not connected)."""
        ...

    def say(self, data: bytes) -> None:
        """Send one datagram. Raises NotConnected when nobody listens there; nothing was sent, and trying later is right."""
        ...

    def heard(self) -> Sequence[bytes]:
        """Datagrams that have come since last asked, oldest first, at most 64."""
        ...

    def close(self) -> None:
        """Let go of the socket; closing twice is as good as once."""
        ...
