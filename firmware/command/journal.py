"""What was accepted from one signer: the guard against an order replayed, and the memory of those interrupted.

A signer counts its orders upwards, but a broker may lose one and deliver it after the next. So an order is not refused for coming
late, only for coming again: an anti-replay window as in IPsec (RFC 4303 §3.4.3), with one difference. Counters follow the signer's
clock and leap, and other boxes get some of them, so the window is the last WINDOW orders accepted here, whatever their distance,
and not a stretch of numbers. Until it is full nothing was ever forgotten, and it has no lower end.

How late an order may come is not for the window to say: its expiry and its age are checked besides (verify.py).

Stored in commands/counters/<signer> as deterministic CBOR: {0: 2, 1: [[counter, identity, accepted ns TAI, handed on], ...]},
counters ascending.
"""

from dataclasses import dataclass, replace
from enum import Enum

import cbor2

from firmware.core.cbor import decoded_cbor
from firmware.core.envelope import Order
from firmware.core.errors import BadItem

VERSION = 2
JOURNAL_BYTES_MAX = 65_536
WINDOW = 64  # As wide as IPsec's default. A broker may also deliver twice (MQTT 5 §4.3.2), the second time so far behind.


class Novelty(Enum):
    """What an order is to the journal."""

    NEW = "new"
    UNFINISHED = "unfinished"  # accepted, and not known to have been handed on
    REPEAT = "repeat"  # accepted and handed on before
    REPLAYED = "replayed"  # its counter or its identity was used by another order, or it lies below the window


@dataclass(frozen=True, slots=True)
class Accepted:
    """One order that was let through. tai_ns: when. handed_on: it is known to have been published onward."""

    counter: int
    identity: bytes
    tai_ns: int
    handed_on: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """accepted: the last WINDOW orders by counter, ascending; no counter and no identity twice."""

    accepted: tuple[Accepted, ...] = ()

    def novelty(self, order: Order) -> Novelty:
        """What this order is. An order is another one when its counter or its identity differs."""
        if len(self.accepted) == WINDOW and order.counter < self.accepted[0].counter:
            return Novelty.REPLAYED
        for row in self.accepted:
            if (row.counter, row.identity) == (order.counter, order.identity):
                return Novelty.REPEAT if row.handed_on else Novelty.UNFINISHED
            if row.counter == order.counter or row.identity == order.identity:
                return Novelty.REPLAYED
        return Novelty.NEW

    def accepted_at(self, order: Order) -> int:
        """When this order was accepted, ns TAI; it was."""
        return next(row.tai_ns for row in self.accepted if row.counter == order.counter)

    def accepting(self, order: Order, tai_ns: int) -> "Journal":
        """The journal to write before a new order is handed on. The window moves up when it is full."""
        rows = sorted((*self.accepted, Accepted(order.counter, order.identity, tai_ns)), key=lambda row: row.counter)
        return Journal(tuple(rows[-WINDOW:]))

    def handing_on(self, order: Order) -> "Journal":
        """The journal to write after it was."""
        return Journal(tuple(replace(row, handed_on=True) if row.counter == order.counter else row for row in self.accepted))


def packed(journal: Journal) -> bytes:
    """As stored."""
    rows = [[row.counter, row.identity, row.tai_ns, row.handed_on] for row in journal.accepted]
    return cbor2.dumps({0: VERSION, 1: rows}, canonical=True)


def unpacked(data: bytes) -> Journal:
    """As it was packed; raises BadItem."""
    match decoded_cbor(data):
        case {0: 2, 1: [*rows]} if len(rows) <= WINDOW:
            return Journal(tuple(_accepted(row) for row in rows))
    raise BadItem(f"expected a journal of version {VERSION}")


def _accepted(row: object) -> Accepted:
    match row:
        case [int(counter), bytes(identity), int(tai_ns), bool(handed_on)] if len(identity) == 16:
            return Accepted(counter, identity, tai_ns, handed_on)
    raise BadItem("expected counter, identity, time and whether it was handed on in each row of a journal")
