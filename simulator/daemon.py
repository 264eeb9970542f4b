"""A simulated daemon's control socket: whatever answers is given by the world, or nobody is there."""

from collections.abc import Callable, Sequence

from drivers.errors import NotConnected

Answer = Callable[[bytes], Sequence[bytes]]  # to one datagram


class SimulatedDaemon:
    """answer: who listens, None for nobody; the world's to change."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self._waiting: list[bytes] = []

    def fileno(self) -> int:
        return -1

    def say(self, data: bytes) -> None:
        if self.answer is None:
            raise NotConnected("expected a daemon at its control socket, there is none")
        self._waiting += self.answer(data)

    def heard(self) -> Sequence[bytes]:
        found, self._waiting = self._waiting[:64], self._waiting[64:]
        return found

    def close(self) -> None:
        self._waiting.clear()
