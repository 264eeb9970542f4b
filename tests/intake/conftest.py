"""A simulated room for intake: a wire to put datagrams on, a disk to look at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from drivers.alerts import AlertRequest
from drivers.listener import ListenRequest
from drivers.tap import HeardFrame, TapRequest
from firmware.core.message import Message, unpacked
from firmware.intake.settings import IntakeSettings
from firmware.intake.station import IntakeStation
from simulator.alerts import SimulatedAlerts
from simulator.board import SimulatedBoard
from simulator.listener import SimulatedListener
from simulator.tap import SimulatedTap


@lru_cache(256)  # Scapy takes a millisecond for each, and some tests fill a ring with the same one.
def frame(payload: bytes, *, port: int = 47001, source: str = "10.0.0.5") -> bytes:
    """A datagram as it passes on the wire."""
    return bytes(Ether() / IP(src=source, dst="239.1.1.1") / UDP(sport=5000, dport=port) / payload)


@dataclass
class Room:
    """One intake station on a simulated board."""

    settings: IntakeSettings = field(default_factory=IntakeSettings)
    taps: list[SimulatedTap] = field(default_factory=list)
    doors: dict[int, SimulatedListener] = field(default_factory=dict)
    consumers: list[SimulatedAlerts] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.board = SimulatedBoard(open_tap=self._open, open_listener=self._listen, open_alerts=self._consume)
        self.station = IntakeStation(self.board, self.settings)
        self.station.start(self.board.clock.now())

    def _open(self, request: TapRequest) -> SimulatedTap:
        self.taps.append(SimulatedTap(request))
        return self.taps[-1]

    def _consume(self, request: AlertRequest) -> SimulatedAlerts:
        self.consumers.append(SimulatedAlerts(request))
        return self.consumers[-1]

    def _listen(self, request: ListenRequest) -> SimulatedListener:
        self.doors[request.port] = SimulatedListener(request)
        return self.doors[request.port]

    def hear(self, *frames: bytes, stamp_utc_ns: int | None = None, wire_bytes: int | None = None) -> None:
        """These frames pass by now, or when they say."""
        stamp = self.board.clock.now().utc_ns if stamp_utc_ns is None else stamp_utc_ns
        self.taps[-1].hear([HeardFrame(stamp, data, wire_bytes or len(data)) for data in frames])

    def say(self, *payloads: bytes, port: int = 47001, source: str = "10.0.0.5") -> None:
        """Somebody publishes."""
        self.hear(*(frame(payload, port=port, source=source) for payload in payloads))

    def step(self, after_ms: int = 0) -> int | None:
        """Time passes, one step; how many ms until the station wants the next, None for never."""
        self.board.clock.advance(after_ms * 1_000_000)
        now = self.board.clock.now()
        wish = self.station.step(now)
        return None if wish is None else wish.since(now.monotonic) // 1_000_000

    def items(self) -> list[list[Message]]:
        """What lies in the inbox, in order."""
        disk = self.board.disk
        return [unpacked(disk.read(f"inbox/{name}")) for name in disk.list("inbox") if not name.startswith(".")]

    def messages(self) -> list[Message]:
        return [message for item in self.items() for message in item]


@pytest.fixture
def room() -> Room:
    """With settings as they come."""
    return Room()


@pytest.fixture
def make_room() -> Callable[..., Room]:
    """With settings changed: make_room(batch_count=3)."""
    return lambda **changes: Room(IntakeSettings(**changes))


@pytest.fixture
def make_frame() -> Callable[..., bytes]:
    """make_frame(payload, port=…, source=…)."""
    return frame
