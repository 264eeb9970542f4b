"""What a search of the store gives out, and how hits become one pcapng section."""

from dataclasses import dataclass, replace

from firmware.core import pcapng


@dataclass(frozen=True, slots=True)
class Hit:
    """Frames that match. blocks: pcapng Enhanced Packet Blocks, ns; stamps UTC ns.

    interfaces: their names, by the number in the blocks. With one: a stretch in the order heard; with several: in time order.
    earlier: segments before it of which it holds frames, too; two rings are never at a segment's end in the same moment.
    """

    segment: str
    blocks: bytes
    frame_count: int
    first_utc_ns: int
    last_utc_ns: int
    interfaces: tuple[str, ...] = ("",)
    earlier: tuple[str, ...] = ()

    @property
    def segments(self) -> tuple[str, ...]:
        """All it comes from."""
        return (*self.earlier, self.segment)


class Numbering:
    """One numbering of interfaces for all hits of a search, whatever each segment called its first: by appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Those seen so far."""
        return tuple(self._numbers)

    def of(self, hit: Hit) -> Hit:
        """The same frames in this numbering."""
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in hit.interfaces]
        is_same = numbers == list(range(len(numbers)))
        return replace(hit, blocks=hit.blocks if is_same else pcapng.renumbered(hit.blocks, numbers), interfaces=self.interfaces)


class Section:
    """Hits as one pcapng section: what to write first, and the bytes of each hit, with a description of each new interface."""

    def __init__(self, note: str = "") -> None:
        """note: what whoever opens it should know."""
        self.head = pcapng.section_header(note)
        self._numbering = Numbering()
        self._described = 0

    def of(self, hit: Hit) -> bytes:
        """Its blocks, after what describes the interfaces that are new."""
        hit = self._numbering.of(hit)
        new = hit.interfaces[self._described :]
        self._described = len(hit.interfaces)
        return b"".join(map(pcapng.interface, new)) + hit.blocks if new else hit.blocks

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Those described so far, by number."""
        return self._numbering.interfaces

    def end(self) -> bytes:
        """What is still missing: a section without frames needs an interface, too, or its readers complain."""
        return b"" if self._described else pcapng.interface("scrubjay")
