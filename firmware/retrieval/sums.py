"""Keeps the summary of segments up to date, a piece of an index at a time, while nobody asks for anything."""

from collections.abc import Callable, Iterator

from drivers.clock import Monotonic, Now
from drivers.disk import Disk
from firmware.core.errors import Corrupt, DiskFailed, DiskFull, Missing
from firmware.core.index import Record
from firmware.core.report import Report
from firmware.core.store import Store
from firmware.core.summary import Summary, summed_up
from firmware.core.timestamp import SECOND

LOOK_EVERY_NS = (
    60 * SECOND
)  # A segment is sealed every five minutes; until it is summed up it is asked itself, so there is no hurry.


def sum_up(disk: Disk, *, progress: Callable[[int, int], object]) -> int:
    """`scrubjay index`: all that has no row yet, in one go; how many were. progress: gets (done, of)."""
    store, summary = Store(disk), Summary(disk)
    names = store.names()
    summary.start(names)
    unknown = summary.unknown(names)
    done = 0
    for number, name in enumerate(unknown, start=1):
        try:
            rows = [row for row in summed_up(store.segment(name)) if row is not None]
        except Missing:
            continue  # Deleted meanwhile.
        for row in rows:
            summary.add(row)
            done += 1
        progress(number, len(unknown))
    return done


class Sums:
    """The one writer of summary/."""

    def __init__(self, disk: Disk, report: Report) -> None:
        self._store = Store(disk)
        self._summary = Summary(disk)
        self._report = report
        self._names: list[str] = []
        self._left: list[str] = []
        self._work: Iterator[Record | None] | None = None
        self._look = Monotonic(0)

    def start(self) -> None:
        """Begin with what is there."""
        self._names, self._left, self._work = [], [], None
        try:
            self._summary.start(self._store.names())
        except (DiskFull, DiskFailed):
            self._report.drop("summary_not_written")

    def work(self, now: Now) -> Monotonic:
        """One piece; returns when it wants to be called again."""
        if self._work is None and not self._left:
            if now.monotonic < self._look:
                return self._look
            self._look = now.monotonic.after(LOOK_EVERY_NS)
            names = self._store.names()
            if names != self._names:
                self._names, self._left = names, self._summary.unknown(names)[::-1]
            return now.monotonic if self._left else self._look
        if self._work is None:
            self._work = summed_up(self._store.segment(self._left.pop()))
        try:
            row = next(self._work)
            if row is None:
                return now.monotonic
            self._summary.add(row)
            self._report.count("segments_summed_up")
        except Missing:
            pass  # Deleted meanwhile.
        except (DiskFull, DiskFailed, Corrupt):
            # It is a help only; the next look comes by itself.
            self._report.drop("summary_not_written")
            self._left, self._names = [], []
        self._work = None
        return now.monotonic if self._left else self._look
