"""A box with segments of a known age, and its steward."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from firmware.core import message
from firmware.core.message import Message
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.core.verdict import Verdict
from firmware.core.verify import verify
from firmware.retention.settings import RetentionSettings
from firmware.retention.station import RetentionStation
from simulator.board import SimulatedBoard
from simulator.written_store import begin_segment, end_segment, frame

HOUR = 3600 * SECOND
DAY = 24 * HOUR


@dataclass
class Steward:
    """One retention station on a simulated board."""

    board: SimulatedBoard = field(default_factory=SimulatedBoard)
    settings: RetentionSettings = field(default_factory=RetentionSettings)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self, settings: RetentionSettings | None = None) -> None:
        self.settings = settings or self.settings
        self.station = RetentionStation(self.board, self.settings)
        self.station.start(self.board.clock.now())

    def record(self, count: int, *, every_ns: int = HOUR, size: int = 100) -> list[str]:
        """So many sealed segments, one each `every_ns`; returns their names."""
        names = []
        for _ in range(count):
            writer = begin_segment(self.board, [[frame(self.board.clock.now().utc_ns, payload=bytes(size))]])
            self.board.clock.advance(every_ns)
            names.append(end_segment(self.board, writer).name)
        return names

    def work(self, *, seconds: int = 0) -> int:
        """Step until it rests, over so many virtual seconds; returns the steps."""
        until = self.board.clock.now().monotonic.after(seconds * SECOND)
        for steps in range(100_000):
            now = self.board.clock.now()
            wish = self.station.step(now)
            assert wish is not None
            if wish > until:
                return steps
            self.board.clock.advance(wish.since(now.monotonic))
        raise AssertionError("expected the station to come to rest")

    def segments(self) -> list[str]:
        return self.board.disk.list("segments")

    def verdict(self) -> Verdict:
        return verify(self.board.disk, public_key=self.board.identity.public_key())

    def said(self) -> list[Message]:
        inbox = Spool(self.board.disk, "inbox")
        return [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]


@pytest.fixture
def steward() -> Steward:
    return Steward()


@pytest.fixture
def make_steward() -> Callable[[], Steward]:
    return Steward
