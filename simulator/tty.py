"""A serial line with a test, or a person of the world's, at its other end."""

READ_BYTES_MAX = 4096
WAITING_BYTES_MAX = 64 << 10


class SimulatedTty:
    """`typed` is what the person typed, `shown` what the person has seen; `stuck`: the line takes nothing for now."""

    def __init__(self) -> None:
        self.stuck = False
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
            self._shown += self._waiting
            self._waiting.clear()
