"""A stretch of time whose messages intake did not hear, or could not write: an item of missed/, which recall settles."""

from dataclasses import dataclass

import cbor2

from firmware.core.cbor import decoded_cbor
from firmware.core.errors import BadItem

MISSED = "missed"
VERSION = 1
_NS_MAX = 1 << 63


@dataclass(frozen=True, slots=True)
class Missed:
    """from_utc_ns, until_utc_ns: by the frames' stamps, both ends included. cause: "start", "tap_failed", "ring_full", "disk_full"."""

    from_utc_ns: int
    until_utc_ns: int
    cause: str


def packed(missed: Missed) -> bytes:
    """The item as stored."""
    return cbor2.dumps({0: VERSION, 1: missed.from_utc_ns, 2: missed.until_utc_ns, 3: missed.cause}, canonical=True)


def unpacked(data: bytes) -> Missed:
    """The item as it was packed; raises BadItem."""
    match decoded_cbor(data):
        case {0: 1, 1: int(begin), 2: int(end), 3: str(cause)} if 0 <= begin <= end < _NS_MAX and len(cause) <= 64:
            return Missed(begin, end, cause)
    raise BadItem(f"expected a missed stretch of version {VERSION} with a beginning, an end and a cause")
