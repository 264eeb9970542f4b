"""Files that come down: asked for piece by piece, behind alarms, from the byte that is there; nothing that was not asked for is believed."""

import hashlib
from collections.abc import Callable
from random import Random

import pytest

from drivers.errors import NotConnected
from drivers.link import Connected, Disconnected, LinkRequest, Received
from firmware.core.download import (
    PIECE_BYTES_MAX,
    Piece,
    Want,
    Wish,
    piece_packed,
    want_unpacked,
    wish_packed,
)
from firmware.core.spool import Spool
from firmware.uplink.downloading import SYNC_BYTES
from simulator.link import LinkFaults

from .conftest import BROKERS, World

PIECE = "scrubjay/v1/site-1/box-1/piece"


class Source:
    """Whoever has the file. alters: what becomes of a piece before it is sent; None: it is lost."""

    def __init__(self, world: World, data: bytes) -> None:
        self.world, self.data = world, data
        self.wish = Wish(hashlib.sha256(data).digest(), len(data))
        self.wants: list[Want] = []
        self.sent_bytes = 0
        self.answers = True
        self.alters: Callable[[Piece], Piece | None] = lambda piece: piece
        self.link = world._link()
        self.connect()
        former = world.before_step

        def before() -> None:
            former()
            self.step()

        world.before_step = before

    def connect(self) -> None:
        self.link.connect(LinkRequest(BROKERS[0], f"source-{self.wish.name[:8]}"))

    def wanted(self) -> None:
        self.world.disk.mkdir("wanted")
        Spool(self.world.disk, "wanted").publish(self.wish.name, wish_packed(self.wish))

    def step(self) -> None:
        for event in self.link.events():
            if isinstance(event, Connected):
                self.link.subscribe(["scrubjay/v1/+/+/want"])
            elif isinstance(event, Disconnected):
                self.connect()
            elif isinstance(event, Received):
                self.wants.append(want_unpacked(event.payload))
                if self.answers and self.wants[-1].wish == self.wish:
                    self.answer(self.wants[-1])

    def answer(self, want: Want) -> None:
        for offset in range(want.offset, want.offset + want.count, PIECE_BYTES_MAX):
            end = min(want.offset + want.count, offset + PIECE_BYTES_MAX)
            piece = self.alters(Piece(want.wish, offset, self.data[offset:end]))
            if piece is not None:
                try:
                    self.link.publish(PIECE, piece_packed(piece))
                except NotConnected:
                    return
                self.sent_bytes += len(piece.data)

    def here(self) -> bool:
        path = f"downloads/{self.wish.name}"
        return self.world.disk.exists(path) and self.world.disk.read(path) == self.data

    def begun_bytes(self) -> int:
        path = f"downloads/.{self.wish.name}"
        return self.world.disk.size(path) if self.world.disk.exists(path) else 0


@pytest.fixture
def world() -> World:
    return World(brokers=BROKERS[:1])


@pytest.fixture
def source(world: World) -> Source:
    made = Source(world, world.noise(3 * SYNC_BYTES + 777))
    made.wanted()
    return made


def drops(world: World) -> dict[str, int]:
    return dict(world.station.report.drops)


def test_a_file_comes_down_whole(world, source):
    """What is wanted is asked for and comes; each byte once; then the wish is gone. (S1-03)"""
    world.run(60, until=source.here)

    assert source.here()
    assert [] == world.disk.list("wanted")
    assert len(source.data) == source.sent_bytes
    assert {} == drops(world)


def test_a_lost_connection_goes_on_at_the_byte(world, source):
    """The connection breaks in the middle: nothing that had come is asked for again. (S1-03)"""
    world.run(60, until=lambda: source.begun_bytes() > SYNC_BYTES + 5)
    had = source.begun_bytes()
    world.brokers[BROKERS[0]].drop("site-1/box-1")
    asked = len(source.wants)
    world.run(60, until=source.here)

    assert source.here()
    assert had == source.wants[asked].offset


def test_a_new_life_goes_on_at_what_was_synced(world, source):
    """The process is killed and the power goes, wherever it is: it goes on at what lasts, and the file is right. (S1-03)"""
    world.run(60, until=lambda: source.begun_bytes() > 2 * SYNC_BYTES + 5)
    world.disk.power_cut(Random(7))
    asked = len(source.wants)
    world.crash()
    source.connect()
    world.run(60, until=source.here)

    assert source.here()
    assert 2 * SYNC_BYTES == source.wants[asked].offset


@pytest.mark.parametrize("receive_maximum", [1, 2, 5])
def test_asking_finds_room_among_bulk(receive_maximum):
    """What is asked for is a publication like any other: never more than the broker takes at once, and bulk leaves room for it. (S1-03)"""
    world = World(receive_maximum=receive_maximum, brokers=BROKERS[:1])
    world.brokers[BROKERS[0]].faults = LinkFaults(delay_ns=30_000_000)
    source = Source(world, world.noise(100_000))
    for number in range(10):
        world.put(3, number, world.noise(100_000))
    source.wanted()
    on_wire = []
    former = world.before_step
    world.before_step = lambda: (on_wire.append(len(world.station._wire.b)), former())[1]
    world.run(600, until=source.here)

    assert source.here()
    assert receive_maximum >= max(on_wire)


def test_alarms_go_first(world, source):
    """While an alarm waits nothing is asked for. (S1-03, S2-060)"""
    world.run(60, until=lambda: source.begun_bytes() > 0)
    world.hub.answers = False
    for number in range(40):
        world.put(1, number)  # More than the window takes: some wait.
    world.run(2)
    asked = len(source.wants)
    world.run(15)

    assert asked == len(source.wants)

    world.hub.answers = True
    world.run(120, until=source.here)

    assert source.here()


