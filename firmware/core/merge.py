"""Time order on reading, where a segment holds several interfaces.

Each interface has a ring of its own, and the recorder takes them block by block: in a stretch, and across neighbouring ones, the
frames lie as they were taken and not as they passed. What is found is sorted here, in bounded memory. The segment is left alone.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from firmware.core._kernel import ordered
from firmware.core.hit import Hit
from firmware.core.index import Record
from firmware.core.timestamp import SECOND

LOOK_AHEAD = 4  # Stretches of a MiB: two rings give their blocks in turns, so a frame lies at most two blocks from its place.
CARRIED_BYTES_MAX = 8 << 20  # A search has this much more in hand at the most; a frame that comes later stays where it was heard.
# When it is more, the oldest goes and so much stays, the latest: a few stretches, and a frame lies within a block of its place.
NEWEST_BYTES = CARRIED_BYTES_MAX // 2
LATE_NS = (
    SECOND // 2
)  # The next segment may begin with what another ring still held: a block's time, and the wait for it (ears.py).
NEVER = (1 << 64) - 1


def complete_before(records: Sequence[Record], place: int) -> int:
    """The stamp, UTC ns, before which nothing comes any more when records[place] was read. records: those of one segment."""
    following = [record.first_ns for record in records[place + 1 : place + 1 + LOOK_AHEAD] if record.frames]
    return max(0, min([*following, records[-1].last_ns - LATE_NS]))


class Merge:
    """Takes hits as they were recorded, gives them in time order."""

    def __init__(self) -> None:
        self._carried: Hit | None = None
        self._newest: deque[tuple[int, int]] = deque()  # of the last hits, as few as make up NEWEST_BYTES: size and lowest stamp
        self._newest_bytes = 0

    @property
    def holds(self) -> bool:
        """Whether frames wait for what may still come before them."""
        return self._carried is not None

    def add(self, hit: Hit, *, before_ns: int) -> Iterator[Hit]:
        """What is ready now. before_ns: nothing earlier will come (`complete_before`)."""
        if self._carried is not None and self._carried.interfaces != hit.interfaces:
            yield from self.end()
        carried, self._carried = self._carried, None
        blocks = hit.blocks if carried is None else carried.blocks + hit.blocks
        earlier = _earlier(carried, hit)
        self._note(hit)
        if len(blocks) > CARRIED_BYTES_MAX:
            before_ns = max(before_ns, min(first_ns for _, first_ns in self._newest))
        ready, frames, first_ns, last_ns, rest = ordered(blocks, before_ns)
        if len(rest) > CARRIED_BYTES_MAX:  # stamps without sense: nothing is waited for any more
            ready, frames, first_ns, last_ns, rest = ordered(blocks, NEVER)
        if frames:
            yield Hit(hit.segment, ready, frames, first_ns, last_ns, hit.interfaces, earlier)
        if rest:
            rest, count, first_ns, last_ns, _ = ordered(rest, NEVER)
            # What is left over may still be the former segment's; named twice is better than not at all.
            self._carried = Hit(hit.segment, rest, count, first_ns, last_ns, hit.interfaces, earlier)

    def end(self) -> Iterator[Hit]:
        """The rest: nothing more comes, or nothing that it could be among."""
        self._newest.clear()
        self._newest_bytes = 0
        if self._carried is not None:
            yield self._carried
            self._carried = None

    def _note(self, hit: Hit) -> None:
        size = len(hit.blocks)
        self._newest.append((size, hit.first_utc_ns))
        self._newest_bytes += size
        while self._newest_bytes - self._newest[0][0] >= NEWEST_BYTES:
            self._newest_bytes -= self._newest.popleft()[0]


def _earlier(carried: Hit | None, hit: Hit) -> tuple[str, ...]:
    if carried is None:
        return ()
    return tuple(name for name in carried.segments if name != hit.segment)
