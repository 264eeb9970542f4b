"""The hub: what comes in is durable before it is acknowledged, and nothing foreign can stop it."""

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest

from drivers.clock import ClockState, Timestamp
from drivers.link import Connected, LinkRequest, Received
from firmware.core import message, pcapng
from firmware.core.envelope import (
    Ack,
    Chunk,
    Command,
    Envelope,
    Order,
    ack_unpacked,
    chunk_packed,
    command_packed,
    order_packed,
    packed,
    sealed_envelope,
)
from firmware.core.errors import DiskFailed
from firmware.core.message import Message, Priority, Severity
from firmware.core.presence import Presence, State
from firmware.core.presence import packed as presence_packed
from firmware.core.timestamp import SECOND
from firmware.hub import outgoing
from firmware.hub.evidence import PARTS_HELD_MAX
from firmware.hub.order import asked
from firmware.hub.repository import Repository, RepositoryFailed
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.disk import Failing, SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.link import SimulatedBroker, SimulatedLink

BROKER = "broker:1883"
TREE = "scrubjay/v1/site-1/box-1"
COMMAND = bytes(range(16))


class World:
    """A hub, and a box the test plays."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.timeline = Timeline()
        self.broker = SimulatedBroker(self.timeline)
        self.disk = SimulatedDisk()
        self.board = SimulatedBoard(
            disk=self.disk, clock=SimulatedClock(self.timeline), identity=SimulatedIdentity(name="hub-1"), make_link=self._link
        )
        self.settings = HubSettings(brokers=(BROKER,), database=str(directory / "hub.sqlite"), **settings)  # type: ignore[arg-type]
        self.box = self._link()
        self.acks: list[Ack] = []
        self.commands: list[bytes] = []
        self.start()
        self.box.connect(LinkRequest(BROKER, "box"))
        self.run()

    def _link(self) -> SimulatedLink:
        return SimulatedLink({BROKER: self.broker}, self.timeline)

    def start(self) -> None:
        self.station = HubStation(self.board, self.settings)
        self.station.start(self.board.clock.now())
        self.repository = Repository(self.settings.database)

    def restart(self) -> None:
        """The process ends between two steps."""
        self.station.stop(self.board.clock.now())
        self.start()
        self.run()

    def run(self, seconds: float = 0.01) -> None:
        for _ in range(10):
            self.station.step(self.board.clock.now())
            for event in self.box.events():
                if isinstance(event, Connected):
                    self.box.subscribe([f"{TREE}/ack", f"{TREE}/cmd"])
                elif isinstance(event, Received) and event.topic.endswith("/ack"):
                    self.acks.append(ack_unpacked(event.payload))
                elif isinstance(event, Received):
                    self.commands.append(event.payload)
            self.timeline.advance(int(seconds * 1e8))

    def say(self, channel: str, payload: bytes) -> None:
        self.box.publish(f"{TREE}/{channel}", payload)

    def born(self) -> None:
        self.say("state", presence_packed(Presence("online", bytes(8), 0)))
        self.run()

    def committed(self) -> list[bytes]:
        return [identity for ack in self.acks for identity in ack.committed]

    def partial(self) -> dict[bytes, int]:
        return {identity: size for ack in self.acks for identity, size in ack.partial.items()}

    def texts(self) -> list[str]:
        return [row["text"] for row in self.repository.rows("select text from messages order by number")]

    @property
    def drops(self) -> dict[str, int]:
        return self.station.report.drops


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield World(tmp_path)


def said(text: str, number: int = 1, kind: str = "published", **fields: str) -> Message:
    stamp = Timestamp(10**18 + number, 1000, "ptp", ClockState.LOCKED)
    return Message("robot-1", "arm", kind, Priority.P1, Severity.ERROR, stamp, stamp, sequence=number, text=text, fields=fields)


def group(*messages: Message, box: str = "box-1") -> Envelope:
    return sealed_envelope(
        box=box, kind="group", priority=Priority.P1, first_tai_ns=1, last_tai_ns=2, content=message.packed(messages)
    )


def section(number: int, frames: int = 2) -> bytes:
    body = pcapng.section_header() + pcapng.interface("eth1")
    return body + b"".join(pcapng.enhanced_packet(number * 1000 + frame, bytes(60), 60) for frame in range(frames))


def part(
    number: int, *, last: bool = False, asked_by: bytes | None = COMMAND, content: bytes | None = None, **facts: int | str
) -> Envelope:
    return sealed_envelope(
        box="box-1", kind="evidence", priority=Priority.P2, first_tai_ns=number, last_tai_ns=number,
        content=section(number) if content is None else content, asked_by=asked_by,
        facts={"part": number, "last": int(last), "frames": 999, "from_utc_ns": 5, "until_utc_ns": 6, **facts},
    )  # fmt: skip


def test_acknowledged_when_committed_and_once_for_a_wake(world: World) -> None:
    """(S2-120) Several envelopes of one wake: one transaction, one acknowledgement with all of them."""
    envelopes = [group(said(f"message {number}", number)) for number in range(5)]
    for envelope in envelopes:
        world.say("p1", packed(envelope))
    world.run()

    assert [envelope.identity for envelope in envelopes] == world.committed()
    assert len(world.acks) == 1
    assert [f"message {number}" for number in range(5)] == world.texts()


def test_duplicates_are_absorbed_and_acknowledged_again(world: World) -> None:
    """(S2-121) The same envelope twice, and the same message in two envelopes: once in the repository, both counted."""
    first, second = group(said("a")), group(said("a"), said("b", 2))
    for envelope in (first, first, second):
        world.say("p1", packed(envelope))
        world.run()

    assert ["a", "b"] == world.texts()
    assert [first.identity, first.identity, second.identity] == world.committed()
    assert {"duplicate_envelopes": 1, "duplicate_messages": 1} == {
        name: count for name, count in world.repository.figures().items() if name.startswith("duplicate")
    }


def test_nothing_is_acknowledged_when_the_database_refuses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full or broken database: no acknowledgement, no half; the same envelope later is taken."""
    envelope = group(said("a"))
    world.repository.rows("select 1")
    with monkeypatch.context() as broken:
        broken.setattr(world.station._repository, "_base", Broken())
        world.say("p1", packed(envelope))
        world.run()
    assert [] == world.committed()
    assert world.drops["repository_failed"] >= 1
    assert "repository_failed" == world.station.report.gauges["refused"]
    world.run()
    assert "repository_failed" == world.station.report.gauges["refused"], "nothing has come that could be kept"

    world.say("p1", packed(envelope))
    world.run()
    assert [envelope.identity] == world.committed()
    assert "" == world.station.report.gauges["refused"]


