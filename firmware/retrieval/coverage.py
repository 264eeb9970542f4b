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
    """One segment's time, UTC ns. goes_on: recording went on without a break into the segment of the next sequence.

    is_stopped: it was ended in order, and nobody recorded until the next begins.
    """

    sequence: int
    from_ns: int
    until_ns: int
    goes_on: bool
    gaps: tuple[Gap, ...] = ()
    is_stopped: bool = False


@dataclass(frozen=True, slots=True)
class Hole:
    """A time that is not held, UTC ns, and why: "deleted", "not recorded", the same with "(stopped)", or a gap's cause."""

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
    return Held(seal.sequence, first, max(first, until), seal.cause in GOES_ON, seal.gaps, seal.cause == "stop")


def not_held(held: Sequence[Held], deleted: Mapping[int, int], *, from_ns: int, until_ns: int) -> list[Hole]:
    """The holes in [from_ns, until_ns], in order. deleted: first moment (UTC ns) of each deleted segment, by sequence."""
    begins = {row.sequence: row.from_ns for row in held}
    gone = [
        (begin, begins.get(sequence + 1, deleted.get(sequence + 1, begin + 1)))
        for sequence, begin in deleted.items()
        if sequence not in begins
    ]
    # What a gap of the whole recorder's says with its cause is not said once more without one.
    said = [(gap.first_ns - SLACK_NS, gap.last_ns + SLACK_NS) for row in held for gap in row.gaps if "@" not in gap.cause]
    holes: list[Hole] = []
    cursor, is_stopped = from_ns, False
    for row in sorted(held, key=lambda row: row.from_ns):
        end = max(row.until_ns, begins.get(row.sequence + 1, row.until_ns)) if row.goes_on else row.until_ns
        if end < from_ns or row.from_ns > until_ns:
            is_stopped = row.is_stopped if end < from_ns else is_stopped  # of the one before what is asked for
            continue
        if row.from_ns > cursor + SLACK_NS and not any(begin <= cursor and row.from_ns <= over for begin, over in said):
            holes.append(_hole(cursor, row.from_ns, gone, is_stopped))
        if end >= cursor:
            cursor, is_stopped = end, row.is_stopped
        holes += [
            Hole(max(gap.first_ns, from_ns), min(gap.last_ns, until_ns), gap.cause)
            for gap in row.gaps
            if gap.last_ns >= from_ns and gap.first_ns <= until_ns
        ]
    if cursor + SLACK_NS < until_ns:
        holes.append(_hole(cursor, until_ns, gone, is_stopped))
    return sorted(holes, key=lambda hole: (hole.from_ns, hole.until_ns))


def sentence(holes: Sequence[Hole]) -> str:
    """For people: "2026-…Z to 2026-…Z deleted; …"; "" when everything is held."""
    said = [f"{iso(hole.from_ns)} to {iso(hole.until_ns)} {hole.cause}" for hole in holes[:HOLES_SAID_MAX]]
    if len(holes) > HOLES_SAID_MAX:
        said.append(f"and {len(holes) - HOLES_SAID_MAX} more")
    return "; ".join(said)


def _hole(from_ns: int, until_ns: int, gone: Sequence[tuple[int, int]], is_stopped: bool) -> Hole:
    if any(begin < until_ns and end > from_ns for begin, end in gone):
        return Hole(from_ns, until_ns, "deleted")
    return Hole(from_ns, until_ns, "not recorded (stopped)" if is_stopped else "not recorded")
