"""Found frames made fewer, a bounded piece at a time: looking into frames costs a hundred times what finding them does."""

import struct
from collections.abc import Iterator, Mapping
from itertools import islice

from firmware.core.store import Hit
from firmware.core.streams.reduction import Kept, Reduction
from firmware.core.streams.unrelated import Unrelated
from firmware.core.streams.wish import Wish

FRAMES_A_PIECE = 500  # some 10 to 50 ms on a board: what an alarm in the same process may have to wait
_PACKET = struct.Struct(
    "<IIIIIII"
)  # kind, size, interface, stamp high, low, captured, on the wire: pcapng's Enhanced Packet Block


class Thinning:
    """One order's reduction. Give it a hit, take pieces while it is `busy`; at the end `finish` and take the rest."""

    def __init__(self, wish: Wish, unrelated: Unrelated) -> None:
        self._reduction = Reduction(wish, unrelated)
        self._work: Iterator[list[Kept]] | None = None
        self._interfaces: tuple[str, ...] = ("",)
        self._segment = ""

    @property
    def busy(self) -> bool:
        """Whether there are pieces to be taken."""
        return self._work is not None

    @property
    def left_out(self) -> Mapping[str, int]:
        """Frames left out so far, by rule."""
        return self._reduction.left_out

    @property
    def left_out_bytes(self) -> int:
        """Bytes of their blocks."""
        return self._reduction.left_out_bytes

    def begin(self, hit: Hit) -> None:
        """Work on these next."""
        assert not self.busy, "one hit after the other"
        self._segment, self._interfaces = hit.segment, hit.interfaces
        self._work = self._each(hit.blocks)

    def finish(self) -> None:
        """There are no more hits."""
        assert not self.busy, "one hit after the other"
        self._work = iter([list(self._reduction.finish())])

    def piece(self) -> Hit | None:
        """Some frames further: those that stay, None where none did."""
        assert self._work is not None
        steps = list(islice(self._work, FRAMES_A_PIECE))
        if len(steps) < FRAMES_A_PIECE:
            self._work = None
        kept = [row for step in steps for row in step]
        if not kept:
            return None
        stamps = [row.stamp_ns for row in kept]
        return Hit(self._segment, b"".join(row.block for row in kept), len(kept), min(stamps), max(stamps), self._interfaces)

    def _each(self, blocks: bytes) -> Iterator[list[Kept]]:
        """One frame a step. The blocks are our own store's, checked when they were read."""
        view = memoryview(blocks)
        at = 0
        while at < len(view):
            _, size, _, high, low, captured, wire_bytes = _PACKET.unpack_from(view, at)
            data = bytes(view[at + _PACKET.size : at + _PACKET.size + captured])
            yield list(self._reduction.add(view[at : at + size], high << 32 | low, data, wire_bytes))
            at += size
