"""The frames in a block, one by one, in Python: for those who read some frames, not for capture, which writes all of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from drivers.tap import BLOCK_HEADER, FRAME_HEADER, STATUS_VLAN_PROTOCOL_VALID, STATUS_VLAN_VALID
from firmware.core.errors import BadItem


@dataclass(frozen=True, slots=True)
class BlockFrame:
    """One frame. data: a view into the block, gone with its release. stamp_ns: UTC. wire_bytes: its length before snapping.

    vlan: identifier of a tag the card took out of the frame, None where it did not; such a tag is not in `data`.
    """

    stamp_ns: int
    data: memoryview
    wire_bytes: int
    vlan: int | None


def frames(data: memoryview, frame_count: int) -> Iterator[BlockFrame]:
    """At most `frame_count` frames of a block laid out as in drivers/tap.py; raises BadItem where an offset leads outside."""
    size = len(data)
    if size < BLOCK_HEADER.size:
        raise BadItem(f"expected a block of at least {BLOCK_HEADER.size} bytes, got {size}")
    header = BLOCK_HEADER.unpack_from(data)
    position, used = header[4], min(header[5], size)
    for remaining in range(frame_count, 0, -1):
        if position + FRAME_HEADER.size > used:
            raise BadItem("expected a frame header inside its block")
        following, seconds, ns, captured, wire_bytes, status, mac, _, _, tag, _, _ = FRAME_HEADER.unpack_from(data, position)
        start = position + mac
        if mac < FRAME_HEADER.size or start + captured > used:
            raise BadItem("expected a frame's bytes inside its block")
        valid = status & (STATUS_VLAN_VALID | STATUS_VLAN_PROTOCOL_VALID)
        yield BlockFrame(
            stamp_ns=seconds * 1_000_000_000 + ns,
            data=data[start : start + captured],
            wire_bytes=wire_bytes,
            vlan=tag & 0xFFF if valid else None,
        )
        if remaining > 1 and following < FRAME_HEADER.size:
            raise BadItem("expected a further frame in this block")
        position += following
