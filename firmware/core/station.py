"""A station: one job, done a bounded step at a time. And the loop that lets several share a process."""

from collections.abc import Callable, Sequence
from typing import Protocol

from drivers.bell import Bell
from drivers.clock import Clock, Monotonic, Now
from drivers.supervisor import Supervisor
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


def run(
    stations: Sequence[Station],
    *,
    clock: Clock,
    bell: Bell,
    supervisor: Supervisor,
    publish_reports: Callable[[Sequence[Report], Now], None],
) -> None:
    """Step the stations of one process until the keeper asks it to end.

    Each wake steps every station once: a step with nothing to do costs microseconds, and nobody is forgotten. A station that
    wants more is stepped again before the next wait, in turn with the others, so that a backlog at one delays none.
    """
    now = clock.now()
    for station in stations:
        station.start(now)
        for directory in station.directories():
            bell.watch_directory(directory)
    supervisor.ready(" ".join(station.name for station in stations))
    alive_at = now.monotonic
    while not supervisor.stop_requested():
        wishes = [station.step(clock.now()) for station in stations]
        now = clock.now()
        if now.monotonic >= alive_at:
            supervisor.alive()
            publish_reports([station.report for station in stations], now)
            alive_at = now.monotonic.after(ALIVE_EVERY_NS)
        until = min([wish for wish in wishes if wish is not None] + [alive_at])
        bell.watch_descriptors([fd for station in stations for fd in station.descriptors() if fd >= 0])
        if until > now.monotonic:
            bell.wait(until)
    supervisor.stopping()
    for station in stations:
        station.stop(clock.now())
    publish_reports([station.report for station in stations], clock.now())
