"""What the broker does not take: each item waits for itself alone, longer each time, and what is behind it goes on.

A refusal may be of one item, of a kind of them, or of all for a while; the broker does not say which. Nothing is given up. A broker
may also end the connection instead of refusing (all there is in MQTT 3.1.1; AWS IoT does it always): `Suspects`. Or it says that it
took it, and the hub never hears of it (a bridge without that topic).
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from drivers.clock import Monotonic
from firmware.core.timestamp import MS, SECOND

FIRST_NS = 100 * MS
URGENT_NS_MAX = 5 * SECOND  # An alarm is tried again this soon after somebody has mended the broker's access list.
BULK_NS_MAX = 60 * SECOND
# Trying what ends the connection costs all others a second or so. An alarm that was only unlucky four times waits no minute longer.
LOST_FIRST_NS = 10 * SECOND
LOST_URGENT_NS_MAX = 60 * SECOND
LOST_BULK_NS_MAX = 600 * SECOND
# Once unanswered at the end of a connection is bad luck, of a whole window. Twice in a row: it goes alone, so that it shows. Four
# times, the last of them alone: it is what ends the connection.
ALONE_LOSSES = 2
ASIDE_LOSSES = 4
AGAIN_LOSSES = 2  # Where another of its priority was found to end connections, and none of it was taken since.
OTHERS_FIRST_NS = 5 * SECOND  # A new connection is for what does not end it; otherwise that would be first in each, as an alarm.
UNCONFIRMED = "taken, and never confirmed by the hub"
UNHEARD = "nobody listens"
ENDED = "ended the connection"
# Overdue so often in a row while the hub spoke of others; once may be a hub that has just come back. Where it says nothing at all it is
# most likely away; but a window of what never reaches it would look the same.
UNCONFIRMED_TIMES = 2
UNCONFIRMED_TIMES_IN_SILENCE = 4
UNCONFIRMED_FIRST_NS = 20 * SECOND
TRIED_MAX = 4  # Of those of one priority at once: each takes a place in the window for as long as the hub is waited for.


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one waits: at first, and then twice as long each time, an alarm and anything else at most so long."""

    first_ns: int
    urgent_ns_max: int
    bulk_ns_max: int


REFUSED = Patience(FIRST_NS, URGENT_NS_MAX, BULK_NS_MAX)
LOST = Patience(LOST_FIRST_NS, LOST_URGENT_NS_MAX, LOST_BULK_NS_MAX)
SILENT = Patience(UNCONFIRMED_FIRST_NS, LOST_URGENT_NS_MAX, LOST_BULK_NS_MAX)


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

    def put(self, name: str, why: str, now: Monotonic, patience: Patience = REFUSED) -> bool:
        """The broker does not take it. Once for all pieces of it that were on the wire. Returns whether it is the first time."""
        former = self._entries.get(name)
        if former is not None and former.until is not None:
            return False
        times = former.times if former is not None else 0
        longest = patience.urgent_ns_max if name < "p3" else patience.bulk_ns_max
        self._entries[name] = Entry(times + 1, now.after(min(longest, patience.first_ns << min(times, 10))), why)
        return former is None

    def take_due(self, now: Monotonic) -> list[str]:
        """Those to be tried again now."""
        due = [name for name, until in self._wanted() if until <= now]
        for name in due:
            self._entries[name] = replace(self._entries[name], until=None)
        return due

    def others_first(self, now: Monotonic) -> None:
        """There is a new connection: what ended one comes last."""
        for name, entry in self._entries.items():
            if entry.why.startswith(ENDED) and (entry.until is None or entry.until < now.after(OTHERS_FIRST_NS)):
                self._entries[name] = replace(entry, until=now.after(OTHERS_FIRST_NS))

    def release_unheard(self) -> list[str]:
        """What the hub has not confirmed it may not have been there to hear: those that wait in their places again."""
        found = {name: entry for name, entry in self._entries.items() if entry.why in (UNCONFIRMED, UNHEARD)}
        for name in found:
            del self._entries[name]
        return [name for name, entry in found.items() if entry.until is not None]

    def forget(self, name: str) -> None:
        """It is gone, one way or the other."""
        self._entries.pop(name, None)

    def names(self) -> list[str]:
        """All of them."""
        return list(self._entries)

    def next_due(self) -> Monotonic | None:
        """When the next is to be tried again."""
        return min((until for _, until in self._wanted()), default=None)

    def _wanted(self) -> Iterator[tuple[str, Monotonic]]:
        """Those that may be tried when their time has come."""
        tried = Counter(name[:2] for name, entry in self._entries.items() if entry.until is None and entry.why == UNCONFIRMED)
        for name, entry in self._entries.items():
            if entry.until is None:
                continue
            if entry.why == UNCONFIRMED:
                tried[name[:2]] += 1
                if tried[name[:2]] > TRIED_MAX:
                    continue
            yield name, entry.until

    def word(self) -> str:
        """The most important of them, for people."""
        name = min(self._entries, default=None)
        return "nothing" if name is None else f"{name.partition('-')[0]}: {self._entries[name].why}"


class Suspects:
    """Items the broker had not answered when a connection ended, by name: how often in a row."""

    def __init__(self) -> None:
        self._losses: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._losses)

    def lost(self, names: Iterable[str], *, is_alone: bool, ending: Container[str] = ()) -> list[str]:
        """A connection has ended with these unanswered. is_alone: nothing else was. ending: priorities ("p3") others of which ended one.
        Returns those that end connections.
        """
        found = []
        for name in names:
            losses = self._losses[name] = self._losses.get(name, 0) + 1
            if is_alone and losses >= (AGAIN_LOSSES if name[:2] in ending else ASIDE_LOSSES):
                found.append(name)
        return found

    def goes_alone(self, name: str) -> bool:
        """Whether nothing else may be on the wire with it."""
        return self._losses.get(name, 0) >= ALONE_LOSSES

    def clear(self, name: str) -> None:
        """The broker has answered for it, or it is gone."""
        self._losses.pop(name, None)

    def names(self) -> list[str]:
        """All of them."""
        return list(self._losses)
