"""What stands in the store: a row for each segment, from its seal, for people and for those who plan."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from drivers.disk import Disk
from firmware.core.errors import BadItem, Corrupt, DiskFailed, Missing
from firmware.core.layout import COLD_FILES, COLD_SEAL, FILES, FRAMES, SEAL, sequence_of
from firmware.core.query import Query, terms_of
from firmware.core.seal import Seal, digest, unpacked
from firmware.core.state import columns
from firmware.core.store import Store
from firmware.core.summary import Summary
from firmware.core.timestamp import iso

PAGE_ROWS = 256  # of the table for people, said at a time: the first of a hundred thousand are there at once
_WIDTHS = (23, 24, 24, 10, 6, 8, 8)  # at the least, so that pages line up
_COUNTED = frozenset((*FILES, *COLD_FILES))


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
    sequence = sequence_of(name) or 0
    try:
        files = _COUNTED.intersection(disk.list(directory))
    except DiskFailed:
        disk.list(path)  # Raises again where the disk gives nothing at all; else it is this segment's trouble, and no other's.
        return Row(name, sequence, 0, is_open, False, None, b"", 0)
    size = 0
    for file in files:
        try:
            size += disk.size(f"{directory}/{file}")
        except (DiskFailed, Missing):
            continue
    if is_open and size == 0:
        return None
    if is_open:
        return Row(name, sequence, size, True, True, None, b"", _frames_so_far(disk, path, name))
    try:
        data = disk.read(f"{directory}/{SEAL}")
    except Missing:
        # Without its seal it is no segment, but it takes room and has to be seen.
        return Row(name, sequence, size, False, False, None, b"", 0) if size else None
    except DiskFailed:
        return Row(name, sequence, size, False, False, None, b"", 0)
    try:
        seal = unpacked(data)
    except BadItem:
        return Row(name, sequence, size, False, False, None, digest(data), 0)
    is_cold = COLD_SEAL in files and FRAMES not in files
    return Row(name, sequence, size, False, True, seal, digest(data), seal.frames, is_cold)


def rows(disk: Disk, path: str = "segments") -> list[Row]:
    """Every segment, in the order recorded, those without a seal last."""
    return list(each(disk, path))


def each(
    disk: Disk, path: str = "segments", *, since_utc_ns: int | None = None, until_utc_ns: int | None = None
) -> Iterator[Row]:
    """As `rows`, each as it is read; of an interval, both ends included, those that hold or may hold frames of it.

    With a summary (summary.py) only these are read, else every seal is glanced at, as find does.
    """
    store = Store(disk, path, summary=Summary(disk))
    query = Query(since_utc_ns, until_utc_ns)
    has_time = query != Query()
    names, terms = store.possible(query) if has_time else store.names(), terms_of(query)
    for name in [*names, *store.open_names()]:
        if has_time and store.segment(name).is_of_another_time(terms.since_ns, terms.until_ns):
            continue
        row = row_of(disk, path, name)
        if row is not None and may_hold(row, since_utc_ns=since_utc_ns, until_utc_ns=until_utc_ns):
            yield row


def may_hold(row: Row, *, since_utc_ns: int | None, until_utc_ns: int | None) -> bool:
    """Whether it holds, or may hold, frames of this interval. One whose seal cannot be read may, and one that is open."""
    if row.seal is None or (since_utc_ns is None and until_utc_ns is None):
        return True
    first_ns, last_ns = row.seal.first_ns, row.seal.last_ns
    return (
        first_ns is not None
        and last_ns is not None
        and (until_utc_ns is None or first_ns <= until_utc_ns)
        and (since_utc_ns is None or last_ns >= since_utc_ns)
    )


def lines(shelf: Iterable[Row]) -> Iterator[str]:
    """The table for people, a page at a time, with its sum."""
    head = ("segment", "from (UTC)", "to (UTC)", "frames", "lost", "clock", "kB")
    reading = iter(shelf)
    count = size = 0
    while page := list(islice(reading, PAGE_ROWS)):
        body = [_words(row) for row in page]
        yield from columns(body if count else [head, *body], widths=_WIDTHS)
        count += len(page)
        size += sum(row.size for row in page)
    yield f"  {count} segments, {size // 1000} kB" if count else "no segments"


def as_json(shelf: Iterable[Row]) -> list[dict[str, object]]:
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
    except (Corrupt, DiskFailed, Missing):
        return 0
