"""Which part of an interval the store does not hold, and why: an answer without frames may mean silence, or that nobody listened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firmware.core.seal import Gap, Seal
from firmware.core.timestamp import SECOND, iso

GOES_ON = ("time", "size")  # Causes of a cut after which the recorder went on at once in the next segment.
HOLES_SAID_MAX = 16
ENDS_HERE = ("stop", "handover")  # Sealed by who had listened until then. After a handover the next begins within milliseconds.
SLACK_NS = SECOND  # Closing one segment and opening the next is not a hole.


@dataclass(frozen=True, slots=True)
class Held:
    """One segment's time, UTC ns. goes_on: recording went on without a break into the segment of the next sequence."""

    sequence: int
    from_ns: int
    until_ns: int
    goes_on: bool
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Hole:
    """A time that is not held, UTC ns, and why: "deleted", "not recorded", or a gap's cause."""

    from_ns: int
    until_ns: int
    cause: str


def held_by(seal: Seal) -> Held:
    """What a sealed segment holds."""
    opened = seal.opened.tai_ns - seal.tai_offset_s * SECOND
    if seal.cause in GOES_ON or seal.cause in ENDS_HERE:
        until = seal.made.tai_ns - seal.tai_offset_s * SECOND
    else:
        until = seal.last_ns if seal.last_ns is not None else opened  # Sealed at the next start; nobody listened in between.
    first = opened if seal.first_ns is None else min(opened, seal.first_ns)
    return Held(seal.sequence, first, max(first, until), seal.cause in GOES_ON, seal.gaps)


def not_held(held: Sequence[Held], deleted: Mapping[int, int], *, from_ns: int, until_ns: int) -> list[Hole]:
    """The holes in [from_ns, until_ns], in order. deleted: first moment (UTC ns) of each deleted segment, by sequence."""
    begins = {row.sequence: row.from_ns for row in held}
    gone = [
        (begin, begins.get(sequence + 1, deleted.get(sequence + 1, begin + 1)))
        for sequence, begin in deleted.items()
        if sequence not in begins
    ]
    holes: list[Hole] = []
    cursor = from_ns
    for row in sorted(held, key=lambda row: row.from_ns):
        end = max(row.until_ns, begins.get(row.sequence + 1, row.until_ns)) if row.goes_on else row.until_ns
        if end < from_ns or row.from_ns > until_ns:
            continue
        if row.from_ns > cursor + SLACK_NS:
            holes.append(_hole(cursor, row.from_ns, gone))
        cursor = max(cursor, end)
        holes += [
            Hole(max(gap.first_ns, from_ns), min(gap.last_ns, until_ns), gap.cause)
            for gap in row.gaps
            if gap.last_ns >= from_ns and gap.first_ns <= until_ns
        ]
    if cursor + SLACK_NS < until_ns:
        holes.append(_hole(cursor, until_ns, gone))
    return sorted(holes, key=lambda hole: (hole.from_ns, hole.until_ns))


def sentence(holes: Sequence[Hole]) -> str:
    """For people: "2026-…Z to 2026-…Z deleted; …"; "" when everything is held."""
    said = [f"{iso(hole.from_ns)} to {iso(hole.until_ns)} {hole.cause}" for hole in holes[:HOLES_SAID_MAX]]
    if len(holes) > HOLES_SAID_MAX:
        said.append(f"and {len(holes) - HOLES_SAID_MAX} more")
    return "; ".join(said)


def _hole(from_ns: int, until_ns: int, gone: Sequence[tuple[int, int]]) -> Hole:
    was_there = any(begin < until_ns and end > from_ns for begin, end in gone)
    return Hole(from_ns, until_ns, "deleted" if was_there else "not recorded")
