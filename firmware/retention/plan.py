"""What goes next. Pure: from what there is and what is allowed to the one name."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from firmware.retention.ages import Candidate, dates

_NAME = re.compile(r"p([1-4])-(\d{20})-")


@dataclass(frozen=True, slots=True)
class Victim:
    """One segment to delete. cause: "age", "budget" or "room"; it stands in the receipt."""

    candidate: Candidate
    cause: str


@dataclass(frozen=True, slots=True)
class Kept:
    """One file in groups/ or sent/. tai_ns: of the first thing in it, as its name says. size: bytes."""

    name: str
    priority: int
    tai_ns: int
    size: int


def old_segment(candidates: Sequence[Candidate], pinned: Collection[str], *, tai_ns: int, retain_ns: int) -> Victim | None:
    """The oldest segment, by sequence, that is certainly older than it may be."""
    for candidate, date in zip(candidates, dates(candidates), strict=True):
        if candidate.name not in pinned and date is not None and tai_ns - date > retain_ns:
            return Victim(candidate, "age")
    return None


def oldest_segment(candidates: Sequence[Candidate], pinned: Collection[str], cause: str) -> Victim | None:
    """The oldest segment that is not pinned; never the newest of all, which is what people will ask for."""
    for candidate in candidates[:-1]:
        if candidate.name not in pinned:
            return Victim(candidate, cause)
    return None


def kept(name: str, size: int) -> Kept | None:
    """A file by its name in release/, outbox/ and where they end up; None for any other name."""
    match = _NAME.match(name)
    return Kept(name, int(match[1]), int(match[2]), size) if match else None


def too_many(files: Iterable[Kept], *, bytes_max: int) -> list[Kept]:
    """Those that must go so that the rest fits: least important first, then oldest first."""
    rows = sorted(files, key=lambda row: (-row.priority, row.tai_ns, row.name))
    excess = sum(row.size for row in rows) - bytes_max
    going = []
    for row in rows:
        if excess <= 0:
            break
        going.append(row)
        excess -= row.size
    return going


def horizon_s(candidates: Sequence[Candidate], *, capacity_bytes: int) -> int | None:
    """How far back the store would reach at the rate of what it holds, if it were full; None when that is too little to tell."""
    dated = [(candidate, date) for candidate, date in zip(candidates, dates(candidates), strict=True) if date is not None]
    if len(dated) < 2:
        return None
    span_ns = dated[-1][1] - dated[0][1]
    size = sum(candidate.size for candidate, _ in dated[1:])  # The first one's time lies before the span.
    return capacity_bytes * span_ns // (size * 1_000_000_000) if size and span_ns > 0 else None
