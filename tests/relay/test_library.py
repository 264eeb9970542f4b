"""A box that may not go outside gets what it is to have: fetched once by its relay, served to the house, bounded."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.clock import Monotonic
from drivers.link import Connected, LinkRequest
from firmware.core.download import Want, Wish, want_packed, wish_packed
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.relay.library import WISH_NS, WISHES_MAX, Library
from simulator.disk import SimulatedDisk

from .test_station import INNER, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    yield House(tmp_path)


def published(house: House, size: int) -> Wish:
    data = house.box.identity.entropy(size)
    wish = Wish(hashlib.sha256(data).digest(), size)
    house.hub.disk.write(f"published/{wish.name}", data)
    return wish


def is_here(house: House, wish: Wish) -> bool:
    path = f"downloads/{wish.name}"
    return house.box.disk.exists(path) and hashlib.sha256(house.box.disk.read(path)).digest() == wish.digest


def test_a_file_comes_through_the_relay(house):
    """The box asks its relay, the relay the hub; the box has it, and the relay keeps it for the next. (S1-03, S2-067)"""
    house.run(2)
    wish = published(house, 700_000)
    Spool(house.box.disk, "wanted").publish(wish.name, wish_packed(wish))
    house.run(120, until=lambda: is_here(house, wish))
    assert is_here(house, wish)

    served = house.hub_station.report.counts["piece_bytes"]
    house.box.disk.remove(f"downloads/{wish.name}")
    Spool(house.box.disk, "wanted").publish(wish.name, wish_packed(wish))
    house.run(120, until=lambda: is_here(house, wish))

    assert is_here(house, wish)
    assert 700_000 == served == house.hub_station.report.counts["piece_bytes"]


@pytest.mark.parametrize("receive_maximum", [10, 1])
def test_brokers_that_take_few_publications_at_once(house, receive_maximum):
    """mosquitto's max_inflight_messages, which a site may have set to 1 for the sake of order: files come all the same. (S2-067)"""
    house.inner.receive_maximum = house.outer.receive_maximum = receive_maximum
    house.run(2)
    wish = published(house, 300_000)
    Spool(house.box.disk, "wanted").publish(wish.name, wish_packed(wish))
    house.run(300, until=lambda: is_here(house, wish))

    assert is_here(house, wish)


def test_the_relay_is_killed_in_the_middle(house):
    """Its next life goes on, and so does the box. (S1-03, S2-070)"""
    house.run(2)
    wish = published(house, 3_000_000)
    Spool(house.box.disk, "wanted").publish(wish.name, wish_packed(wish))
    part = f"downloads/.{wish.name}"
    house.run(60, until=lambda: house.relay.disk.exists(part) and house.relay.disk.size(part) > 1_200_000)
    house.kill_relay()
    house.start_relay()
    house.run(300, until=lambda: is_here(house, wish))

    assert is_here(house, wish)


def test_a_box_that_asks_for_anything(house):
    """Files nobody has: the relay wishes for a few of them and drops the others; nothing of them is here. (S1-03)"""
    house.run(2)
    hostile = house._board("box-6", {INNER: house.inner}).link()
    hostile.connect(LinkRequest(INNER, "site-1/box-6"))
    house.run(2, until=lambda: any(isinstance(event, Connected) for event in hostile.events()))
    for number in range(40):
        hostile.publish("scrubjay/v1/site-1/box-6/want", want_packed(Want(Wish(bytes([number]) * 32, 1 << 20), 0, 1000)))
    hostile.publish("scrubjay/v1/site-1/box-6/want", b"\xff")
    house.run(2, until=lambda: bool(hostile.events()) and False)  # It hears the broker's answers, or time would stand still.
    counts, drops = house.relay_station.report.counts, house.relay_station.report.drops
    assert (WISHES_MAX, 40 - WISHES_MAX, 1) == (counts["wishes"], drops["wish_refused"], drops["bad_want"])

    assert [] == [name for name in house.relay.disk.list("downloads") if not name.startswith(".")]