class Broken:
    def execute(self, *_: object) -> object:
        import sqlite3

        raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (packed(group(said("a"), box="box-2")), "bad_content"),
        (packed(replace(group(said("a")), raw_size=5)), "bad_content"),
        (packed(sealed_envelope(box="box-1", kind="group", priority=Priority.P1, first_tai_ns=1, last_tai_ns=2, content=b"no batch")), "bad_content"),
        (packed(part(0, asked_by=None)), "bad_content"),
        (packed(part(0, content=b"no section")), "bad_content"),
        (cbor2.dumps({0: 1, 1: bytes(16), 2: "box-1"}), "bad_envelope"),
        (packed(replace(group(said("a")), facts={"messages": 1 << 40_000})), "bad_envelope"),
    ],
)  # fmt: skip
def test_poison_is_quarantined_and_acknowledged_as_such(world: World, payload: bytes, cause: str) -> None:
    """What is addressed and cannot be understood would be sent for ever: kept with a reason, said to be so, and forgotten by the box."""
    identity = cbor2.loads(payload)[1]
    world.say("p1", payload)
    good = group(said("good"))
    world.say("p1", packed(good))
    world.run()

    assert [identity, good.identity] == world.committed()
    assert {cause: 1} == world.drops
    assert len(world.disk.list("quarantine/hub")) == 2
    assert ["good"] == world.texts()


@pytest.mark.parametrize("channel", ["p1", "state", f"bulk/{bytes(16).hex()}"])
@pytest.mark.parametrize("payload", [b"", b"\xff" * 100, cbor2.dumps([1]), cbor2.dumps({0: 1, 1: "x"})])
def test_noise_is_counted_and_never_acknowledged(world: World, channel: str, payload: bytes) -> None:
    """Bytes without an identity: one drop by cause, no answer, and the next message comes in."""
    world.say(channel, payload)
    world.say("p1", packed(group(said("good"))))
    world.run()

    assert sum(world.drops.values()) == 1
    assert len(world.committed()) == 1


def test_quarantine_is_bounded(tmp_path: Path) -> None:
    """A flood of noise fills a hundredth of nothing."""
    world = World(tmp_path, quarantine_items_max=3)
    for number in range(10):
        world.say("p1", b"noise %d" % number)
        world.run()

    assert len(world.disk.list("quarantine/hub")) == 6
    assert world.drops == {"bad_envelope": 10, "quarantine_full": 7}


