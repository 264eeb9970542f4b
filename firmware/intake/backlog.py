"""Messages heard and not yet written, by priority and device; bounded, and what falls over the edge is the newest of the least urgent."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.clock import Monotonic
from firmware.core.message import Priority
from firmware.core.timestamp import MS

# Alarms of a device that has used up its allowance: written after everything else, and the first to be dropped. Whoever floods waits.
FLOOD = 5
LANES = (*Priority, FLOOD)

# Nearly every HL7 sender waits for an answer before he says more, and says one message in this time. With the second that priority 4
# may wait for company, it was one a second.
ANSWER_NS = 50 * MS

ITEM_BYTES_MAX = 2 << 20  # A quarter of a batch's ceiling: one item is one write, one sync and one read into memory.


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message. single: packed, a batch of one. stamp_utc_ns: of its frame, None where the segments do not have it either.

    receipt: what its sender waits for, None where nobody does.
    """

    single: bytes
    device: str
    stamp_utc_ns: int | None = None
    receipt: bytes | None = None


@dataclass(slots=True)
class _Queue:
    """Of one lane. by_device: each device's messages in the order heard. awaited: since when somebody waits for an answer."""

    oldest: Monotonic
    awaited: Monotonic | None = None
    by_device: dict[str, deque[Waiting]] = field(default_factory=dict)
    count: int = 0
    stamp_utc_ns: int | None = None  # no later than the earliest of those waiting


class Backlog:
    """Packed messages, one queue a lane (a priority, or FLOOD), and in it one a device: who talks most waits for himself.

    wait_ns: longest a message may wait for others, by lane. batch_count: a queue of this many is due at once.
    """

    def __init__(self, *, wait_ns: Mapping[int, int], batch_count: int, count_max: int, bytes_max: int) -> None:
        self._wait_ns = wait_ns
        self._batch_count = batch_count
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._queues = {lane: _Queue(Monotonic(0)) for lane in LANES}
        self.count = 0
        self.size = 0

    def add(self, lane: int, message: Waiting, now: Monotonic) -> None:
        """One more message."""
        queue = self._queues[lane]
        if not queue.count:
            queue.oldest = now
        own = queue.by_device.get(message.device)
        if own is None:
            own = queue.by_device[message.device] = deque()
        own.append(message)
        if message.receipt is not None and queue.awaited is None:
            queue.awaited = now
        stamp = message.stamp_utc_ns
        if stamp is not None and (queue.stamp_utc_ns is None or stamp < queue.stamp_utc_ns):
            queue.stamp_utc_ns = stamp
        queue.count += 1
        self.count += 1
        self.size += len(message.single)

    def trim(self) -> list[Waiting]:
        """Drop down to the ceilings: least urgent first, of the device that has most waiting, newest first."""
        dropped: list[Waiting] = []
        for lane in reversed(LANES):
            queue = self._queues[lane]
            while queue.count and (self.count > self._count_max or self.size > self._bytes_max):
                device = max(queue.by_device, key=lambda name: len(queue.by_device[name]))
                message = queue.by_device[device].pop()
                if not queue.by_device[device]:
                    del queue.by_device[device]
                self._taken(queue, message)
                dropped.append(message)
        return dropped

    def batches(self, now: Monotonic, *, all_of_it: bool = False) -> list[tuple[int, list[Waiting]]]:
        """For each lane that is due its next batch, most urgent first, and none behind one that has more. They stay until `written`."""
        chosen = []
        for lane in LANES:
            if self._is_due(lane, now, all_of_it=all_of_it):
                batch = self.batch(lane)
                chosen.append((lane, batch))
                if len(batch) < self._queues[lane].count:
                    break
        return chosen

    def next_due(self) -> Monotonic | None:
        """When something will be due, nothing more being heard."""
        moments = [self._due(lane) for lane, queue in self._queues.items() if queue.count]
        return min(moments, default=None)

    def batch(self, lane: int) -> list[Waiting]:
        """Messages of a lane that fit one item: each device's oldest, turn by turn. They stay until `written`."""
        chosen: list[Waiting] = []
        size = 0
        turns = [iter(own) for own in self._queues[lane].by_device.values()]
        while turns:
            left = []
            for turn in turns:
                message = next(turn, None)
                if message is None:
                    continue
                if chosen and (len(chosen) >= self._batch_count or size + len(message.single) > ITEM_BYTES_MAX):
                    return chosen
                chosen.append(message)
                size += len(message.single)
                left.append(turn)
            turns = left
        return chosen

    def written(self, lane: int, messages: Sequence[Waiting], now: Monotonic) -> None:
        """These, as `batch` gave them, are on the disk."""
        queue = self._queues[lane]
        for message in messages:
            own = queue.by_device[message.device]
            taken = own.popleft()
            assert taken is message, "a batch is written as it was chosen"
            if not own:
                del queue.by_device[message.device]
            self._taken(queue, message)
        queue.oldest = now
        queue.awaited = None
        if queue.count:
            if any(m.receipt is not None for own in queue.by_device.values() for m in own):
                queue.awaited = now
            stamps = [m.stamp_utc_ns for own in queue.by_device.values() for m in own if m.stamp_utc_ns is not None]
            queue.stamp_utc_ns = min(stamps, default=None)

    def pending_utc_ns(self) -> int | None:
        """The earliest stamp of all that waits, or an earlier one; None when nothing does."""
        stamps = [queue.stamp_utc_ns for queue in self._queues.values() if queue.stamp_utc_ns is not None]
        return min(stamps, default=None)

    def _is_due(self, lane: int, now: Monotonic, *, all_of_it: bool) -> bool:
        queue = self._queues[lane]
        return queue.count > 0 and (all_of_it or queue.count >= self._batch_count or now >= self._due(lane))

    def _due(self, lane: int) -> Monotonic:
        """When the lane's messages have waited for company as long as they may; who has used up his allowance of alarms waits so long."""
        queue = self._queues[lane]
        due = queue.oldest.after(self._wait_ns[lane])
        return due if queue.awaited is None or lane == FLOOD else min(due, queue.awaited.after(ANSWER_NS))

    def _taken(self, queue: _Queue, message: Waiting) -> None:
        queue.count -= 1
        self.count -= 1
        self.size -= len(message.single)
        if not queue.count:
            queue.stamp_utc_ns = queue.awaited = None
