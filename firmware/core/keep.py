"""Keep a role's processes alive on a laptop, as systemd does on the box: start, notice an end, start again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drivers.bell import Bell
from drivers.clock import Clock, Monotonic
from drivers.supervisor import Ended, Keeper, Ready, Supervisor
from firmware.core.timestamp import MS, SECOND

# As RestartSec= in the units: the first restart at once in a person's eyes, then slower, so that a process that cannot start does
# not eat the board; never given up, because a recorder that stopped trying records nothing.
FIRST_DELAY_NS = 100 * MS
LAST_DELAY_NS = 10 * SECOND
STEADY_NS = 30 * SECOND  # A process that lived this long begins again with the first delay.


@dataclass(slots=True)
class _Kept:
    command: Sequence[str]
    delay_ns: int = FIRST_DELAY_NS
    started: Monotonic | None = None
    again: Monotonic | None = None
    restart_count: int = 0


def keep(
    commands: Mapping[str, Sequence[str]],
    *,
    environment: Mapping[str, str],
    keeper: Keeper,
    clock: Clock,
    bell: Bell,
    supervisor: Supervisor,
    say: Callable[[str], None],
) -> None:
    """Run the commands, by process name, until this process is asked to end; then ask them to end and wait for it.

    say: one line per change of state, key=value.
    """
    kept = {name: _Kept(command) for name, command in commands.items()}
    waiting = set(kept)
    for name, process in kept.items():
        process.started = clock.now().monotonic
        keeper.start(name, process.command, environment)
    bell.watch_descriptors([fd for fd in [keeper.fileno()] if fd >= 0])
    while not supervisor.stop_requested():
        for event in keeper.events():
            match event:
                case Ready(name):
                    say(f"process={name} state=ready")
                    waiting.discard(name)
                    if not waiting:
                        waiting = {""}
                        supervisor.ready(" ".join(kept))
                case Ended(name, code):
                    _plan_restart(kept[name], clock.now().monotonic)
                    say(f"process={name} state=ended code={code} restart_in_ms={kept[name].delay_ns // MS}")
        now = clock.now().monotonic
        for name, process in kept.items():
            if process.again is not None and now >= process.again:
                process.again, process.started = None, now
                process.restart_count += 1
                keeper.start(name, process.command, environment)
                say(f"process={name} state=started restart={process.restart_count}")
        supervisor.alive()
        again = [process.again for process in kept.values() if process.again is not None]
        bell.wait(min([*again, now.after(SECOND)]))
    supervisor.stopping()
    _end(kept, keeper, clock, bell)


def _plan_restart(process: _Kept, now: Monotonic) -> None:
    lived_ns = now.since(process.started) if process.started is not None else 0
    process.delay_ns = FIRST_DELAY_NS if lived_ns > STEADY_NS else min(process.delay_ns * 2, LAST_DELAY_NS)
    process.again = now.after(process.delay_ns)


def _end(kept: Mapping[str, _Kept], keeper: Keeper, clock: Clock, bell: Bell) -> None:
    # Ten seconds to seal a segment on a slow card, as TimeoutStopSec= in the units.
    until = clock.now().monotonic.after(10 * SECOND)
    running = {name for name, process in kept.items() if process.again is None}
    for name in running:
        keeper.stop(name)
    while running and clock.now().monotonic < until:
        running -= {event.name for event in keeper.events() if isinstance(event, Ended)}
        if running:
            bell.wait(until)
    for name in running:
        keeper.kill(name)
