"""The tap: blocks of frames heard on one interface. It has no verb to send.

A block is laid out as the kernel's TPACKET_V3 ring lays it out (linux/if_packet.h), because that is what arrives at wire speed
and a copy is what we cannot afford; a tap without a ring packs its frames into the same layout with `pack_block`.

    block   0  4  version (1)         4  4  offset of private data      8  4  status
           12  4  frames             16  4  offset of the first frame  20  4  bytes used
           24  8  block sequence     32  8  first stamp (s, ns)        40  8  last stamp (s, ns)
    frame   0  4  offset of the next frame (from this one; 0 at the last)  4  4  s   8  4  ns
           12  4  bytes captured     16  4  bytes on the wire   20  4  status (VLAN and checksum flags, TP_STATUS_*)
           24  2  offset of the link-layer header (from this frame's start)  26  2  offset of the network header
           28  4  rxhash             32  4  VLAN tag control information     36  2  VLAN protocol identifier   38  10 padding
All in the machine's byte order, as the kernel writes it. Stamps are UTC, those of the interface's own clock, too (`to_utc`).
A busy ring has many blocks ready at once; then several that lie one behind the other are handed out as one (`Block.stride`).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from drivers.hardware_clock import Translation

BLOCK_HEADER = struct.Struct("=IIIIIIQIIII")
FRAME_HEADER = struct.Struct("=IIIIIIHHIIHH8x")
FRAME_ALIGNMENT = 16  # TPACKET_ALIGNMENT
STATUS_USER = 1  # TP_STATUS_USER: ours to read
STATUS_HARDWARE_STAMP = 1 << 31  # TP_STATUS_TS_RAW_HARDWARE
STATUS_STAMP_TRANSLATED = 1 << 30  # TP_STATUS_TS_SYS_HARDWARE: such a stamp as the system's clock would show it; set by `to_utc`
STATUS_VLAN_VALID = 1 << 4
RETURN_S = 4  # A tap tries what is away once a second, when it is asked for frames; a process asks every two seconds at least.
STATUS_VLAN_PROTOCOL_VALID = 1 << 6


@dataclass(frozen=True, slots=True)
class TapRequest:
    """What to listen to, and how much the kernel may hold meanwhile.

    interface: name; several with commas between them are heard as one (drivers/linux/joined_tap.py).
    filter: pcap-filter(7) expression, None for everything. snap_bytes: longest part of a frame kept.
    block_bytes: a power of two, at least a page; block_count: how many; retire_ms: a block is handed over at the latest this
    long after its first frame. At low rate the ring holds block_count × retire_ms, at high rate its bytes.
    lasting: where an earlier life of this process left its ring with the keeper, go on with that one, in its own geometry.
    hardware_stamps: the interface is asked to stamp every frame by its own clock; where it can, each says whether it was (STATUS_…).
    """

    interface: str
    filter: str | None = None
    snap_bytes: int = 262_144
    block_bytes: int = 1 << 20
    block_count: int = 64
    retire_ms: int = 100
    lasting: bool = False
    hardware_stamps: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Some frames, in the order heard. `data` is the layout above and belongs to the tap until `release`.

    sequence: grows by one from block to block of one ring; after a crash it tells which block was already recorded. Of the first.
    stride: of several handed out as one, each of which begins so many bytes behind the one before; 0: it is one alone.
    """

    data: memoryview
    sequence: int
    frame_count: int
    handle: int = -1
    stride: int = 0

    @property
    def count(self) -> int:
        """How many blocks of the ring it is."""
        return -(-len(self.data) // self.stride) if self.stride else 1


@dataclass(frozen=True, slots=True)
class TapCounters:
    """Since the tap was opened. dropped: by cause, frames; causes are this driver's own words ("ring_full", "interface").

    has_carrier: whether there is a cable, and somebody at its other end, now. Without one an interface stays open and is silent.
    stamps_refused: frames whose hardware stamp was of no moment at which they can have come; kept, with a software stamp.
    returned: how often one of several interfaces heard as one was there again, and heard up to RETURN_S later: others may have heard it before.
    """

    received: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    has_carrier: bool = True
    stamps_refused: int = 0
    returned: int = 0


@dataclass(frozen=True, slots=True)
class HeardFrame:
    """One frame outside a block, for taps without a ring and for tests. stamp_ns: UTC; wire_bytes: length before snapping.

    is_hardware: the stamp is of the interface's own clock: UTC only after `to_utc`.
    """

    stamp_ns: int
    data: bytes
    wire_bytes: int
    is_hardware: bool = False


class Tap(Protocol):
    """One interface being listened to."""

    @property
    def request(self) -> TapRequest:
        """What it was opened with."""
        ...

    @property
    def link_type(self) -> int:
        """LINKTYPE_* of its frames (1: Ethernet)."""
        ...

    @property
    def title(self) -> str:
        """Under which its descriptor may be left with the keeper (Supervisor.keep); "" for one that ends with its process."""
        ...

    @property
    def is_taken_over(self) -> bool:
        """Whether an earlier life of this process listened through it before: since then nothing passed unheard."""
        ...

    @property
    def stamps_itself(self) -> bool:
        """Whether its interface stamps frames by its own clock; not necessarily every one."""
        ...

    def fileno(self) -> int:
        """Readable when `next` has a block; -1 where there is none (simulator)."""
        ...

    def next(self, most: int = 1) -> Block | None:
        """The oldest block not yet handed out, or None; with up to `most` of those that follow, itself included, where they are ready.

        Never blocks. Raises TapFailed when the interface is gone.
        """
        ...

    def is_filling(self) -> bool:
        """Whether frames were heard that `next` cannot hand out yet, because their block is not full and its time not over."""
        ...

    def ready_count(self) -> int:
        """Blocks that `next` would hand out now, one after the other."""
        ...

    def release(self, block: Block) -> None:
        """The block is recorded; the tap may reuse its memory. In the order handed out."""
        ...

    def counters(self) -> TapCounters:
        """What was heard and what was lost so far."""
        ...

    def catch_up(self) -> None:
        """When this returns, `next` hands out at least what was heard until it was called; what comes after is heard on.

        For who leaves it to a next life, having taken all that `next` gave.
        """
        ...

    def finish(self) -> None:
        """Hear nothing more. When this returns, `next` hands out what was heard until now, to the last frame."""
        ...

    def close(self) -> None:
        """Stop listening; closing twice is as good as once."""
        ...


def pack_block(frames: Iterable[HeardFrame], *, sequence: int) -> bytes:
    """Frames in the layout of the module's head; what the kernel does, for taps without a ring. At least one frame."""
    rows = list(frames)
    assert rows, "a block has at least one frame"
    parts: list[bytes] = []
    for position, frame in enumerate(rows):
        size = FRAME_HEADER.size + len(frame.data)
        padding = -size % FRAME_ALIGNMENT
        following = 0 if position == len(rows) - 1 else size + padding
        seconds, ns = divmod(frame.stamp_ns, 1_000_000_000)
        parts.append(
            FRAME_HEADER.pack(
                following, seconds & 0xFFFFFFFF, ns, len(frame.data), frame.wire_bytes,
                STATUS_USER | (STATUS_HARDWARE_STAMP if frame.is_hardware else 0),
                FRAME_HEADER.size, FRAME_HEADER.size + 14, 0, 0, 0, 0,
            )
        )  # fmt: skip
        parts += (frame.data, bytes(padding))
    body = b"".join(parts)
    first, last = divmod(rows[0].stamp_ns, 1_000_000_000), divmod(rows[-1].stamp_ns, 1_000_000_000)
    header = BLOCK_HEADER.pack(
        1, BLOCK_HEADER.size, STATUS_USER, len(rows), BLOCK_HEADER.size, BLOCK_HEADER.size + len(body), sequence,
        first[0] & 0xFFFFFFFF, first[1], last[0] & 0xFFFFFFFF, last[1],
    )  # fmt: skip
    return header + body


def to_utc(block: bytearray, translation: Translation, *, earliest_ns: int, latest_ns: int) -> tuple[int, int]:
    """The hardware stamps in a block into UTC, in place; (how many, how many more were refused).

    Between these two every frame of the block arrived. A stamp that says otherwise is of a clock that was set meanwhile, or of none: the
    frame is then stamped with the nearer of the two, and not called stamped by hardware. Twice is as good as once: a ring may outlive who
    read it, with blocks that were translated and not given back. At the recorder's rate drivers/linux/stamps.c does the same.
    """
    _, _, _, count, offset, used, *_ = BLOCK_HEADER.unpack_from(block)
    kept = refused = 0
    for place in range(count):
        if offset < BLOCK_HEADER.size or offset + FRAME_HEADER.size > min(used, len(block)):
            break
        following, seconds, ns, _, _, status, *_ = FRAME_HEADER.unpack_from(block, offset)
        if status & STATUS_HARDWARE_STAMP and not status & STATUS_STAMP_TRANSLATED:
            stamp_ns = translation.utc_ns(seconds * 1_000_000_000 + ns)
            within_ns = min(max(stamp_ns, earliest_ns), latest_ns)
            said = status | STATUS_STAMP_TRANSLATED if within_ns == stamp_ns else status & ~STATUS_HARDWARE_STAMP
            struct.pack_into("=I", block, offset + 20, said)
            kept, refused = kept + (within_ns == stamp_ns), refused + (within_ns != stamp_ns)
            struct.pack_into("=II", block, offset + 4, *divmod(within_ns, 1_000_000_000))
        if place == count - 1:
            block[40:48] = block[offset + 4 : offset + 12]
        if following < FRAME_HEADER.size:
            break
        offset += following
    return kept, refused
