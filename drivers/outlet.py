"""The outlet: a file or a pipe that takes bytes in order, for whoever reads along. It never holds up the one who writes."""

from typing import Protocol

from drivers.disk import Buffer


class Outlet(Protocol):
    """Somebody else's end decides how fast; nothing is kept here."""

    def fileno(self) -> int:
        """Readable when the reader went away; -1 where nothing tells (a file, the simulator)."""
        ...

    def write(self, data: Buffer, *, patience_s: float = 0.0) -> int:
        """Bytes taken, from the first on; fewer than given when it takes no more now. Given none, it only looks for the reader.

        patience_s: longest to wait for a reader that takes nothing at all. Raises OutletClosed.
        """
        ...

    def close(self) -> None:
        """No more will come; closing twice is as good as once."""
        ...
