"""The board, real: one process's view of a Linux machine."""

from collections.abc import Callable, Mapping
from pathlib import Path

from drivers.alerts import AlertRequest, Alerts
from drivers.asker import Asker
from drivers.daemon import Daemon
from drivers.errors import Missing
from drivers.hardware_clock import HardwareClock
from drivers.link import Link
from drivers.linux.bell import LinuxBell
from drivers.linux.clock import LinuxClock
from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity
from drivers.linux.supervisor import LinuxSupervisor
from drivers.listener import Listener, ListenRequest
from drivers.slots import Slots
from drivers.sticks import Sticks
from drivers.tap import Tap, TapRequest
from drivers.tty import Tty


class LinuxBoard:
    """root: the store. identity: its directory (drivers/linux/identity.py). portable_tap: libpcap instead of the kernel ring.

    keeps_time: whether this is the clock process, which says how good the time is; all others take its word.
    make_slots: of the process that tries versions; others have none.
    open_tap: opens taps instead of either, for a recording that is heard as if it came from an interface.
    """

    def __init__(
        self,
        root: Path,
        identity: Path,
        *,
        portable_tap: bool = False,
        keeps_time: bool = False,
        open_tap: Callable[[TapRequest], Tap] | None = None,
        make_slots: Callable[[], Slots] | None = None,
    ) -> None:
        self.disk = LinuxDisk(root)
        self.clock = LinuxClock(None if keeps_time else root / "state" / "clock")
        self.identity = LinuxIdentity(identity)
        self.supervisor = LinuxSupervisor()
        self._root = root
        self._portable_tap = portable_tap
        self._open_tap = open_tap
        self._make_slots = make_slots

    def bell(self) -> LinuxBell:
        """A new bell; the keeper's signals ring it from now on."""
        bell = LinuxBell(self._root)
        self.supervisor.listen(bell.ring)
        return bell

    # Imported where they are opened: a process that hears nothing loads no libpcap, and one that sends nothing no MQTT.

    def tap(self, request: TapRequest) -> Tap:
        if self._open_tap is not None:
            return self._open_tap(request)
        return opened_tap(request, self.supervisor.kept(), portable=self._portable_tap)

    def link(self) -> Link:
        from drivers.linux.link import PahoLink

        return PahoLink()

    def tty(self, device: str) -> Tty:
        from drivers.linux.tty import LinuxTty

        return LinuxTty(device)

    def asker(self, interface: str) -> Asker:
        from drivers.linux.asker import LinuxAsker

        return LinuxAsker(interface)

    def hardware_clock(self, interface: str) -> HardwareClock | None:
        from drivers.linux.hardware_clock import hardware_clock

        return hardware_clock(interface)

    def daemon(self, address: str) -> Daemon:
        from drivers.linux.daemon import LinuxDaemon

        return LinuxDaemon(address)

    def frame_filter(self, expression: str) -> Callable[[bytes, int], bool]:
        from drivers.frame_filter import frame_filter

        return frame_filter(expression)

    def listener(self, request: ListenRequest) -> Listener:
        from drivers.linux.listener import LinuxListener

        return LinuxListener(request)

    def alerts(self, request: AlertRequest) -> Alerts:
        from drivers.linux.alerts import LinuxAlerts

        return LinuxAlerts(request)

    def slots(self) -> Slots:
        if self._make_slots is None:
            raise Missing("expected to know how other versions are started; only the update process does")
        return self._make_slots()

    def sticks(self) -> Sticks:
        from drivers.linux.sticks import LinuxSticks

        return LinuxSticks()


def opened_tap(request: TapRequest, kept: Mapping[str, int], *, portable: bool = False) -> Tap:
    """A tap of this machine, without a board: to see whether one can be had. kept: rings of an earlier life."""
    if "," in request.interface:
        from drivers.linux.joined_tap import JoinedTap

        return JoinedTap(request, lambda each: opened_tap(each, kept, portable=portable))
    if portable:
        from drivers.linux.tap import PortableTap

        return PortableTap(request)
    from drivers.linux.tap import ring_tap

    return ring_tap(request, kept)
