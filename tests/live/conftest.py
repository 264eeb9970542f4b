"""A simulated room for live: a wire to put robots' frames on, a disk to look at."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from drivers.tap import HeardFrame, TapRequest
from firmware.core.message import Message, unpacked
from firmware.core.timestamp import MS
from firmware.live.settings import LiveSettings
from firmware.live.station import LiveStation
from simulator.board import SimulatedBoard
from simulator.tap import SimulatedTap

_spec = importlib.util.spec_from_file_location("streams_wire", Path(__file__).parents[1] / "core" / "streams" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire: Any = importlib.util.module_from_spec(_spec)  # Any: frames of our own making, shared with the decoders' tests
_spec.loader.exec_module(wire)


@dataclass
class Room:
    """One live station on a simulated board."""

    settings: LiveSettings
    taps: list[SimulatedTap] = field(default_factory=list)
    wire: Any = wire  # Any: as above

    def __post_init__(self) -> None:
        self.board = SimulatedBoard(open_tap=self._open)
        self.station = LiveStation(self.board, self.settings)
        self.station.start(self.board.clock.now())
        self.work()

    def _open(self, request: TapRequest) -> SimulatedTap:
        self.taps.append(SimulatedTap(request))
        return self.taps[-1]

    def work(self) -> None:
        """Step until it waits."""
        for _ in range(10_000):
            now = self.board.clock.now()
            if self.station.step(now) != now.monotonic:
                return
        raise AssertionError("expected the station to come to rest")

    def robot(self, count: int, value: Callable[[int], int], **where: str) -> None:
        """So many forces, a thousand a second, as time passes."""
        for n in range(count):
            data = wire.udp(wire.itp_robot(n, (value(n),) * 6), **where)
            self.taps[-1].hear([HeardFrame(self.board.clock.now().utc_ns, data, len(data))])
            self.board.clock.advance(MS)
            if n % 50 == 49:
                self.work()
        self.work()

    def items(self) -> list[str]:
        disk = self.board.disk
        return [name for name in disk.list("inbox") if not name.startswith(".")]

    def messages(self) -> list[Message]:
        return [row for name in self.items() for row in unpacked(self.board.disk.read(f"inbox/{name}"))]


@pytest.fixture
def make_room() -> Callable[..., Room]:
    """make_room(streams=("itp/robot=arms",))."""
    return lambda **changes: Room(LiveSettings(**changes))
