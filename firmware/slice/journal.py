"""What was ordered lately: so that an event said ten times brings one slice, and a flood of them no more than an hour allows.

    slice/ordered   {"slices": [{"whose", "since_utc_ns", "until_utc_ns", "at_utc_ns", "order"}, …]}, the last of them last

A file that makes no sense is none: then something is ordered twice, and the hub keeps one of the two.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from drivers.disk import Disk
from firmware.core.durable import make_directory, read_or_none, replace

JOURNAL, NAME = "slice", "ordered"
HOUR_NS = 3600 * 1_000_000_000
SLICES_MAX = 1_024
_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Slice:
    """One that was ordered. whose: rule, and whose frames. since, until: UTC ns. at: when it was ordered, by the box's clock.

    order: its identity, hexadecimal, which follows from rule and event.
    """

    whose: str
    since_utc_ns: int
    until_utc_ns: int
    at_utc_ns: int
    order: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stretch of time, UTC ns."""

    since_utc_ns: int
    until_utc_ns: int


def wanted(slices: Sequence[Slice], whose: str, *, at_utc_ns: int, around_ns: int) -> Wanted | None:
    """What an event asks for, from its beginning or from the end of the slices that have it; None when they have all of it."""
    covered, until = max(0, at_utc_ns - around_ns), max(0, at_utc_ns + around_ns)
    for row in sorted((row for row in slices if row.whose == whose), key=lambda row: row.since_utc_ns):
        if row.since_utc_ns <= covered < row.until_utc_ns:
            covered = row.until_utc_ns
    return Wanted(covered, until) if covered < until else None


class Journal:
    """The directory. Durable when `add` returns; raises DiskFull, DiskFailed."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.slices: tuple[Slice, ...] = ()

    def start(self) -> None:
        """Make the directory and remember."""
        make_directory(self._disk, JOURNAL)
        self.slices = _read(read_or_none(self._disk, f"{JOURNAL}/{NAME}", size=_BYTES_MAX) or b"{}")

    def has(self, order: str) -> bool:
        """Whether this was ordered, whatever the stretch: a leap second in between moves every moment in UTC."""
        return any(row.order == order for row in self.slices)

    def in_the_last_hour(self, utc_ns: int) -> int:
        """How many. One that is said to be ordered later than now was, before the clock was set back, and counts within an hour of it."""
        return sum(abs(utc_ns - row.at_utc_ns) < HOUR_NS for row in self.slices)

    def add(self, row: Slice) -> None:
        """One more."""
        kept = (*(other for other in self.slices if abs(row.at_utc_ns - other.at_utc_ns) < 2 * HOUR_NS), row)[-SLICES_MAX:]
        replace(self._disk, JOURNAL, NAME, json.dumps({"slices": [asdict(entry) for entry in kept]}).encode())
        self.slices = kept


def _read(data: bytes) -> tuple[Slice, ...]:
    try:
        rows = json.loads(data).get("slices", [])
        return tuple(_slice(row) for row in rows)[-SLICES_MAX:]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ()


def _slice(row: dict[str, object]) -> Slice:
    match row:
        case {"whose": str(whose), "since_utc_ns": int(since), "until_utc_ns": int(until), "at_utc_ns": int(at), **rest}:
            return Slice(whose, since, until, at, str(rest.get("order", "")))  # "": an earlier version did not write it
    raise ValueError
