"""A hub rolls a version out to a fleet in virtual time: phases, halts, silence, hours, restarts. The boxes' words are the test's."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from drivers.link import LinkRequest, Received
from firmware.core.download import Piece, Want, Wish, piece_unpacked, want_packed
from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND
from firmware.hub import editions, updates
from firmware.hub.editions import Arriving
from firmware.hub.repository import RepositoryFailed
from simulator.identity import SimulatedIdentity

from .fleet import BROKER, BUNDLE, TICK_S, Fleet


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    yield lambda **more: Fleet(tmp_path, **({"boxes": 20} | more))


def test_a_good_version_reaches_all_in_phases(make_fleet):
    """One box, then two, ten, all; each phase only after the one before was well for the soak time; done in the end. (S1-03)"""
    fleet = make_fleet()
    fleet.publish(fleet.edition())
    fleet.roll_out()
    seen: list[int] = []
    fleet.run(4000, until=lambda: seen.append(len(fleet.asked())) or fleet.state() == "done")

    assert [1, 2, 10, 20] == sorted(set(seen) - {0})
    assert 300 // TICK_S < seen.count(1)
    assert {"v2"} == {box.official for box in fleet.boxes}
    assert {"good": 20} == fleet.shown()["counts"]
    assert 20 == sum(len(box.orders) for box in fleet.boxes)


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (("stays test", "version v2 stays test: an alarm was not delivered"), "an alarm was not delivered"),
        (("taken back", "version image is official, v2 is test, for this reason: 3 unexpected ends"), "3 unexpected ends"),
        (("refused", "a bundle was refused: expected"), "a bundle was refused"),
        (None, "nothing of it being official within 1800 s"),
    ],
)
def test_a_bad_version_halts_after_the_first_box(make_fleet, outcome, cause):
    """It fails, is taken back, is refused or is never heard of: one box of twenty was asked, and people are told why, by priority. (S1-16)"""
    fleet = make_fleet()
    fleet.publish(fleet.edition())
    for box in fleet.boxes:
        box.does = lambda version: outcome
    fleet.roll_out()
    fleet.run(2500, until=lambda: fleet.state() == "halted")

    assert ("halted", 1) == (fleet.state(), len(fleet.asked()))
    assert cause in str(fleet.shown()["cause"])
    assert [(2, f"roll-out 1 of version v2 is halted: {fleet.shown()['cause']}")] == [
        row for row in fleet.says("rollout") if row[0] == 2
    ]
    assert ["rollout"] == [row["rule"] for row in fleet.repository.rows("select rule from calls")]
    fleet.run(300)
    assert 1 == len(fleet.asked())


def test_one_that_fails_an_hour_later_halts_too(make_fleet):
    """It was good, and is taken back while the next phase is under way. (S1-16)"""
    fleet = make_fleet()
    fleet.publish(fleet.edition())
    fleet.roll_out()
    fleet.run(1000, until=lambda: len(fleet.asked()) == 2)
    first = next(box for box in fleet.boxes if box.official == "v2")
    first._due.append((0, "v2", "taken back", "it failed an hour later"))
    fleet.run(30)

    assert "halted" == fleet.state()
    assert "it failed an hour later" in str(fleet.shown()["cause"])


def test_a_roll_out_that_is_begun_again_after_a_restore(make_fleet, tmp_path):
    """Its number is given anew, and with it the identities of orders the boxes have had: they take it, and none has failed. (S1-03)"""
    fleet = make_fleet(rollout_phases=("all",))
    fleet.publish(fleet.edition())
    with closing(sqlite3.connect(fleet.settings.database)) as base, closing(sqlite3.connect(tmp_path / "yesterday")) as copy:
        base.backup(copy)
    fleet.roll_out()
    fleet.run(100, until=lambda: len(fleet.asked()) == 20)
    fleet.run(25)  # They have accepted, and none is official yet.
    assert [] == fleet.board.disk.list("commands/outgoing")
    fleet.hub.stop(fleet.board.clock.now())
    fleet.repository.close()
    (tmp_path / "yesterday").replace(fleet.settings.database)
    fleet.start()
    fleet.roll_out()
    fleet.run(2000, until=lambda: fleet.state() != "running")

    assert ("done", {"good": 20}) == (fleet.state(), fleet.shown()["counts"])


def test_official_and_unwell_is_not_good(make_fleet):
    """A box that loses something is not good, however long it is official; it is when it has been well for the soak time."""
    fleet = make_fleet(rollout_limit_s=100_000)
    fleet.publish(fleet.edition())
    for box in fleet.boxes:
        box.losses = 1
    fleet.roll_out()
    fleet.run(1500)
    assert ("running", {"official": 1, "waiting": 19}) == (fleet.state(), fleet.shown()["counts"])

    for box in fleet.boxes:
        box.losses = 0
    fleet.run(600, until=lambda: len(fleet.asked()) > 1)
    assert 2 == len(fleet.asked())


def test_silent_boxes_count_neither_way_until_their_time(make_fleet):
    """One box of ten is switched off: the phase waits for nobody it need not wait for, and its silence is an error in the end. (S1-16)"""
    fleet = make_fleet(rollout_phases=("10", "all"), rollout_errors_percent=10)
    fleet.publish(fleet.edition())
    order = fleet.roll_out()
    away = next(box for box in fleet.boxes if box.name == fleet.shown(order)["boxes"][3]["box"])  # type: ignore[index]
    away.is_there = False
    fleet.run(800, until=lambda: len(fleet.asked()) == 19)
    assert 19 == len(fleet.asked())

    fleet.run(2500, until=lambda: fleet.state() == "done")
    assert "19 of 20 boxes are good" == fleet.shown()["cause"]
    assert "nothing of it being official" in str(next(row for row in fleet.shown()["boxes"] if row["box"] == away.name)["cause"])  # type: ignore[attr-defined]


def test_an_edition_that_expires_on_the_way(make_fleet):
    """Who has not answered by then is ordered it no more; who was never offered it halts the roll-out, for nobody takes it. (S1-16)"""
    fleet = make_fleet(rollout_phases=("2", "all"), rollout_success_percent=50, rollout_errors_percent=100)
    fleet.publish(fleet.edition(until_s=300))
    order = fleet.roll_out()
    away = next(box for box in fleet.boxes if box.name == fleet.shown(order)["boxes"][1]["box"])  # type: ignore[index]
    away.is_there = False
    fleet.run(1200, until=lambda: fleet.state() == "halted")

    assert "its edition has expired, and 18 boxes were to be offered it" == fleet.shown()["cause"]
    assert {"good": 1, "offered": 1, "waiting": 18} == fleet.shown()["counts"]
    assert 2 == len(fleet.repository.rows("select 1 from commands"))


def test_halted_and_resumed_by_people(make_fleet):
    """Halted, orders nobody has answered are withdrawn and nobody is asked; resumed, it goes on, those that failed left out."""
    fleet = make_fleet(rollout_phases=("2", "all"))
    fleet.publish(fleet.edition())
    for box in fleet.boxes:
        box.is_there = False
    fleet.roll_out()
    fleet.run(20)
    fleet.change("halted")
    for box in fleet.boxes:
        box.is_there = True
    fleet.run(200)
    assert ([], {"waiting": 20}) == (fleet.asked(), fleet.shown()["counts"])

    first = next(box for box in fleet.boxes if box.name == fleet.shown()["boxes"][0]["box"])  # type: ignore[index]
    first.does = lambda version: ("stays test", "not here")
    fleet.change("running")
    fleet.run(300, until=lambda: fleet.state() == "halted")
    assert "not here" in str(fleet.shown()["cause"])
    fleet.change("running")
    fleet.run(3000, until=lambda: fleet.state() == "done")
    assert ({"good": 19}, "19 of 19 boxes are good") == (fleet.shown()["counts"], fleet.shown()["cause"])


def test_back_is_ordered_to_all_that_run_it(make_fleet):
    """Every box that runs the version goes back, by an order of the hub's that names the version; the others are not asked. (S1-15)"""
    fleet = make_fleet(rollout_phases=("5", "all"))
    fleet.publish(fleet.edition())
    fleet.roll_out()
    fleet.run(200, until=lambda: fleet.shown()["counts"] == {"official": 5, "waiting": 15})
    fleet.change("back")
    fleet.run(60)

    back = [order.parameters for box in fleet.boxes for order in box.orders.values() if "rollback" in order.parameters]
    assert [{"rollback": "previous", "from": "v2"}] * 5 == back
    assert {"image"} == {box.official for box in fleet.boxes}
    assert "back" == fleet.state()


