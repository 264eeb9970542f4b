"""Items handed to a station, one at a time: taken, worked on, and settled; or put back, where only the disk was in the way.

spool ─take─▶ read ─▶ work ─▶ settled          done with, and what came of it is durable elsewhere
               │        ├───▶ put back         it comes later: something else is first
               │        └───▶ put back         the disk is full or failed; the trouble goes on to whoever waits it out
               └────────────▶ quarantine       it makes no sense
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from firmware.core.errors import BadItem, DiskFailed, DiskFull
from firmware.core.report import Report
from firmware.core.spool import Spool

Read = TypeVar("Read")


class Tray(Generic[Read]):
    """One spool directory, read by one station.

    read: an item's bytes as what they mean; raises BadItem, whose sentence becomes the reason in quarantine. bad: what such an item
    is counted as.
    """

    def __init__(self, spool: Spool, report: Report, read: Callable[[bytes], Read], *, bad: str = "bad_item") -> None:
        self.spool = spool
        self._report = report
        self._read = read
        self._bad = bad

    def handle(self, work: Callable[[Read], bool]) -> bool:
        """The first item; whether there was one.

        work: whether it is done with. Until it is, it is met again, so twice must be as good as once.
        Raises DiskFull, DiskFailed. That is no fault of the item's: were it not put back, four troubles of the disk would quarantine
        what has never ended a process.
        """
        item = self.spool.take()
        if item is None:
            return False
        try:
            value = self._read(item.data)
        except BadItem as problem:
            self._report.drop(self._bad)
            self.spool.reject(item, str(problem))
            return True
        try:
            if work(value):
                self.spool.settle(item)
            else:
                self.spool.put_back(item)
        except (DiskFull, DiskFailed):
            self.spool.put_back(item)
            raise
        return True
