"""A box whose recorder heard what its intake did not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from drivers.tap import HeardFrame
from firmware.core import missed
from firmware.core.message import Message, unpacked
from firmware.core.missed import Missed
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.intake.rules import rules_of
from firmware.intake.settings import IntakeSettings
from firmware.recall.station import RecallStation
from simulator.board import SimulatedBoard
from simulator.written_store import write_segment


@dataclass
class Past:
    """A store, and somebody who asks what was said."""

    settings: IntakeSettings = field(default_factory=IntakeSettings)
    board: SimulatedBoard = field(default_factory=SimulatedBoard)
    count: int = 0

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        self.station = RecallStation(self.board, rules_of(self.settings))
        self.station.start(self.board.clock.now())

    @property
    def utc_ns(self) -> int:
        return self.board.clock.now().utc_ns

    def recorded(self, *stretches: Sequence[HeardFrame]) -> None:
        write_segment(self.board, stretches)

    def miss(self, from_utc_ns: int, until_utc_ns: int) -> None:
        self.count += 1
        Spool(self.board.disk, missed.MISSED).publish(
            f"intake-{self.count:06d}", missed.packed(Missed(from_utc_ns, until_utc_ns, "start"))
        )

    def work(self) -> None:
        """Until it rests."""
        for _ in range(100_000):
            now = self.board.clock.now()
            wish = self.station.step(now)
            if wish is None:
                return
            if wish > now.monotonic:
                assert wish.since(now.monotonic) <= 3 * SECOND
                self.board.clock.advance(wish.since(now.monotonic))
        raise AssertionError("expected the station to come to rest")

    def items(self) -> list[list[Message]]:
        inbox = Spool(self.board.disk, "inbox")
        return [unpacked(inbox.peek(name) or b"") for name in inbox.names()]

    def texts(self) -> list[str | None]:
        return [message.text for item in self.items() for message in item]


@pytest.fixture
def past() -> Past:
    """With settings as they come."""
    return Past()


@pytest.fixture
def make_past() -> Callable[..., Past]:
    """With intake's settings changed."""
    return lambda **changes: Past(IntakeSettings(**changes))
