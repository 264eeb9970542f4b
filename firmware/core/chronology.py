"""What happened first: messages of several clocks in one order, as far as that order is certain.

    a device's stamp, its clock certified     between (stamp - high) and (stamp - low), and no later than it arrived
    a device's stamp, its clock not certified  no later than it arrived; the stamp alone proves nothing
    no stamp                                   no later than it arrived
Two messages whose intervals overlap may have happened in either order: they are shown in the more probable one, and marked.
All moments are by the box's clock. How good that is does not matter for an order: all of them were measured against it.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from firmware.core.certificate import DeviceOffset, corrected
from firmware.core.message import Message
from firmware.core.timestamp import iso, span


@dataclass(frozen=True, slots=True)
class Happened:
    """A message, and when what it says happened, ns TAI of the box's clock. earliest_ns: None when nothing bounds it.

    segment: where its frame lies. offset: of the clock that stamped it, None when that is not certified.
    """

    message: Message
    segment: str
    earliest_ns: int | None
    latest_ns: int
    offset: DeviceOffset | None = None

    @property
    def best_ns(self) -> int:
        """One moment to sort by: the middle of its interval, or the latest where it has no beginning."""
        return self.latest_ns if self.earliest_ns is None else (self.earliest_ns + self.latest_ns) // 2


@dataclass(frozen=True, slots=True)
class Placed:
    """In its place. swaps: how many of those shown before it may have happened after it."""

    happened: Happened
    swaps: int


def happened(message: Message, segment: str, offset: DeviceOffset | None) -> Happened:
    """When, by what is known of the clock that stamped it. offset: None when nothing is."""
    arrived_ns = message.received_time.tai_ns
    interval = corrected(message.origin_time, offset, near_tai_ns=arrived_ns) if message.origin_time.source == "device" else None
    if interval is None:
        return Happened(message, segment, None, arrived_ns)
    earliest, latest = interval
    if earliest > arrived_ns:
        # It says that it was sent after it arrived: its clock is not where it was measured, and certifies nothing.
        return Happened(message, segment, None, arrived_ns)
    return Happened(message, segment, earliest, min(latest, arrived_ns), offset)


def placed(rows: Iterable[Happened]) -> list[Placed]:
    """In the most probable order, each with how far that is from certain."""
    found: list[Placed] = []
    latest: list[int] = []  # of those placed so far, ascending
    for row in sorted(rows, key=lambda row: (row.best_ns, row.latest_ns)):
        swaps = len(latest) if row.earliest_ns is None else len(latest) - bisect_left(latest, row.earliest_ns)
        found.append(Placed(row, swaps))
        insort(latest, row.latest_ns)
    return found


def lines(rows: Sequence[Placed], *, tai_offset_s: int, words: Callable[[Message], str]) -> list[str]:
    """For people: when, how sure, who, what; "~" where the order is not certain. words: of a message, what may be shown."""
    found = []
    for row in rows:
        event, message = row.happened, row.happened.message
        when = iso(event.best_ns - tai_offset_s * 1_000_000_000)
        half = "at the latest" if event.earliest_ns is None else f"±{span((event.latest_ns - event.earliest_ns + 1) // 2)}"
        mark = "~" if row.swaps else " "
        said = words(message) or message.event or message.kind
        found.append(f"{mark} {when}  {half:<14} P{int(message.priority)} {message.device:<20} {said[:80]}")
    return found
