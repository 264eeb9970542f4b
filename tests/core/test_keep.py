"""The laptop's keeper loop: starts, notices an end, starts again ever slower, ends everything on request."""

from drivers.supervisor import Ended
from firmware.core.keep import FIRST_DELAY_NS, LAST_DELAY_NS, keep
from firmware.core.timestamp import SECOND
from simulator.bell import SimulatedBell
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk
from simulator.supervisor import SimulatedKeeper, SimulatedSupervisor


class Script:
    """A bell that lets the world act at each wait: `acts` are called one a wait, then the keeper is asked to end."""

    def __init__(self, clock, supervisor, acts):
        self.bell, self.clock, self.supervisor, self.acts = SimulatedBell(SimulatedDisk(), clock), clock, supervisor, list(acts)

    def watch_directory(self, path):
        self.bell.watch_directory(path)

    def watch_descriptors(self, descriptors):
        self.bell.watch_descriptors(descriptors)

    def ring(self):
        self.bell.ring()

    def wait(self, until):
        if self.acts:
            self.acts.pop(0)()
        else:
            self.supervisor.stop = True
        if until is not None:
            self.clock.advance(max(0, until.since(self.clock.now().monotonic)))


def kept(acts_of, *, names=("capture", "uplink")):
    clock, supervisor, keeper, said = SimulatedClock(), SimulatedSupervisor(), SimulatedKeeper(), []
    keep(
        {name: [name] for name in names},
        environment={},
        keeper=keeper,
        clock=clock,
        bell=Script(clock, supervisor, acts_of(keeper)),
        supervisor=supervisor,
        say=said.append,
    )
    return keeper, supervisor, said


def test_ended_process_is_started_again():
    """A process that ended, however it ended, runs again; the others are not touched."""
    keeper, _, said = kept(lambda keeper: [lambda: keeper.happens(Ended("capture", -9)), lambda: None, lambda: None])

    assert ["process=capture state=ended code=-9 restart_in_ms=200", "process=capture state=started restart=1"] == [
        line for line in said if "capture" in line and "ready" not in line
    ]
    assert not any("uplink" in line and "ended" in line for line in said)
    assert {} == keeper.started, "all are asked to end with their keeper"


def test_restarts_become_slower_and_never_stop():
    """A process that cannot start is tried for ever, at most every ten seconds."""
    _, _, said = kept(lambda keeper: [lambda: keeper.happens(Ended("capture", 1))] * 100, names=("capture",))
    delays = [int(line.split("restart_in_ms=")[1]) for line in said if "restart_in_ms" in line]

    assert sorted(delays) == delays
    assert LAST_DELAY_NS // 1_000_000 == delays[-1]
    assert FIRST_DELAY_NS < LAST_DELAY_NS <= 10 * SECOND


def test_ready_when_all_are():
    """The keeper says it is ready itself once every process is."""
    _, supervisor, _ = kept(lambda keeper: [lambda: None])

    assert ("ready", "capture uplink") in supervisor.said
