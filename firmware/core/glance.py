"""What who searches wants to know of a seal, without all the rest: loaded and read in a tenth of the time.

Nothing is verified here, no more than a search verifies anything: a seal that lies costs frames only where its index agrees with it.
"""

from dataclasses import dataclass

from firmware.core.cbor import INT64, decoded_cbor
from firmware.core.errors import BadItem

SEAL_BYTES_MAX = 65_536
_FIRST, _LAST, _HARDWARE, _INTERFACE, _FRAMES = 4, 5, 8, 15, 16  # keys of a seal (seal.py)
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Glance:
    """first_ns, last_ns: lowest and highest stamp, UTC ns, None without frames; the rest as in a Seal."""

    first_ns: int | None
    last_ns: int | None
    frames_hardware: int
    interface: str
    frames_bytes: int

    def is_outside(self, since_ns: int, until_ns: int) -> bool:
        """Whether none of its frames lies between the two."""
        return self.first_ns is None or self.last_ns is None or self.last_ns < since_ns or self.first_ns > until_ns


def glanced_at(data: bytes) -> Glance:
    """Of a stored seal. Raises BadItem where these fields are not in it."""
    if len(data) > SEAL_BYTES_MAX:
        raise BadItem(f"expected a seal of at most {SEAL_BYTES_MAX} bytes, got {len(data)}")
    row = decoded_cbor(data)
    match [row.get(key, _NOTHING) for key in (_FIRST, _LAST, _HARDWARE, _INTERFACE, _FRAMES)] if isinstance(row, dict) else ():
        case [None, None, int(hardware), str(interface), [int(size), bytes()]]:
            return Glance(None, None, hardware, interface, size)
        case [int(first), int(last), int(hardware), str(interface), [int(size), bytes()]] if 0 <= first <= last < INT64:
            return Glance(first, last, hardware, interface, size)
    raise BadItem("expected a seal with its times, its interface and the size of its frames")
