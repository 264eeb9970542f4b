"""The cold form of a segment: `frames.cold` and `cold` in its directory instead of frames.pcapng.lz4; index and seal unchanged.

    frames.cold    run | run | … | table         a run: firmware/core/dense.py, or a link of lz4chain.py as it was
    cold           the cold seal: what this form holds, and the box's word that it is the sealed frames

    table   0  4  runs     then for each run   0  8  offset    8  4  stored size   12  4  kind (0 dense, 1 a link as it was)
                                              16  4  links    then for each link:
            0  8  offset in frames.pcapng.lz4   8  4  its stored size there   12  4  its size unpacked   16  4  by whom it was
           20 32  SHA-256 unpacked                                               packed: 0 the LZ4 library, 1 kernel.c

What is provable, and by whom:
    with any software that can restore   the frames: every stretch has its SHA-256 in the table, the table's is in the cold seal, and
                                         the cold seal is signed by the box and names the digest of the segment's seal;
    where LZ4 makes the same bytes       the file of the seal: restoring it gives frames.pcapng.lz4 with the SHA-256 that was sealed.
                                         A packer promises that for one version of itself only: it is named in the cold seal, and
                                         before the first form was removed, both were shown on the box, from the bytes written.
A link that the box's packers do not make again is kept as it was, so that its file is restored all the same.
Untrusted: both files may be any bytes.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import cbor2

from drivers.disk import Disk
from firmware.core import dense, lz4chain, pcapng
from firmware.core._kernel import Stretch
from firmware.core.cbor import decoded_record, stamp_as_list, stamp_from_list
from firmware.core.errors import BadItem, Corrupt
from firmware.core.layout import COLD, COLD_SEAL
from firmware.core.signature import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, is_signed_by
from firmware.core.timestamp import Timestamp

VERSION = 1
RUN_BYTES = 4 << 20  # 8 MiB is 0.7 % denser; 4 are restored in a hundredth of a second and rewritten in a third of one.
DENSE, AS_IT_WAS = 0, 1
SEAL_BYTES_MAX = 4_096
TABLE_BYTES_MAX = 32 << 20  # A segment of 300 GB; ours are some GB at most.
_DOMAIN = b"scrubjay cold 1"
_SIGNATURE = 12
_COUNT = struct.Struct("<I")
_RUN = struct.Struct("<QIII")
_LINK = struct.Struct("<QIII32s")
BY_LIBRARY, BY_KERNEL = 0, 1
PACKER = 2  # Grows when kernel.c packs the same frames into other bytes; 1 searched every frame as LZ4 does.


@dataclass(frozen=True, slots=True)
class Link:
    """One stretch. offset, stored_bytes: where its link lies in frames.pcapng.lz4. packer: BY_LIBRARY or BY_KERNEL.

    raw_digest: SHA-256 of its pcapng blocks.
    """

    offset: int
    stored_bytes: int
    raw_bytes: int
    packer: int
    raw_digest: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """Stretches that are restored together. offset, stored_bytes: in frames.cold. kind: DENSE or AS_IT_WAS."""

    offset: int
    stored_bytes: int
    kind: int
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class ColdSeal:
    """The box's word for the cold form of one segment.

    seal_digest: SHA-256 of the segment's seal. frames_bytes, frames_digest: of frames.pcapng.lz4, as in that seal.
    raw_bytes, raw_digest: of the whole pcapng, uncompressed. cold_bytes, cold_digest: of frames.cold. table_at: offset of its table.
    library: who makes the sealed file again, e.g. "lz4 1.9.4, kernel.c 2" ("lz4 1.9.4": kernel.c 1).
    """

    box: str
    name: str
    sequence: int
    seal_digest: bytes
    frames_bytes: int
    frames_digest: bytes
    raw_bytes: int
    raw_digest: bytes
    cold_bytes: int
    cold_digest: bytes
    table_at: int
    library: str
    made: Timestamp
    public_key: bytes
    signature: bytes = field(default=b"", repr=False)

    def body(self) -> bytes:
        """The bytes that are signed."""
        return _DOMAIN + cbor2.dumps(self._map(), canonical=True)

    def signed(self, signature: bytes) -> "ColdSeal":
        """The same, with its signature."""
        return replace(self, signature=signature)

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether this key made its signature."""
        return is_signed_by(public_key, self.signature, self.body())

    def packed(self) -> bytes:
        """As stored."""
        return cbor2.dumps(self._map() | {_SIGNATURE: self.signature}, canonical=True)

    def _map(self) -> dict[int, object]:
        return {
            0: VERSION, 1: self.box, 2: self.name, 3: self.sequence, 4: self.seal_digest, 5: [self.frames_bytes, self.frames_digest],
            6: [self.raw_bytes, self.raw_digest], 7: [self.cold_bytes, self.cold_digest], 8: self.table_at, 9: self.library,
            10: stamp_as_list(self.made), 11: self.public_key,
        }  # fmt: skip


def seal_unpacked(data: bytes) -> ColdSeal:
    """A stored cold seal. Raises BadItem for anything `packed` would not have written."""
    if len(data) > SEAL_BYTES_MAX:
        raise BadItem(f"expected a cold seal of at most {SEAL_BYTES_MAX} bytes, got {len(data)}")
    match decoded_record(data):
        case {
            0: 1, 1: str(box), 2: str(name), 3: int(sequence), 4: bytes(seal_digest), 5: [int(frames_bytes), bytes(frames_digest)],
            6: [int(raw_bytes), bytes(raw_digest)], 7: [int(cold_bytes), bytes(cold_digest)], 8: int(table_at), 9: str(library),
            10: list(stamp), 11: bytes(public_key), 12: bytes(signature),
        } if len(signature) == SIGNATURE_SIZE and len(public_key) == PUBLIC_KEY_SIZE:  # fmt: skip
            made = ColdSeal(
                box, name, sequence, seal_digest, frames_bytes, frames_digest, raw_bytes, raw_digest, cold_bytes, cold_digest,
                table_at, library, stamp_from_list(stamp), public_key, signature,
            )  # fmt: skip
        case _:
            raise BadItem(f"expected a cold seal of version {VERSION}")
    if made.packed() != data:
        raise BadItem("expected a cold seal in deterministic CBOR and nothing beside its keys")
    return made


