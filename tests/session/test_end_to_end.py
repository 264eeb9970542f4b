"""A session through the whole chain in virtual time, with and without a relay between box and hub."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.fleet import SmallFleet


def procedure(fleet: SmallFleet, *, messages: int = 60) -> None:
    """It begins, something is said of each priority, it ends."""
    fleet.say("begins", event="procedure-started", priority=3)
    fleet.run(0.5)
    for number in range(messages):
        fleet.say(f"message {number}", priority=number % 4 + 1)
        fleet.run(0.25)
    fleet.run(2)  # What intake and the recorder hold for a moment is durable then.
    fleet.say("ends", event="procedure-ended", priority=3)


def sessions(fleet: SmallFleet) -> list[dict[str, Any]]:
    return fleet.rows("select * from sessions order by start_tai_ns")


@pytest.mark.parametrize("relayed", [False, True])
def test_complete_a_moment_after_its_end(tmp_path: Path, relayed: bool) -> None:
    """Groups with intervals of ten minutes are at the hub seconds after the session's end; the hub knows that it has everything,
    and processes it for the last time; a relay keeps nothing of it then. (S2-130, S2-131)"""
    fleet = SmallFleet(tmp_path, relayed=relayed)
    procedure(fleet)
    fleet.run(1)
    (row,) = sessions(fleet)
    assert ("procedure", "open", "event") == (row["kind"], row["state"], row["opened_by"])

    fleet.run(8)
    (row,) = sessions(fleet)
    assert ("complete", 0, "event") == (row["state"], row["missing"], row["closed_by"])
    summary = json.loads(row["summary"])
    assert {"1": 15, "2": 15} == {key: summary["priorities"][key] for key in ("1", "2")}  # the box itself speaks with 3 and 4
    assert {"procedure-started": 1, "procedure-ended": 1} == summary["events"]
    assert 62 == len(fleet.rows("select 1 from messages where kind = 'published'"))
    if fleet.relay is not None:
        fleet.run(5)
        left = [
            name for path in ("outbox", "sent", "incoming") for name in fleet.relay.disk.list(path) if not name.startswith(".")
        ]
        assert [] == left
    assert [] == fleet.crashes()


def test_the_next_one_begins_again(tmp_path: Path) -> None:
    """Two sessions in a day: each with its own messages, both complete. (S2-132)"""
    fleet = SmallFleet(tmp_path)
    for count in (8, 12):
        procedure(fleet, messages=count)
        fleet.run(20)
        fleet.say("in between", priority=4)
        fleet.run(5)

    rows = sessions(fleet)
    assert ["complete", "complete"] == [row["state"] for row in rows]
    assert [[10], [14]] == [[stream[2] for stream in json.loads(row["streams"])] for row in rows]
    assert rows[0]["session"] != rows[1]["session"]
    assert [] == fleet.crashes()


def test_not_complete_before_everything_is_here(tmp_path: Path) -> None:
    """What cannot be sent yet is missed: the broker is away when the session ends, the hub knows of no end; then all of it comes,
    alarms first, and only then it is complete. (S2-131)"""
    fleet = SmallFleet(tmp_path)
    procedure(fleet, messages=20)
    fleet.world.broker.up = False
    fleet.world.broker.kill()
    fleet.run(20)
    assert ["open"] == [row["state"] for row in sessions(fleet)]

    fleet.world.broker.up = True
    fleet.run(30)
    assert [("complete", 0)] == [(row["state"], row["missing"]) for row in sessions(fleet)]
    assert [] == fleet.crashes()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_power_goes_while_it_closes(tmp_path: Path, seed: int) -> None:
    """Box and hub lose their power in the middle of it, at an operation the seed chooses: the session is closed and complete in
    the end, with everything that was said. (S2-130, S2-131)"""
    fleet = SmallFleet(tmp_path, seed=seed)
    random = fleet.world.random
    for path, machine in (("session/.current", fleet.box), ("flush", fleet.box), ("session/.last", fleet.box), ("", fleet.hub)):
        procedure(fleet, messages=8)
        fleet.world.doom(machine, None, random.randrange(8), path=path)
        fleet.run(40)
        fleet.world.forget_doom()
    fleet.run(60)

    rows = sessions(fleet)
    assert 4 == len(rows)
    assert {("complete", 0)} == {(row["state"], row["missing"]) for row in rows}
    assert 40 == len(fleet.rows("select 1 from messages where kind = 'published'"))
    assert [] == fleet.crashes()
