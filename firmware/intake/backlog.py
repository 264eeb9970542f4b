"""Messages heard and not yet written, by priority; bounded, and what falls over the edge is the newest of the least urgent."""

from collections import deque
from dataclasses import dataclass

from drivers.clock import Monotonic
from firmware.core.message import Priority

ITEM_BYTES_MAX = 2 << 20  # A quarter of a batch's ceiling: one item is one write, one sync and one read into memory.


@dataclass(slots=True)
class _Queue:
    waiting: deque[bytes]
    oldest: Monotonic


class Backlog:
    """Packed messages (batches of one) in the order heard, one queue a priority.

    wait_ns: longest a message may wait for others, by priority. batch_count: a queue of this many is due at once.
    """

    def __init__(self, *, wait_ns: dict[Priority, int], batch_count: int, count_max: int, bytes_max: int) -> None:
        self._wait_ns = wait_ns
        self._batch_count = batch_count
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._queues = {priority: _Queue(deque(), Monotonic(0)) for priority in Priority}
        self.count = 0
        self.size = 0

    def add(self, priority: Priority, single: bytes, now: Monotonic) -> None:
        """One more message."""
        queue = self._queues[priority]
        if not queue.waiting:
            queue.oldest = now
        queue.waiting.append(single)
        self.count += 1
        self.size += len(single)

    def trim(self) -> int:
        """Drop down to the ceilings, least urgent and newest first; how many went."""
        dropped = 0
        for priority in reversed(Priority):
            waiting = self._queues[priority].waiting
            while waiting and (self.count > self._count_max or self.size > self._bytes_max):
                self._taken(waiting.pop())
                dropped += 1
        return dropped

    def due(self, now: Monotonic, *, all_of_it: bool = False) -> Priority | None:
        """The most urgent priority that should be written now, or None."""
        for priority, queue in self._queues.items():
            if queue.waiting and (
                all_of_it or len(queue.waiting) >= self._batch_count or now >= queue.oldest.after(self._wait_ns[priority])
            ):
                return priority
        return None

    def next_due(self) -> Monotonic | None:
        """When something will be due, nothing more being heard."""
        moments = [queue.oldest.after(self._wait_ns[priority]) for priority, queue in self._queues.items() if queue.waiting]
        return min(moments, default=None)

    def batch(self, priority: Priority) -> list[bytes]:
        """The oldest messages of a priority that fit one item. They stay until `written`."""
        chosen: list[bytes] = []
        size = 0
        for single in self._queues[priority].waiting:
            if chosen and (len(chosen) >= self._batch_count or size + len(single) > ITEM_BYTES_MAX):
                break
            chosen.append(single)
            size += len(single)
        return chosen

    def written(self, priority: Priority, count: int, now: Monotonic) -> None:
        """The oldest `count` of a priority are on the disk."""
        queue = self._queues[priority]
        for _ in range(count):
            self._taken(queue.waiting.popleft())
        queue.oldest = now

    def _taken(self, single: bytes) -> None:
        self.count -= 1
        self.size -= len(single)