def test_a_box_whose_clock_was_ahead_is_heard_when_it_is_right(make_fleet):
    """What it once said of next year is not its last word until then: what comes later counts, and what is older than that does not. (S1-03)"""
    fleet = make_fleet(boxes=1)
    (box,) = fleet.boxes
    fleet.publish(fleet.edition())
    box.clock_ns = 365 * 86_400 * SECOND
    box.says_version()
    fleet.run(10)
    box.clock_ns = 0
    fleet.roll_out()
    fleet.run(900, until=lambda: fleet.state() != "running")
    box.clock_ns, box.official, box.system = -3600 * SECOND, "image", "0.9"
    box.says_version()
    fleet.run(10)

    assert "done" == fleet.state()
    (shown,) = updates.overview(fleet.repository, tai_offset_s=37)["boxes"]
    assert ("v2", "1.0") == (shown["official"], shown["system"]["version"])


@pytest.mark.parametrize(("step_s", "is_restarted"), [(30 * 86_400, False), (-30 * 86_400, False), (-30 * 86_400, True)])
def test_a_hub_whose_clock_is_set(make_fleet, step_s, is_restarted):
    """No box was well for a month by that, or silent for one: what has to last begins anew, and then goes on as ever. (S1-03)"""
    fleet = make_fleet(boxes=3)
    fleet.publish(fleet.edition(until_s=10**8))
    fleet.boxes[2].does = lambda version: None
    fleet.roll_out(phases=["all"], success_percent=1, errors_percent=100)
    fleet.run(200)
    fleet.board.clock.step(step_s * SECOND)
    if is_restarted:  # A start is told no difference; what has not happened yet by its clock it can tell.
        fleet.kill_hub()
    fleet.run(200)
    states = [row["state"] for row in fleet.shown()["boxes"]]
    fleet.run(200)
    later = [row["state"] for row in fleet.shown()["boxes"]]
    fleet.run(1600)

    assert ["offered", "official", "official"] == sorted(states)
    assert ["good", "good", "offered"] == sorted(later)
    assert "done" == fleet.state()