def test_a_good_copy_replaces_one_in_quarantine(world: World) -> None:
    """A forged or broken copy under a good identity must not keep the good one out."""
    good = group(said("a"))
    world.say("p1", packed(replace(good, body=b"x", codec="none")))
    world.run()
    world.say("p1", packed(good))
    world.run()

    assert ["a"] == world.texts()


# Long items.


def chunks(envelope: Envelope, size: int) -> list[bytes]:
    import hashlib

    data = packed(envelope)
    digest = hashlib.sha256(data).digest()
    return [chunk_packed(Chunk(at, len(data), digest, data[at : at + size])) for at in range(0, len(data), size)]


def long_group() -> Envelope:
    return group(*[said(f"{number} {SimulatedIdentity(seed=number).entropy(200).hex()}", number) for number in range(40)])


@pytest.mark.parametrize("size", [1, 97, 1000, 4096])
def test_pieces_of_any_size(world: World, size: int) -> None:
    """Whole when the digest is right, wherever the pieces were cut."""
    envelope = long_group() if size > 1 else group(said("a"))
    for chunk in chunks(envelope, size):
        world.say(f"bulk/{envelope.identity.hex()}", chunk)
        world.run(0.001)

    assert [envelope.identity] == world.committed()
    assert [] == world.disk.list("incoming")


def test_pieces_ahead_behind_and_twice(world: World) -> None:
    """The answer is always how much is there in sequence; nothing is put where it does not belong."""
    envelope = long_group()
    pieces = chunks(envelope, 1000)
    channel = f"bulk/{envelope.identity.hex()}"
    for chunk, expected in ((pieces[2], 0), (pieces[0], 1000), (pieces[0], 1000), (pieces[1], 2000), (pieces[0], 2000)):
        world.acks.clear()
        world.say(channel, chunk)
        world.run()
        assert {envelope.identity: expected} == world.partial()


def test_pieces_survive_a_restart(world: World) -> None:
    """What is there in sequence is still there; the question gets the answer."""
    envelope = long_group()
    pieces = chunks(envelope, 1000)
    for chunk in pieces[:3]:
        world.say(f"bulk/{envelope.identity.hex()}", chunk)
    world.run()
    world.restart()
    world.say(f"bulk/{envelope.identity.hex()}", pieces[0])
    world.run()

    assert {envelope.identity: 3000} == world.partial()


def test_spoilt_pieces_are_asked_for_again(world: World) -> None:
    """A digest that does not fit: all of it from the beginning, counted."""
    envelope = long_group()
    pieces = chunks(envelope, 1000)
    for chunk in pieces[:3]:
        world.say(f"bulk/{envelope.identity.hex()}", chunk)
    world.run()
    (name,) = world.disk.list("incoming")
    spoilt = bytearray(world.disk.read(f"incoming/{name}"))
    spoilt[5] ^= 1
    world.disk.write(f"incoming/{name}", spoilt)
    for chunk in pieces[3:]:
        world.say(f"bulk/{envelope.identity.hex()}", chunk)
    world.run()

    assert {envelope.identity: 0} == {envelope.identity: world.partial()[envelope.identity]}
    assert world.drops == {"bad_digest": 1}
    for chunk in pieces:
        world.say(f"bulk/{envelope.identity.hex()}", chunk)
    world.run()
    assert [envelope.identity] == world.committed()


def test_one_box_cannot_fill_the_hub_with_beginnings(tmp_path: Path) -> None:
    """The transfer untouched longest gives way, counted."""
    world = World(tmp_path, incoming_per_box=3)
    for number in range(6):
        envelope = group(said(SimulatedIdentity(seed=number).entropy(500).hex(), number))
        world.say(f"bulk/{envelope.identity.hex()}", chunks(envelope, 100)[0])
        world.run()

    assert len(world.disk.list("incoming")) == 3
    assert world.drops == {"incoming_given_up": 3}


# Evidence.


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1), (0, 0, 1, 1, 2, 2)])
def test_parts_in_any_order_make_one_file(world: World, order: tuple[int, ...]) -> None:
    """(S2-107) One valid pcapng file, visible when it is whole, with frames counted here and not believed."""
    for position, number in enumerate(order):
        is_whole = {0, 1, 2} <= set(order[:position])
        assert is_whole == world.disk.exists(f"evidence/{COMMAND.hex()}.pcapng")
        world.say("p2", packed(part(number, last=number == 2)))
        world.run()
    content = section(0) + section(1) + section(2)

    assert content == world.disk.read(f"evidence/{COMMAND.hex()}.pcapng")
    assert len(list(pcapng.packets(content))) == 6
    assert b'"frames": 6' in world.disk.read(f"evidence/{COMMAND.hex()}.json")
    assert [] == world.disk.list("held")


