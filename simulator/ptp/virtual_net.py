"""The room's network for PTP in virtual time: who is where, and how long a datagram takes each way. No sockets, one seed."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from simulator.ptp.line import PEERS, Heard

Later = Callable[[int, Callable[[], None]], None]  # (ns, deed), as World.later


@dataclass(slots=True)
class Place:
    """Somebody's end of the network. hears: what arrives is handed to. to_ns, from_ns: delay of the cable each way, without jitter.

    is_cut: nothing passes.
    """

    address: str
    hears: Callable[[Heard], None]
    to_ns: int = 10_000
    from_ns: int = 10_000
    is_cut: bool = False


class VirtualNet:
    """Datagrams from place to place. now: true time; later: calls back after so many ns. jitter_ns: longest extra wait in a queue.

    tapped: told of each datagram as it is sent, for whoever wants to see the room's traffic: (sender, receiver or None for everybody, data, event).
    """

    def __init__(self, *, now: Callable[[], int], later: Later, random: Random, jitter_ns: int = 40_000) -> None:
        self.jitter_ns = jitter_ns
        self.tapped: Callable[[str, str | None, bytes, bool], None] | None = None
        self._now = now
        self._later = later
        self._random = random
        self._places: dict[str, Place] = {}

    def join(self, place: Place) -> "VirtualLine":
        """From now on it hears; what it speaks through."""
        self._places[place.address] = place
        return VirtualLine(self, place)

    def place(self, address: str) -> Place:
        """Where somebody is, to be changed: slower, cut."""
        return self._places[address]

    def send(self, source: Place, data: bytes, to: str | None, event: bool) -> int:
        """On its way; when it left."""
        now_ns = self._now()
        if self.tapped is not None:
            self.tapped(source.address, to, data, event)
        for place in self._places.values():
            if place is source or to not in (None, PEERS, place.address) or place.is_cut or source.is_cut:
                continue
            delay_ns = source.from_ns + place.to_ns + self._random.randrange(self.jitter_ns)
            self._later(delay_ns, _arrival(place, Heard(data, source.address, now_ns + delay_ns if event else None)))
        return now_ns


@dataclass(frozen=True, slots=True)
class VirtualLine:
    """A `Line` (line.py) from one place."""

    net: VirtualNet
    place: Place

    def send(self, data: bytes, *, to: str | None, event: bool) -> int | None:
        left_ns = self.net.send(self.place, data, to, event)
        return left_ns if event else None


def _arrival(place: Place, heard: Heard) -> Callable[[], None]:
    return lambda: place.hears(heard)
