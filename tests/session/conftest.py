"""A session station and the group it works with on one simulated board, and messages to give them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from drivers.clock import Timestamp
from firmware.core import message, release
from firmware.core.envelope import Order, order_packed
from firmware.core.message import Message, Priority, Severity
from firmware.core.session import CURRENT, LAST, Session, read
from firmware.core.session_order import ORDERS
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.group.settings import GroupSettings
from firmware.group.station import GroupStation
from firmware.session.rules import Rules
from firmware.session.settings import SessionSettings
from firmware.session.station import SessionStation
from simulator.board import SimulatedBoard


@dataclass
class Theatre:
    """`boot` gives both a new life on the same disk."""

    settings: SessionSettings = field(default_factory=SessionSettings)
    board: SimulatedBoard = field(default_factory=SimulatedBoard)
    count: int = 0

    def __post_init__(self) -> None:
        self.board.disk.mkdir("state")
        self.boot()

    def boot(self) -> None:
        rules = Rules.of(self.settings)
        self.group = GroupStation(self.board, GroupSettings(), noticed={"session": rules.fits()})
        self.station = SessionStation(self.board, self.settings)
        for station in (self.group, self.station):
            station.start(self.board.clock.now())

    def say(
        self, event: str | None = None, *, priority: int = 4, process: str = "arm", kind: str = "published", **fields: str
    ) -> Message:
        """A message of a device, durable in the inbox."""
        now = self.board.clock.now().timestamp
        self.count += 1
        stamp = Timestamp(now.tai_ns + self.count, 50_000, "ptp", now.state)
        row = Message(
            "robot-1",
            process,
            kind,
            Priority(priority),
            Severity.NOTICE,
            stamp,
            stamp,
            sequence=self.count,
            event=event,
            fields=fields,
        )
        Spool(self.board.disk, "inbox").publish(f"intake-{self.count:06d}", message.packed([row]))
        return row

    def order(self, *, signer: str = "hub-1", age_s: int = 0, **parameters: int | str | None) -> Order:
        self.count += 1
        made = self.board.clock.now().timestamp.tai_ns - age_s * SECOND
        order = Order(
            self.count.to_bytes(16, "big"), signer, "box-1", "session", self.count, made, made + 3600 * SECOND, parameters
        )
        Spool(self.board.disk, ORDERS).publish(f"cmd-{order.identity.hex()}", order_packed(order))
        return order

    def run(self, seconds: float = 0.0) -> None:
        """Until both rest, for so long."""
        end = self.board.clock.now().monotonic.after(int(seconds * SECOND))
        for _ in range(10_000):
            now = self.board.clock.now()
            wishes = [station.step(now) for station in (self.group, self.station)]
            wish = min([end, *(wish for wish in wishes if wish is not None)])
            if wish > now.monotonic:
                self.board.clock.advance(wish.since(now.monotonic))
            elif now.monotonic >= end and all(wish is None or wish > now.monotonic for wish in wishes):
                return
        raise AssertionError("expected the stations to come to rest")

    def cut_power(self, seed: int = 1) -> None:
        self.board.disk.power_cut(Random(seed))
        self.board.disk.mkdir("state")
        self.boot()

    @property
    def current(self) -> Session | None:
        return read(self.board.disk, CURRENT)

    @property
    def last(self) -> Session | None:
        return read(self.board.disk, LAST)

    def told(self, kind: str = "session") -> list[Message]:
        """What left in groups, copies once, in the order it happened."""
        rows = {}
        for name in self.board.disk.list("release"):
            if not name.startswith("."):
                for row in message.unpacked(release.unpacked(self.board.disk.read(f"release/{name}")).body):
                    rows[row.identity] = row
        return sorted((row for row in rows.values() if row.kind == kind), key=lambda row: row.origin_time.tai_ns)

    def results(self) -> dict[str, str]:
        """Of orders, by command: what the box says, wherever it waits."""
        waiting = [
            row for name in self.board.disk.list("inbox") for row in message.unpacked(self.board.disk.read(f"inbox/{name}"))
        ]
        rows = [row for row in (*waiting, *self.told("command-result")) if row.kind == "command-result"]
        return {str(row.fields["command"]): f"{row.fields['result']} {row.fields.get('cause', '')}".strip() for row in rows}


@pytest.fixture
def theatre() -> Theatre:
    return Theatre()


@pytest.fixture
def make_theatre() -> Callable[..., Theatre]:
    """With settings changed: make_theatre(outside="pause")."""
    return lambda **changes: Theatre(SessionSettings(**changes))
