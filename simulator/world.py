"""A whole box and a hub in virtual time, from one seed: the same stations in the same processes as `firmware/roles.py` says.

One turn of one process after another; time moves only when all of them wait. A process can be killed, and the power be cut,
before any disk operation; what a station holds in memory is gone then, what the page cache holds goes only with the power.
"""

import heapq
import itertools
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from drivers.asker import Asker
from drivers.daemon import Daemon
from drivers.errors import TapFailed, Trouble
from drivers.link import LinkRequest
from drivers.tap import RETURN_S, HeardFrame, Tap, TapRequest
from firmware.core import report
from firmware.core.settings import Settings
from firmware.core.station import Loop
from firmware.core.timestamp import MS, SECOND
from firmware.roles import Process
from simulator.bell import SimulatedBell
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.disk import PowerCut, SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.link import SimulatedBroker, SimulatedLink
from simulator.supervisor import SimulatedSupervisor
from simulator.tap import SimulatedTap

BROKER = "broker:1883"
OUTSIDE = "outside:1883"  # as a relay calls the hub's broker; its own is BROKER, as everybody calls the one they have
ROOM_INTERFACE = "room"  # every other name is the mirror port
TURNS_A_SECOND_MAX = 1_000  # of one process; fifty are many, and a station that always wants more for nothing is a finding
RESTART_NS = (100 * MS, 2 * SECOND)  # RestartSec= and a slow start
BOOT_NS = (3 * SECOND, 9 * SECOND)


class Killed(BaseException):
    """SIGKILL: this process is no more. Not an Exception, for the same reason as PowerCut."""


@dataclass(slots=True, eq=False)
class Life:
    """One process from start to end. wake_ns: when it wants its next turn, true time."""

    process: Process
    machine: "Machine"
    board: "WorldBoard"
    loop: Loop | None = None
    wake_ns: int = 0
    turn_count: int = 0
    turns: int = 0  # since turns_since_ns
    turns_since_ns: int = 0


class Wire:
    """The mirror port, or the two ports of a passive tap: what passes is heard by every tap open on its port at that moment.

    ports: their names; a frame passes one of them, by who sends it. world: where time passes, so that blocks come as late as the
    kernel may hand them over; None: at once.
    """

    def __init__(self, ports: Sequence[str] = ("eth1",), world: "World | None" = None) -> None:
        self.ports = tuple(ports)
        self._world = world
        self._down: set[str] = set()
        self._away: set[tuple[SimulatedTap, str]] = set()  # who listens to several ports, and has not opened this one again
        self._taps: list[tuple[SimulatedTap, Callable[[], None]]] = []

    def open(self, request: TapRequest, ring: Callable[[], None], store: Mapping[str, int] | None = None) -> SimulatedTap:
        """A tap; `ring` wakes who listens; store: as SimulatedTap's. Several names with commas between them are heard as one. Raises TapFailed or BadFilter."""
        if _names(request) <= self._down:
            raise TapFailed("expected the interface, it is gone")
        world = self._world
        tap = SimulatedTap(request, store=store, now_ns=None if world is None else lambda: world.now_ns)
        self._taps.append((tap, ring))
        return tap

    def put(self, frames: Sequence[HeardFrame]) -> None:
        """A burst passes."""
        for tap, ring in self._taps:
            heard = _names(tap.request) - self._down - {port for other, port in self._away if other is tap}
            tap.hear([frame for frame in frames if self._port(frame) in heard])
            ring()
            if self._world is not None and tap.is_filling():
                self._world.later(tap.late_ns, partial(self._ring, tap))

    def break_off(self, *ports: str) -> None:
        """These go, or all; whoever listens to nothing else finds out at the next look."""
        self._down |= set(ports or self.ports)
        gone = [(tap, ring) for tap, ring in self._taps if _names(tap.request) <= self._down]
        self._taps = [entry for entry in self._taps if entry not in gone]
        for tap, _ in self._taps if self._world is not None else ():
            self._away |= {(tap, port) for port in _names(tap.request) & self._down}
        for tap, ring in gone:
            tap.break_off()
            ring()
            if self._world is not None and tap.is_filling():
                self._world.later(tap.late_ns, ring)

    def restore(self) -> None:
        """All of them are there. Who listens to several opens what was away a little later, as drivers/linux/joined_tap.py."""
        self._down.clear()
        # In the order opened: a set's own order is another in each run, and a seed is to give the same storm again.
        for tap, port in [(tap, port) for tap, _ in self._taps for port in self.ports if (tap, port) in self._away]:
            assert self._world is not None, "where no time passes nobody is late"
            self._world.later(self._world.random.randrange(RETURN_S * SECOND), partial(self._return, tap, port))

    def _return(self, tap: SimulatedTap, port: str) -> None:
        if port not in self._down and (tap, port) in self._away:
            self._away.discard((tap, port))
            tap.returned += 1
            self._ring(tap)

    def _ring(self, tap: SimulatedTap) -> None:
        """A block's time is over: whoever has the tap by now is woken."""
        for other, ring in self._taps:
            if other is tap:
                ring()

    def _port(self, frame: HeardFrame) -> str:
        sender = frame.data[11] if len(frame.data) > 11 else 0
        return self.ports[sender % len(self.ports)]

    def is_at(self, tap: SimulatedTap) -> bool:
        """Whether it still hears."""
        return any(other is tap for other, _ in self._taps)

    def go_on(self, tap: SimulatedTap, ring: Callable[[], None]) -> None:
        """Another process takes it over, and is the one to wake."""
        self._taps = [(other, ring if other is tap else former) for other, former in self._taps]
        tap.outlive()

    def leave(self, tap: SimulatedTap) -> None:
        """Its process was killed."""
        tap.close()
        self._taps = [(other, ring) for other, ring in self._taps if other is not tap]


