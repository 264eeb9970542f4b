"""Pins: legal hold. A segment with a file of its name in pins/ is deleted neither for its age nor for room (S2-094, S2-095).

The file says who asked, why and when, for the person who finds it years later: {"reason": …, "pinned": "2026-11-22T10:15:00.000Z"}.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.disk import Disk
from firmware.core.durable import make_directory, read_or_none, replace
from firmware.core.errors import DiskFailed, Missing
from firmware.core.layout import sequence_of
from firmware.core.shelf import each
from firmware.core.store import Store
from firmware.core.timestamp import compact, iso

PINS = "pins"
REASON_MAX = 1000
_BYTES_MAX = 16_384  # JSON writes a letter beyond U+FFFF in 12 bytes.


@dataclass(frozen=True, slots=True)
class Pin:
    """One segment held. reason, pinned: as given; "" where the file does not say."""

    segment: str
    reason: str
    pinned: str


def pins(disk: Disk) -> list[Pin]:
    """Every pin, in the order of the segments' names. A file that makes no sense is a pin all the same: it was meant to hold."""
    return [_read(disk, name) for name in disk.list(PINS) if sequence_of(name) is not None and not name.startswith(".")]


def pin(disk: Disk, segments: Sequence[str], *, reason: str, now_utc_ns: int, own: str = "") -> None:
    """Hold these segments; it lasts on return. One that is held already gets the new reason.

    own: what tells this process from another that pins the same segments in the same moment.
    """
    if not 0 < len(reason) <= REASON_MAX:
        raise ValueError(f"expected a reason of 1 to {REASON_MAX} characters, for the person who finds the pin later")
    make_directory(disk, PINS)
    for segment in segments:
        assert sequence_of(segment) is not None, "a segment's name"
        replace(disk, PINS, segment, json.dumps({"reason": reason, "pinned": iso(now_utc_ns)}).encode(), own=own)


def unpin(disk: Disk, *segments: str) -> None:
    """Hold them no longer. Raises Missing when one of them was not held; then all are held as before."""
    for segment in segments:
        if sequence_of(segment) is None:
            raise Missing("expected the name of a segment, as `scrubjay pins` lists it")
        if not disk.exists(f"{PINS}/{segment}"):
            raise Missing(f"expected a segment that is held, as `scrubjay pins` lists them; {segment} is not")
    for segment in dict.fromkeys(segments):
        try:
            disk.remove(f"{PINS}/{segment}")
        except Missing:
            continue  # Somebody else let it go in this moment, which is what was wanted.
    disk.sync_dir(PINS)


def overlapping(disk: Disk, *, since_utc_ns: int, until_utc_ns: int) -> list[str]:
    """Sealed segments that hold, or may hold, frames of this interval. One whose seal cannot be read may."""
    return [row.name for row in each(disk, since_utc_ns=since_utc_ns, until_utc_ns=until_utc_ns) if not row.is_open]


def still_open(disk: Disk, *, until_utc_ns: int) -> list[str]:
    """Segments without a seal that began by then: they may get frames of that time, and cannot be held yet."""
    return [name for name in Store(disk).open_names() if name[:16] <= compact(until_utc_ns)]


def _read(disk: Disk, name: str) -> Pin:
    try:
        row = json.loads(read_or_none(disk, f"{PINS}/{name}", size=_BYTES_MAX) or b"")
    except (DiskFailed, ValueError, RecursionError):
        row = None
    match row:
        case {"reason": str(reason), "pinned": str(pinned)}:
            return Pin(name, reason, pinned)
    return Pin(name, "", "")