def test_one_box_cannot_fill_the_hub_with_parts_before_their_turn(world: World) -> None:
    """However many commands it makes up, so many of its parts wait and no more; what has its turn is taken, and makes room. (S2-107)"""
    commands = [number.to_bytes(16, "big") for number in range(1, PARTS_HELD_MAX + 2)]
    for command in commands:
        world.say("p2", packed(part(1, last=True, asked_by=command, content=section(1, 1))))
    world.run()
    assert PARTS_HELD_MAX == len(world.disk.list("held"))
    assert {"evidence_too_far_ahead": 1} == world.drops
    assert PARTS_HELD_MAX == len(world.committed())

    for number, command in ((0, commands[0]), (1, commands[-1]), (0, commands[-1])):
        world.say("p2", packed(part(number, last=number == 1, asked_by=command, content=section(number, 1))))
        world.run()
    whole = [f"{command.hex()}.pcapng" for command in (commands[0], commands[-1])]
    assert whole == [name for name in world.disk.list("evidence") if name.endswith(".pcapng") and not name.startswith(".")]


def test_evidence_appended_and_not_committed_is_appended_once(world: World) -> None:
    """The power goes between the file and the database: the file is cut to what the database knows."""
    world.say("p2", packed(part(0)))
    world.run()
    name = f"evidence/.{COMMAND.hex()}.pcapng"
    file = world.disk.reopen(name, size=world.disk.size(name))
    file.append([b"a part the database never heard of"])
    file.close()
    world.restart()
    world.say("p2", packed(part(1, last=True)))
    world.run()

    assert section(0) + section(1) == world.disk.read(f"evidence/{COMMAND.hex()}.pcapng")


@pytest.mark.parametrize("left", [None, 5])
def test_evidence_whose_beginning_is_gone(world: World, left: int | None) -> None:
    """(S2-107) A database that was restored beside less: what still comes is kept, what is gone is said, and everybody else is heard."""
    for number in (0, 1, 3):
        world.say("p2", packed(part(number)))
    world.run()
    world.disk.remove(f"evidence/.{COMMAND.hex()}.pcapng")
    if left is not None:
        world.disk.write(f"evidence/.{COMMAND.hex()}.pcapng", section(0)[:left])
    world.disk.remove(f"held/{COMMAND.hex()}-000003")
    world.restart()
    alarm = group(said("alarm"))
    for envelope in (part(2, searched_percent=50), alarm):
        world.say("p2", packed(envelope))
    world.run()
    assert {alarm.identity, part(2, searched_percent=50).identity} <= set(world.committed())
    assert {"evidence_gone": 3} == world.drops
    world.say("p2", packed(part(4, last=True, not_held="before 10:15")))
    world.run()

    assert section(2) + section(4) == world.disk.read(f"evidence/{COMMAND.hex()}.pcapng")
    (row,) = world.repository.rows("select parts, frames, complete from evidence")
    assert (5, 4, 1) == tuple(row)
    assert "not held: before 10:15; some of what had come is gone from this hub" == world.repository.command_detail(COMMAND)


def test_evidence_complete_before_the_power_went(world: World) -> None:
    """Committed and not yet visible: start-up makes it so."""
    world.say("p2", packed(part(0, last=True)))
    world.run()
    world.disk.rename(f"evidence/{COMMAND.hex()}.pcapng", f"evidence/.{COMMAND.hex()}.pcapng")
    world.disk.remove(f"evidence/{COMMAND.hex()}.json")
    world.restart()

    assert [f"{COMMAND.hex()}.json", f"{COMMAND.hex()}.pcapng"] == world.disk.list("evidence")


def test_evidence_that_comes_again_is_described_again(world: World) -> None:
    """A database that was lost knows of none of it, and the box may send it anew, other frames in it: its description is of these bytes."""
    name = f"evidence/{COMMAND.hex()}"
    world.disk.mkdir("evidence")
    world.disk.write(f"{name}.pcapng", b"former")
    world.disk.write(f"{name}.json", b'{"bytes": 6, "sha256": "former"}')
    world.say("p2", packed(part(0, last=True)))
    world.run()

    assert section(0) == world.disk.read(f"{name}.pcapng")
    assert hashlib.sha256(section(0)).hexdigest() == json.loads(world.disk.read(f"{name}.json"))["sha256"]


