"""Supervision, both sides: what a process tells whoever watches it, and how a role's processes are kept alive.

On the box systemd is the keeper; on a laptop `scrubjay run` is. Both speak the same notification protocol (sd_notify(3)),
so a process cannot tell them apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Standing(Enum):
    """How an heir stands."""

    STARTING = "starting"
    READY = "ready"  # Everything is loaded and built; it waits for its turn.
    FAILED = "failed"


class Heir(Protocol):
    """Another version of this process, started by it, that is to go on in its place."""

    def fileno(self) -> int:
        """Readable when `standing` may have changed; -1 where there is none (simulator)."""
        ...

    def standing(self) -> Standing:
        """How it stands now. Never blocks."""
        ...

    def announce(self) -> None:
        """From now on the keeper watches it, and not us. Only one that is ready."""
        ...

    def hand_over(self) -> None:
        """Our stations have stopped: it is its turn, and what we kept is in its hands. Announced before."""
        ...

    def dismiss(self) -> None:
        """End it; we go on."""
        ...


class Watched(Protocol):
    """What a process's loop has to do with whoever watches it."""

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

    def await_turn(self) -> bool:
        """Whether to begin. At once for who is no heir; an heir is ready with this, and waits for its elder's word.

        False: the elder ended without one. The keeper will start whoever is right; this process ends.
        """
        ...


class Supervisor(Watched, Protocol):
    """What one process says about itself, what it leaves with its keeper, and whom it leaves its work to."""

    def bequeath(self, command: Sequence[str], environment: Mapping[str, str]) -> Heir:
        """Start this command as our heir, with this beside our own environment. It loads and builds everything, and then waits."""
        ...

    @property
    def hands_over(self) -> bool:
        """Whether an heir was announced: who stops now need not finish what the heir goes on with."""
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
