"""The power goes, or the station is killed, before any single operation of an update: it goes on where it was, and no version is half."""

from random import Random

import pytest

from firmware.core.versions import IMAGE
from simulator.disk import PowerCut

from .conftest import PROCESSES, Box, files

SECOND = 1_000_000_000


@pytest.mark.parametrize("how", ["power", "killed"])
def test_the_end_before_any_operation(how):
    """Received to official to taken back, cut before every fourth operation from a seed on: the copy is whole or none, all end up alike. (S1-10, S1-14)"""
    random = Random(how)
    doom, past = random.randrange(1, 5), False
    ends = 0
    while not past:
        box = Box()
        at = box.disk.operations + doom

        def before(count: int, what: str, path: str, at: int = at) -> None:
            if count >= at and not path.startswith(("state", "segments", "shadow")):
                raise PowerCut

        box.give(box.bundle("v2"))
        box.disk.before = before
        try:
            box.run(45)
            past = True
        except PowerCut:
            ends += 1
        box.disk.before = None
        if not past:
            if how == "power":
                box.disk.power_cut(random)
                box.running = {process: _marked(box, process) for process in PROCESSES}
                box.disk.mkdir("state")
            box.start()
        assert box.versions() in ([], ["v2"]), f"ended before operation {doom}"
        assert "v2" not in box.versions() or files("v2") == box.contents("v2"), f"ended before operation {doom}"
        box.run(80)
        marks = {name: mark for name, mark in box.marks().items() if name != "update"}

        assert {"v2"} == set(marks.values()), f"ended before operation {doom}: {marks}, {box.history()}"
        assert "idle" == box.station.report.gauges["phase"]
        assert [] == box.disk.list("updates/received")
        assert not any(
            name.startswith(".") for path in ("versions", "versions/official", "updates") for name in box.disk.list(path)
        )
        doom += random.randrange(3, 6)
    assert ends > 20


def _marked(box: Box, process: str) -> str:
    from firmware.core.versions import official

    return official(box.disk, process)


@pytest.mark.parametrize("is_again", [False, True], ids=["as it was", "given once more"])
def test_the_end_between_the_standing_and_the_bundle(is_again):
    """A bundle that is here and was not settled is not refused when it is met again; one that somebody gives again is. (S1-10)"""
    box = Box()
    bundle = box.bundle("v2")
    box.give(bundle)

    def before(count: int, what: str, path: str) -> None:
        if what == "remove" and path.startswith("updates/received/"):
            raise PowerCut

    box.disk.before = before
    with pytest.raises(PowerCut):
        box.run(45)
    box.disk.before = None
    assert box.versions() == ["v2"]
    box.disk.power_cut(Random(1))
    box.disk.mkdir("state")
    box.start()
    box.run(80)
    if is_again:
        box.give(bundle)
        box.run(5)

    assert is_again == any("refused" in text for text in box.said()), box.said()
    assert {"v2"} == {mark for name, mark in box.marks().items() if name != "update"}
    assert [] == box.disk.list("updates/received")


def test_a_bundle_that_ends_whoever_takes_it_is_told():
    """Killed in the middle of it again and again: it goes to quarantine, and whoever gave it learns why it never became a version. (S1-03)"""
    box = Box()
    box.give(box.bundle("v2"))

    def before(count: int, what: str, path: str) -> None:
        if path.startswith("versions/.v2/"):
            raise PowerCut

    box.disk.before = before
    for _ in range(4):
        with pytest.raises(PowerCut):
            box.run(5)
        box.start()
    box.run(5)

    assert any("a bundle was refused: " in text and "too many attempts" in text for text in box.said()), box.said()
    assert any("too many attempts" in row.cause for row in box.history())
    assert 1 == box.station.report.drops["refused"]
    assert [] == box.disk.list("updates/received")


def test_a_trial_that_is_always_cut_short_is_given_up():
    """A version with which the machine loses its power again and again is not tried for ever. (S1-16)"""
    box = Box()
    box.give(box.bundle("v2"))
    for _ in range(6):
        box.run(4)
        box.disk.power_cut(Random(1))
        box.disk.mkdir("state")
        box.start()
    box.run(30)

    assert dict.fromkeys(PROCESSES, IMAGE) == box.marks()
    assert any("3 trials were begun and none could be finished" in row.cause for row in box.history())


def test_a_standing_that_cannot_be_read_takes_nothing():
    """Somebody wrote over it: marks stay as they are, and no bundle is taken before a person has looked."""
    box = Box()
    box.give(box.bundle("v2"))
    box.run(60)
    box.disk.write("updates/standing", b"\x00\xff")
    box.start()
    box.give(box.bundle("v3"))
    box.run(30)

    assert "v2" == box.marks()["capture"]
    assert ["v2"] == box.versions()
    assert {"standing_unreadable": 1, "refused": 1} == box.station.report.drops
