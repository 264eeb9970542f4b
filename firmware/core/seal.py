"""The seal: what a segment holds, what it does not hold, how good its time was, and the box's word for it.

Deterministic CBOR (RFC 8949 §4.2.1), a map with these keys; `segment.cddl` beside this file is the format.
Each seal holds the SHA-256 of the one before it, so a segment cannot be taken out, put in or exchanged without a trace.
What a chain cannot show by itself is that its newest end was cut off: compare the last seal with one seen elsewhere.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cbor2

from firmware.core.cbor import decoded_record, stamp_as_list, stamp_from_list
from firmware.core.digest import PIECE_BYTES
from firmware.core.errors import BadItem
from firmware.core.glance import SEAL_BYTES_MAX
from firmware.core.signature import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, is_signed_by
from firmware.core.timestamp import Timestamp

if TYPE_CHECKING:
    from firmware.core.certificate import TimeQuality

VERSION = 3  # Each version says what the one before could not; a seal is written as the lowest that can say it.
CAUSES = ("time", "size", "stop", "interrupted", "disk_failed", "handover")
GAPS_MAX = 64  # Further ones are counted into the last; a seal stays a page.
_DOMAIN = b"scrubjay seal %d"
_SIGNATURE = 21
_TIME, _PIECES = 22, 23


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which frames were lost. cause: as in drops. Stamps: the box's clock, UTC ns. frames: None when nobody can know."""

    cause: str
    first_ns: int
    last_ns: int
    frames: int | None


@dataclass(frozen=True, slots=True)
class Seal:
    """One segment, described and signed.

    first_ns, last_ns: lowest and highest stamp, UTC ns; None without frames. tai_offset_s: TAI minus UTC at the time of sealing.
    drops: frames lost since the seal before, by cause; in one that was "interrupted" what its writer had noted until then (noted.py),
    in one that "disk_failed" none: its writer's count is in the next seal. frames_hardware: of `frames`, stamped by the interface itself.
    opened, made: the box's clock with its source, state and uncertainty. frames_digest, index_digest: SHA-256 of the files.
    piece_bytes: frames_digest is that of pieces of this many bytes (firmware/core/digest.py); None: of the file as one.
    previous: SHA-256 of the previous seal, None at the first. cause: why it was cut, one of CAUSES ("interrupted": a power cut or
    crash, found at the next start; "handover": another version of the recorder went on with the same ring). public_key: whose signature it is, to be compared with the box's known key.
    time: how good time was all through the segment, and the devices' offsets; None in one sealed without having watched.
    """

    box: str
    name: str
    sequence: int
    first_ns: int | None
    last_ns: int | None
    tai_offset_s: int
    frames: int
    frames_hardware: int
    bytes_wire: int
    bytes_captured: int
    drops: Mapping[str, int]
    gaps: tuple[Gap, ...]
    opened: Timestamp
    made: Timestamp
    interface: str
    frames_bytes: int
    frames_digest: bytes
    index_digest: bytes
    previous: bytes | None
    cause: str
    public_key: bytes
    signature: bytes = field(default=b"", repr=False)
    time: "TimeQuality | None" = None
    piece_bytes: int | None = None

    @property
    def version(self) -> int:
        """The lowest that can say it."""
        if self.piece_bytes is not None:
            return 3
        return 1 if self.time is None else 2

    def body(self) -> bytes:
        """The bytes that are signed."""
        return _DOMAIN % self.version + cbor2.dumps(self._map(), canonical=True)

    def signed(self, signature: bytes) -> "Seal":
        """The same, with its signature: `seal.signed(identity.sign(seal.body()))`."""
        return replace(self, signature=signature)

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether this key made its signature."""
        return is_signed_by(public_key, self.signature, self.body())

    def _map(self) -> dict[int, object]:
        later: dict[int, object] = {} if self.time is None else {_TIME: self.time.as_list()}
        if self.piece_bytes is not None:
            later[_PIECES] = self.piece_bytes
        return later | {
            0: self.version, 1: self.box, 2: self.name, 3: self.sequence, 4: self.first_ns, 5: self.last_ns, 6: self.tai_offset_s,
            7: self.frames, 8: self.frames_hardware, 9: self.bytes_wire, 10: self.bytes_captured, 11: dict(self.drops),
            12: gaps_as_list(self.gaps),
            13: stamp_as_list(self.opened), 14: stamp_as_list(self.made), 15: self.interface,
            16: [self.frames_bytes, self.frames_digest], 17: self.index_digest, 18: self.previous, 19: self.cause,
            20: self.public_key,
        }  # fmt: skip


def packed(seal: Seal) -> bytes:
    """The seal as stored."""
    return cbor2.dumps(seal._map() | {_SIGNATURE: seal.signature}, canonical=True)


def unpacked(data: bytes) -> Seal:
    """A stored seal. Raises BadItem for anything `packed` would not have written; whose signature it is, is another question."""
    if len(data) > SEAL_BYTES_MAX:
        raise BadItem(f"expected a seal of at most {SEAL_BYTES_MAX} bytes, got {len(data)}")
    row = decoded_record(data)
    if not isinstance(row, dict) or row.get(0) not in range(1, VERSION + 1):
        raise BadItem(f"expected a seal of version 1 to {VERSION}")
    if set(row) - _LATER != {0, *_TYPES}:
        raise BadItem("expected a seal with exactly its keys")
    for key, kind in _TYPES.items():
        if not isinstance(row.get(key), kind) or isinstance(row.get(key), bool):
            raise BadItem(f"expected a seal with key {key} of its type")
    frames_bytes, frames_digest = _file(row[16])
    seal = Seal(
        box=row[1], name=row[2], sequence=row[3], first_ns=row[4], last_ns=row[5], tai_offset_s=row[6], frames=row[7],
        frames_hardware=row[8], bytes_wire=row[9], bytes_captured=row[10], drops=drops_from(row[11]), gaps=gaps_from(row[12]),
        opened=stamp_from_list(row[13]), made=stamp_from_list(row[14]), interface=row[15], frames_bytes=frames_bytes,
        frames_digest=frames_digest, index_digest=row[17], previous=row[18], cause=row[19], public_key=row[20],
        signature=row[_SIGNATURE], time=_time(row[_TIME]) if _TIME in row else None,
        piece_bytes=row.get(_PIECES),
    )  # fmt: skip
    if len(seal.signature) != SIGNATURE_SIZE or len(seal.public_key) != PUBLIC_KEY_SIZE:
        raise BadItem("expected a seal with a key of 32 and a signature of 64 bytes")
    if seal.piece_bytes not in (None, PIECE_BYTES):
        raise BadItem(f"expected a digest of pieces of {PIECE_BYTES} bytes")
    if packed(seal) != data:
        raise BadItem("expected a seal in deterministic CBOR and nothing beside its keys")
    return seal


def digest(data: bytes) -> bytes:
    """SHA-256, 32 bytes; of a seal's stored bytes it is what the next seal and a receipt hold."""
    return hashlib.sha256(data).digest()


