"""The egress: the queue of one interface, where this machine owns the way out and knows how fast it is.

Only who owns the slowest queue on the way decides who waits in it. A little below the link's rate that queue is here.
"""

from typing import Protocol


class Egress(Protocol):
    """The queues of this machine's interfaces. Needs the privilege to change them."""

    def shape(self, interface: str, rate_kbit: int) -> None:
        """From now on at most so much leaves through it, what is urgent first (drivers/link.py: Service). Twice is as good as once.

        rate_kbit: of what IP sees, kbit/s; 95 % of the link's. Raises EgressFailed; then the interface is as it was.
        """
        ...

    def release(self, interface: str) -> None:
        """As the system makes it. Raises EgressFailed."""
        ...

    def rate_kbit(self, interface: str) -> int | None:
        """What it is shaped to, kbit/s; None when it is not, by us or as we do."""
        ...
