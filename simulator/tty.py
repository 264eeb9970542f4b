"""A serial line with a test, or a person of the world's, at its other end."""

READ_BYTES_MAX = 4096
WAITING_BYTES_MAX = 64 << 10


class SimulatedTty:
    """`typed` is what the person typed, `shown` what the person has seen; `stuck`: the line takes nothing for now.

    room: how many bytes it takes until it is given more room; None: any.
    """

    def __init__(self) -> None:
        self.stuck = False
        self.room: int | None = None
        self._typed = bytearray()
        self._waiting = bytearray()
        self._shown = bytearray()
        self._open = True
        self._hung_up = False

    def fileno(self) -> int:
        return -1

    def read(self) -> bytes:
        self._flush()
        data = bytes(self._typed[:READ_BYTES_MAX])
        del self._typed[:READ_BYTES_MAX]
        return data

    def write(self, data: bytes) -> None:
        self._waiting += data
        self._flush()
        del self._waiting[: max(0, len(self._waiting) - WAITING_BYTES_MAX)]

    def waiting(self) -> int:
        return len(self._waiting)

    def hung_up(self) -> bool:
        was, self._hung_up = self._hung_up, False
        return was

    def close(self) -> None:
        self._open = False

    def hang_up(self) -> None:
        """The adapter is pulled out, and put back."""
        self._hung_up = True
        self._waiting.clear()

    def type(self, data: bytes) -> None:
        """A person types."""
        self._typed += data

    def shown(self) -> bytes:
        """What has come out since the last look."""
        data = bytes(self._shown)
        self._shown.clear()
        return data

    def _flush(self) -> None:
        if not self.stuck and self._open:
            size = len(self._waiting) if self.room is None else min(self.room, len(self._waiting))
            self._shown += self._waiting[:size]
            del self._waiting[:size]
            self.room = None if self.room is None else self.room - size