_LATER = frozenset({_TIME, _PIECES})  # versions 2 and 3: each of these, or not
_NONE = type(None)
_TYPES: dict[int, type | tuple[type, ...]] = {
    1: str, 2: str, 3: int, 4: (int, _NONE), 5: (int, _NONE), 6: int, 7: int, 8: int, 9: int, 10: int, 11: dict, 12: list,
    13: list, 14: list, 15: str, 16: list, 17: bytes, 18: (bytes, _NONE), 19: str, 20: bytes, _SIGNATURE: bytes,
}  # fmt: skip


def _time(row: object) -> "TimeQuality":
    # Here, because most stores searched are of recorders that no clock was told to: of what `find` begins with, a twentieth.
    from firmware.core import certificate

    return certificate.from_list(row)


def _file(row: object) -> tuple[int, bytes]:
    match row:
        case [int(size), bytes(value)]:
            return size, value
    raise BadItem("expected frames (key 16) as [size, digest]")


def drops_from(row: Mapping[object, object]) -> dict[str, int]:
    """Frames lost by cause, as stored. Raises BadItem."""
    drops = {}
    for cause, count in row.items():
        if not isinstance(cause, str) or not isinstance(count, int) or isinstance(count, bool):
            raise BadItem("expected drops (key 11) as a map of cause to frames")
        drops[cause] = count
    return drops


def gaps_as_list(gaps: Sequence[Gap]) -> list[list[object]]:
    """As stored."""
    return [[gap.cause, gap.first_ns, gap.last_ns, gap.frames] for gap in gaps]


def gaps_from(rows: list[object]) -> tuple[Gap, ...]:
    """As stored. Raises BadItem."""
    gaps = []
    for row in rows:
        match row:
            case [str(cause), int(first), int(last), (int() | None) as frames]:
                gaps.append(Gap(cause, first, last, frames))
            case _:
                raise BadItem("expected a gap (key 12) as [cause, first, last, frames or null]")
    return tuple(gaps)
