"""The operating system's slots as the update process sees them: told, asked to go back, and not fetched for nothing. Their keeper's words
are the test's; the keeper itself is in tests/rootfs, and both with a real system in tests/image."""

from collections.abc import Mapping
from random import Random

import pytest

from firmware.core import message
from firmware.core.message import Field
from simulator.disk import PowerCut

from .conftest import Box
from .test_fetching import Uplink, results

KEPT = "2026-11-26T08:06:00Z slot A: 1.0 is kept: every promise was seen kept 340 s after the start"
WRITTEN = (
    "2026-11-26T09:00:00Z slot A: 2.0 was written into slot B (update from the network); it waits for the end of the session"
)
GIVEN_UP = "2026-11-26T10:20:00Z slot B: 2.0 is given up: sealed: no segment yet since this start; going back to slot A (1.0)"
REFUSED = "2026-11-26T11:00:00Z slot A: 3.0 is refused: update from the network: it is for scrubjay-arm64, this is scrubjay-amd64"


def slots(box: Box, first: str, second: str = "slot B holds nothing known", *history: str) -> None:
    """What the keeper writes down."""
    box.disk.mkdir("state")
    box.disk.write("state/system", "".join(f"{line}\n" for line in (first, second, *history)).encode())


def told(box: Box) -> list[tuple[str, Mapping[str, Field]]]:
    names = sorted(name for name in box.disk.list("inbox") if not name.startswith("."))
    rows = [row for name in names for row in message.unpacked(box.disk.read(f"inbox/{name}"))]
    return [(row.text or "", row.fields) for row in rows if row.kind == "update"]


@pytest.fixture
def uplink(box: Box) -> Uplink:
    return Uplink(box)


def test_how_the_system_stands_is_in_every_word(box):
    """Which system runs, whether it is confirmed, and what the other slot holds; what was before this box could tell is not told. (S1-15)"""
    slots(box, "slot A runs 1.0, on trial", "slot B holds 0.9, confirmed", KEPT.replace("1.0", "0.9"))
    box.start()
    box.run(30)

    assert [{"system": "1.0", "system_state": "on trial", "slot": "A", "other_slot": "0.9, confirmed"}] == [
        {name: fields[name] for name in ("system", "system_state", "slot", "other_slot")} for _, fields in told(box)
    ]


def test_the_keeper_of_the_slots_comes_later(box):
    """On a first start there is nothing yet: told when it is there, with nothing else to wake the process. (S1-15)"""
    box.start()
    box.run(30)
    slots(box, "slot A runs 1.0, confirmed", "slot B holds nothing known", KEPT)
    box.run(15)

    assert "1.0" == told(box)[-1][1]["system"]
    assert "the system: 1.0 is kept: every promise was seen kept 340 s after the start" == told(box)[-1][0]


def test_a_place_that_does_not_read(box):
    """Where what was told last cannot be read, the process begins as a new one does. (S1-15)"""
    slots(box, "slot A runs 1.0, confirmed", "slot B holds nothing known", KEPT)
    box.start()
    box.run(15)
    box.disk.spoil("updates/told")
    box.start()
    box.run(15)

    assert 2 == sum(fields["system"] == "1.0" for _, fields in told(box))


def test_every_switch_of_the_system_is_told_once(box):
    """Each line of the keeper's history is a message with what became of the version, also across ends of the process. (S1-15, S1-16)"""
    slots(box, "slot A runs 1.0, on trial")
    box.start()
    box.run(5)
    history = []
    for line in (KEPT, WRITTEN, GIVEN_UP, REFUSED):
        history.append(line)
        slots(box, "slot A runs 1.0, confirmed", "slot B holds 2.0", *history)
        box.run(15)
        box.start()
        box.run(15)

    assert [
        ("the system: 1.0 is kept: every promise was seen kept 340 s after the start", "1.0", "official"),
        ("the system: 2.0 was written into slot B (update from the network); it waits for the end of the session", None, None),
        ("the system: 2.0 is given up: sealed: no segment yet since this start; going back to slot A (1.0)", "2.0", "taken back"),
        (
            "the system: 3.0 is refused: update from the network: it is for scrubjay-arm64, this is scrubjay-amd64",
            "3.0",
            "refused",
        ),
    ] == [(text, fields.get("version"), fields.get("outcome")) for text, fields in told(box) if text.startswith("the system: ")]


