"""What every station does about a full or failed disk: counts it, and leaves it alone for a while."""

from collections.abc import Callable

from drivers.clock import Monotonic, Now
from firmware.core.errors import DiskFailed, DiskFull


class DiskPause:
    """Of one station. Nothing is lost by it: what a step did not finish still lies where it was taken from.

    count: told "disk_full" or "disk_failed" each time. pause_ns: how long the disk is left alone. Without a pause a station whose
    item was put back rings its own bell, and others in its process wake it, thousands of times a second.
    """

    def __init__(self, count: Callable[[str], object], *, pause_ns: int) -> None:
        self._count = count
        self._pause_ns = pause_ns
        self._until = Monotonic(0)

    def step(self, now: Now, work: Callable[[Now], Monotonic | None]) -> Monotonic | None:
        """`work`, and its wish; or when it is tried again. Between the two it is not called."""
        if now.monotonic < self._until:
            return self._until
        try:
            return work(now)
        except DiskFull:
            self._count("disk_full")
        except DiskFailed:
            self._count("disk_failed")
        self._until = now.monotonic.after(self._pause_ns)
        return self._until