@pytest.mark.parametrize("operation", ["rename", "write"])
def test_evidence_the_disk_refused_when_it_was_complete(world: World, operation: str) -> None:
    """(S2-107) Acknowledged, so that no part of it comes again: it can be downloaded, and says what it is, when the disk is well. No restart."""

    def refuse(_: int, what: str, path: str) -> None:
        if what == operation and path.startswith("evidence/"):
            raise DiskFailed("expected a disk to write on")

    world.disk.before = refuse
    world.say("p2", packed(part(0, last=True)))
    world.run()
    assert [part(0, last=True).identity] == world.committed()
    world.disk.before = None
    world.run(2)

    assert [f"{COMMAND.hex()}.json", f"{COMMAND.hex()}.pcapng"] == world.disk.list("evidence")


def test_a_full_disk_keeps_evidence_out_not_alarms(world: World) -> None:
    """What finds no room is not acknowledged; what does is."""
    world.disk.fill(leave_bytes=30)
    alarm = group(said("alarm"))
    world.say("p2", packed(part(0)))
    world.say("p1", packed(alarm))
    world.run()

    assert [alarm.identity] == world.committed()
    assert world.drops["disk_full"] >= 1


def test_a_sick_disk_is_survived(world: World) -> None:
    """Everything refused, and then well again."""
    world.disk.failing = Failing.READ_ONLY
    world.say("p2", packed(part(0, last=True)))
    world.run()
    world.disk.failing = Failing.NOT
    world.say("p2", packed(part(0, last=True)))
    world.run()

    assert [part(0, last=True).identity] == world.committed()


# Boxes and commands.


def state(world: World) -> str:
    return str(world.repository.rows("select state from boxes where name = 'box-1'")[0]["state"])


def test_presence_and_the_will_of_an_earlier_connection(world: World) -> None:
    """(S2-120) A will published late does not make a box lost that has come back."""
    world.say("state", presence_packed(Presence("online", b"11111111", 0)))
    world.run()
    assert state(world) == "online"
    world.say("state", presence_packed(Presence("online", b"22222222", 0)))
    world.say("state", presence_packed(Presence("lost", b"11111111", 0)))
    world.run()
    assert state(world) == "online"
    world.say("state", presence_packed(Presence("lost", b"22222222", 0)))
    world.run()
    assert state(world) == "lost"


@pytest.mark.parametrize("state", ["online", "left", "lost"])
def test_what_a_broker_keeps_is_no_sign_of_life(world: World, state: State) -> None:
    """(S2-120) A hub that comes back is given every box's last word by its broker: no box was heard by that, nor has one changed."""
    for word in dict.fromkeys(("online", state)):
        world.box.publish(f"{TREE}/state", presence_packed(Presence(word, bytes(8), 0)), retain=True)
        world.run()
    before = [tuple(row) for row in world.repository.rows("select state, since_tai_ns, seen_tai_ns, relay from boxes")]
    world.timeline.advance(30 * 86_400 * SECOND)
    world.restart()

    assert before == [tuple(row) for row in world.repository.rows("select state, since_tai_ns, seen_tai_ns, relay from boxes")]
    assert state == before[0][0]


def test_a_will_is_the_brokers_word(world: World) -> None:
    """(S2-120) That a box is lost is news of it, and nothing that was heard from it."""
    world.born()
    (heard,) = world.repository.rows("select seen_tai_ns from boxes")
    world.timeline.advance(30 * SECOND)
    world.say("state", presence_packed(Presence("lost", bytes(8), 0)))
    world.run()

    (row,) = world.repository.rows("select * from boxes")
    assert ("lost", heard["seen_tai_ns"]) == (row["state"], row["seen_tai_ns"])
    assert row["since_tai_ns"] >= heard["seen_tai_ns"] + 30 * SECOND


def test_a_box_is_heard_after_the_clock_was_set_back(world: World) -> None:
    """(S2-120) Last heard is when it was by the hub's clock as it is now; a box that speaks is not silent for the hour the clock was wrong."""
    world.say("p1", packed(group(said("one"))))
    world.run()
    assert isinstance(world.board.clock, SimulatedClock)
    world.board.clock.step(-3600 * SECOND)
    now = world.board.clock.now().timestamp.tai_ns
    world.say("p1", packed(group(said("two", 2))))
    world.run()

    (row,) = world.repository.rows("select seen_tai_ns from boxes")
    assert now <= row["seen_tai_ns"] < now + SECOND


