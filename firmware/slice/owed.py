"""Events whose frames are ordered but for the end of them: it follows when the slice that holds the rest is over.

    slice/owed   a batch of messages, as everywhere (core/message.cddl): for each whose frames are asked for the last that was received

An alarm repeated each second is one event after the other: ordered at once, each would bring a slice of a second of its own. Nothing
comes later for it: the end of a slice is not recorded before it is over.
"""

from dataclasses import dataclass

from drivers.clock import Monotonic
from drivers.disk import Disk
from firmware.core.durable import read_or_none, replace
from firmware.core.errors import BadItem
from firmware.core.message import Message, joined, packed, unpacked
from firmware.slice.journal import JOURNAL

NAME = "owed"
OWED_MAX = 64
OWED_BYTES_MAX = 1 << 20  # Written anew each time; beyond either an event's end is ordered at once.


@dataclass(frozen=True, slots=True)
class _Row:
    message: Message
    single: bytes
    due: Monotonic


class Owed:
    """The file, in the journal's directory. Durable when `keep` returns, which raises DiskFull, DiskFailed."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._rows: dict[str, _Row] = {}  # by whose frames
        self._has_news = False

    def __len__(self) -> int:
        return len(self._rows)

    def start(self, now: Monotonic) -> None:
        """What a former life owed is due at once: nobody knows how long it was away. A file that makes no sense is none."""
        self._rows.clear()
        data = read_or_none(self._disk, f"{JOURNAL}/{NAME}", size=2 * OWED_BYTES_MAX)
        try:
            for message in unpacked(data) if data else ():
                self._rows[message.identity.hex()] = _Row(message, packed([message]), now)
        except BadItem:
            pass
        self._has_news = False

    def put(self, whose: str, message: Message, due: Monotonic) -> bool:
        """Owe it; False where there is no room. due: when the slice is over. Of two the later is owed: its end is the other's, too."""
        former = self._rows.get(whose)
        if former is not None and former.message.received_time.tai_ns >= message.received_time.tai_ns:
            return True
        single = packed([message])
        others = sum(len(row.single) for key, row in self._rows.items() if key != whose)
        if others + len(single) > OWED_BYTES_MAX or (former is None and len(self._rows) >= OWED_MAX):
            return False
        self._rows[whose] = _Row(message, single, due)
        self._has_news = True
        return True

    def due(self, now: Monotonic) -> list[tuple[str, Message]]:
        """Those whose slices are over, and whose frames they are about."""
        return [(whose, row.message) for whose, row in self._rows.items() if now >= row.due]

    def next_due(self) -> Monotonic | None:
        """When the next one is."""
        return min((row.due for row in self._rows.values()), default=None)

    def drop(self, whose: str) -> None:
        """It is owed no longer."""
        del self._rows[whose]
        self._has_news = True

    def keep(self) -> None:
        """Write down what has changed."""
        if self._has_news:
            singles = [row.single for row in self._rows.values()]
            replace(self._disk, JOURNAL, NAME, joined(singles) if singles else b"")
            self._has_news = False
