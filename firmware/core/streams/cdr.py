"""CDR, the serialisation of DDS, as far as measurements need it: bounded, and raising BadItem where the bytes do not go on.

Alignment counts from the first byte behind the encapsulation header. Source: OMG CORBA CDR, DDSI-RTPS 2.5 §10.
"""

import struct

from firmware.core.errors import BadItem
from firmware.core.streams.sample import VALUES_MAX

STRING_MAX = 256
_LENGTHS = {"<": struct.Struct("<I"), ">": struct.Struct(">I")}


class Reader:
    """Reads on from `at` to `end`, both offsets into `data`."""

    def __init__(self, data: bytes, start: int, end: int, order: str) -> None:
        """order: "<" or ">", as in struct. start: of the alignment."""
        self.at = start
        self._data = data
        self._start = start
        self._end = end
        self._order = order
        self._length = _LENGTHS[order]

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        if size > self._end - self.at:
            raise BadItem("expected more bytes in serialised data")
        self.at += size

    def align(self, size: int) -> None:
        """To the next multiple of `size`."""
        self.at += -(self.at - self._start) % size

    def length(self) -> int:
        """An unsigned number of 32 bits."""
        self.align(4)
        if self._end - self.at < 4:
            raise BadItem("expected a length in serialised data")
        value: int = self._length.unpack_from(self._data, self.at)[0]
        self.at += 4
        return value

    def text(self) -> bytes:
        """A string's bytes, without the zero at its end."""
        size = self.length()
        if not 0 < size <= min(STRING_MAX, self._end - self.at) or self._data[self.at + size - 1]:
            raise BadItem("expected a string with a zero at its end in serialised data")
        self.at += size
        return self._data[self.at - size : self.at - 1]

    def texts(self) -> tuple[bytes, ...]:
        """A sequence of strings."""
        count = self.length()
        if count > VALUES_MAX:
            raise BadItem(f"expected at most {VALUES_MAX} names in serialised data")
        return tuple(self.text() for _ in range(count))

    def doubles(self, count: int) -> tuple[float, ...]:
        """So many doubles, one behind the other."""
        if count == 0:
            return ()
        self.align(8)
        if count > VALUES_MAX or count * 8 > self._end - self.at:
            raise BadItem("expected more numbers in serialised data")
        values = struct.unpack_from(f"{self._order}{count}d", self._data, self.at)
        self.at += 8 * count
        return values

    def at_end(self) -> bool:
        """Whether all is read but for padding to the next multiple of four."""
        return 0 <= self._end - self.at < 4