def test_boxes_are_greeted(world: World) -> None:
    """At a box's birth, and at the hub's own: an empty acknowledgement says the hub is here."""
    world.born()
    assert [Ack()] == world.acks
    world.restart()
    assert [Ack(), Ack()] == world.acks


def order(counter: int, *, expires: int = 1 << 62) -> tuple[str, bytes, bytes]:
    identity = bytes([counter]) * 16
    data = order_packed(Order(identity, "hub-1", "box-1", "retrieval", counter, 0, expires, {"since": 1}))
    return f"{counter:020d}-{identity.hex()}", command_packed(Command(data, bytes(64))), identity


def test_a_command_that_is_taken_back_does_not_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked was told that it was not: read before that and written down after it, it is neither sent nor in the ledger."""
    world.born()
    name, data, identity = order(1)
    add = world.station._repository.add_command

    def late(*values: Any, **more: Any) -> None:
        world.disk.remove(f"commands/outgoing/{name}")
        add(*values, **more)

    monkeypatch.setattr(world.station._repository, "add_command", late)
    world.station._outgoing._spool.publish(name, data)
    world.run(2)

    assert [] == world.commands
    assert world.repository.command_state(identity) is None


@pytest.mark.parametrize("is_taken", [False, True])
def test_what_could_not_be_written_down_goes_out_or_does_not(world: World, is_taken: bool) -> None:
    """The page's transaction fails, and before it has taken the order back the hub's process has it: then it was asked for, and nobody is
    told otherwise; where the page is first, nobody hears of it."""
    world.born()
    page = Repository(world.settings.database)
    page._base.executescript(  # On this connection alone: an order is written down, and then cannot be committed.
        "pragma foreign_keys = on; create table one (a primary key);"
        " create table other (a references one deferrable initially deferred);"
        " create trigger fails after insert on commands begin insert into other values (1); end"
    )

    def before(number: int, what: str, path: str) -> None:
        if what == "remove" and is_taken:
            world.disk.before = None
            world.run()

    world.disk.before = before
    made = order_for_box(world, page)
    world.disk.before = None
    world.run()

    assert (is_taken, int(is_taken)) == (made is not None, len(world.commands))
    assert ("sent" if is_taken else None) == (world.repository.command_state(made.identity) if made else None)
    world.restart()
    assert int(is_taken) == len(world.disk.list("commands/outgoing"))


def order_for_box(world: World, page: Repository) -> Order | None:
    try:
        return asked(
            world.board, page, box="box-1", deed="session", parameters={"do": "close"}, about=None, made_tai_ns=world.timeline.tai_ns,
            expires_tai_ns=world.timeline.tai_ns + 3600 * SECOND,
        )  # fmt: skip
    except RepositoryFailed:
        return None


def test_a_transaction_that_cannot_be_committed_is_over(world: World) -> None:
    """Nothing of it is there, and the next one is as good as any."""
    base = world.repository._base
    base.executescript(
        "pragma foreign_keys = on; create table one (a primary key); create table other (a references one deferrable initially deferred)"
    )
    with pytest.raises(RepositoryFailed), world.repository.transaction():
        world.repository.change("insert into other values (1)")
    with world.repository.transaction():
        world.repository.count("after")

    assert {"after": 1} == world.repository.figures()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_nothing_is_acknowledged_that_the_next_start_will_not_find(world: World, tmp_path: Path, is_replaced: bool) -> None:
    """(S2-120) A database that is removed, or another one put in its place, while the hub runs: the boxes keep theirs until it is started anew."""
    path = Path(world.settings.database)
    with closing(sqlite3.connect(path)) as base, closing(sqlite3.connect(tmp_path / "backup")) as copy:
        base.backup(copy)
    path.unlink()
    if is_replaced:
        (tmp_path / "backup").rename(path)
    alarm = group(said("alarm"))
    world.say("p1", packed(alarm))
    world.run()
    assert ([], "database_gone") == (world.committed(), world.station.report.gauges["refused"])
    world.repository.close()
    world.restart()
    world.say("p1", packed(alarm))
    world.run()

    assert ([alarm.identity], ["alarm"]) == (world.committed(), world.texts())


@pytest.mark.parametrize(
    ("content", "words"), [(b"no database" * 1000, "file is not a database"), (None, "unable to open database file")]
)
def test_a_database_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Which file, and what is wrong with it: a hub does not start without, and somebody has to mend it at night."""
    path = tmp_path / "hub.sqlite"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)

    with pytest.raises(RepositoryFailed, match=f"{re.escape(str(path))} to obey, it answered: {words}"):
        Repository(str(path))