def test_only_in_a_sites_hours(make_fleet):
    """Nothing is ordered and no piece is sent outside the hours of a site; an order that found nobody within them is made anew. (S1-03)"""
    fleet = make_fleet(boxes=2, update_hours=("site-1 10:30-10:45",))  # The world begins at 10:15.
    fleet.publish(fleet.edition())
    fleet.roll_out()
    topic, asked = "scrubjay/v1/site-1/box-00", Want(Wish(hashlib.sha256(BUNDLE).digest(), len(BUNDLE)), 0, 100)
    fleet.boxes[0].link.publish(f"{topic}/want", want_packed(asked))
    fleet.run(600)
    assert ([], 1) == (fleet.asked(), fleet.hub.report.counts["not_now"])

    for box in fleet.boxes:
        box.is_there = False
    fleet.run(1800)
    assert ("running", 1) == (fleet.state(), fleet.repository.rows("select sum(attempts) as n from members")[0]["n"])
    for box in fleet.boxes:
        box.is_there = True
    fleet.timeline.advance((24 * 3600 - 1800) * SECOND)
    fleet.run(600, until=lambda: bool(fleet.asked()))
    assert "halted" == fleet.state()  # Silent for longer than its time: it is an error, and says so.


def test_a_piece_is_sent_to_who_asks(make_fleet):
    """What is published is sent, as much as was asked for; what is not published is not. (S1-03)"""
    fleet = make_fleet(boxes=1)
    fleet.publish(fleet.edition())
    pieces: list[Piece] = []
    asker = fleet.make_link()
    asker.connect(LinkRequest(BROKER, "asker"))
    fleet.run(10)
    asker.events()
    asker.subscribe(["scrubjay/v1/site-1/box-9/piece"])
    wish = Wish(hashlib.sha256(BUNDLE).digest(), len(BUNDLE))
    for want in (Want(wish, 100, 40_000), Want(Wish(bytes(32), 10), 0, 10), Want(Wish(wish.digest, 10), 0, 10)):
        asker.publish("scrubjay/v1/site-1/box-9/want", want_packed(want))
        fleet.run(10)
        pieces += [piece_unpacked(event.payload) for event in asker.events() if isinstance(event, Received)]

    assert BUNDLE[100:40_100] == b"".join(piece.data for piece in pieces)
    assert 2 == fleet.hub.report.drops["want_unknown"]


