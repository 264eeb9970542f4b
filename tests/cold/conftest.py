"""A box with old segments of a room's traffic, and its cold station."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from drivers.tap import HeardFrame
from firmware.cold.settings import ColdSettings
from firmware.cold.station import ColdStation
from firmware.core.layout import FRAMES
from firmware.core.timestamp import SECOND
from simulator.board import SimulatedBoard
from simulator.written_store import begin_segment, end_segment, frame

HOUR = 3600 * SECOND


@dataclass
class ColdBox:
    """One cold station on a simulated board."""

    board: SimulatedBoard = field(default_factory=SimulatedBoard)
    settings: ColdSettings = field(default_factory=ColdSettings)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        self.station = ColdStation(self.board, self.settings)
        self.station.start(self.board.clock.now())

    def record(self, segments: int = 1, *, stretches: int = 3, rows: int = 300) -> list[str]:
        """So many sealed segments, one each hour."""
        names = []
        for seed in range(segments):
            writer = begin_segment(
                self.board, [control(self.board.clock.now().utc_ns, rows, seed * 100 + n) for n in range(stretches)]
            )
            self.board.clock.advance(HOUR)
            names.append(end_segment(self.board, writer).name)
        return names

    def work(self, *, hours: int = 0) -> None:
        """Step until it rests, over so many virtual hours."""
        until = self.board.clock.now().monotonic.after(hours * HOUR)
        for _ in range(100_000):
            now = self.board.clock.now()
            wish = self.station.step(now)
            # A short rest is the share's, in the middle of the work.
            if wish is None or (wish > until and wish.since(now.monotonic) >= SECOND):
                return
            self.board.clock.advance(max(wish.since(now.monotonic), 0) or SECOND // 10)
        raise AssertionError("expected the station to come to rest")

    def files(self, name: str) -> list[str]:
        return self.board.disk.list(f"segments/{name}")

    def hot(self, name: str) -> bytes:
        return self.board.disk.read(f"segments/{name}/{FRAMES}")


def control(start_ns: int, rows: int, seed: int) -> list[HeardFrame]:
    """Control messages there and back, with a counter, slow positions and noise."""
    return list(_control(start_ns, rows, Random(seed)))


def _control(start_ns: int, rows: int, random: Random) -> Iterator[HeardFrame]:
    position = random.randrange(1 << 20)
    for number in range(rows):
        position += random.randrange(-9, 10)
        there = b"CTL" + number.to_bytes(4, "big") + position.to_bytes(4, "little", signed=True) + bytes(30)
        stamp = start_ns + number * 1_000_000 + random.randrange(5_000)
        if number % 2:
            yield frame(stamp, payload=there)
        else:
            yield frame(stamp, source="10.77.0.11", destination="10.77.0.10", port=47002, payload=random.randbytes(8) + b"ok")


@pytest.fixture
def cold_box() -> ColdBox:
    return ColdBox()
