"""The serial line: bytes in, bytes out. Line editing is the console's, not the driver's."""

from typing import Protocol


class Tty(Protocol):
    """A raw, eight-bit line. A hang-up or break never ends the program: read returns b"" and goes on."""

    def fileno(self) -> int:
        """Readable when `read` has something; -1 where there is none (simulator)."""
        ...

    def read(self) -> bytes:
        """What has arrived, at most 4,096 bytes; b"" when nothing has."""
        ...

    def write(self, data: bytes) -> None:
        """Send; bytes that the line will not take at once are kept by the driver, at most 64 KiB, then dropped oldest first."""
        ...

    def waiting(self) -> int:
        """How many bytes the line has not taken yet; they go at the next `read` or `write`."""
        ...

    def hung_up(self) -> bool:
        """Whether the line has been away since this was last asked; what was kept to be sent is gone with it, for who asked is."""
        ...

    def close(self) -> None:
        """Give the line up, its settings as they were."""
        ...