def test_the_hub_killed_again_and_again(make_fleet):
    """kill -9 of the hub every minute: the roll-out goes on where it was, and no box gets another order than one. (S1-03)"""
    fleet = make_fleet(boxes=6, rollout_soak_s=120)
    fleet.publish(fleet.edition())
    fleet.roll_out()
    for turn in range(20):
        fleet.run(40 + 5 * turn)
        fleet.kill_hub()
        if fleet.state() == "done":
            break
    fleet.run(600, until=lambda: fleet.state() == "done")

    assert "done" == fleet.state()
    assert {1} == {len(box.orders) for box in fleet.boxes}


@pytest.mark.parametrize("is_killed", [True, False])
def test_an_order_that_was_published_and_not_committed_is_one(make_fleet, monkeypatch, is_killed):
    """The hub is killed, or its database refuses, behind the publishing of an order: made again it is that one, which its box takes for no
    replay of another. (S1-03)"""
    fleet = make_fleet(boxes=1, rollout_soak_s=120)
    fleet.publish(fleet.edition())
    fleet.roll_out()
    count = fleet.hub._rollouts._repository.count
    left = [3]

    def refused(figure: str, by: int = 1) -> None:
        if figure == "editions_offered" and left[0]:  # The last of its transaction.
            left[0] -= 1
            if is_killed:
                raise Killed
            raise RepositoryFailed("expected the database to obey")
        count(figure, by)

    while left[0]:
        monkeypatch.setattr(fleet.hub._rollouts._repository, "count", refused)
        try:
            fleet.run(TICK_S)
        except Killed:
            fleet.hub._rollouts._repository._base.close()
            fleet.kill_hub()
    monkeypatch.undo()
    fleet.run(900, until=lambda: fleet.state() != "running")

    assert ("done", "1 of 1 boxes are good") == (fleet.state(), fleet.shown()["cause"])
    assert {1} == {len(box.orders) for box in fleet.boxes}


class Killed(BaseException):
    """SIGKILL, where it is raised."""


