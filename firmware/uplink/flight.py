"""What is on its way and not yet acknowledged by the hub. Only names and figures; the bytes stay on the disk."""

from collections.abc import Iterable
from dataclasses import dataclass

from drivers.clock import Monotonic


@dataclass(frozen=True, slots=True)
class Flight:
    """One envelope. names: outbox items holding it (two only when one was made twice). sent: when last put on the wire."""

    identity: bytes
    names: tuple[str, ...]
    sent: Monotonic
    first_sent: Monotonic


class Flights:
    """All of them, by identity. Empty at start: nothing that was in flight before a restart is believed to have arrived."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}
        self._names: set[str] = set()

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, identity: bytes, name: str, now: Monotonic) -> None:
        """This item has just been put on the wire."""
        former = self._flights.get(identity)
        names = (name,) if former is None else (*former.names, name)
        self._flights[identity] = Flight(identity, names, now, former.first_sent if former else now)
        self._names.add(name)

    def take(self, identity: bytes) -> tuple[str, ...]:
        """The names of one, which is in flight no longer; () for one that was not."""
        flight = self._flights.pop(identity, None)
        if flight is None:
            return ()
        self._names.difference_update(flight.names)
        return flight.names

    def sent_before(self, moment: Monotonic) -> list[bytes]:
        """Those put on the wire before this moment."""
        return [flight.identity for flight in self._flights.values() if flight.sent < moment]

    def oldest(self) -> Monotonic | None:
        """When the one waiting longest was first sent; None when nothing waits."""
        return min((flight.first_sent for flight in self._flights.values()), default=None)

    def next_overdue(self) -> Monotonic | None:
        """When the one waiting longest since its last sending was sent."""
        return min((flight.sent for flight in self._flights.values()), default=None)

    def clear(self) -> None:
        """The connection is gone, and with it everything that was in flight."""
        self._flights.clear()
        self._names.clear()


def without(names: Iterable[str], flights: Flights) -> list[str]:
    """Names of an outbox that wait to be sent, in order: hidden ones and those on their way left out."""
    return [name for name in names if not name.startswith(".") and name not in flights]
