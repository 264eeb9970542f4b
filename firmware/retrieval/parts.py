"""Frames cut into parts: each a complete pcapng section a reader opens by itself, none above 4 MiB.

Where a part ends follows from the frames alone, not from how they were read: the same frames give the same parts, byte for byte,
whether they were found in an open segment or, after a restart, in a sealed one.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from firmware.core import pcapng
from firmware.core.segment import by_hardware
from firmware.core.store import Hit

PART_BYTES_MAX = 4 << 20
NAME_MAX = len(by_hardware("x" * 15))  # of an interface, IFNAMSIZ less its end, with the words of one that stamps frames itself
_HEAD = struct.Struct("<II")
_STAMP = struct.Struct("<II")  # high, low (draft-ietf-opsawg-pcapng §4.3), at byte 12 of an Enhanced Packet Block


@dataclass(frozen=True, slots=True)
class Part:
    """One section. number: from 0. first_utc_ns, last_utc_ns: lowest and highest stamp, None without frames."""

    number: int
    body: bytes
    frames: int
    first_utc_ns: int | None
    last_utc_ns: int | None


class Parts:
    """Collects hits and gives out parts. Holds at most two of them."""

    def __init__(self, interface: str, *, note: str = "", part_bytes_max: int = PART_BYTES_MAX, first_number: int = 0) -> None:
        """interface: the name readers will see; the recorder's own follows where there are several. note: what they should know."""
        self._header = pcapng.section_header(note)
        self._name = interface
        self._interfaces: tuple[str, ...] = ("",)
        # Room for as many descriptions as there may be: where a part ends must not follow from how many are known by then.
        longest = len(pcapng.interface(f"{interface} {'x' * NAME_MAX}"))
        self._room = part_bytes_max - len(self._header) - pcapng.DESCRIBED_INTERFACES_MAX * longest
        self._number = first_number
        self._begin()

    def add(self, hit: Hit) -> list[Part]:
        """The parts that are full now; the one begun is kept. hit: numbered as all of this search (`Numbering`)."""
        self._interfaces = hit.interfaces
        if self._size + len(hit.blocks) <= self._room:
            self._put(hit.blocks, hit.frame_count, hit.first_utc_ns, hit.last_utc_ns)
            return []
        full = []
        run = _Run()
        for block, stamp_ns in _blocks(hit.blocks):
            if self._size + run.size + len(block) > self._room:
                self._put_run(run)
                full.append(self._end())
                run = _Run()
            run.add(block, stamp_ns)
        self._put_run(run)
        return full

    def last(self) -> Part:
        """What was begun and not given out, be it empty."""
        return self._end()

    def _begin(self) -> None:
        self._pieces: list[bytes | memoryview] = []
        self._size = self._frames = 0
        self._first: int | None = None
        self._last: int | None = None

    def _put_run(self, run: "_Run") -> None:
        if run.pieces:
            self._put(b"".join(run.pieces), len(run.pieces), run.first_ns, run.last_ns)

    def _put(self, blocks: bytes, frames: int, first_ns: int, last_ns: int) -> None:
        self._pieces.append(blocks)
        self._size += len(blocks)
        self._frames += frames
        self._first = first_ns if self._first is None else min(self._first, first_ns)
        self._last = last_ns if self._last is None else max(self._last, last_ns)

    def _end(self) -> Part:
        part = Part(
            self._number, b"".join([self._header, *self._described(), *self._pieces]), self._frames, self._first, self._last
        )
        self._number += 1
        self._begin()
        return part

    def _described(self) -> list[bytes]:
        if len(self._interfaces) == 1:
            return [pcapng.interface(self._name)]
        return [pcapng.interface(f"{self._name} {name[:NAME_MAX]}") for name in self._interfaces]


class _Run:
    """Blocks that go into one part together."""

    def __init__(self) -> None:
        self.pieces: list[memoryview] = []
        self.size = 0
        self.first_ns = (1 << 64) - 1
        self.last_ns = 0

    def add(self, block: memoryview, stamp_ns: int) -> None:
        self.pieces.append(block)
        self.size += len(block)
        self.first_ns, self.last_ns = min(self.first_ns, stamp_ns), max(self.last_ns, stamp_ns)


def _blocks(data: bytes) -> Iterator[tuple[memoryview, int]]:
    """Each Enhanced Packet Block and its stamp; the blocks are our own store's, checked when they were read."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        _, size = _HEAD.unpack_from(view, at)
        high, low = _STAMP.unpack_from(view, at + 12)
        yield view[at : at + size], high << 32 | low
        at += size
