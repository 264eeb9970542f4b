"""An outlet whose reader is the test or the world."""

from drivers.disk import Buffer
from drivers.errors import OutletClosed


class SimulatedOutlet:
    """`took` is what the reader has; room: bytes it takes before it must `read`, None for any number."""

    def __init__(self, *, room: int | None = None) -> None:
        self.took = bytearray()
        self.is_closed = False
        self._room = room
        self._unread = 0
        self._gone = False

    def read(self) -> None:
        """The reader takes what is there."""
        self._unread = 0

    def go_away(self) -> None:
        """The reader ends."""
        self._gone = True

    def fileno(self) -> int:
        return -1

    def write(self, data: Buffer, *, patience_s: float = 0.0) -> int:
        if self._gone:
            raise OutletClosed("the reader went away", is_reader=True)
        view = memoryview(data).cast("B")
        count = len(view) if self._room is None else min(len(view), self._room - self._unread)
        self.took += view[:count]
        self._unread += count
        return count

    def close(self) -> None:
        self.is_closed = True
