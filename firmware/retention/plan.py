"""What goes next. Pure: from what there is and what is allowed to the one name."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from firmware.core.timestamp import SECOND
from firmware.retention.ages import Candidate

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


def old_segment(
    candidates: Sequence[Candidate], dates: Sequence[int | None], pinned: Collection[str], *, tai_ns: int, retain_ns: int
) -> Victim | None:
    """The oldest segment, by sequence, that is certainly older than it may be. dates: of the candidates (ages.py)."""
    for candidate, date in zip(candidates, dates, strict=True):
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


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be expected at the rate of what is held. horizon_s: how far back the store will reach when it is full.

    It reaches back so far without a hole; what is pinned may be older. full_in_s: until then; span_s: how much time the held segments
    tell of.
    """

    horizon_s: int
    full_in_s: int
    span_s: int


def outlook(
    candidates: Sequence[Candidate], dates: Sequence[int | None], *, size: int, pinned_bytes: int, capacity_bytes: int
) -> Outlook | None:
    """None when too little is held to tell. size, pinned_bytes: of all candidates; capacity_bytes: room for them and those to come."""
    span_ns = bytes_then = 0
    for place in range(1, len(candidates)):
        before, date = dates[place - 1], dates[place]
        # What lay between two that do not follow each other was deleted: a pin of last year and its year say nothing of the rate,
        # nor does a clock that was set back between two.
        if before is None or date is None or date <= before or candidates[place].sequence != candidates[place - 1].sequence + 1:
            continue
        span_ns += date - before
        bytes_then += candidates[place].size  # The first one's time lies before the span.
    if span_ns <= 0 or not bytes_then:
        return None
    ns_a_byte = span_ns / bytes_then
    # What is pinned makes no room for what is to come.
    return Outlook(
        int(max(0, capacity_bytes - pinned_bytes) * ns_a_byte / SECOND),
        int(max(0, capacity_bytes - size) * ns_a_byte / SECOND),
        span_ns // SECOND,
    )
