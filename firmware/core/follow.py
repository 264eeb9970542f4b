"""Reading along: stretches in the order they are written, a moment after they are, from the disk and never from the writer.

Whoever reads slowly costs the recorder nothing, and finds what it has not read yet as long as it is not deleted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from drivers.disk import Disk
from firmware.core import lz4chain, pcapng
from firmware.core._kernel import scan
from firmware.core.errors import BadItem, Corrupt, Missing
from firmware.core.hit import Hit
from firmware.core.layout import FRAMES, sequence_of

NEVER = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it is. at: the first byte of frames not yet read."""

    name: str
    sequence: int
    at: int
    interfaces: tuple[str, ...]


class Follow:
    """missed: segments that were deleted before they were read to their end."""

    def __init__(self, disk: Disk, path: str, *, after: int) -> None:
        """after: the sequence of a segment; those behind it are followed."""
        self.missed = 0
        self._disk = disk
        self._path = path
        self._after = after
        self._place: _Place | None = None

    def hits(self) -> Iterator[Hit]:
        """What is there now and was not given out yet; ends where the writer is."""
        while True:
            if self._place is None and not self._enter():
                return
            place = self._place
            assert place is not None
            is_sealed = self._disk.exists(f"{self._path}/{place.name}")  # Asked first: what is read then is all there will be.
            link = self._next_link(place)
            if link is None and (is_sealed or not self._disk.exists(f"{self._path}/.{place.name}")):
                self._leave(place, is_whole=is_sealed)
                continue
            raw = None if link is None else _unpacked(link)
            if link is None or (raw is None and not is_sealed):
                return  # not written yet, or not to its end
            yield from self._taken(place, len(link), raw or b"")

    def _enter(self) -> bool:
        names = {sequence_of(name): name.removeprefix(".") for name in self._disk.list(self._path)}
        following = sorted(sequence for sequence in names if sequence is not None and sequence > self._after)
        if not following:
            return False
        sequence = following[0]
        self.missed += sequence - self._after - 1
        self._after = sequence - 1
        self._place = _Place(names[sequence], sequence, 0, ("",))
        return True

    def _leave(self, place: _Place, *, is_whole: bool) -> None:
        self.missed += not is_whole
        self._after, self._place = place.sequence, None

    def _next_link(self, place: _Place) -> bytes | None:
        """The next whole link; None when there is none yet, or none any more."""
        for name in (place.name, f".{place.name}", place.name):
            path = f"{self._path}/{name}/{FRAMES}"
            try:
                left = self._disk.size(path) - place.at
                span = next(iter(lz4chain.spans(self._reading(path, place.at), left)), None) if left > 0 else None
                return None if span is None else self._disk.read(path, offset=place.at, size=span[1])
            except Missing:
                continue  # sealed between one call and the next
        return None

    def _reading(self, path: str, start: int) -> Callable[[int, int], bytes]:
        return lambda at, size: self._disk.read(path, offset=start + at, size=size)

    def _taken(self, place: _Place, size: int, raw: bytes) -> Iterator[Hit]:
        interfaces = place.interfaces
        if place.at == 0:
            try:
                interfaces = tuple(name for name, _ in pcapng.interfaces(raw)) or interfaces
            except BadItem:
                pass  # verify names it
        self._place = replace(place, at=place.at + size, interfaces=interfaces)
        blocks, count, first, last, _ = scan(raw, b"", 0, NEVER)
        if count:
            yield Hit(place.name, blocks, count, first, last, interfaces)


def _unpacked(link: bytes) -> bytes | None:
    try:
        return lz4chain.decompressed(link)
    except Corrupt:
        return None
