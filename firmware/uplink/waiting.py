"""What waits in the outbox, in order: alarms in one queue, everything else in the other. Names only."""

from bisect import bisect_left
from collections import deque
from collections.abc import Container, Iterable
from heapq import nsmallest

# So many names are held; the rest waits on the disk, unread. A week's outbox of a hundred thousand items costs the memory of these.
HELD_MAX = 4096


class Waiting:
    """Two queues, each by priority and then by time, as the names sort (S2-060).

    urgent: whole items of P1 and P2. bulk: P3, P4, and whatever is too long for one publication; an alarm never waits behind those,
    not even behind the evidence of an earlier alarm.
    """

    def __init__(self) -> None:
        self.urgent: deque[str] = deque()
        self.bulk: deque[str] = deque()
        self.is_cut = False  # there are more on the disk than are held
        self._long: set[str] = set()

    def __len__(self) -> int:
        return len(self.urgent) + len(self.bulk)

    def fill(self, names: Iterable[str], *, count: int) -> None:
        """Take these, and no others, as what waits. count: how many they are; they need not be sorted when they are too many."""
        first = nsmallest(HELD_MAX, names) if count > HELD_MAX else sorted(names)
        self.is_cut = count > HELD_MAX
        self._long.intersection_update(first)
        self.urgent = deque(name for name in first if name < "p3" and name not in self._long)
        self.bulk = deque(name for name in first if name >= "p3" or name in self._long)

    def first(self, held: Container[str]) -> str | None:
        """The next to go. held: priorities ("p3") of which nothing may."""
        for queue in (self.urgent, self.bulk):
            place = 0
            while place < len(queue):
                if (priority := queue[place][:2]) not in held:
                    return queue[place]
                place = bisect_left(queue, priority + ".")  # the sign after the "-" of a name
        return None

    def is_long(self, name: str) -> None:
        """The first of the urgent is too long for one publication: it waits among the bulk, in its place."""
        self._long.add(name)
        self._remove(self.urgent, name)
        self._insert(self.bulk, name)

    def again(self, name: str) -> None:
        """It is on its way no longer and waits in its place."""
        self._insert(self.urgent if name < "p3" and name not in self._long else self.bulk, name)

    def drop(self, name: str) -> None:
        """It waits no longer."""
        self._remove(self.urgent, name)
        self._remove(self.bulk, name)

    @staticmethod
    def _insert(queue: deque[str], name: str) -> None:
        place = bisect_left(queue, name)
        if place == len(queue) or queue[place] != name:
            queue.insert(place, name)

    @staticmethod
    def _remove(queue: deque[str], name: str) -> None:
        if queue and queue[0] == name:
            queue.popleft()
            return
        place = bisect_left(queue, name)
        if place < len(queue) and queue[place] == name:
            del queue[place]
