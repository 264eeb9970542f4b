"""What the broker does not take: each item waits for itself alone, longer each time, and what is behind it goes on.

A refusal may be of one item, of a kind of them, or of all for a while; the broker does not say which. Nothing is given up.
"""

from dataclasses import dataclass

from drivers.clock import Monotonic
from firmware.core.timestamp import MS, SECOND

FIRST_NS = 100 * MS
URGENT_NS_MAX = 5 * SECOND  # An alarm is tried again this soon after somebody has mended the broker's access list.
BULK_NS_MAX = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Entry:
    """times: refused so often. until: not tried again before; None: it waits in its place again. why: as the broker says it."""

    times: int
    until: Monotonic | None
    why: str


class Aside:
    """All of them, by name."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __contains__(self, name: object) -> bool:
        entry = self._entries.get(name) if isinstance(name, str) else None
        return entry is not None and entry.until is not None

    def __len__(self) -> int:
        """Those refused and not delivered since."""
        return len(self._entries)

    def put(self, name: str, why: str, now: Monotonic) -> bool:
        """The broker has refused it. Once for all pieces of it that were on the wire. Returns whether it is the first time."""
        former = self._entries.get(name)
        if former is not None and former.until is not None:
            return False
        times = former.times if former is not None else 0
        longest = URGENT_NS_MAX if name < "p3" else BULK_NS_MAX
        self._entries[name] = Entry(times + 1, now.after(min(longest, FIRST_NS << min(times, 10))), why)
        return former is None

    def take_due(self, now: Monotonic) -> list[str]:
        """Those to be tried again now."""
        due = [name for name, entry in self._entries.items() if entry.until is not None and entry.until <= now]
        for name in due:
            self._entries[name] = Entry(self._entries[name].times, None, self._entries[name].why)
        return due

    def forget(self, name: str) -> None:
        """It is gone, one way or the other."""
        self._entries.pop(name, None)

    def names(self) -> list[str]:
        """All of them."""
        return list(self._entries)

    def next_due(self) -> Monotonic | None:
        """When the next is to be tried again."""
        return min((entry.until for entry in self._entries.values() if entry.until is not None), default=None)

    def word(self) -> str:
        """The most important of them, for people."""
        name = min(self._entries, default=None)
        return "nothing" if name is None else f"{name[:2]}: refused, {self._entries[name].why}"
