"""The interfaces being recorded, as one source of blocks: the oldest block of all of them first.

Each has its own ring, its own counters and its own troubles; one that goes away takes nothing from the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.tap import BLOCK_HEADER, Block, TapRequest
from firmware.capture.ear import Ear
from firmware.capture.ledger import Ledger
from firmware.core.report import Report
from firmware.core.segment import cause_at
from firmware.core.timestamp import SECOND


@dataclass(frozen=True, slots=True)
class Heard:
    """A block and the number of the interface it was heard on."""

    interface: int
    block: Block


class Ears:
    """One ear for each request, numbered in their order."""

    def __init__(self, board: Board, requests: Sequence[TapRequest], ledger: Ledger, report: Report) -> None:
        single = len(requests) == 1
        self.all = tuple(
            Ear(board, request, ledger, report, suffix="" if single else cause_at("", request.interface)) for request in requests
        )
        self._waiting: list[Block | None] = [None] * len(self.all)

    @property
    def hears(self) -> bool:
        """Whether any interface is there."""
        return any(ear.hears for ear in self.all)

    @property
    def link_type(self) -> int:
        """Of all: a tap hears Ethernet or is not opened."""
        return self.all[0].link_type

    @property
    def held_count(self) -> int:
        """Blocks handed out and not released, of the interface with most of them."""
        return max(ear.held_count for ear in self.all)

    def descriptors(self) -> tuple[int, ...]:
        """Of each; -1 of one that is away or has none (simulator)."""
        return tuple(ear.fileno() for ear in self.all)

    @property
    def rings(self) -> bool:
        """Whether a new block of any interface makes a descriptor readable."""
        return all(ear.fileno() >= 0 for ear in self.all if ear.hears)

    def open(self, now: Now) -> None:
        """Try those that are away, when it is time to. Raises BadFilter."""
        for ear in self.all:
            ear.open(now)

    def next(self, now: Now) -> Heard | None:
        """The block that begins first, or None. An interface that goes away says so by `hears`, after what it had heard."""
        for number, ear in enumerate(self.all):
            if self._waiting[number] is None:
                self._waiting[number] = ear.next(now)
        chosen: int | None = None
        for number, block in enumerate(self._waiting):
            # Frames of two rings drained one after the other would lie a whole ring apart, and a reader had to sort that much.
            if block is not None and (chosen is None or _begins(block) < _begins(self._waiting[chosen])):
                chosen = number
        if chosen is None:
            return None
        block, self._waiting[chosen] = self._waiting[chosen], None
        assert block is not None
        return Heard(chosen, block)

    def hold(self, heard: Heard) -> None:
        """Its frames are in memory, not on the disk."""
        self.all[heard.interface].hold(heard.block)

    def release(self, heard: Heard | None = None) -> None:
        """What is held, then this block, are on the disk or given up."""
        for number, ear in enumerate(self.all):
            ear.release(heard.block if heard is not None and heard.interface == number else None)

    def poll(self, now: Now, *, at_once: bool = False) -> None:
        """Ask the kernel what it lost, at most once a second."""
        for ear in self.all:
            ear.poll(now, at_once=at_once)

    def finish(self) -> None:
        """Hear nothing more; `next` hands out the rest."""
        for ear in self.all:
            ear.finish()

    def note_left(self, now: Now) -> None:
        """After the last `next`: what was heard and not handed out is lost, and counted."""
        for ear in self.all:
            ear.note_left(now)

    def wake(self) -> Monotonic | None:
        """When `open` should be tried again."""
        return min((moment for ear in self.all if (moment := ear.wake()) is not None), default=None)

    def close(self) -> None:
        """Stop listening."""
        self._waiting = [None] * len(self.all)
        for ear in self.all:
            ear.close()


def _begins(block: Block | None) -> int:
    """The first stamp in it, UTC ns; one that is too short to say is not waited for."""
    if block is None or len(block.data) < BLOCK_HEADER.size:
        return 0
    seconds, ns = BLOCK_HEADER.unpack_from(block.data)[7:9]
    return int(seconds) * SECOND + int(ns)
