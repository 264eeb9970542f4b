"""Sticks: removable storage that somebody plugs into the box to carry something away."""

from typing import Protocol

from drivers.disk import Disk


class Sticks(Protocol):
    """Those plugged in now. Nothing on one is trusted, and nothing on one is ever read by us but what we wrote ourselves."""

    def names(self) -> list[str]:
        """Of those that can be written to, sorted; what a person types to mean one."""
        ...

    def open(self, name: str) -> Disk:
        """A stick as a directory tree; it may be pulled out at any time, then DiskFailed or Missing. Raises Missing for none of `names`."""
        ...
