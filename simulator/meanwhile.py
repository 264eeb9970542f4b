"""Another process at work while a disk is read: one deed between any two looks, for who tries all places of it in turn."""

from collections.abc import Callable
from typing import Any

from simulator.disk import SimulatedDisk

_LOOKS = ("read", "list", "size", "exists")


class Meanwhile:
    """deed: done before the disk is looked at for the `at`th time, counted from 0. looks: how often it was looked at."""

    def __init__(self, disk: SimulatedDisk, at: int, deed: Callable[[], None]) -> None:
        self.looks = 0
        self._disk, self._at, self._deed = disk, at, deed
        for name in _LOOKS:
            setattr(disk, name, self._watched(getattr(disk, name)))

    def end(self) -> None:
        """It is the disk's own again."""
        for name in _LOOKS:
            self._disk.__dict__.pop(name, None)

    def _watched(self, look: Callable[..., Any]) -> Callable[..., Any]:  # Any: each look's own
        def looked(*arguments: Any, **named: Any) -> Any:
            self.looks += 1
            if self.looks == self._at + 1:
                self.end()
                self._deed()
            return look(*arguments, **named)

        return looked
