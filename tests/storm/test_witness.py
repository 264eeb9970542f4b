"""What the storm's witness takes for a promise: a checker that believes too much finds what is not there."""

from typing import Any

import pytest

from drivers.clock import ClockState, Timestamp
from drivers.link import LinkRequest
from firmware.core.envelope import Ack, Envelope, ack_packed, sealed_envelope
from firmware.core.envelope import packed as envelope_packed
from firmware.core.message import Message, Priority, Severity, packed
from firmware.core.settings import Settings
from firmware.core.spool import Spool
from firmware.core.topics import Topic
from firmware.roles import SECTIONS
from simulator.checkers import Witness
from simulator.world import Life, Machine, World, WorldBoard

STAMP = Timestamp(10**18, 1000, "ptp", ClockState.LOCKED)
ITEM = packed([Message("robot-1", "arm", "published", Priority.P1, Severity.ERROR, STAMP, STAMP, sequence=1, text="stopped")])


class Stage:
    """A box on which the test plays all processes."""

    def __init__(self) -> None:
        self.world = World(1)
        self.box: Machine = self.world.add("or3-box", [], Settings(SECTIONS["box"], []), site="site-1", capacity_bytes=1 << 20)
        self.witness = Witness(self.box, self.box)
        self.witness.watch()
        self.writer, self.reader = (Life(_process(name), self.box, WorldBoard(self.box, name)) for name in ("intake", "group"))
        self.box.disk.mkdir("inbox")

    def publish_without_sync(self) -> None:
        """As far as a writer comes who is killed before the last step."""
        self.world.current = self.writer
        self.box.disk.write("inbox/.one", ITEM)
        self.box.disk.sync("inbox/.one")
        self.box.disk.rename("inbox/.one", "inbox/one")

    def look_at_it(self) -> None:
        """The reader takes it and puts it back; its turn is over."""
        self.world.current = self.reader
        self.box.disk.rename("inbox/one", "inbox/one~1")
        self.box.disk.rename("inbox/one~1", "inbox/one")
        self.witness._turned(self.reader)


def _process(name: str) -> Any:
    """Only its identity counts here."""
    return name


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_putting_back_promises_nothing(stage: Stage) -> None:
    """The writer was killed before its publish returned; that a reader looked at the item makes nothing durable (storm seed 663)."""
    stage.publish_without_sync()
    stage.look_at_it()

    assert {} == stage.witness.promised


def _group(*, uncertainty_ns: int, priority: int = 1) -> Envelope:
    received = Timestamp(10**18, uncertainty_ns, "ptp", ClockState.LOCKED)
    said = Message("robot-1", "arm", "published", Priority(priority), Severity.ERROR, STAMP, received, sequence=1, text="stopped")
    return sealed_envelope(
        box="or3-box", kind="group", priority=Priority(priority), first_tai_ns=10**18, last_tai_ns=10**18, content=packed([said])
    )


class Outside:
    """The wire between the stage's box and a relay, on which the test plays uplink and relay."""

    def __init__(self, stage: Stage) -> None:
        self.stage, world = stage, stage.world
        self.box_board = WorldBoard(stage.box, "uplink")
        relay = world.add("or3-relay", [], Settings(SECTIONS["relay"], []), site="site-1", capacity_bytes=1 << 20)
        self.relay_board = WorldBoard(relay, "relay")
        hub = world.add("hub-1", [], Settings(SECTIONS["hub"], []), site="site-1", capacity_bytes=1 << 20)
        stage.witness.hub = hub
        stage.box.disk.mkdir("outbox")

    def put(self, name: str, envelope: Envelope) -> None:
        Spool(self.stage.box.disk, "outbox").publish(name, envelope_packed(envelope))

    def send(self, envelope: Envelope) -> None:
        topic = str(Topic("site-1", "or3-box", f"p{int(envelope.priority)}"))
        self.stage.witness._published(self.box_board, topic, envelope_packed(envelope))

    def keep(self, envelope: Envelope) -> None:
        topic = str(Topic("site-1", "or3-box", "ack"))
        self.stage.witness._published(self.relay_board, topic, ack_packed(Ack((), {}, (envelope.identity,))))

    def connect_anew(self) -> None:
        self.stage.witness._connecting(self.box_board, LinkRequest("inner:1883", client="site-1/or3-box"))


def test_an_item_made_anew_is_the_one_a_relay_keeps(stage: Stage) -> None:
    """The gate was killed before it settled, and makes the same group again with a clock that is judged otherwise: another identity, the
    same messages, as its name says. The relay has them, and what is less urgent need not wait (storm seed 11 with a relay)."""
    outside = Outside(stage)
    first, anew, statistics = _group(uncertainty_ns=1), _group(uncertainty_ns=2), _group(uncertainty_ns=1, priority=2)
    outside.put("p1-01000000000000000000-group-a", first)
    outside.send(first)
    outside.keep(first)
    outside.put("p1-01000000000000000000-group-a", anew)
    outside.connect_anew()
    outside.put("p2-01000000000000000000-group-b", statistics)
    outside.send(statistics)

    assert first.identity != anew.identity
    assert [] == stage.witness.seen


def test_an_alarm_nobody_keeps_may_not_wait(stage: Stage) -> None:
    """One of another name was sent to nobody: something less urgent before it is what this checker is for."""
    outside = Outside(stage)
    first, other, statistics = _group(uncertainty_ns=1), _group(uncertainty_ns=2), _group(uncertainty_ns=1, priority=2)
    outside.put("p1-01000000000000000000-group-a", first)
    outside.send(first)
    outside.keep(first)
    outside.connect_anew()
    outside.put("p1-01000000000000000000-group-c", other)
    outside.send(statistics)

    assert ["priority 2 was sent on p2 while p1-01000000000000000000-group-c waited"] == stage.witness.seen


def test_a_finished_publish_is_a_promise(stage: Stage) -> None:
    """By the sync of the directory, whoever it is that syncs, or by the end of the writer's turn."""
    stage.publish_without_sync()
    stage.look_at_it()
    stage.box.disk.sync_dir("inbox")
    assert 1 == len(stage.witness.promised)

    other = Stage()
    other.publish_without_sync()
    other.witness._turned(other.writer)
    assert 1 == len(other.witness.promised)
