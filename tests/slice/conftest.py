"""A slice station on a simulated board, and messages group has noticed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from drivers.clock import ClockState, Timestamp
from firmware.core import message
from firmware.core.devices import Devices
from firmware.core.envelope import Order, order_unpacked
from firmware.core.message import Message, Priority, Severity
from firmware.core.request import Request, from_parameters
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.slice.settings import SliceSettings
from firmware.slice.station import NOTICED, ORDERS, SliceStation
from simulator.board import SimulatedBoard

RULES = (
    "injury: event=patient-injury",
    "tool: event=tool-* severity<=3 -> of=device around=10 send=2",
    "worn: event=worn -> of=process send=3",
)


@dataclass
class Slicer:
    """`boot` gives it a new life on the same disk."""

    settings: SliceSettings = field(default_factory=lambda: SliceSettings(rules=RULES))
    board: SimulatedBoard = field(default_factory=SimulatedBoard)
    devices: tuple[str, ...] = ("10.77.0.12=arm-2",)
    count: int = 0

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        self.station = SliceStation(self.board, self.settings, devices=Devices(self.devices))
        self.station.start(self.board.clock.now())

    def message(self, event: str, *, device: str = "arm-2", priority: int = 1, ago_s: float = 0, severity: int = 3) -> Message:
        now = self.board.clock.now().timestamp
        self.count += 1
        received = Timestamp(now.tai_ns - int(ago_s * SECOND), 1, "ptp", ClockState.LOCKED)
        origin = Timestamp(received.tai_ns - 3600 * SECOND, 1, "device", ClockState.FREE)  # a clock an hour behind
        return Message(
            device,
            "joint",
            "published",
            Priority(priority),
            Severity(severity),
            origin,
            received,
            sequence=self.count,
            event=event,
        )

    def notice(self, *messages: Message, name: str | None = None) -> None:
        self.count += 1
        Spool(self.board.disk, NOTICED).publish(name or f"group-{self.count:06d}", message.packed(messages))

    def run(self, seconds: int) -> None:
        """So long, and whatever is due in it."""
        for _ in range(seconds):
            self.work()
            self.board.clock.advance(SECOND)
        self.work()

    def work(self) -> None:
        for _ in range(1_000):
            now = self.board.clock.now()
            if self.station.step(now) != now.monotonic:
                return
        raise AssertionError("the station never rests")

    def orders(self) -> list[Order]:
        spool = Spool(self.board.disk, ORDERS)
        found = [order_unpacked(spool.peek(name) or b"") for name in spool.names()]
        return sorted(found, key=lambda order: (order.made_tai_ns, str(order.parameters)))

    def requests(self) -> list[Request]:
        return [from_parameters(order.parameters) for order in self.orders()]

    def said(self) -> list[Message]:
        inbox = Spool(self.board.disk, "inbox")
        return [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]

    @property
    def utc_ns(self) -> int:
        return self.board.clock.now().utc_ns


@pytest.fixture
def slicer() -> Slicer:
    return Slicer()


@pytest.fixture
def make_slicer() -> Callable[..., Slicer]:
    """With settings changed: make_slicer(per_hour_max=3). devices: addresses of those known by name."""

    def make(*, devices: tuple[str, ...] = ("10.77.0.12=arm-2",), **changes: Any) -> Slicer:
        return Slicer(SliceSettings(**{"rules": RULES, **changes}), devices=devices)

    return make