def _names(request: TapRequest) -> set[str]:
    return set(request.interface.split(","))


class WorldBoard(SimulatedBoard):
    """A board whose parts know their process, so that all of them can be taken away from it at once."""

    def __init__(self, machine: "Machine", process: str) -> None:
        super().__init__(
            disk=machine.disk,
            clock=machine.clock,
            identity=machine.identity,
            open_tap=self._open_tap,
            make_link=self._make_link,
            make_asker=machine.make_asker,
            daemons=machine.daemons,
            supervisor=SimulatedSupervisor(machine.stores.setdefault(process, {})),
        )
        self.machine = machine
        self.links: list[SimulatedLink] = []
        self.taps: list[SimulatedTap] = []
        self.the_bell = SimulatedBell(machine.disk, machine.clock)

    def bell(self) -> SimulatedBell:
        return self.the_bell

    def crash(self) -> None:
        """The process on this board was killed."""
        for link in self.links:
            link.crash()
        for tap in self.taps:
            if tap.title in self.supervisor.store and self.machine.rings.get(tap.title) is tap:
                continue  # The keeper has it, and it hears on.
            self.machine.world.wire.leave(tap)
            self.machine.world.room_wire.leave(tap)
        self.disk.forget_watchers({self.the_bell.ring})

    def _open_tap(self, request: TapRequest) -> Tap:
        world = self.machine.world
        wire = world.room_wire if request.interface == ROOM_INTERFACE else world.wire
        title = SimulatedTap(request).title
        tap = self.machine.rings.get(title) if request.lasting and title in self.supervisor.store else None
        if tap is not None and wire.is_at(tap):
            wire.go_on(tap, self.the_bell.ring)
        else:
            tap = wire.open(request, self.the_bell.ring, self.supervisor.store if request.lasting else None)
        if request.lasting:
            self.machine.rings[title] = tap
        self.taps.append(tap)
        return tap

    def _make_link(self) -> SimulatedLink:
        world = self.machine.world
        link = world.make_link(self.the_bell.ring, self)
        self.links.append(link)
        return link


@dataclass(slots=True, eq=False)
class Machine:
    """A box or a hub: its disk, its clock, its processes. crashes: what ended a process that should not have."""

    world: "World"
    name: str
    disk: SimulatedDisk
    clock: SimulatedClock
    identity: SimulatedIdentity
    processes: Sequence[Process]
    settings: Settings
    lives: dict[str, Life] = field(default_factory=dict)
    stores: dict[str, dict[str, int]] = field(default_factory=dict)  # by process: what its keeper keeps
    rings: dict[str, SimulatedTap] = field(default_factory=dict)  # by their titles, those that may be kept
    when_cut: Callable[[], None] | None = None
    crashes: list[str] = field(default_factory=list)
    make_asker: Callable[[str], Asker] | None = None  # the room's, where there is one
    daemons: dict[str, Daemon] = field(default_factory=dict)  # by their control sockets' addresses
    sickness: int = 0  # how many things are wrong with its disk now
    is_off: bool = False

    @property
    def is_sick(self) -> bool:
        """Whether its disk is full or fails: a process that starts may end of it, and is started again; one that runs may not."""
        return self.sickness > 0

    def start_all(self) -> None:
        """The machine has booted."""
        self.is_off = False
        self.clock.restart()
        for process in self.processes:
            self.start(process)

    def start(self, process: Process) -> None:
        """One process begins."""
        if self.is_off or process.name in self.lives:
            return
        life = Life(process, self, WorldBoard(self, process.name))
        self.lives[process.name] = life
        self.world.in_process(life, lambda: self._begin(life))

    def kill(self, name: str) -> None:
        """SIGKILL to one process; it is started again soon."""
        life = self.lives.get(name)
        if life is None:
            return
        self.end(name)
        self.world.later(self.world.random.randrange(*RESTART_NS), lambda: self.start(life.process))

    def end(self, name: str) -> None:
        """SIGKILL to one process; it stays away until somebody starts it."""
        life = self.lives.pop(name, None)
        if life is not None:
            life.board.crash()

    def cut_power(self) -> None:
        """All processes end, the disk decides what it kept, and after a while the machine boots."""
        if self.is_off:
            return
        self.is_off = True
        for life in self.lives.values():
            life.board.crash()
        self.lives.clear()
        for tap in self.rings.values():
            self.world.wire.leave(tap)
        self.rings.clear()
        self.stores.clear()
        self.disk.power_cut(self.world.random)
        if self.when_cut is not None:
            self.when_cut()
        self.world.later(self.world.random.randrange(*BOOT_NS), self.start_all)

    def _begin(self, life: Life) -> None:
        board, process = life.board, life.process
        assert process.build is not None, "only processes made of stations run in the simulator"
        board.disk.mkdir("state")
        life.loop = Loop(
            process.build(board, self.settings),
            clock=board.clock,
            bell=board.the_bell,
            supervisor=board.supervisor,
            publish_reports=lambda reports, now: report.publish(board.disk, process.name, reports, now),
        )
        life.loop.start()
        life.wake_ns = self.world.now_ns
        board.the_bell.ring()


