"""Supervision, simulated: what was said is written down, and processes end when the world says so."""

from collections.abc import Mapping, Sequence

from drivers.supervisor import Ended, Ready, Standing


class SimulatedHeir:
    """An heir that is as the world says. said: what its elder did, in order."""

    def __init__(self, elder: "SimulatedSupervisor", command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.command, self.environment = tuple(command), dict(environment)
        self.stands = Standing.STARTING
        self.said: list[str] = []
        self._elder = elder

    def fileno(self) -> int:
        return -1

    def standing(self) -> Standing:
        return self.stands

    def announce(self) -> None:
        assert self.stands is Standing.READY, "who is not ready does not take over"
        self._elder.hands_over = True
        self.said.append("announced")

    def hand_over(self) -> None:
        self.said.append("handed over")

    def dismiss(self) -> None:
        self.said.append("dismissed")
        self.stands = Standing.FAILED


class SimulatedSupervisor:
    """One process's side. said: ("ready", status), ("alive", ""), ("stopping", "") in order.

    store: what the keeper keeps of this process, shared by its lives.
    """

    def __init__(self, store: dict[str, int] | None = None) -> None:
        self.said: list[tuple[str, str]] = []
        self.stop = False
        self.hands_over = False
        self.heirs: list[SimulatedHeir] = []
        self.store: dict[str, int] = {} if store is None else store

    def ready(self, status: str) -> None:
        self.said.append(("ready", status))

    def alive(self) -> None:
        self.said.append(("alive", ""))

    def stopping(self) -> None:
        self.said.append(("stopping", ""))

    def stop_requested(self) -> bool:
        return self.stop

    def bequeath(self, command: Sequence[str], environment: Mapping[str, str]) -> SimulatedHeir:
        self.heirs.append(SimulatedHeir(self, command, environment))
        return self.heirs[-1]

    def await_turn(self) -> bool:
        return True

    @property
    def keeps(self) -> bool:
        return True

    def keep(self, title: str, descriptor: int) -> None:
        self.store[title] = descriptor

    def forget(self, title: str) -> None:
        self.store.pop(title, None)

    def kept(self) -> Mapping[str, int]:
        return dict(self.store)


class SimulatedKeeper:
    """The keeper's side. started: what was started, under its name; `happens` is the world's way to report readiness and ends."""

    def __init__(self) -> None:
        self.started: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {}
        self._events: list[Ended | Ready] = []

    def fileno(self) -> int:
        return -1

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        assert name not in self.started, "one process a name"
        self.started[name] = (tuple(command), dict(environment))
        self._events.append(Ready(name))

    def events(self) -> list[Ended | Ready]:
        events, self._events = self._events, []
        return events

    def stop(self, name: str) -> None:
        self.happens(Ended(name, 0))

    def kill(self, name: str) -> None:
        self.happens(Ended(name, -9))

    def happens(self, event: Ended | Ready) -> None:
        """The world says so. Ending what does not run is nothing."""
        if isinstance(event, Ended) and self.started.pop(event.name, None) is None:
            return
        self._events.append(event)
