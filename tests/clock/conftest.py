"""A box with its clock station in a room of devices with clocks of their own; virtual time, one seed."""

import heapq
import itertools
import json
from collections.abc import Callable
from random import Random

import pytest

from firmware.clock.settings import ClockSettings
from firmware.clock.station import ClockStation
from firmware.core import message
from firmware.core.certificate import Account, account_from
from firmware.core.message import Message
from firmware.core.ptp import ClockQuality, Flags
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from simulator.board import SimulatedBoard
from simulator.clock import TAI_OFFSET_S
from simulator.daemon import SimulatedDaemon
from simulator.ptp.box_end import BoxEnd
from simulator.ptp.character import character
from simulator.ptp.control import Control
from simulator.ptp.device import identity_of
from simulator.ptp.grandmaster import Claim, Grandmaster
from simulator.ptp.ordinary_clock import OrdinaryClock
from simulator.ptp.virtual_net import Place, VirtualNet

OURS = bytes.fromhex("020000fffe00000a")  # the clockIdentity ptp4l makes of the simulated asker's MAC


class Hall:
    """devices: by address, their clocks' truth with them. true_ns: UTC."""

    def __init__(self, *, seed: int = 1, tai: bool = False, **settings: int | str | bool | tuple[str, ...]) -> None:
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._random = Random(seed)
        self._rung = False
        self.control = Control(OURS)
        self.board = SimulatedBoard(
            open_tap=lambda request: self.box.open_tap(request), make_asker=lambda name: self.box.make_asker(name),
            daemons={"/run/scrubjay-ptp/ptp4l": SimulatedDaemon(self.control.answer)},
        )  # fmt: skip
        self.clock, self.disk = self.board.clock, self.board.disk
        self.net = VirtualNet(now=lambda: self.true_ns, later=self.later, random=self._random)
        self.box = BoxEnd(self.net, "10.77.0.9", self.clock, own={"10.77.0.1"}, rings=self._ring)
        self.devices: dict[str, OrdinaryClock] = {}
        self._tai_s = TAI_OFFSET_S if tai else 0
        flags = Flags.PTP_TIMESCALE | Flags.UTC_OFFSET_VALID if tai else Flags(0)
        self.master = self.add_master("10.77.0.1", Claim(interval_log=-2, flags=flags), identity=OURS)
        self.station = ClockStation(self.board, ClockSettings(interface="eth2", **settings))  # type: ignore[arg-type]
        self.station.start(self.clock.now())
        self._wake_ns = 0

    @property
    def true_ns(self) -> int:
        return self.clock.timeline.tai_ns - TAI_OFFSET_S * SECOND

    def add_master(self, address: str, claim: Claim, *, ahead_ns: int = 0, identity: bytes = b"") -> Grandmaster:
        """One that serves the truth, or something else."""
        number = int(address.rpartition(".")[2])
        made = Grandmaster(
            identity=identity or identity_of(number), line=self.net.join(Place(address, lambda heard: made.hear(heard))),
            reads=lambda true_ns: true_ns + self._tai_s * SECOND - self._leapt_ns + ahead_ns, claim=claim, true_ns=self.true_ns,
        )  # fmt: skip
        self._turn(made.step)
        return made

    def add(self, address: str, kind: str = "synchronised", *, offset_ns: int = 0, drift_ppm: float = 0.0) -> OrdinaryClock:
        """A device."""
        line = self.net.join(Place(address, lambda heard: self.devices[address].hear(heard, self.true_ns)))
        number = int(address.rpartition(".")[2])
        self.devices[address] = OrdinaryClock(
            character(kind, offset_ns=offset_ns + self._tai_s * SECOND, drift_ppm=drift_ppm), identity=identity_of(number), line=line,
            random=Random(number), true_ns=self.true_ns, tai_offset_s=self._tai_s,
        )  # fmt: skip
        self._turn(self.devices[address].step)
        return self.devices[address]

    def later(self, ns: int, deed: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.clock.timeline.tai_ns + ns, next(self._order), deed))

    def run(self, seconds: float, *, each: Callable[[], None] = lambda: None) -> None:
        """Time passes. each: called after every step of the station."""
        end = self.clock.timeline.tai_ns + round(seconds * SECOND)
        while True:
            now_ns = self.clock.timeline.tai_ns
            if self._rung or now_ns >= self._wake_ns:
                self._rung = False
                wake = self.station.step(self.clock.now())
                self._wake_ns = end if wake is None else max(self.clock.moment(wake), now_ns + 1000)
                each()
                continue
            following = min(self._wake_ns, self._events[0][0] if self._events else end, end)
            self.clock.advance(max(0, following - now_ns))
            while self._events and self._events[0][0] <= following:
                heapq.heappop(self._events)[2]()
            if following >= end:
                return

    def account(self) -> Account:
        """What is published for seals."""
        return account_from(self.disk.read("state/clock"))

    def state(self) -> dict[str, object]:
        """All that is published."""
        read: dict[str, object] = json.loads(self.disk.read("state/clock"))
        return read

    def error_ns(self, address: str, *, age_ns: int = 0) -> int:
        """How far a device's clock is ahead of the box's, or was so long ago, as only the world knows."""
        return (
            self.devices[address].clock.error_ns(self.true_ns - age_ns)
            - self._tai_s * SECOND
            - self.clock.offset_ns
            + self._leapt_ns
        )

    @property
    def _leapt_ns(self) -> int:
        """Leap seconds so far, by which UTC has fallen behind our true time; TAI knows of none."""
        return 0 if self._tai_s else (self.clock.tai_offset_s - TAI_OFFSET_S) * SECOND

    def said(self) -> list[Message]:
        """In inbox/."""
        inbox = Spool(self.disk, "inbox")
        return [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]

    def events(self) -> list[str | None]:
        """What was said, by event."""
        return [row.event for row in self.said()]

    def _ring(self) -> None:
        self._rung = True

    def _turn(self, step: Callable[[int], int]) -> None:
        self.later(max(1, step(self.true_ns) - self.true_ns), lambda: self._turn(step))


@pytest.fixture
def make_hall() -> Callable[..., Hall]:
    return Hall


@pytest.fixture
def gps() -> Claim:
    """A master that claims to be better than any box."""
    return Claim(priority1=1, quality=ClockQuality(6, 0x20, 0x4E5D), interval_log=-2)