class World:
    """Time, the wire, the broker, the machines, and who is running now. Faults are the storm's to choose."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.timeline = Timeline()
        self.wire = Wire(world=self)
        self.room_wire = Wire((ROOM_INTERFACE,), self)
        self.broker = SimulatedBroker(self.timeline, seed=seed)
        self.inside: SimulatedBroker | None = None  # the house's own, where a relay stands between the two
        self.machines: list[Machine] = []
        self.current: Life | None = None
        self.turned: Callable[[Life], None] | None = None  # told of each turn that was finished
        self.published: Callable[[WorldBoard, str, bytes], None] | None = None
        self.connecting: Callable[[WorldBoard, LinkRequest], None] | None = None
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._doom: tuple[Machine, str | None, int, str] | None = None
        self._last_stamp_ns = 0
        self.turn_count = 0

    @property
    def now_ns(self) -> int:
        """What time it really is, TAI ns."""
        return self.timeline.tai_ns

    def add(self, name: str, processes: Sequence[Process], settings: Settings, *, site: str, capacity_bytes: int) -> Machine:
        """Another machine, still off."""
        disk = SimulatedDisk(capacity_bytes=capacity_bytes)
        identity = SimulatedIdentity(name=name, site=site, seed=self.random.getrandbits(32))
        machine = Machine(self, name, disk, SimulatedClock(self.timeline), identity, processes, settings, is_off=True)
        disk.before = lambda number, what, path: self._tick(machine, path)
        self.machines.append(machine)
        return machine

    def make_link(self, ring: Callable[[], None], board: WorldBoard) -> SimulatedLink:
        """A link of one process; `connecting` and `published` are told of each attempt and of everything it sends."""
        return _ToldLink(self, board, ring)

    def begin_house(self, seed: int) -> None:
        """From now on there is a broker in the house; boxes reach no other, the hub does not reach it, a relay reaches both."""
        self.inside = SimulatedBroker(self.timeline, seed=seed)

    @property
    def brokers(self) -> Sequence[SimulatedBroker]:
        """All there are; the one boxes reach is the first."""
        return (self.broker,) if self.inside is None else (self.inside, self.broker)

    def network_of(self, machine: "Machine") -> dict[str, SimulatedBroker]:
        """What this machine reaches, by address."""
        if self.inside is None or "hub" in (process.name for process in machine.processes):
            return {BROKER: self.broker}
        if "relay" in (process.name for process in machine.processes):
            return {BROKER: self.inside, OUTSIDE: self.broker}
        return {BROKER: self.inside}

    def later(self, ns: int, deed: Callable[[], None]) -> None:
        """Do it this much later."""
        heapq.heappush(self._events, (self.now_ns + ns, next(self._order), deed))

    def doom(self, machine: Machine, process: str | None, operations: int, *, path: str = "") -> None:
        """Before the so manyth operation from now on (of this process), the power goes (the process is killed).

        path: counting begins at the first operation on a path that ends in this.
        """
        self._doom = machine, process, operations, path

    def forget_doom(self) -> None:
        """What was to happen at some operation happens no more."""
        self._doom = None

    def put(self, machine: Machine, frames: Sequence[bytes], *, into_room: bool = False) -> list[HeardFrame]:
        """A burst on the wire, stamped in UTC by the machine's clock as its kernel would; stamps a few µs apart, never equal.

        into_room: it is heard on the room interface as well, which hears what others send to everybody or to this machine.
        """
        utc_ns = machine.clock.now().utc_ns
        heard = []
        for data in frames:
            utc_ns += self.random.randrange(1_000, 30_000)
            heard.append(HeardFrame(utc_ns, data, len(data)))
        self.wire.put(heard)
        if into_room:
            self.room_wire.put(heard)
        return heard

    def run(self, ns: int) -> None:
        """So much virtual time passes."""
        end = self.now_ns + ns
        while True:
            while self._events and self._events[0][0] <= self.now_ns:
                heapq.heappop(self._events)[2]()
            life = self._due()
            if life is not None:
                self._turn(life)
                continue
            following = self._next_ns()
            if following is None or following > end:
                self.timeline.advance(max(0, end - self.now_ns))
                return
            self.timeline.advance(max(0, following - self.now_ns))

    def in_process(self, life: Life, deed: Callable[[], None]) -> None:
        """Do it as this process: the end of it, whatever its cause, ends nothing else."""
        self.current = life
        try:
            deed()
        except Killed:
            life.machine.kill(life.process.name)
        except PowerCut:
            life.machine.cut_power()
        except Trouble as trouble:
            if not life.machine.is_sick or life.turn_count:
                life.machine.crashes.append(_told(life, trouble))
            life.machine.kill(life.process.name)
        except Exception as mistake:  # noqa: BLE001  # the storm's business is to find exactly these, and to go on
            life.machine.crashes.append(_told(life, mistake))
            life.machine.kill(life.process.name)
        finally:
            self.current = None

    def _turn(self, life: Life) -> None:
        assert life.loop is not None
        loop = life.loop
        life.board.the_bell.rung = False
        self.turn_count += 1
        life.turns += 1
        life.turn_count += 1
        if self.now_ns - life.turns_since_ns > SECOND:
            life.turns, life.turns_since_ns = 0, self.now_ns
        elif life.turns > TURNS_A_SECOND_MAX:
            life.machine.crashes.append(f"{life.process.name}: {life.turns} turns in a second: it always wants more")
            life.machine.kill(life.process.name)
            return

        def turn() -> None:
            life.wake_ns = life.machine.clock.moment(loop.turn())
            if self.turned is not None:
                self.turned(life)

        self.in_process(life, turn)
        self.timeline.advance(self.random.randrange(20_000, 200_000))  # work takes time, and nothing happens at the same moment

    def _due(self) -> Life | None:
        now = self.now_ns
        due = [
            life
            for machine in self.machines
            for life in machine.lives.values()
            if life.board.the_bell.rung or life.wake_ns <= now or any(_is_due(link, now) for link in life.board.links)
        ]
        return self.random.choice(due) if due else None

    def _next_ns(self) -> int | None:
        moments = [life.wake_ns for machine in self.machines for life in machine.lives.values()]
        moments += [
            moment
            for machine in self.machines
            for life in machine.lives.values()
            for link in life.board.links
            if (moment := link.next_ns()) is not None
        ]
        if self._events:
            moments.append(self._events[0][0])
        return min(moments, default=None)

    def tick(self, board: WorldBoard) -> None:
        """Something else than a disk operation, before and after which a process may end."""
        self._tick(board.machine)

    def _tick(self, machine: Machine, path: str = "") -> None:
        if self._doom is None or self.current is None:
            return
        doomed, process, operations, begins = self._doom
        if doomed is not machine or self.current.machine is not machine or (process not in (None, self.current.process.name)):
            return
        if not path.endswith(begins):
            return
        if operations > 0:
            self._doom = doomed, process, operations - 1, ""
            return
        self._doom = None
        raise PowerCut if process is None else Killed


class _ToldLink(SimulatedLink):
    """A link whose publications somebody looks at, before the broker does."""

    def __init__(self, world: World, board: WorldBoard, ring: Callable[[], None]) -> None:
        super().__init__(world.network_of(board.machine), world.timeline, ring=ring)
        self._world = world
        self._board = board

    def connect(self, request: LinkRequest) -> None:
        if self._world.connecting is not None:
            self._world.connecting(self._board, request)
        self._world.tick(self._board)
        super().connect(request)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        if self._world.published is not None:
            self._world.published(self._board, topic, payload)
        self._world.tick(self._board)
        token = super().publish(topic, payload, retain=retain)
        self._world.tick(self._board)
        return token


def _is_due(link: SimulatedLink, now_ns: int) -> bool:
    moment = link.next_ns()
    return moment is not None and moment <= now_ns


def _told(life: Life, problem: Exception) -> str:
    rows = traceback.extract_tb(problem.__traceback__)
    ours = [row for row in rows if "/firmware/" in row.filename] or rows
    where = "/".join(ours[-1].filename.split("/")[-2:])
    chain = " > ".join(row.name for row in ours[-4:])
    return f"{life.process.name}: {type(problem).__name__} at {where}:{ours[-1].lineno} in {chain}"