def test_what_nobody_asks_for_any_more_is_taken_back():
    """A wish that is not repeated goes after ten minutes, and another has its place. (S1-03)"""
    disk, report = SimulatedDisk(), Report("relay")
    library = Library(disk, report, bytes_max=1 << 20)
    library.start(Monotonic(0))
    wishes = [Wish(bytes([number]) * 32, 400) for number in range(WISHES_MAX + 1)]
    for wish in wishes:
        library.wanted(wish, Monotonic(1))
    assert {"wish_refused": 1} == report.drops

    library.wanted(wishes[0], Monotonic(WISH_NS))
    library.keep_house(Monotonic(WISH_NS + 2))
    library.wanted(wishes[-1], Monotonic(WISH_NS + 3))

    assert sorted([wishes[0].name, wishes[-1].name]) == Spool(disk, "wanted").names()
    assert WISHES_MAX - 1 == report.counts["wishes_taken_back"]


def test_room_is_made_for_what_is_asked_for():
    """Beyond its bytes the file asked for longest ago goes; one that would never fit is not wished for."""
    disk, report = SimulatedDisk(), Report("relay")
    library = Library(disk, report, bytes_max=1000)
    library.start(Monotonic(0))
    wishes = [Wish(bytes([number]) * 32, 400) for number in range(3)]
    for number, wish in enumerate(wishes[:2], start=1):
        disk.write(f"downloads/{wish.name}", bytes(400))
        library.wanted(wish, Monotonic(number))
    library.wanted(wishes[0], Monotonic(5))
    library.wanted(wishes[2], Monotonic(6))
    library.wanted(Wish(b"x" * 32, 1001), Monotonic(7))
    disk.write(f"downloads/.{wishes[2].name}", b"its first piece")
    library.keep_house(Monotonic(8))

    assert [f".{wishes[2].name}", wishes[0].name] == disk.list("downloads")
    assert [wishes[2].name] == disk.list("wanted")
    assert {"wish_refused": 1} == report.drops


@pytest.mark.parametrize("is_tight", [False, True])
def test_a_file_nobody_has_costs_no_other_its_place(is_tight):
    """Whoever asks for a large file that does not exist empties nothing: there is room beside, until it begins to come. (S1-03)

    On a disk that has no room beside, it would never begin.
    """
    disk, report = SimulatedDisk(), Report("relay")
    library = Library(disk, report, bytes_max=1000)
    library.start(Monotonic(0))
    here, nowhere = Wish(b"h" * 32, 400), Wish(b"n" * 32, 1000)
    disk.write(f"downloads/{here.name}", bytes(400))
    library.wanted(here, Monotonic(1))
    disk.fill(leave_bytes=1999 if is_tight else 1 << 20)
    library.wanted(nowhere, Monotonic(2))
    disk.write(f"downloads/.{nowhere.name}", b"")
    library.keep_house(Monotonic(3))

    assert [nowhere.name] == disk.list("wanted")
    assert (not is_tight) == disk.exists(f"downloads/{here.name}")


def test_files_that_come_together_find_no_more_room_than_others():
    """Several are wished for at once, and there is room for each: when they are here, the one asked for longest ago goes. (S1-03)"""
    disk, report = SimulatedDisk(), Report("relay")
    library = Library(disk, report, bytes_max=1000)
    library.start(Monotonic(0))
    wishes = [Wish(bytes([number]) * 32, 400) for number in range(4)]
    for number, wish in enumerate(wishes, start=1):
        library.wanted(wish, Monotonic(number))
    library.wanted(wishes[0], Monotonic(5))
    for wish in wishes:
        disk.write(f"downloads/{wish.name}", bytes(400))
        Spool(disk, "wanted").settle_named(wish.name)
    library.keep_house(Monotonic(WISH_NS))

    assert [wishes[0].name, wishes[3].name] == disk.list("downloads")
    assert {"wishes": 4, "files_given_up": 2} == report.counts
