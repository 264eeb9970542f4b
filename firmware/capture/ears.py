"""The interfaces being recorded, as one source of frames: those that passed first come first, as near as whole blocks allow.

    one ring     ████████|████████|████████|            its blocks are full in milliseconds
    the other    █    █       █        █   …            its block is handed over when its time is over

A quick ring's blocks wait until the slow one's was handed over, and that one is then taken in slices, as far as each of theirs goes.
Python touches blocks and never frames, so within a block of the quicker ring the order is left to who reads (firmware/core/merge.py).
Each interface has its own ring, its own counters and its own troubles; one that goes away takes nothing from the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.tap import BLOCK_HEADER, FRAME_HEADER, Block, TapRequest
from firmware.capture.ear import Ear
from firmware.capture.ledger import Ledger
from firmware.capture.settings import CaptureSettings
from firmware.core.report import Report
from firmware.core.segment_writer import cause_at
from firmware.core.timestamp import MS, SECOND

READY_SHARE = 4  # A quarter of a ring full of blocks is not kept waiting any more, for the sake of order alone.
RETIRE_TIMES = 2  # Nor is a block older than twice the time after which the kernel hands any block over.
NEVER = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Heard:
    """Frames of a block, from `index` at `offset` on, up to the first whose stamp is until_ns or later; and their interface's number.

    first_ns: the stamp of the first of them, UTC.
    """

    interface: int
    block: Block
    index: int
    offset: int
    until_ns: int
    first_ns: int


@dataclass(slots=True)
class _Place:
    """Where a block handed out stands. Stamps UTC ns: of the next frame, and of the last."""

    block: Block
    index: int
    offset: int
    next_ns: int
    last_ns: int


class Ears:
    """One ear for each request, numbered in their order."""

    def __init__(self, board: Board, requests: Sequence[TapRequest], ledger: Ledger, report: Report) -> None:
        single = len(requests) == 1
        self.all = tuple(
            Ear(board, request, ledger, report, suffix="" if single else cause_at("", request.interface)) for request in requests
        )
        self._requests = tuple(requests)
        self._places: list[_Place | None] = [None] * len(self.all)
        self._is_patient = True

    @property
    def hears(self) -> bool:
        """Whether any interface is there."""
        return any(ear.hears for ear in self.all)

    @property
    def are_all_there(self) -> bool:
        """Whether each interface is."""
        return all(ear.hears for ear in self.all)

    @property
    def are_taken_over(self) -> bool:
        """Whether all hear through the rings of an earlier life."""
        return all(ear.is_taken_over for ear in self.all)

    @property
    def stamp_themselves(self) -> bool:
        """Whether any interface stamps frames by its own clock."""
        return any(ear.stamps_itself for ear in self.all)

    @property
    def link_type(self) -> int:
        """Of all: a tap hears Ethernet or is not opened."""
        return self.all[0].link_type

    @property
    def held_count(self) -> int:
        """Blocks handed out and not released, of the interface with most of them."""
        return max(ear.held_count for ear in self.all)

    @property
    def has_blocks(self) -> bool:
        """Whether blocks are in our hands: then the kernel calls their rings readable, new blocks or none."""
        return self.held_count > 0 or any(self._places)

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

    def next(self, now: Now, most: int = 1) -> Heard | None:
        """What passed first, or None. An interface that goes away says so by `hears`, after what it had heard.

        most: blocks at once. Of several interfaces it is one each time: their blocks are what keeps frames in order.
        """
        if len(self.all) == 1:
            return self._only(now, most)
        for number, ear in enumerate(self.all):
            if self._places[number] is None and (block := ear.next(now)) is not None:
                self._places[number] = _placed(block)
        ready = [(place.next_ns, number) for number, place in enumerate(self._places) if place is not None]
        if not ready:
            return None
        _, chosen = min(ready)
        if self._is_better_later(chosen, now):
            return None
        place, self._places[chosen] = self._places[chosen], None
        assert place is not None
        others = [other.last_ns for other in self._places if other is not None]
        # One frame at least: the chosen one's next is not behind anybody's last.
        until_ns = min((last_ns + 1 for last_ns in others), default=NEVER)
        return Heard(chosen, place.block, place.index, place.offset, max(until_ns, place.next_ns + 1), place.next_ns)

    def _only(self, now: Now, most: int) -> Heard | None:
        block = self.all[0].next(now, most)
        return None if block is None else Heard(0, block, 0, 0, NEVER, first_stamp(block))

    def leave(self, heard: Heard, index: int, offset: int) -> None:
        """It was taken up to its until_ns; the rest comes when its turn comes."""
        self._places[heard.interface] = _Place(heard.block, index, offset, stamp_of(heard.block, offset), last_stamp(heard.block))

    def have_before(self, moment_ns: int) -> bool:
        """Whether a frame from before this moment, UTC ns, is in a block that was handed out and not taken yet."""
        return any(place is not None and place.next_ns < moment_ns for place in self._places)

    def _is_better_later(self, chosen: int, now: Now) -> bool:
        """Whether another interface has heard something that may have passed before, and cannot hand it over yet."""
        place, request = self._places[chosen], self._requests[chosen]
        assert place is not None
        filling = [
            number
            for number, ear in enumerate(self.all)
            if self._places[number] is None and self._is_patient and ear.is_filling()
        ]
        age_ns = now.utc_ns - place.last_ns
        return (
            bool(filling)
            and 0 <= age_ns < RETIRE_TIMES * request.retire_ms * MS
            and self.all[chosen].ready_count() < request.block_count // READY_SHARE
        )

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

    def keep(self) -> None:
        """Leave their rings with the keeper, those that are there."""
        for ear in self.all:
            ear.keep()

    def let_go(self) -> None:
        """Have the keeper forget their rings, until `keep`."""
        for ear in self.all:
            ear.let_go()

    def catch_up(self) -> None:
        """`next` hands out what was heard until now; what comes after is for the next life."""
        self._is_patient = False
        for ear in self.all:
            ear.catch_up()

    def finish(self) -> None:
        """Hear nothing more; `next` hands out the rest."""
        self._is_patient = False
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
        self._places = [None] * len(self.all)
        for ear in self.all:
            ear.close()


def requests(settings: CaptureSettings) -> list[TapRequest]:
    """What to ask of the taps, an interface each."""
    return [
        TapRequest(
            interface, filter=settings.filter or None, snap_bytes=settings.snap_bytes,
            block_bytes=settings.ring_block_kb << 10, block_count=settings.ring_block_count, retire_ms=settings.ring_retire_ms,
            lasting=True, hardware_stamps=settings.hardware_stamps,
        )
        for interface in settings.interfaces
    ]  # fmt: skip


def stamp_of(block: Block, offset: int) -> int:
    """The stamp of the frame at this offset, UTC ns; 0 where there is none: such a block is not waited with, kernel.c counts it."""
    if len(block.data) < offset + FRAME_HEADER.size:
        return 0
    _, seconds, ns, *_ = FRAME_HEADER.unpack_from(block.data, offset)
    return int(seconds) * SECOND + int(ns)


def offset_of(block: Block, index: int) -> int:
    """Where the frame of this number lies in a block alone; where it ends, for the number of its frames."""
    offset = int(BLOCK_HEADER.unpack_from(block.data)[4])
    for _ in range(index):
        following = int(FRAME_HEADER.unpack_from(block.data, offset)[0])
        if not following:
            break
        offset += following
    return offset


def first_stamp(block: Block) -> int:
    """Not by the block's own first stamp, which is when the kernel opened it: long before, where it was quiet."""
    return stamp_of(block, BLOCK_HEADER.unpack_from(block.data)[4] if len(block.data) >= BLOCK_HEADER.size else 0)


def _placed(block: Block) -> _Place:
    return _Place(block, 0, 0, first_stamp(block), last_stamp(block))


def last_stamp(block: Block) -> int:
    """The stamp of its last frame, UTC ns; of several blocks, that of the last."""
    at = (block.count - 1) * block.stride
    if len(block.data) < at + BLOCK_HEADER.size:
        return 0
    seconds, ns = BLOCK_HEADER.unpack_from(block.data, at)[9:11]
    return int(seconds) * SECOND + int(ns)
