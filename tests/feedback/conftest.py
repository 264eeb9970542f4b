"""A feedback station on a simulated board, orders as command hands them on, and what the room hears."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from firmware.core import message
from firmware.core.advice import Advisory, advisory_unpacked, feedback_unpacked
from firmware.core.envelope import Order, order_packed
from firmware.core.message import Message
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.feedback.settings import FeedbackSettings
from firmware.feedback.station import ORDERS, FeedbackStation
from simulator.asker import SimulatedAsker
from simulator.board import SimulatedBoard


@dataclass
class Room:
    """`boot` gives the station a new life on the same disk. heard: datagrams, with their address and port."""

    settings: FeedbackSettings = field(default_factory=FeedbackSettings)
    heard: list[tuple[bytes, str, int]] = field(default_factory=list)
    is_gone: bool = False
    count: int = 0

    def __post_init__(self) -> None:
        self.board = SimulatedBoard(make_asker=self._asker)
        self.boot()

    def _asker(self, interface: str) -> SimulatedAsker:
        asker = SimulatedAsker(self.board.clock, lambda data, address, port: self.heard.append((data, address, port)))
        asker.stuck = self.is_gone
        return asker

    def boot(self) -> None:
        self.station = FeedbackStation(self.board, self.settings)
        self.station.start(self.board.clock.now())

    def order(self, *, age_s: int = 0, expires_s: int = 300, **parameters: int | str | None) -> Order:
        self.count += 1
        made = self.board.clock.now().timestamp.tai_ns - age_s * SECOND
        given = parameters or {"advice": "replace-tool", "device": "arm-2"}
        order = Order(
            self.count.to_bytes(16, "big"), "hub-1", "box-1", "feedback", self.count, made, made + expires_s * SECOND, given
        )
        Spool(self.board.disk, ORDERS).publish(f"cmd-{order.identity.hex()}", order_packed(order))
        return order

    def run(self, seconds: float = 0.0) -> None:
        end = self.board.clock.now().monotonic.after(int(seconds * SECOND))
        for _ in range(10_000):
            now = self.board.clock.now()
            wish = min(self.station.step(now) or end, end)
            if wish > now.monotonic:
                self.board.clock.advance(wish.since(now.monotonic))
            elif now.monotonic >= end:
                return
        raise AssertionError("expected the station to come to rest")

    def shown(self) -> list[Advisory]:
        return [advisory_unpacked(self.board.disk.read(f"feedback/{name}")) for name in self.board.disk.list("feedback")]

    def advisories(self) -> list[Advisory]:
        """What the room was told, in order."""
        return [advisory_unpacked(feedback_unpacked(data)[0]) for data, _, _ in self.heard]

    def said(self) -> list[Message]:
        inbox = Spool(self.board.disk, "inbox")
        return [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]


@pytest.fixture
def room() -> Room:
    """As it comes: nothing is published."""
    return Room()


@pytest.fixture
def make_room() -> Callable[..., Room]:
    """With settings changed: make_room(publish=True)."""
    return lambda **changes: Room(FeedbackSettings(**changes))
