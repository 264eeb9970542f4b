"""A bell in virtual time: nobody waits, time is moved."""

from collections.abc import Collection

from drivers.clock import Monotonic
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk


class SimulatedBell:
    """Rings for names on a simulated disk. There are no descriptors here: whoever makes one readable calls `ring`.

    rung: whether somebody rang since the last wait; the world's loop looks at it instead of waiting.
    """

    def __init__(self, disk: SimulatedDisk, clock: SimulatedClock) -> None:
        self._disk = disk
        self._clock = clock
        self.rung = False

    def watch_directory(self, path: str) -> None:
        """Raises Missing."""
        self._disk.watch(path, self.ring)

    def watch_descriptors(self, descriptors: Collection[int]) -> None:
        assert not descriptors, "the simulated drivers have no descriptors"

    def wait(self, until: Monotonic | None) -> None:
        if not self.rung:
            assert until is not None, "nothing in virtual time would ever ring"
            self._clock.advance(max(0, until.since(self._clock.now().monotonic)))
        self.rung = False

    def ring(self) -> None:
        self.rung = True

    def close(self) -> None:
        """Nothing is held."""
