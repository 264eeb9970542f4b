"""Supervision, both sides: what a process tells whoever watches it, and how a role's processes are kept alive.

On the box systemd is the keeper; on a laptop `scrubjay run` is. Both speak the same notification protocol (sd_notify(3)),
so a process cannot tell them apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Supervisor(Protocol):
    """What one process says about itself."""

    def ready(self, status: str) -> None:
        """Started, recovered and working."""
        ...

    def alive(self) -> None:
        """Progress was made. Not called means killed, after the keeper's watchdog time."""
        ...

    def stopping(self) -> None:
        """Going down on purpose."""
        ...

    def stop_requested(self) -> bool:
        """Whether the keeper asked this process to end."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether the keeper takes descriptors, and gives them to this process's next life however this one ends."""
        ...

    def keep(self, title: str, descriptor: int) -> None:
        """Leave a duplicate of this descriptor with the keeper, in the place of one kept under the same title.

        title: printable ASCII without a colon, at most 255 characters (FDNAME of sd_notify(3)).
        """
        ...

    def forget(self, title: str) -> None:
        """The keeper closes what it keeps under this title; nothing, where it keeps nothing."""
        ...

    def kept(self) -> Mapping[str, int]:
        """Title to descriptor: what earlier lives of this process left. Still the keeper's too, and closed by whoever takes it."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """A kept process ended. code: its exit status; minus the signal's number when a signal ended it."""

    name: str
    code: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A kept process said it is ready."""

    name: str


class Keeper(Protocol):
    """Starts, watches and ends a role's processes."""

    def fileno(self) -> int:
        """Readable when `events` has something."""
        ...

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process under this name; its output goes to the keeper's log of that name."""
        ...

    def events(self) -> list[Ended | Ready]:
        """What happened since the last call; a process silent beyond its watchdog is killed and comes as Ended."""
        ...

    def stop(self, name: str) -> None:
        """Ask it to end (SIGTERM)."""
        ...

    def kill(self, name: str) -> None:
        """End it now (SIGKILL)."""
        ...
