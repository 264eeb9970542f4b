"""A station: one job, done a bounded step at a time. And the loop that lets several share a process."""

from collections.abc import Callable, Sequence
from typing import Protocol

from drivers.bell import Bell
from drivers.clock import Clock, Monotonic, Now
from drivers.errors import DiskFailed, DiskFull
from drivers.supervisor import Heir, Watched
from firmware.core.report import Report

# The keeper's watchdog is 10 s; a sign of life five times as often survives two slow disks in a row.
ALIVE_EVERY_NS = 2_000_000_000


class Station(Protocol):
    """One job. It reads directories or descriptors, publishes into directories, and never waits.

    name: folder = settings section = log tag. report: its figures, kept current by its own steps.
    """

    @property
    def name(self) -> str: ...

    @property
    def report(self) -> Report: ...

    def start(self, now: Now) -> None:
        """Recover from whatever the last end was, and get ready. Twice is as good as once."""
        ...

    def step(self, now: Now) -> Monotonic | None:
        """One bounded piece of work.

        Returns when it wants to be called again: `now.monotonic` at once, a later moment, or None: only when something arrives.
        """
        ...

    def directories(self) -> Sequence[str]:
        """Directories in which an arrival should wake it; they exist after `start`."""
        ...

    def descriptors(self) -> Sequence[int]:
        """Descriptors whose readability should wake it, as of now; may change from step to step."""
        ...

    def stop(self, now: Now) -> None:
        """Going down on purpose: finish what is in hand (a segment is sealed), leave nothing that start would not repair."""
        ...


class Loop:
    """The stations of one process, stepped in turn. `run` waits between turns on a real machine; the storm has its own time."""

    def __init__(
        self,
        stations: Sequence[Station],
        *,
        clock: Clock,
        bell: Bell,
        supervisor: Watched,
        publish_reports: Callable[[Sequence[Report], Now], None],
    ) -> None:
        self._stations = stations
        self._clock = clock
        self._bell = bell
        self._supervisor = supervisor
        self._publish_reports = publish_reports
        self._alive_at = Monotonic(0)

    def start(self) -> None:
        """Start every station, watch what they wait for, and say so."""
        now = self._clock.now()
        for station in self._stations:
            station.start(now)
            for directory in station.directories():
                self._bell.watch_directory(directory)
        self._supervisor.ready(" ".join(station.name for station in self._stations))
        self._alive_at = now.monotonic

    def turn(self) -> Monotonic:
        """Step every station once, and return the moment of the next turn at the latest.

        A step with nothing to do costs microseconds, and nobody is forgotten. A station that wants more is stepped again in the
        next turn, after the others, so that a backlog at one delays none.
        """
        wishes = [station.step(self._clock.now()) for station in self._stations]
        now = self._clock.now()
        if now.monotonic >= self._alive_at:
            self._supervisor.alive()
            self._report(now)
            self._alive_at = now.monotonic.after(ALIVE_EVERY_NS)
        self._bell.watch_descriptors([fd for station in self._stations for fd in station.descriptors() if fd >= 0])
        return min([wish for wish in wishes if wish is not None] + [self._alive_at])

    def stop(self) -> None:
        """Stop every station, and publish the last reports."""
        self._supervisor.stopping()
        for station in self._stations:
            station.stop(self._clock.now())
        self._report(self._clock.now())

    def hand_over(self, heir: Heir) -> None:
        """As `stop`, for an heir that goes on at once. The keeper watches it from the first word on, so it is told of no end."""
        heir.announce()
        for station in self._stations:
            station.stop(self._clock.now())
        self._report(self._clock.now())
        heir.hand_over()

    def _report(self, now: Now) -> None:
        try:
            self._publish_reports([station.report for station in self._stations], now)
        except (DiskFull, DiskFailed):
            # Figures are about now and the next ones come in two seconds; a full disk must not end who listens (storm seed 1).
            return


def run(
    stations: Sequence[Station],
    *,
    clock: Clock,
    bell: Bell,
    supervisor: Watched,
    publish_reports: Callable[[Sequence[Report], Now], None],
    heir: Callable[[], Heir | None] = lambda: None,
) -> None:
    """Run the stations of one process until the keeper asks it to end, or an heir is ready to go on.

    heir: the one that is ready now, as the station that watches for one says (firmware/core/succession.py).
    """
    if not supervisor.await_turn():
        return
    loop = Loop(stations, clock=clock, bell=bell, supervisor=supervisor, publish_reports=publish_reports)
    loop.start()
    while not supervisor.stop_requested():
        until = loop.turn()
        ready = heir()
        if ready is not None:
            loop.hand_over(ready)
            return
        if until > clock.now().monotonic:
            bell.wait(until)
    loop.stop()
