"""Where the application's versions run: the image's own files, what they run on, and a trial of another version beside the one at work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process of a trial has used. memory_bytes: the most it ever held; code: its exit status, None while it runs."""

    cpu_ns: int
    memory_bytes: int
    is_ready: bool = False
    code: int | None = None


class Trial(Protocol):
    """Processes of a version that is not official, in a store of their own."""

    def look(self) -> Mapping[str, Usage]:
        """By process, as of now. Never blocks."""
        ...

    def stop(self) -> None:
        """Ask them to end in good order; `look` says when they have."""
        ...

    def close(self) -> None:
        """End whatever is left of them, now; closing twice is as good as once."""
        ...


class Slots(Protocol):
    """The versions of the application on this machine, as far as they are more than files of the store."""

    @property
    def board(self) -> str:
        """What compiled code must be made for to run here: system, machine, Python."""
        ...

    @property
    def ground(self) -> str:
        """What a copy made now stands on: the board and the image. Another image means another ground."""
        ...

    def image_file(self, path: str) -> bytes:
        """A file of the application that came with the image, by its path in a version. Raises Missing."""
        ...

    def image_paths(self) -> Sequence[str]:
        """All of them, sorted."""
        ...

    def begin_trial(self, version: str, processes: Sequence[str]) -> Trial:
        """Start these processes of a version (a copy in the store) in the store shadow/, which is empty.

        Raises DiskFull or DiskFailed: they could not be started, and nothing of them runs.
        """
        ...
