"""A ring that outlives who reads it: its descriptor, its geometry, and the title under which the keeper has it.

The kernel maps a ring in its exact size and no other, and does not say which; so the geometry travels in the title. So does a digest
of what the ring was asked to keep: under other rules it would go on recording by the old ones.
"""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.tap import TapRequest

_BEGIN = "ring"


@dataclass(frozen=True, slots=True)
class HeldRing:
    """descriptor: ours to close."""

    descriptor: int
    block_bytes: int
    block_count: int
    retire_ms: int


def title_of(request: TapRequest) -> str:
    """ring/<interface>/<rules>/<block bytes>/<block count>/<retire ms>; no interface has a slash in its name."""
    rules = zlib.crc32(f"{request.snap_bytes} {request.filter or ''}".encode())
    return f"{_BEGIN}/{request.interface}/{rules:08x}/{request.block_bytes}/{request.block_count}/{request.retire_ms}"


def held_ring(request: TapRequest, kept: Mapping[str, int]) -> HeldRing | None:
    """The ring of this interface under these rules, whatever its geometry; a duplicate, so that the keeper's list stays true."""
    wanted = title_of(request).split("/")[:3]
    for title, descriptor in kept.items():
        words = title.split("/")
        if words[:3] == wanted and len(words) == 6 and all(word.isdecimal() for word in words[3:]):
            try:
                return HeldRing(os.dup(descriptor), *(int(word) for word in words[3:]))
            except OSError:
                return None
    return None