def table_packed(runs: list[Run]) -> bytes:
    """The table as stored."""
    parts = [_COUNT.pack(len(runs))]
    for run in runs:
        parts.append(_RUN.pack(run.offset, run.stored_bytes, run.kind, len(run.links)))
        parts += [_LINK.pack(link.offset, link.stored_bytes, link.raw_bytes, link.packer, link.raw_digest) for link in run.links]
    return b"".join(parts)


def table_unpacked(data: bytes) -> list[Run]:
    """A stored table. Raises Corrupt."""
    try:
        (count,) = _COUNT.unpack_from(data)
        at, runs = _COUNT.size, []
        for _ in range(count):
            offset, stored, kind, links = _RUN.unpack_from(data, at)
            at += _RUN.size
            if kind not in (DENSE, AS_IT_WAS) or links > (len(data) - at) // _LINK.size:
                raise Corrupt("expected a table of runs and their links")
            rows = tuple(Link(*_LINK.unpack_from(data, at + _LINK.size * number)) for number in range(links))
            at += _LINK.size * links
            runs.append(Run(offset, stored, kind, rows))
    except struct.error:
        raise Corrupt("expected a whole table of runs") from None
    if at != len(data):
        raise Corrupt("expected nothing behind the table")
    return runs


class Cold:
    """The cold form of one segment, to read from."""

    def __init__(self, disk: Disk, directory: str, *, hidden: bool = False) -> None:
        """directory: the segment's. hidden: not published yet. Raises Missing when it has no cold form, Corrupt."""
        dot = "." if hidden else ""
        self._disk = disk
        self._file = f"{directory}/{dot}{COLD}"
        try:
            self.seal = seal_unpacked(disk.read(f"{directory}/{dot}{COLD_SEAL}", size=SEAL_BYTES_MAX + 1))
        except BadItem as problem:
            raise Corrupt(f"cold seal: {problem}") from None
        size = disk.size(self._file)
        if not 0 <= self.seal.table_at <= size or size - self.seal.table_at > TABLE_BYTES_MAX:
            raise Corrupt("expected the table of runs where the cold seal says")
        self.runs = table_unpacked(disk.read(self._file, offset=self.seal.table_at))
        self._where = {link.offset: (run, number) for run in self.runs for number, link in enumerate(run.links)}
        self._held: tuple[Run, list[bytes]] | None = None  # the run read last: who reads a stretch mostly wants the next one

    def stretch(self, offset: int) -> bytes:
        """The pcapng blocks of the stretch whose link lies at `offset` of frames.pcapng.lz4. Raises Corrupt, Missing."""
        if offset not in self._where:
            raise Corrupt("expected a stretch that the cold form holds")
        run, number = self._where[offset]
        if self._held is None or self._held[0] is not run:
            self._held = run, self.restored(run)
        return self._held[1][number]

    def restored(self, run: Run) -> list[bytes]:
        """The pcapng blocks of each stretch of a run, proved against the table. Raises Corrupt, Missing."""
        # Before anything is read: where the table is altered, it must not make anybody want gigabytes.
        if run.offset + run.stored_bytes > self.seal.table_at:
            raise Corrupt("expected a run before the table")
        stored = self._disk.read(self._file, offset=run.offset, size=run.stored_bytes)
        raw = dense.unpacked(stored) if run.kind == DENSE else lz4chain.decompressed(stored)
        pieces, at = [], 0
        for link in run.links:
            piece = raw[at : at + link.raw_bytes]
            if hashlib.sha256(piece).digest() != link.raw_digest:
                raise Corrupt("expected a stretch with the digest that was sealed")
            pieces.append(piece)
            at += link.raw_bytes
        if at != len(raw):
            raise Corrupt("expected stretches that make up their run")
        return pieces

    def links(self, run: Run) -> Iterator[tuple[Link, bytes, bytes]]:
        """(link, pcapng blocks, stored bytes in frames.pcapng.lz4 as this machine's library makes them) of each stretch of a run."""
        for link, raw in zip(run.links, self.restored(run), strict=True):
            if run.kind == AS_IT_WAS:
                yield link, raw, self._disk.read(self._file, offset=run.offset, size=run.stored_bytes)
                continue
            ends = link.offset + link.stored_bytes
            yield link, raw, recompressed(raw, link.packer, is_first=link.offset == 0, is_last=ends == self.seal.frames_bytes)


def recompressed(raw: bytes, packer: int, *, is_first: bool, is_last: bool) -> bytes:
    """The link of a stretch as this machine's packer makes it. Raises Corrupt for what that packer never packed."""
    if not 0 < len(raw) <= lz4chain.RAW_MAX:
        raise Corrupt("expected a stretch of some bytes")
    if packer == BY_LIBRARY:
        return lz4chain.compressed(raw, is_first=is_first, is_last=is_last)
    stretch = Stretch(max(len(raw), pcapng.SNAP_MAX + 64))
    if packer != BY_KERNEL or is_first or not stretch.repack(raw):
        raise Corrupt("expected a stretch of frames")
    return bytes(stretch.packed()) + (lz4chain.END_MARK if is_last else b"")
