"""Where every item of the outbox stands: waiting, begun, in flight, kept by a relay. Names and figures only; no contact with the world."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence

from drivers.clock import Monotonic
from firmware.uplink.aside import (
    ENDED,
    LOST,
    SILENT,
    UNCONFIRMED,
    UNCONFIRMED_TIMES,
    UNCONFIRMED_TIMES_IN_SILENCE,
    Aside,
    Suspects,
)
from firmware.uplink.flight import Flights
from firmware.uplink.lane import Lane, OnWire
from firmware.uplink.transfer import Transfer
from firmware.uplink.waiting import Waiting

# A question is one byte of an item and what is put around it: that the broker takes it says nothing about the rest.
QUESTION_BYTES_MAX = 64
# What is said and is no item: a relay's of its boxes, our own being there, a stretch of a file to come down.
OWN = OTHERS, STATE, WANT = "presence", "state", "want"


class Standing:
    """waiting: not begun, or begun and not all on the wire. flights: sent and not acknowledged. transfers: begun long items, by name."""

    def __init__(self) -> None:
        self.waiting = Waiting()
        self.flights = Flights()
        self.transfers: dict[str, Transfer] = {}
        self.aside = Aside()
        self.own = Aside()  # likewise what is no item
        self.suspects = Suspects()
        self._unconfirmed: dict[str, int] = {}  # how often in a row it was overdue

    def ground(self) -> None:
        """The connection is gone: nothing that was in flight may be assumed delivered, all of it waits again."""
        self.flights.clear()
        self.ask_all_again()

    def wait_again(self, identity: bytes) -> tuple[str, ...]:
        """It is in flight no longer and waits in its place again. Returns its names."""
        names = self.flights.take(identity)
        for name in names:
            if name in self.transfers:
                self.transfers[name] = self.transfers[name].asking_again()
            self.waiting.again(name)
        return names

    def send_overdue_again(self, now: Monotonic, *, limit_ns: int, heard: Monotonic | None) -> int:
        """What nobody has spoken of for so long waits again; how many. heard: when the hub last spoke of anything.

        What is overdue again and again waits for itself alone: something on the way takes it and keeps it.
        """
        overdue = self.flights.overdue(now.after(-limit_ns + 1))
        for flight in overdue:
            self._not_confirmed(self.wait_again(flight.identity), flight.sent, now, heard)
        return len(overdue)

    def hub_is_back(self) -> None:
        """What it has not confirmed, it was not there to hear."""
        self._unconfirmed.clear()
        self.try_unheard()

    def try_unheard(self) -> None:
        """Somebody may hear it now: what waits for that is tried at once."""
        for name in self.aside.release_unheard():
            self.waiting.again(name)

    def _not_confirmed(self, names: Iterable[str], since: Monotonic, now: Monotonic, heard: Monotonic | None) -> None:
        enough = UNCONFIRMED_TIMES if heard is not None and heard > since else UNCONFIRMED_TIMES_IN_SILENCE
        for name in names:
            times = self._unconfirmed[name] = self._unconfirmed.get(name, 0) + 1
            if times >= enough:
                self.waiting.drop(name)
                self.aside.put(name, UNCONFIRMED, now, SILENT)

    def set_aside(self, identity: bytes, why: str, now: Monotonic) -> Sequence[str]:
        """The broker has refused it, or a piece of it: it waits, and nothing waits for it. Returns its names, the first time."""
        self.ask_again(identity)
        names = self.flights.take(identity) or self.names_begun(identity)
        for name in names:
            self.waiting.drop(name)
            self.suspects.clear(name)
        return [name for name in names if self.aside.put(name, why, now)]

    def is_begun(self, identity: bytes) -> bool:
        """Whether it is a long item of which something has been sent."""
        return any(transfer.identity == identity for transfer in self.transfers.values())

    def names_of(self, identity: bytes) -> tuple[str, ...]:
        """Of one in flight or begun; () for any other."""
        return self.flights.names(identity) or tuple(
            name for name, transfer in self.transfers.items() if transfer.identity == identity
        )

    def suspect(self, lane: Lane, ending: Container[str]) -> list[str]:
        """The connection has ended with what is on it: to be asked before that is forgotten. ending: priorities others of which ended one.
        Returns the names of what ends connections.
        """
        names = sorted([*lane.own(), *(name for identity in lane.identities() for name in self.names_of(identity))])
        return self.suspects.lost(names, is_alone=len(lane) == 1, ending=ending)

    def set_aside_lost(self, names: Iterable[str], why: str, now: Monotonic) -> None:
        """These end connections: they wait, and nothing waits for them."""
        for name in names:
            self.waiting.drop(name)
            (self.own if name in OWN else self.aside).put(name, f"{ENDED}, {why}", now, LOST)

    def refused_own(self, own: str, why: str, now: Monotonic) -> None:
        """The broker has refused what is no item."""
        self.suspects.clear(own)
        self.own.put(own, f"refused, {why}", now)

    def may_say(self, own: str, lane: Lane) -> bool:
        """Whether what is no item may go on the wire, with what is there."""
        return own not in self.own and self.may_join(own, lane)

    def word(self) -> str:
        """What the broker does not take, for people: the most important item, or what is none."""
        return self.aside.word() if self.aside else self.own.word()

    def may_join(self, name: str, lane: Lane) -> bool:
        """Whether it may be on the wire together with what is there."""
        if not self.suspects or not len(lane):
            return True
        there = (*lane.own(), *(other for identity in lane.identities() for other in self.names_of(identity)))
        return not self.suspects.goes_alone(name) and not any(self.suspects.goes_alone(other) for other in there)

    def taken(self, on_wire: OnWire) -> tuple[str, ...]:
        """The broker has taken a publication: the names it was of."""
        if on_wire.own is not None:
            self.suspects.clear(on_wire.own)
            self.own.forget(on_wire.own)
        if on_wire.identity is None:
            return ()
        names = self.names_of(on_wire.identity)
        for name in names:
            if self.suspects and (name not in self.transfers or on_wire.size > QUESTION_BYTES_MAX):
                self.suspects.clear(name)
        return names

    def take_back(self, now: Monotonic) -> None:
        """What was set aside for long enough waits in its place again, or may be said again."""
        self.own.take_due(now)
        for name in self.aside.take_due(now):
            self.waiting.again(name)

    def ask_again(self, identity: bytes) -> None:
        """The receiver has to say how much of this one it has."""
        for name, transfer in self.transfers.items():
            if transfer.identity == identity:
                self.transfers[name] = transfer.asking_again()

    def ask_all_again(self) -> None:
        """Likewise of all that have begun."""
        self.transfers = {name: transfer.asking_again() for name, transfer in self.transfers.items()}

    def ask_overdue_again(self, now: Monotonic, *, limit_ns: int, heard: Monotonic | None) -> int:
        """Likewise of those of which nothing was heard or sent for so long; how many."""
        overdue = [(name, moved) for name, moved in self._moved() if now.since(moved) >= limit_ns]
        for name, moved in overdue:
            self.transfers[name] = self.transfers[name].asking_again()
            self._not_confirmed([name], moved, now, heard)
        return len(overdue)

    def hear_offsets(self, offsets: Mapping[bytes, int], now: Monotonic) -> None:
        """What the receiver has of long items, by identity."""
        for name, transfer in self.transfers.items():
            if transfer.identity in offsets:
                self._unconfirmed.pop(name, None)
                self.transfers[name] = transfer.hearing(offsets[transfer.identity], now)

    def keep(self, identity: bytes, now: Monotonic) -> bool:
        """A relay has it on its disk. False for one that was not under way."""
        for name in self.names_begun(identity):
            self.flights.add(identity, name, now)  # It had the whole before we had sent it all.
        return self.flights.keep(identity, now)

    def acknowledged(self, identity: bytes) -> Sequence[str]:
        """The hub has it: the names of the items it was; none for one that is not under way."""
        names = self.flights.take(identity) or self.names_begun(identity)
        for name in names:
            self.transfers.pop(name, None)
            self._forget(name)
        return names

    def names_begun(self, identity: bytes) -> tuple[str, ...]:
        """Of a long item that is not all sent, and waits no longer now.

        The hub had it all before we had sent it all: the answer to the question after a reconnect.
        """
        names = tuple(name for name, transfer in self.transfers.items() if transfer.identity == identity)
        for name in names:
            self.waiting.drop(name)
        return names

    def drop(self, name: str) -> None:
        """It is not to be sent."""
        self.transfers.pop(name, None)
        self.waiting.drop(name)
        self._forget(name)

    def forget_others(self, names: Collection[str]) -> None:
        """Long items, and refused ones, that are neither in flight nor among these are gone."""
        there = set(names)
        for name in self.transfers.keys() - there:
            if name not in self.flights:
                del self.transfers[name]
        for name in {*self.aside.names(), *self.suspects.names(), *self._unconfirmed}:
            if name not in there and name not in self.flights and name not in OWN:
                self._forget(name)

    def next_moved(self) -> Monotonic | None:
        """When the begun one of which nothing was heard or sent for longest last moved."""
        return min((moved for _, moved in self._moved()), default=None)

    def _forget(self, name: str) -> None:
        self.aside.forget(name)
        self.suspects.clear(name)
        self._unconfirmed.pop(name, None)

    def _moved(self) -> list[tuple[str, Monotonic]]:
        return [(name, entry.moved) for name, entry in self.transfers.items() if entry.sent and name not in self.flights]
