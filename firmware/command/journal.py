"""What was accepted last from one signer: the guard against an order replayed, and the memory of one interrupted.

Stored in commands/counters/<signer> as deterministic CBOR: {0: 1, 1: highest counter, 2: [identities, newest last], 3: handed on,
4: when the newest was accepted, ns TAI}.
"""

from dataclasses import dataclass, replace
from enum import Enum

import cbor2

from firmware.core.envelope import Order
from firmware.core.errors import BadItem
from firmware.core.message import decoded_cbor

VERSION = 1
JOURNAL_BYTES_MAX = 65_536
# A broker may deliver twice (MQTT 5 §4.3.2), the second time after others; so many it may be behind and still be known as ours.
REMEMBERED_MAX = 64


class Novelty(Enum):
    """What an order is to the journal."""

    NEW = "new"
    UNFINISHED = "unfinished"  # the last one accepted, and not known to have been handed on
    REPEAT = "repeat"  # accepted and handed on before
    REPLAYED = "replayed"  # its counter was used or overtaken by another order


@dataclass(frozen=True, slots=True)
class Journal:
    """counter: highest accepted, -1 for none. identities: of the last accepted orders, newest last. handed_on: the newest was published.
    accepted_tai_ns: when the newest was accepted.
    """

    counter: int = -1
    identities: tuple[bytes, ...] = ()
    handed_on: bool = True
    accepted_tai_ns: int = 0

    def novelty(self, order: Order) -> Novelty:
        """What this order is. Equal counters are one order only when the identities are equal too."""
        if order.counter > self.counter:
            return Novelty.NEW
        if order.identity not in self.identities:
            return Novelty.REPLAYED
        if not self.handed_on and order.counter == self.counter and order.identity == self.identities[-1]:
            return Novelty.UNFINISHED
        return Novelty.REPEAT

    def accepting(self, order: Order, tai_ns: int) -> "Journal":
        """The journal to write before the order is handed on."""
        remembered = (*self.identities, order.identity)[-REMEMBERED_MAX:]
        return Journal(order.counter, remembered, handed_on=False, accepted_tai_ns=tai_ns)

    def handing_on(self) -> "Journal":
        """The journal to write after it was."""
        return replace(self, handed_on=True)


def packed(journal: Journal) -> bytes:
    """As stored."""
    row = {
        0: VERSION, 1: journal.counter, 2: list(journal.identities), 3: journal.handed_on, 4: journal.accepted_tai_ns,
    }  # fmt: skip
    return cbor2.dumps(row, canonical=True)


def unpacked(data: bytes) -> Journal:
    """As it was packed; raises BadItem."""
    match decoded_cbor(data):
        case {0: 1, 1: int(counter), 2: [*identities], 3: bool(handed_on), 4: int(accepted)} if all(
            isinstance(identity, bytes) and len(identity) == 16 for identity in identities
        ):
            return Journal(counter, tuple(identities), handed_on, accepted)
    raise BadItem(f"expected a journal of version {VERSION}")
