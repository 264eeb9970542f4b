"""What stands in the store: a row for each segment, from its seal, for people and for those who plan."""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core.errors import Corrupt, Missing
from firmware.core.seal import Seal, digest
from firmware.core.segment import COLD_FILES, FILES, SEAL, sequence_of
from firmware.core.state import columns
from firmware.core.store import Store
from firmware.core.timestamp import iso


@dataclass(frozen=True, slots=True)
class Row:
    """One segment. size: bytes of all its files. seal: None while it is open, and when it cannot be read (readable False).

    seal_digest: SHA-256 of the seal's stored bytes, b"" without one. frames: of the seal, or as the index of an open one counts.
    is_cold: rewritten into the denser form.
    """

    name: str
    sequence: int
    size: int
    is_open: bool
    readable: bool
    seal: Seal | None
    seal_digest: bytes
    frames: int
    is_cold: bool = False


def row_of(disk: Disk, path: str, name: str) -> Row | None:
    """One segment by its name without the dot; None when it is gone."""
    is_open = not disk.exists(f"{path}/{name}")
    directory = f"{path}/.{name}" if is_open else f"{path}/{name}"
    segment = Store(disk, path).segment(name)
    size = 0
    for file in {*FILES, *COLD_FILES}:
        try:
            size += disk.size(f"{directory}/{file}")
        except Missing:
            continue
    if is_open and size == 0:
        return None
    sequence = sequence_of(name) or 0
    try:
        seal = segment.seal()
    except Corrupt:
        return Row(name, sequence, size, is_open, False, None, _digest_or_none(disk, directory), 0)
    except Missing:
        # Without its seal it is no segment, but it takes room and has to be seen.
        return Row(name, sequence, size, is_open, False, None, b"", 0) if size else None
    if seal is None:
        return Row(name, sequence, size, True, True, None, b"", _frames_so_far(disk, path, name))
    return Row(name, sequence, size, False, True, seal, _digest_or_none(disk, directory), seal.frames, segment.is_cold())


def rows(disk: Disk, path: str = "segments") -> list[Row]:
    """Every segment, in the order recorded, those without a seal last."""
    store = Store(disk, path)
    return [row for name in store.names() + store.open_names() if (row := row_of(disk, path, name)) is not None]


def lines(shelf: Sequence[Row]) -> list[str]:
    """The table for people."""
    if not shelf:
        return ["no segments yet"]
    head = ("segment", "from (UTC)", "to (UTC)", "frames", "lost", "clock", "kB")
    body = [_words(row) for row in shelf]
    return [*columns([head, *body]), f"  {len(shelf)} segments, {sum(row.size for row in shelf) // 1000} kB"]


def as_json(shelf: Sequence[Row]) -> list[dict[str, object]]:
    """For --json."""
    return [
        {
            "name": row.name, "sequence": row.sequence, "bytes": row.size, "open": row.is_open, "cold": row.is_cold, "readable": row.readable,
            "frames": row.frames,
            "first_utc_ns": row.seal.first_ns if row.seal else None,
            "last_utc_ns": row.seal.last_ns if row.seal else None,
            "drops": dict(row.seal.drops) if row.seal else {},
            "cause": row.seal.cause if row.seal else None,
            "clock": row.seal.made.state.value if row.seal else None,
            "uncertainty_ns": row.seal.made.uncertainty_ns if row.seal else None,
        }
        for row in shelf
    ]  # fmt: skip


def _words(row: Row) -> tuple[str, ...]:
    size = f"{row.size // 1000}{' cold' if row.is_cold else ''}"
    if row.seal is None:
        return (row.name, "open" if row.is_open else "UNREADABLE", "", str(row.frames), "", "", size)
    first, last = row.seal.first_ns, row.seal.last_ns
    lost = sum(row.seal.drops.values())
    return (
        row.name, iso(first) if first is not None else "no frames", iso(last) if last is not None else "",
        str(row.frames), str(lost) if lost else "-", row.seal.made.state.value, size,
    )  # fmt: skip


def _frames_so_far(disk: Disk, path: str, name: str) -> int:
    try:
        return sum(record.frames for record in Store(disk, path).segment(name).records())
    except (Corrupt, Missing):
        return 0


def _digest_or_none(disk: Disk, directory: str) -> bytes:
    try:
        return digest(disk.read(f"{directory}/{SEAL}"))
    except Missing:
        return b""
