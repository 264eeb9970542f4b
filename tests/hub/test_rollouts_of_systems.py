"""A hub rolls an operating system out: what counts is which system runs and was confirmed, not that a bundle has arrived."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware.hub import updates

from .fleet import TICK_S, Fleet


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """A fleet to which version 2.0 of the system was offered in phases of one and all; no box says anything of it by itself."""

    def made(**more: object) -> Fleet:
        fleet = Fleet(tmp_path, **({"boxes": 4, "rollout_phases": ("1", "all")} | more))
        fleet.publish(fleet.edition("2.0", kind="system"))
        for box in fleet.boxes:
            box.does = lambda version: ("here", "the system 2.0 is here, for the other slot")
        fleet.roll_out("2.0")
        fleet.run(200, until=lambda: bool(fleet.asked()))
        return fleet

    yield made


def first_of(fleet: Fleet) -> object:
    (name,) = fleet.asked()
    return next(box for box in fleet.boxes if box.name == name)


def test_official_is_what_runs_and_was_confirmed(make_fleet):
    """Its bundle waits in the other slot for the end of a session, then it runs on trial: neither lets the next phase begin. (S1-03, S1-16)"""
    fleet = make_fleet()
    first = first_of(fleet)
    fleet.run(600)
    assert {"offered": 1, "waiting": 3} == fleet.shown()["counts"]
    first.runs_system("2.0", "the system 2.0 runs in slot B, on trial", state="on trial")
    fleet.run(600)
    assert {"offered": 1, "waiting": 3} == fleet.shown()["counts"]

    first.runs_system("2.0", "the system: 2.0 is kept: every promise was seen kept", version="2.0", outcome="official")
    fleet.run(1000, until=lambda: len(fleet.asked()) == 4)
    assert 4 == len(fleet.asked())
    for box in fleet.boxes:
        box.runs_system("2.0", "the system: 2.0 is kept: every promise was seen kept", version="2.0", outcome="official")
    fleet.run(1000, until=lambda: fleet.state() == "done")
    assert "4 of 4 boxes are good" == fleet.shown()["cause"]


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        ("taken back", "the system: 2.0 is given up: sealed: no segment yet since this start; going back to slot A (1.0)"),
        ("refused", "the system: 2.0 is refused: update from the network: LastError: Installation error: no room"),
    ],
)
def test_a_system_that_is_not_kept_halts_it(make_fleet, outcome, cause):
    """Given up by the box itself, or not taken: one box of four had it, and people are told why. (S1-16)"""
    fleet = make_fleet()
    first_of(fleet).says_version(version="2.0", outcome=outcome, text=cause)
    fleet.run(30)

    assert ("halted", 1) == (fleet.state(), len(fleet.asked()))
    assert cause in str(fleet.shown()["cause"])


def test_left_again_without_a_word(make_fleet):
    """It was confirmed, and then the box says that it runs the former one: whatever was lost between, that is no good system. (S1-16)"""
    fleet = make_fleet()
    first = first_of(fleet)
    first.runs_system("2.0", "kept", version="2.0", outcome="official")
    fleet.run(2 * TICK_S)
    first.runs_system("1.0", "how it stands")
    fleet.run(30)

    assert "halted" == fleet.state()
    assert "it runs the system 1.0 again" in str(fleet.shown()["cause"])


def test_back_also_where_it_arrives_late(make_fleet):
    """Boxes that run it are ordered to the system in their other slot; so is one that changes to it after it was taken back. (S1-15)"""
    fleet = make_fleet(rollout_phases=("2", "all"))
    fleet.run(100, until=lambda: len(fleet.asked()) == 2)
    early, late = (box for box in fleet.boxes if box.name in fleet.asked())
    early.runs_system("2.0", "kept", version="2.0", outcome="official")
    fleet.run(30)
    fleet.change("back")
    fleet.run(60)
    back = {"system": "previous", "from": "2.0"}
    assert [back] == [order.parameters for order in early.orders.values() if "system" in order.parameters]
    assert [] == [order.parameters for order in late.orders.values() if "system" in order.parameters]

    late.runs_system("2.0", "kept", version="2.0", outcome="official")
    fleet.run(60)
    assert [back] == [order.parameters for order in late.orders.values() if "system" in order.parameters]
    assert {"0.9"} == {early.system, late.system}
    assert {"back": 2, "waiting": 2} == fleet.shown()["counts"]


def test_back_is_not_for_what_a_later_one_did(make_fleet):
    """Taken back before the box had it, and rolled out once more on purpose: the first one does not undo the second. (S1-15)"""
    fleet = make_fleet()
    first = first_of(fleet)
    fleet.run(120)  # It has taken the order, and what becomes of it takes its time.
    fleet.change("back")
    fleet.run(30)
    fleet.roll_out("2.0", boxes=[first.name])
    fleet.run(60)
    first.runs_system("2.0", "kept", version="2.0", outcome="official")
    fleet.run(60)

    assert [] == [order.parameters for order in first.orders.values() if "system" in order.parameters]
    assert "2.0" == first.system


def test_who_runs_it_already_has_only_to_be_well(make_fleet):
    """A box whose system came on a stick is not offered it again. (S1-03)"""
    fleet = make_fleet()
    fleet.change("back")
    for box in fleet.boxes:
        box.runs_system("2.0", "kept")
    fleet.run(30)
    number = fleet.roll_out("2.0")

    assert {"official": 4} == fleet.shown(number)["counts"]


def test_both_slots_of_each_box_are_shown(make_fleet):
    """To whoever looks: which system runs in which slot, whether it was confirmed, and what the other one holds."""
    fleet = make_fleet()
    found = updates.overview(fleet.repository, tai_offset_s=37)["boxes"]

    assert isinstance(found, list)
    assert {"version": "1.0", "state": "confirmed", "slot": "A", "other": "0.9, confirmed"} == found[0]["system"]
