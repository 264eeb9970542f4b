"""A board made of simulated parts."""

from collections.abc import Callable

from drivers.alerts import AlertRequest, Alerts
from drivers.asker import Asker
from drivers.daemon import Daemon
from drivers.errors import ListenFailed, Missing, NotConnected, TapFailed
from drivers.frame_filter import frame_filter
from drivers.hardware_clock import HardwareClock
from drivers.link import Link
from drivers.listener import Listener, ListenRequest
from drivers.tap import Tap, TapRequest
from drivers.tty import Tty
from simulator.asker import SimulatedAsker
from simulator.bell import SimulatedBell
from simulator.clock import SimulatedClock
from simulator.daemon import SimulatedDaemon
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.slots import SimulatedSlots
from simulator.sticks import SimulatedSticks
from simulator.supervisor import SimulatedSupervisor


def _no_tap(request: TapRequest) -> Tap:
    raise TapFailed("expected an interface, this board has none")


def _no_link() -> Link:
    raise NotConnected("expected a link, this board has none")


def _no_port(request: ListenRequest) -> Listener:
    raise ListenFailed("expected a port, this board has none")


def _no_room(request: AlertRequest) -> Alerts:
    raise ListenFailed("expected a room with devices, this board has none")


class SimulatedBoard:
    """Parts may be given and shared between boards; those that are not are made. `open_tap` and `make_link` are the world's wiring."""

    def __init__(
        self,
        *,
        disk: SimulatedDisk | None = None,
        clock: SimulatedClock | None = None,
        identity: SimulatedIdentity | None = None,
        open_tap: Callable[[TapRequest], Tap] = _no_tap,
        make_link: Callable[[], Link] = _no_link,
        open_listener: Callable[[ListenRequest], Listener] = _no_port,
        open_alerts: Callable[[AlertRequest], Alerts] = _no_room,
        ttys: dict[str, Tty] | None = None,
        make_asker: Callable[[str], Asker] | None = None,
        daemons: dict[str, Daemon] | None = None,
        supervisor: SimulatedSupervisor | None = None,
        hardware_clocks: dict[str, HardwareClock] | None = None,
    ) -> None:
        self.disk = disk or SimulatedDisk()
        self.clock = clock or SimulatedClock()
        self.identity = identity or SimulatedIdentity()
        self.supervisor = supervisor or SimulatedSupervisor()
        self.open_tap = open_tap
        self.make_link = make_link
        self.open_listener = open_listener
        self.open_alerts = open_alerts
        self.ttys = ttys or {}
        self.make_asker = make_asker or (lambda interface: SimulatedAsker(self.clock))
        self.daemons = daemons or {}
        self.hardware_clocks = hardware_clocks or {}
        self.plugs = SimulatedSticks()
        self.the_slots = SimulatedSlots()

    def bell(self) -> SimulatedBell:
        return SimulatedBell(self.disk, self.clock)

    def tap(self, request: TapRequest) -> Tap:
        return self.open_tap(request)

    def link(self) -> Link:
        return self.make_link()

    def tty(self, device: str) -> Tty:
        if device not in self.ttys:
            raise Missing("expected a serial line, there is none")
        return self.ttys[device]

    def asker(self, interface: str) -> Asker:
        return self.make_asker(interface)

    def hardware_clock(self, interface: str) -> HardwareClock | None:
        return self.hardware_clocks.get(interface)

    def daemon(self, address: str) -> Daemon:
        return self.daemons.get(address) or SimulatedDaemon()

    def frame_filter(self, expression: str) -> Callable[[bytes, int], bool]:
        return frame_filter(expression)

    def listener(self, request: ListenRequest) -> Listener:
        return self.open_listener(request)

    def alerts(self, request: AlertRequest) -> Alerts:
        return self.open_alerts(request)

    def slots(self) -> SimulatedSlots:
        return self.the_slots

    def sticks(self) -> SimulatedSticks:
        return self.plugs