def test_commands_go_in_order_and_again_until_answered(world: World) -> None:
    """(S2-107) By counter; at the box's birth again; gone when the box has answered."""
    world.born()
    (second, second_data, second_identity), (first, first_data, first_identity) = order(2), order(1)
    world.station._outgoing._spool.publish_all([(second, second_data), (first, first_data)])
    world.run()
    assert [first_data, second_data] == world.commands

    world.commands.clear()
    world.born()
    assert [first_data, second_data] == world.commands

    answer = said("command accepted", kind="command-result", command=first_identity.hex(), result="accepted")
    world.say("p3", packed(group(answer)))
    world.run()
    assert [second] == world.station._outgoing._spool.names()
    assert ("accepted", "sent") == (
        world.repository.command_state(first_identity), world.repository.command_state(second_identity),
    )  # fmt: skip


def test_boxes_that_are_away_hold_up_nobodys_commands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many orders wait for boxes that are away: one for a box that is there goes out, and each of them again when it is due."""
    monkeypatch.setattr(outgoing, "KNOWN_MAX", 3)
    world.born()
    waiting = [order(number) for number in range(1, 11)]
    spool = world.station._outgoing._spool
    spool.publish_all([(name, data) for name, data, _ in waiting])
    now = world.board.clock.now()
    wish = world.station.step(now)
    assert wish is not None and wish <= now.monotonic
    world.run()
    last, last_data, last_identity = order(11)
    spool.publish(last, last_data)
    world.run()
    assert {1} == set(Counter(world.commands).values())
    assert {data for _, data, _ in waiting} | {last_data} == set(world.commands)

    answer = said("command accepted", kind="command-result", command=last_identity.hex(), result="accepted")
    world.say("p3", packed(group(answer)))
    world.run(70)
    world.run()
    assert [name for name, _, _ in waiting] == spool.names()
    assert {2} == {count for data, count in Counter(world.commands).items() if data != last_data}

    world.commands.clear()
    world.born()
    assert {data for _, data, _ in waiting} == set(world.commands), "it is back: all of them at once, and not a minute later"


def test_a_command_nobody_answers_is_sent_again_and_expires(world: World) -> None:
    """Once a minute, until it has expired; then it is gone and says so."""
    world.born()
    name, data, identity = order(1, expires=world.timeline.tai_ns + 150_000_000_000)
    world.station._outgoing._spool.publish(name, data)
    world.run()
    for _ in range(4):
        world.run(50)

    assert [data] * 3 == world.commands
    assert world.repository.command_state(identity) == "expired"
    assert [] == world.disk.list("commands/outgoing")


def test_what_was_answered_in_time_has_not_expired(world: World) -> None:
    """(S2-107) The disk refuses to let the answered command go, and it expires before it is its turn again: the box's answer stands."""
    world.born()
    name, data, identity = order(1, expires=world.timeline.tai_ns + 10 * SECOND)
    world.station._outgoing._spool.publish(name, data)
    world.run()

    def refuse(_: int, what: str, path: str) -> None:
        if path.startswith("commands/outgoing/"):
            raise DiskFailed("expected a disk to write on")

    world.disk.before = refuse
    world.say("p1", packed(group(said("shown", kind="command-result", command=identity.hex(), result="done"))))
    world.run()
    assert "done" == world.repository.command_state(identity)
    world.disk.before = None
    world.run(20)

    assert "done" == world.repository.command_state(identity)
    assert [] == world.disk.list("commands/outgoing")


def test_a_sick_disk_gives_a_due_command_no_reason_to_spin(world: World) -> None:
    """With a command due and the disk gone, the hub looks again in a second, not at once and not for ever (storm seed 612)."""
    world.born()
    name, data, _ = order(1)
    world.station._outgoing._spool.publish(name, data)
    world.run()
    world.disk.failing = Failing.GONE
    world.timeline.advance(100 * SECOND)
    now = world.board.clock.now()

    assert now.monotonic.after(SECOND) == world.station.step(now)
    world.disk.failing = Failing.NOT
    world.run()
    assert [data] * 2 == world.commands