def test_two_at_once_and_what_cannot_begin(make_fleet):
    """A box is in one roll-out at a time; versions nobody published, boxes nobody heard of or of another board, phases that are none."""
    fleet = make_fleet(boxes=3)
    fleet.publish(fleet.edition())
    fleet.publish(fleet.edition("v3", number=3))
    fleet.publish(fleet.edition("v4", number=4, board="linux-aarch64-cpython-311"))
    fleet.publish(fleet.edition("v5", number=5, channel="test"))
    fleet.roll_out(boxes=["box-00"])
    for wish, reason in (
        ({"version": "v3"}, "box-00 is in 1"),
        ({"version": "v9"}, "published edition"),
        ({"version": "v4", "boxes": ["box-01"]}, "expected boxes for linux-aarch64"),
        ({"version": "v5"}, "expected boxes of the channel test"),
        ({"version": "v3", "boxes": ["box-77"]}, "have said which version"),
        ({"version": "v3", "boxes": []}, "list of names"),
        ({"version": "v3", "boxes": ["box-01"], "phases": ["half"]}, "phases"),
        ({"version": "v3", "boxes": ["box-01"], "soak_s": -1}, "soak_s"),
    ):
        with pytest.raises(BadItem, match=reason):
            fleet.roll_out(**wish)  # type: ignore[arg-type]
    assert 2 == fleet.roll_out("v3", boxes=["box-01"])
    with pytest.raises(BadItem, match="is running"):
        fleet.change("running")


@pytest.mark.parametrize("what", ["another signer", "tampered", "no file", "another size", "another number", "expired"])
def test_editions_that_are_not_published(make_fleet, what):
    """What no trusted key signed, what has no files here, and a version that had another number: refused with the reason. (S1-03)"""
    fleet = make_fleet(boxes=1)
    if what != "no file":
        fleet.publish(fleet.edition())
    text = {"another number": lambda: fleet.edition(number=9), "expired": lambda: fleet.edition("v7", until_s=-1)}.get(
        what, fleet.edition
    )()
    if what == "another signer":
        fleet.board.identity.trust("vendor", SimulatedIdentity(name="other", seed=3).public_key())
    if what == "tampered":
        text = text[:60] + ("A" if text[60] != "A" else "B") + text[61:]
    if what == "another size":
        fleet.board.disk.write(f"published/{hashlib.sha256(BUNDLE).hexdigest()}", b"x")
    if what == "expired":
        fleet.publish(text)
        with pytest.raises(BadItem, match="not expired"):
            fleet.roll_out("v7")
        return
    with pytest.raises(BadItem):
        editions.publish(fleet.board, fleet.repository, text, 1)


def test_files_of_expired_editions_make_room(make_fleet):
    """With the next edition go the files that no living edition names; what is shared with one, and what no edition names yet, stays."""
    fleet = make_fleet(boxes=1)
    other = b"of the first alone"
    names = [hashlib.sha256(data).hexdigest() for data in (BUNDLE, other, b"for later")]
    for data in (other, b"for later"):
        arriving = Arriving(fleet.board, hashlib.sha256(data).hexdigest(), "test")
        arriving.append(data)
        arriving.finish()
    fleet.publish(fleet.edition(until_s=3600, more=[other]))
    fleet.publish(fleet.edition("v3", number=3))
    assert sorted(names) == sorted(fleet.board.disk.list("published"))
    fleet.timeline.advance(26 * 3600 * SECOND)
    fleet.publish(fleet.edition("v4", number=4))

    assert sorted([names[0], names[2]]) == sorted(fleet.board.disk.list("published"))


def test_history_shows_every_switch(make_fleet):
    """Of every process of every box, with its cause; and what people did about the roll-out."""
    fleet = make_fleet(boxes=2)
    fleet.boxes[1].say(
        "update", "update", {"process": "gate", "from": "image", "to": "v2", "cause": "its trial held"}, "gate: image to v2"
    )
    fleet.publish(fleet.edition())
    fleet.roll_out()
    fleet.run(20)
    rows = updates.history(fleet.repository, box="box-01", tai_offset_s=37)
    everything = updates.history(fleet.repository, box=None, tai_offset_s=37)

    assert [("gate", "image", "v2", "its trial held")] == [
        (r["process"], r["from"], r["to"], r["cause"]) for r in rows if r["process"]
    ]
    assert any("begun by ann" in str(row["text"]) for row in everything)
