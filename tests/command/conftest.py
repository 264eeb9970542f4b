"""A hub that signs and a box that checks, in virtual time."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from firmware.command.settings import CommandSettings
from firmware.command.station import CommandStation
from firmware.core import message
from firmware.core.envelope import SIGNED_PREFIX, Command, Order, command_packed, order_packed
from firmware.core.message import Message
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from simulator.board import SimulatedBoard
from simulator.identity import SimulatedIdentity

HOUR = 3600 * SECOND


@dataclass
class Desk:
    """An operator's desk at the hub, and the box at the other end. Without a line between them: what is sent has arrived."""

    board: SimulatedBoard = field(default_factory=SimulatedBoard)
    hub: SimulatedIdentity = field(default_factory=lambda: SimulatedIdentity(name="hub-1", seed=7))
    settings: CommandSettings = field(default_factory=CommandSettings)
    counter: int = 0

    def __post_init__(self) -> None:
        self.board.identity.trust("hub-1", self.hub.public_key())
        self.board.disk.mkdir("commands/received")
        self.boot()

    def boot(self) -> None:
        """A new process; what the old one held in memory is gone."""
        self.station = CommandStation(self.board, self.settings)
        self.station.start(self.board.clock.now())

    def order(
        self, *, number: int = 0, counter: int | None = None, box: str = "box-1", signer: str = "hub-1", **more: object
    ) -> Order:
        if counter is None:
            self.counter += 1
            counter = self.counter
        made = self.board.clock.now().timestamp.tai_ns
        times: dict[str, int] = {"made_tai_ns": made, "expires_tai_ns": made + HOUR}
        identity = hashlib.sha256(f"{number}/{counter}/{signer}".encode()).digest()[:16]
        values: dict[str, object] = {"deed": "retrieval", "parameters": {"hosts": "10.77.0.11"}, **times, **more}
        return Order(identity=identity, signer=signer, box=box, counter=counter, **values)  # type: ignore[arg-type]

    def signed(self, order: Order, *, by: SimulatedIdentity | None = None) -> bytes:
        packed = order_packed(order)
        return command_packed(Command(packed, (by or self.hub).sign(SIGNED_PREFIX + packed)))

    def send(self, data: bytes, *, name: str | None = None) -> None:
        """As the uplink publishes what it received."""
        Spool(self.board.disk, "commands/received").publish(name or f"cmd-{hashlib.sha256(data).hexdigest()[:32]}", data)

    def send_order(self, order: Order) -> bytes:
        data = self.signed(order)
        self.send(data, name=f"cmd-{order.identity.hex()}")
        return data

    def work(self) -> None:
        """Step until there is nothing to do at once."""
        for _ in range(1000):
            now = self.board.clock.now()
            if self.station.step(now) != now.monotonic:
                return
        raise AssertionError("expected the station to come to rest")

    def verified(self) -> list[str]:
        return Spool(self.board.disk, "commands/verified/retrieval").names()

    def refusals(self) -> dict[str, int]:
        return self.station.report.drops

    def said(self) -> list[Message]:
        inbox = Spool(self.board.disk, "inbox")
        return [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def make_desk() -> Callable[[], Desk]:
    return Desk
