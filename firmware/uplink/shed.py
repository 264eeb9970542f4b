"""What goes when the outbox is full: first what a relay keeps for us, then the least important, oldest first; alarms last, and never
in silence. Each has its own cause in the report, which health tells the hub and the person on site.

What goes here is not gone from the box: the original is in groups/, and its frames are in the segments.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Monotonic
from firmware.core.errors import DiskFailed, DiskFull, Missing
from firmware.core.report import Report
from firmware.core.timestamp import SECOND

OUTBOX = "outbox"
ROUND_NS = 60 * SECOND  # Two listings a minute; a flood of 10,000 items a second is grouped long before it gets here.
SIZES_A_STEP = 256
DELETIONS_A_STEP = 64


@dataclass(frozen=True, slots=True)
class Row:
    """One item of the outbox. size: bytes."""

    name: str
    size: int


def too_many(rows: Iterable[Row], custody: Collection[str], *, bytes_max: int, items_max: int) -> list[Row]:
    """Those that must go so that the rest fits, in the order they go."""
    by_worth = sorted(rows, key=lambda row: (row.name not in custody, -_priority(row.name), row.name))
    bytes_over, items_over = sum(row.size for row in by_worth) - bytes_max, len(by_worth) - items_max
    going = []
    for row in by_worth:
        if bytes_over <= 0 and items_over <= 0:
            break
        going.append(row)
        bytes_over, items_over = bytes_over - row.size, items_over - 1
    return going


class Shedding:
    """Looks at the outbox once a minute, a few hundred sizes a step."""

    def __init__(self, board: Board, report: Report, *, bytes_max: int, items_max: int) -> None:
        self._disk = board.disk
        self._report = report
        self._bytes_max = bytes_max
        self._items_max = items_max
        self._due: Monotonic | None = None
        self._round: Iterator[Sequence[str]] | None = None

    def step(self, now: Monotonic, *, custody: Callable[[], Iterable[str]], is_going: Callable[[str], bool]) -> Sequence[str]:
        """Go on with the round, or begin the next when it is due; returns the names that have just gone.

        custody: names a relay keeps for us. is_going: whether a long item is on its way already; half a transfer is worth more.
        """
        if self._round is None:
            if self._due is not None and now < self._due:
                return ()
            self._due = now.after(ROUND_NS)
            self._round = self._rounds(custody, is_going)
        try:
            return next(self._round)
        except StopIteration:
            self._round = None
        except (DiskFull, DiskFailed):
            self._round = None  # In a minute.
        return ()

    def next_wish(self, now: Monotonic) -> Monotonic | None:
        """At once while a round goes on; the next one comes with whatever else happens."""
        return now if self._round is not None else self._due

    def _rounds(self, custody: Callable[[], Iterable[str]], is_going: Callable[[str], bool]) -> Iterator[Sequence[str]]:
        rows: list[Row] = []
        for count, name in enumerate(self._disk.list(OUTBOX), start=1):
            if not name.startswith("."):
                try:
                    rows.append(Row(name, self._disk.size(f"{OUTBOX}/{name}")))
                except Missing:
                    continue
            if count % SIZES_A_STEP == 0:
                yield ()
        self._report.gauge("outbox_bytes", sum(row.size for row in rows))
        kept = set(custody())
        going = too_many(rows, kept, bytes_max=self._bytes_max, items_max=self._items_max)
        for at in range(0, len(going), DELETIONS_A_STEP):
            gone = []
            for row in going[at : at + DELETIONS_A_STEP]:
                if is_going(row.name) and row.name not in kept:
                    continue
                try:
                    self._disk.remove(f"{OUTBOX}/{row.name}")
                except Missing:
                    continue
                gone.append(row.name)
                self._report.drop("shed_in_custody" if row.name in kept else f"shed_p{_priority(row.name)}")
            yield gone


def _priority(name: str) -> int:
    """Of an item by its name; what is named otherwise is no envelope, and goes before any."""
    return int(name[1]) if name[:1] == "p" and name[1:2] in ("1", "2", "3", "4") and name[2:3] == "-" else 5