def test_wherever_the_power_goes_every_line_is_told():
    """Before any operation while lines are told: after it each of them was told, and what the hub has is no less. (S1-15)"""
    doom, is_past = 0, False
    while not is_past:
        box = Box()
        slots(box, "slot A runs 1.0, confirmed", "slot B holds nothing known", KEPT)
        box.start()
        box.run(5)
        slots(box, "slot A runs 1.0, confirmed", "slot B holds 2.0", KEPT, WRITTEN, GIVEN_UP)
        at = box.disk.operations + doom

        def before(count: int, what: str, path: str, at: int = at) -> None:
            if count >= at and path.startswith(("inbox", "updates")):
                raise PowerCut

        box.disk.before = before
        try:
            box.run(15)
            is_past = True
        except PowerCut:
            box.disk.before = None
            box.disk.power_cut(Random(doom))
            slots(box, "slot A runs 1.0, confirmed", "slot B holds 2.0", KEPT, WRITTEN, GIVEN_UP)
            box.start()
            box.run(15)
        lasting = [text for text, _ in told(box)]
        assert 1 <= sum("2.0 was written" in text for text in lasting) <= 2, doom
        assert 1 <= sum("2.0 is given up" in text for text in lasting) <= 2, doom
        doom += 1
    assert doom > 10


@pytest.mark.parametrize(
    "what", [b"", b"\xff" * 20_000, b"slot C runs 1.0, confirmed\n", b"slot A runs ../../x, confirmed\nslot B holds y\n"]
)
def test_what_does_not_read_is_no_system(box, what):
    """A file that somebody else wrote, or half of one: the application's updates go on, and nothing is said of a system."""
    box.disk.mkdir("state")
    box.disk.write("state/system", what)
    box.start()
    box.run(15)

    assert all("system" not in fields for _, fields in told(box))
    assert told(box)


def test_back_to_the_system_before(box):
    """An order names the version to leave; it lies where the slots' keeper looks, and only on a box that runs that version. (S1-15)"""
    slots(box, "slot B runs 2.0, confirmed", "slot A holds 1.0, confirmed")
    box.start()
    box.order(system="previous", **{"from": "1.9"})
    box.run(3)
    assert ("refused", "expected the system 1.9 to run here, it is 2.0") == results(box)[-1]
    assert [] == box.disk.list("updates/system")

    box.order(system="previous", **{"from": "2.0"})
    box.run(3)
    assert ["2.0.back"] == box.disk.list("updates/system")
    assert ("done", "") == results(box)[-1]


def test_back_without_slots(box):
    """A machine that is no image has no system to go back to, and says so."""
    box.order(system="previous", **{"from": "2.0"})
    box.run(3)

    assert ("refused", "expected a box with two slots, this one has no system to go back to") == results(box)[-1]


def test_nothing_is_fetched_for_nothing(box, uplink):
    """The system at work is not fetched again, nor one that was given up here: a hundred megabytes are a hospital's evening. (S1-03)"""
    slots(box, "slot A runs 1.0, confirmed", "slot B holds 2.0", GIVEN_UP)
    box.start()
    for version in ("1.0", "2.0"):
        box.order(edition=uplink.edition(version, [(b"x" * 100, None)], number=7, kind="system"))
        box.run(3)
        assert [] == uplink.wanted()

    assert [("done", ""), ("refused", "expected a system that was not given up here, 2.0 was")] == results(box)
