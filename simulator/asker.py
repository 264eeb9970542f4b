"""A simulated asker: what is asked goes to the world, which may answer on the wire."""

from collections.abc import Callable, Collection, Sequence

from drivers.asker import Left
from drivers.errors import NotConnected, Unreachable
from simulator.clock import SimulatedClock

World = Callable[[bytes, str, int], None]  # a datagram, its address and port


class SimulatedAsker:
    """Attributes are the world's to change. stuck: nothing is sent. deaf: it sends, and never learns when.

    unreachable: addresses nothing can be sent to.
    """

    def __init__(
        self, clock: SimulatedClock, world: World = lambda data, address, port: None, *, unreachable: Collection[str] = ()
    ) -> None:
        self.mac = bytes.fromhex("02000000000a")
        self.stuck = False
        self.deaf = False
        self.unreachable = unreachable
        self._clock = clock
        self._world = world
        self._count = 0
        self._left: list[Left] = []

    def ask(self, data: bytes, address: str, port: int) -> int:
        if self.stuck:
            raise NotConnected("expected to send on this interface, it is gone")
        if address in self.unreachable:
            raise Unreachable("expected to send on this interface, it has no way there")
        self._count += 1
        if not self.deaf:
            self._left.append(Left(self._count, self._clock.now().utc_ns))
        self._world(data, address, port)
        return self._count

    def left(self) -> Sequence[Left]:
        found, self._left = self._left, []
        return found

    def close(self) -> None:
        self._left.clear()
