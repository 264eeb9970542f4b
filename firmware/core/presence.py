"""What a box says on its `state` topic: that it is there, and (as the last will the broker publishes for it) that it is not.

Deterministic CBOR: {0: 1, 1: "online" | "lost" | "left", 2: epoch, 3: made, ns TAI}. The epoch is drawn anew for each connection and
is the same in its birth and its will, so that the will of an old connection, published late, is not taken for the new one's
(Sparkplug B's bdSeq).
"""

from dataclasses import dataclass
from typing import Literal

import cbor2

from firmware.core.errors import BadItem
from firmware.core.message import decoded_cbor

VERSION = 1
EPOCH_SIZE = 8
PRESENCE_BYTES_MAX = 256
State = Literal["online", "lost", "left"]
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Presence:
    """online: connected. lost: the connection broke. left: gone on purpose. epoch: 8 bytes. made_tai_ns: when it was written."""

    state: State
    epoch: bytes
    made_tai_ns: int


def packed(presence: Presence) -> bytes:
    """As published."""
    return cbor2.dumps({0: VERSION, 1: presence.state, 2: presence.epoch, 3: presence.made_tai_ns}, canonical=True)


def unpacked(data: bytes) -> Presence:
    """Raises BadItem."""
    if len(data) <= PRESENCE_BYTES_MAX:
        match decoded_cbor(data):
            case {0: 1, 1: ("online" | "lost" | "left") as state, 2: bytes(epoch), 3: int(made)} if (
                len(epoch) == EPOCH_SIZE and abs(made) < _INT64
            ):
                return Presence(state, epoch, made)
    raise BadItem(f"expected a presence of version {VERSION}")
