"""What has been sent and is not yet acknowledged by the hub. Only names and figures; the bytes stay on the disk.

In flight: nobody has said anything. In custody: a relay has it on its own disk and will pass the hub's word back; it is not sent
again for a long while, and takes no room in the window.
"""

from collections.abc import Container, Iterable, Iterator
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
        self._custody: dict[bytes, Flight] = {}
        self._names: set[str] = set()

    def __len__(self) -> int:
        """Those in flight, without those in custody."""
        return len(self._flights)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @property
    def custody_count(self) -> int:
        """How many a relay has said it keeps."""
        return len(self._custody)

    def add(self, identity: bytes, name: str, now: Monotonic) -> None:
        """This item has just been put on the wire."""
        former = self._flights.get(identity) or self._custody.pop(identity, None)
        names = (name,) if former is None else tuple(dict.fromkeys((*former.names, name)))
        self._flights[identity] = Flight(identity, names, now, former.first_sent if former else now)
        self._names.add(name)

    def names(self, identity: bytes) -> tuple[str, ...]:
        """Of one in flight; () for one that is not."""
        flight = self._flights.get(identity)
        return flight.names if flight is not None else ()

    def take(self, identity: bytes) -> tuple[str, ...]:
        """The names of one, which is on its way no longer; () for one that was not."""
        flight = self._flights.pop(identity, None) or self._custody.pop(identity, None)
        if flight is None:
            return ()
        self._names.difference_update(flight.names)
        return flight.names

    def keep(self, identity: bytes, now: Monotonic) -> bool:
        """A relay has it in custody since now. False for one that was not in flight."""
        flight = self._flights.pop(identity, None)
        if flight is None:
            return False
        self._custody[identity] = Flight(identity, flight.names, now, flight.first_sent)
        return True

    def in_custody(self) -> Iterator[str]:
        """Names of what a relay keeps: the first to go when there is no room for all."""
        for flight in self._custody.values():
            yield from flight.names

    def sent_before(self, moment: Monotonic) -> list[bytes]:
        """Those in flight, put on the wire before this moment."""
        return [flight.identity for flight in self._flights.values() if flight.sent < moment]

    def overdue(self, moment: Monotonic) -> list[Flight]:
        """Likewise, with all that is known of them."""
        return [flight for flight in self._flights.values() if flight.sent < moment]

    def kept_before(self, moment: Monotonic) -> list[bytes]:
        """Those in custody since before this moment."""
        return [flight.identity for flight in self._custody.values() if flight.sent < moment]

    def oldest(self) -> Monotonic | None:
        """When the one waiting longest was first sent; None when nothing waits."""
        return min((flight.first_sent for flight in self._flights.values()), default=None)

    def next_overdue(self) -> Monotonic | None:
        """When the one waiting longest since its last sending was sent."""
        return min((flight.sent for flight in self._flights.values()), default=None)

    def next_kept(self) -> Monotonic | None:
        """When the one longest in custody got there."""
        return next((flight.sent for flight in self._custody.values()), None)  # they get there in order

    def clear(self) -> None:
        """The connection is gone, and with it everything that was in flight. A relay's custody does not end with a connection."""
        for flight in self._flights.values():
            self._names.difference_update(flight.names)
        self._flights.clear()


def without(names: Iterable[str], known: Container[str]) -> list[str]:
    """Names of an outbox that wait to be sent, in order: hidden ones and those on their way left out."""
    return [name for name in names if not name.startswith(".") and name not in known]
