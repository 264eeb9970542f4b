"""The board: everything a role's stations may ask for, in one value that is passed and never imported."""

from collections.abc import Callable
from typing import Protocol

from drivers.alerts import AlertRequest, Alerts
from drivers.asker import Asker
from drivers.bell import Bell
from drivers.clock import Clock
from drivers.daemon import Daemon
from drivers.disk import Disk
from drivers.hardware_clock import HardwareClock
from drivers.identity import Identity
from drivers.link import Link
from drivers.listener import Listener, ListenRequest
from drivers.slots import Slots
from drivers.sticks import Sticks
from drivers.supervisor import Supervisor
from drivers.tap import Tap, TapRequest
from drivers.tty import Tty


class Board(Protocol):
    """One process's view of the machine it runs on."""

    @property
    def clock(self) -> Clock: ...

    @property
    def disk(self) -> Disk: ...

    @property
    def identity(self) -> Identity: ...

    @property
    def supervisor(self) -> Supervisor: ...

    def bell(self) -> Bell:
        """A new bell for this process's loop."""
        ...

    def tap(self, request: TapRequest) -> Tap:
        """Open a tap; raises TapFailed or BadFilter."""
        ...

    def link(self) -> Link:
        """A new link, not yet connected."""
        ...

    def tty(self, device: str) -> Tty:
        """Open a serial line; raises Missing."""
        ...

    def asker(self, interface: str) -> Asker:
        """A new asker on this interface; raises NotConnected."""
        ...

    def hardware_clock(self, interface: str) -> HardwareClock | None:
        """The clock by which this interface stamps frames; None where it has none, or none this process may read."""
        ...

    def daemon(self, address: str) -> Daemon:
        """The control socket of a daemon on this machine, who need not be there yet."""
        ...

    def frame_filter(self, expression: str) -> Callable[[bytes, int], bool]:
        """Whether an Ethernet frame, given what was kept of it and its bytes on the wire, matches a pcap-filter(7) expression; raises
        BadFilter. For searches, never on the hot path.
        """
        ...

    def listener(self, request: ListenRequest) -> Listener:
        """Open a port to the room; raises ListenFailed."""
        ...

    def alerts(self, request: AlertRequest) -> Alerts:
        """Begin to hear SDC devices; raises ListenFailed."""

    def slots(self) -> Slots:
        """Where the application's versions run."""
        ...

    def sticks(self) -> Sticks:
        """Removable storage that somebody may have plugged in."""
        ...
