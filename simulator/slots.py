"""Versions, simulated: an image of a few files, and trials that are what the world says."""

from collections.abc import Callable, Mapping, Sequence

from drivers.errors import Missing, Trouble
from drivers.slots import Usage

BOARD = "simulated"


class SimulatedTrial:
    """begin, end: what the world does when it begins and when it was asked to end."""

    def __init__(self, processes: Sequence[str], end: Callable[[], None]) -> None:
        self.usage = {name: Usage(0, 50 << 20, is_ready=True) for name in processes}
        self.asked_to_end = self.closed = False
        self._end = end

    def look(self) -> Mapping[str, Usage]:
        return dict(self.usage)

    def stop(self) -> None:
        if not self.asked_to_end:
            self.asked_to_end = True
            self._end()
            self.usage = {
                name: row if row.code is not None else Usage(row.cpu_ns, row.memory_bytes, row.is_ready, 0)
                for name, row in self.usage.items()
            }

    def close(self) -> None:
        self.closed = True


class SimulatedSlots:
    """image: its files by path. when_begun, when_ended: told the version of a trial."""

    def __init__(self, image: Mapping[str, bytes] | None = None) -> None:
        self.ground = f"{BOARD}\nimage 1"
        self.image = dict(image or {"firmware/__init__.py": b'"""The image."""\n'})
        self.trials: list[SimulatedTrial] = []
        self.trouble: Trouble | None = None  # what keeps a trial from being started
        self.when_begun: Callable[[str], None] = lambda version: None
        self.when_ended: Callable[[str], None] = lambda version: None

    @property
    def board(self) -> str:
        return BOARD

    def image_file(self, path: str) -> bytes:
        if path not in self.image:
            raise Missing("expected a file of the image")
        return self.image[path]

    def image_paths(self) -> Sequence[str]:
        return sorted(self.image)

    def begin_trial(self, version: str, processes: Sequence[str]) -> SimulatedTrial:
        if self.trouble is not None:
            raise self.trouble
        self.trials.append(SimulatedTrial(processes, lambda: self.when_ended(version)))
        self.when_begun(version)
        return self.trials[-1]
