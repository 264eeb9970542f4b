"""Whether two recordings of the same wire are the same, frame by frame: what the official version recorded, and what the one on trial did.

Both rings are stamped by the kernel where the stack first sees a frame, so a frame has one stamp in both. Within one interface frames
lie in the order heard; so each tenth of a second of each interface has one digest, whichever stretches it lies in.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core import pcapng
from firmware.core.hit import Hit
from firmware.core.store import Damage, Query, Store
from firmware.core.timestamp import MS

PIECE_NS = 100 * MS


@dataclass(slots=True)
class _Piece:
    frames: int
    digest: "hashlib._Hash"


class Recording:
    """Digests of a recording between two moments, UTC ns; one stretch a step."""

    def __init__(self, disk: Disk, path: str, *, since_ns: int, until_ns: int) -> None:
        self.frames = 0
        self.is_damaged = False
        self._pieces: dict[tuple[int, int], _Piece] = {}
        self._walk: Iterator[Hit | Damage | None] = Store(disk, path).walk(Query(since_utc_ns=since_ns, until_utc_ns=until_ns))

    def step(self) -> bool:
        """Whether there is more."""
        try:
            found = next(self._walk)
        except StopIteration:
            return False
        if isinstance(found, Damage):
            self.is_damaged = True
        elif found is not None:
            self._add(found.blocks)
        return True

    def differences(self, other: "Recording") -> list[str]:
        """What differs, in words; nothing when they are the same."""
        places = sorted(self._pieces.keys() | other._pieces.keys())
        nothing = _Piece(0, hashlib.sha256())
        differing = [
            (self._pieces.get(place, nothing), other._pieces.get(place, nothing))
            for place in places
            if self._pieces.get(place, nothing).digest.digest() != other._pieces.get(place, nothing).digest.digest()
        ]
        if not differing:
            return []
        ours, theirs = (sum(pair[side].frames for pair in differing) for side in (0, 1))
        return [
            f"{len(differing)} of {len(places)} tenths of a second differ: {ours} frames there by the official version, {theirs} by this one"
        ]

    def _add(self, blocks: bytes) -> None:
        described = pcapng.section_header() + pcapng.interface("") * pcapng.RECORDED_INTERFACES_MAX
        for packet in pcapng.packets(described + bytes(blocks)):
            place = packet.interface, packet.stamp_ns // PIECE_NS
            piece = self._pieces.get(place)
            if piece is None:
                piece = self._pieces[place] = _Piece(0, hashlib.sha256())
            piece.frames += 1
            piece.digest.update(b"%d %d %d " % (packet.stamp_ns, packet.wire_bytes, len(packet.data)) + packet.data)
            self.frames += 1
