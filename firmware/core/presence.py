"""What a box says on its `state` topic: that it is there, and (as the last will the broker publishes for it) that it is not.

Deterministic CBOR: {0: 1, 1: "online" | "lost" | "left", 2: epoch, 3: made, ns TAI, ? 4: until, ns TAI}. The epoch is drawn anew for each connection and
is the same in its birth and its will, so that the will of an old connection, published late, is not taken for the new one's
(Sparkplug B's bdSeq).
"""

from dataclasses import dataclass
from typing import Literal

import cbor2

from firmware.core.cbor import decoded_cbor
from firmware.core.errors import BadItem

VERSION = 1
EPOCH_SIZE = 8
PRESENCE_BYTES_MAX = 256
State = Literal["online", "lost", "left"]
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Presence:
    """online: connected. lost: the connection broke. left: gone on purpose. epoch: 8 bytes. made_tai_ns: when it was written.

    until_tai_ns: of who left because its connection window closed: when the next one opens.
    """

    state: State
    epoch: bytes
    made_tai_ns: int
    until_tai_ns: int | None = None


def packed(presence: Presence) -> bytes:
    """As published."""
    row: dict[int, object] = {0: VERSION, 1: presence.state, 2: presence.epoch, 3: presence.made_tai_ns}
    if presence.until_tai_ns is not None:
        row[4] = presence.until_tai_ns
    return cbor2.dumps(row, canonical=True)


def unpacked(data: bytes) -> Presence:
    """Raises BadItem."""
    if len(data) <= PRESENCE_BYTES_MAX:
        row = decoded_cbor(data)
        match row:
            case {0: 1, 1: ("online" | "lost" | "left") as state, 2: bytes(epoch), 3: int(made)} if (
                len(epoch) == EPOCH_SIZE and abs(made) < _INT64
            ):
                until = row.get(4)
                if until is None or (isinstance(until, int) and abs(until) < _INT64):
                    return Presence(state, epoch, made, until)
    raise BadItem(f"expected a presence of version {VERSION}")