def test_evidence_is_an_answer(world: World) -> None:
    """(S2-107) The first part stops the repetition, the last one ends it, and the box's words that come later change nothing."""
    world.born()
    name, data, identity = order(1)
    world.station._outgoing._spool.publish(name, data)
    world.run()
    world.say("p2", packed(part(0, asked_by=identity)))
    world.run()
    assert (world.repository.command_state(identity), world.disk.list("commands/outgoing")) == ("accepted", [])
    world.say("p2", packed(part(1, last=True, asked_by=identity)))
    world.say("p3", packed(group(said("accepted", kind="command-result", command=identity.hex(), result="accepted"))))
    world.run()
    assert world.repository.command_state(identity) == "done"


@pytest.mark.parametrize("numbers", [(0, 1, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0)])
@pytest.mark.parametrize("cancelled", [0, 1])
def test_parts_say_how_far_it_is_and_what_is_missing(world: World, numbers: tuple[int, ...], cancelled: int) -> None:
    """How much was searched, and at the end what was not held and why, or that it was cancelled; in whatever order parts come. (S2-107)"""
    world.born()
    name, data, identity = order(1)
    world.station._outgoing._spool.publish(name, data)
    world.run()
    last = {"last": True, "cancelled": cancelled, "not_held": "09:00 to 10:00 deleted"}
    seen = []
    for number in numbers:
        extra: dict[str, Any] = last if number == 2 else {"searched_percent": 40 * number}
        world.say("p2", packed(part(number, asked_by=identity, **extra)))
        world.run()
        seen.append(world.repository.command_detail(identity))
    final = "cancelled; not held: 09:00 to 10:00 deleted" if cancelled else "not held: 09:00 to 10:00 deleted"

    assert (final, "cancelled" if cancelled else "done") == (seen[-1], world.repository.command_state(identity))
    assert all(said == final for said, number in zip(seen, numbers, strict=True) if 2 in numbers[: numbers.index(number) + 1])


def test_a_whole_answer_has_nothing_to_add(world: World) -> None:
    """Where everything was held, nothing is said beside it."""
    world.born()
    name, data, identity = order(1)
    world.station._outgoing._spool.publish(name, data)
    world.run()
    world.say("p2", packed(part(1, last=True, asked_by=identity)))
    world.say("p2", packed(part(0, asked_by=identity, searched_percent=70)))
    world.run()

    assert ("", "done") == (world.repository.command_detail(identity), world.repository.command_state(identity))


def test_a_reduced_answer_does_not_pass_for_a_whole_one(world: World) -> None:
    """Whoever sees the request, on the page or at the command line, sees that frames were left out, how many, and what is missing beside."""
    world.born()
    name, data, identity = order(1)
    world.station._outgoing._spool.publish(name, data)
    world.run()
    last = {"reduce": "change", "left_out_acknowledgement": 7, "left_out_sampled": 900, "not_held": "09:00 to 10:00 deleted"}
    world.say("p2", packed(part(0, last=True, asked_by=identity, **last)))
    world.run()

    expected = "reduced on request (change): 907 frames left out; not held: 09:00 to 10:00 deleted"
    assert expected == world.repository.command_detail(identity)


def test_only_the_box_that_was_asked_may_answer(world: World) -> None:
    """Another box's word about a command changes nothing."""
    world.born()
    name, data, identity = order(1)
    world.station._outgoing._spool.publish(name, data)
    world.run()
    answer = said("x", kind="command-result", command=identity.hex(), result="accepted")
    world.box.publish("scrubjay/v1/site-1/box-2/p3", packed(group(answer, box="box-2")))
    world.run()

    assert world.repository.command_state(identity) == "sent"


def test_a_command_that_is_none_is_quarantined(world: World) -> None:
    """And does not hold up those behind it."""
    world.born()
    name, data, _ = order(1)
    world.station._outgoing._spool.publish_all([("0-noise", b"noise"), (name, data)])
    world.run()

    assert [data] == world.commands
    assert world.drops == {"bad_command": 1}


@pytest.mark.parametrize("results", [("accepted", "refused"), ("refused", "accepted")])
def test_a_refusal_stands_whichever_word_comes_first(world: World, results: tuple[str, str]) -> None:
    """The box's clock was set back between the two, and its group has them the other way round. (S2-109)"""
    world.born()
    order = Order(COMMAND, "hub-1", "box-1", "session", 1, 0, 1, {"do": "close"})
    world.repository.add_command(order, about=None, now_tai_ns=0)
    for number, result in enumerate(results):
        world.say("p3", packed(group(said("x", number, "command-result", command=COMMAND.hex(), result=result))))
        world.run()

    assert "refused" == world.repository.command_state(COMMAND)
