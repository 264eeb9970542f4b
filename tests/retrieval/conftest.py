"""A box with a store and somebody who asks for evidence."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from firmware.core import message, pcapng, release
from firmware.core.envelope import Order, order_packed
from firmware.core.message import Message
from firmware.core.pcapng import Packet
from firmware.core.query import Query
from firmware.core.release import Release
from firmware.core.request import Request, as_parameters
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.retrieval.settings import RetrievalSettings
from firmware.retrieval.station import RetrievalStation
from simulator.board import SimulatedBoard

ORDERS = "commands/verified/retrieval"


@dataclass
class Asker:
    """Orders as command would hand them on; what lies in release/ as deidentify would find it."""

    board: SimulatedBoard = field(default_factory=SimulatedBoard)
    settings: RetrievalSettings = field(default_factory=RetrievalSettings)
    count: int = 0

    def __post_init__(self) -> None:
        self.board.disk.mkdir(ORDERS)
        self.board.disk.sync_dir("")
        self.board.disk.sync_dir("commands")
        self.board.disk.sync_dir("commands/verified")
        self.boot()

    def boot(self) -> None:
        self.station = RetrievalStation(self.board, self.settings)
        self.station.start(self.board.clock.now())

    @property
    def utc_ns(self) -> int:
        return self.board.clock.now().utc_ns

    def ask(self, query: Query | None = None, *, parameters: dict[str, int | str | None] | None = None) -> bytes:
        """An order; returns its identity."""
        self.count += 1
        identity = hashlib.sha256(b"%d" % self.count).digest()[:16]
        made = self.board.clock.now().timestamp.tai_ns
        given = parameters if parameters is not None else as_parameters(Request(query or Query()))
        order = Order(identity, "hub-1", "box-1", "retrieval", self.count, made, made + 3600 * SECOND, given)
        Spool(self.board.disk, ORDERS).publish(f"cmd-{identity.hex()}", order_packed(order))
        return identity

    def work(self, *, seconds: int = 300) -> int:
        """Step until every order is settled or virtual time is up; returns the steps."""
        until = self.board.clock.now().monotonic.after(seconds * SECOND)
        for steps in range(100_000):
            now = self.board.clock.now()
            wish = self.station.step(now)
            if wish is None or wish > until:
                return steps
            if wish > now.monotonic:
                self.board.clock.advance(wish.since(now.monotonic))
        raise AssertionError("expected the station to come to rest")

    def released(self) -> dict[str, Release]:
        spool = Spool(self.board.disk, "release")
        return {name: release.unpacked(spool.peek(name) or b"") for name in spool.names()}

    def evidence(self, identity: bytes) -> list[Packet]:
        """All frames of an order's parts, which must be complete."""
        parts = [row for _, row in sorted(self.released().items()) if row.asked_by == identity]
        assert list(range(len(parts))) == [row.facts["part"] for row in parts]
        assert [1] == [row.facts["last"] for row in parts][-1:]
        assert 1 == sum(row.facts["last"] == 1 for row in parts)
        packets = []
        for row in parts:
            frames = list(pcapng.packets(row.body))
            assert row.facts["frames"] == len(frames)
            assert len(row.body) <= 4 << 20
            packets += frames
        return packets

    def said(self, kind: str) -> list[Message]:
        inbox = Spool(self.board.disk, "inbox")
        rows = [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]
        return [row for row in rows if row.kind == kind]


@pytest.fixture
def asker() -> Asker:
    return Asker()


@pytest.fixture
def make_asker() -> Callable[[], Asker]:
    return Asker
