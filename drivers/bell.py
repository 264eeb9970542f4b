"""The bell: how a process waits, for bytes on a descriptor, a name in a directory, or a moment. Never by polling."""

from collections.abc import Collection
from typing import Protocol

from drivers.clock import Monotonic


class Bell(Protocol):
    """Wakes a process. A ring may be false (nothing there after all); none is ever missed."""

    def watch_directory(self, path: str) -> None:
        """Ring when a name appears in this directory (path as for Disk). It must exist."""
        ...

    def watch_descriptors(self, descriptors: Collection[int]) -> None:
        """Exactly these descriptors are watched for readability from now on; replaces the former set."""
        ...

    def wait(self, until: Monotonic | None) -> None:
        """Return at a ring, at `until`, or when `ring` is called; None waits for a ring only."""
        ...

    def ring(self) -> None:
        """Wake the waiter; safe from a signal handler and from another thread. After `close` it does nothing."""
        ...

    def close(self) -> None:
        """Whoever made it waits no more."""
        ...