def test_an_alarm_is_not_behind_pieces(world, source):
    """With a file coming down, an alarm is out within the step that sees it; what is on its way down is one stretch."""
    world.run(60, until=lambda: source.begun_bytes() > 0)
    before = len(world.hub.envelopes)
    identity = world.put(1, 1)
    world.run(0.05, until=lambda: len(world.hub.envelopes) > before)

    assert identity == world.hub.envelopes[-1]
    assert max(want.count for want in source.wants) <= 4 * world.settings.chunk_bytes


def test_who_answers_forgets_and_is_asked_again(world, source):
    """No answer, half an answer, answers twice and out of order: asked again from the byte that is there, less often each time. (S1-03)"""
    dropped = iter([True, False, True, True, False, True] * 3)
    source.alters = lambda piece: None if next(dropped, False) else piece
    world.brokers[BROKERS[0]].faults = LinkFaults(again=0.2, delay_ns=20_000_000)
    world.run(600, until=source.here)

    assert source.here()
    assert 0 < world.station.report.counts["asked_again"]


def test_nobody_answers(world, source):
    """Asked for twice a minute at most in the end, and steps stay few."""
    source.answers = False
    world.run(600)

    assert 5 < len(source.wants) < 25
    assert 0 == source.begun_bytes()


def test_what_was_not_asked_for_is_dropped(world, source):
    """A piece of another file, one beyond what was asked, one nobody asked for, and bytes that are none: counted and not written. (S1-03)"""
    source.answers = False
    world.run(5, until=lambda: bool(source.wants))
    other = Wish(bytes(32), 100)
    beyond = source.wants[-1].offset + source.wants[-1].count
    for payload in (
        piece_packed(Piece(other, 0, bytes(100))),
        piece_packed(Piece(source.wish, beyond, bytes(10))),
        piece_packed(Piece(Wish(source.wish.digest, source.wish.size - 1), 0, bytes(10))),
        b"\xff",
        b"",
    ):
        source.link.publish(PIECE, payload)
    world.run(0.5)

    assert 0 == source.begun_bytes()
    assert {"piece_not_asked_for": 3, "bad_piece": 2} == drops(world)

    Spool(world.disk, "wanted").settle_named(source.wish.name)
    world.run(0.5)
    source.link.publish(PIECE, piece_packed(Piece(source.wish, 0, source.data[:100])))
    world.run(0.5)

    assert [] == world.disk.list("downloads")
    assert 4 == drops(world)["piece_not_asked_for"]


def test_a_byte_changed_on_the_way(world, source):
    """The whole is compared with what was wanted; a wrong one is thrown away, and after three the wish is given up. (S1-03)"""
    changed = SYNC_BYTES + 5

    def flip(piece: Piece) -> Piece:
        at = changed - piece.offset
        if not 0 <= at < len(piece.data):
            return piece
        return Piece(piece.wish, piece.offset, piece.data[:at] + bytes([piece.data[at] ^ 1]) + piece.data[at + 1 :])

    source.alters = flip
    world.run(120, until=lambda: drops(world).get("bad_digest", 0) == 1)
    source.alters = lambda piece: piece
    world.run(120, until=source.here)

    assert source.here()

    source = Source(world, world.noise(5000))
    changed = 7
    source.alters = flip
    source.wanted()
    world.run(120, until=lambda: not world.disk.list("wanted"))

    assert not source.here()
    assert {"bad_digest": 4, "download_given_up": 1} == drops(world)


def test_a_full_disk_waits_for_room(world, source):
    """No room to begin, and no room in the middle: told, nothing else is kept out of its room, and it goes on when there is. (S1-03)"""
    world.disk.fill(leave_bytes=1 << 20)
    world.run(10)

    assert 0 == source.begun_bytes()
    assert 1 <= drops(world)["download_disk_full"]

    world.disk.fill(leave_bytes=1 << 29)
    world.run(120, until=lambda: source.begun_bytes() > SYNC_BYTES)
    world.disk.fill(leave_bytes=100)
    world.run(5)
    world.disk.fill(leave_bytes=1 << 29)
    world.run(300, until=source.here)

    assert source.here()


def test_one_nobody_has_does_not_keep_out_another(world):
    """A file nobody answers for has its turn again later; the one behind it comes. (S1-03)"""
    absent = Source(world, world.noise(2000))
    there = Source(world, world.noise(2000))
    absent.answers = False
    absent.wanted()
    there.wanted()
    world.run(120, until=there.here)

    assert there.here()


def test_a_wish_that_is_none(world):
    """Bytes that are no wish, and one under another's name, go; no file of theirs is begun."""
    world.disk.mkdir("wanted")
    spool = Spool(world.disk, "wanted")
    spool.publish("0" * 64, b"x")
    spool.publish("1" * 64, wish_packed(Wish(bytes(32), 5)))
    world.run(2)

    assert [] == world.disk.list("wanted")
    assert [] == world.disk.list("downloads")
    assert {"bad_wish": 2} == drops(world)


def test_nothing_is_asked_for_outside_the_window():
    """Between connection windows nothing comes down, and in the next one it goes on. (S1-03, S2-066)"""
    world = World(brokers=BROKERS[:1], open_every_min=10, open_min=2)
    source = Source(world, world.noise(2 * SYNC_BYTES))
    world.brokers[BROKERS[0]].faults = LinkFaults(delay_ns=400_000_000)
    source.wanted()
    world.run(3600, until=source.here)

    assert source.here()
    assert 2 <= world.station.report.counts["windows_opened"]
