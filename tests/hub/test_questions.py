"""What the page asks the repository once a second, of as many messages as there are."""

from pathlib import Path

from drivers.clock import ClockState, Timestamp
from firmware.core.message import Message, Priority, Severity
from firmware.hub.questions import Counts
from firmware.hub.repository import Repository

TAI = 1_795_342_537_000_000_000


def add(repository: Repository, first: int, count: int) -> None:
    """As they come: many of low priority, of two boxes in turn."""
    with repository.transaction():
        for box in ("box-1", "box-2"):
            said = []
            for number in range(first, first + count):
                if number % 2 != (box == "box-2"):
                    continue
                stamp = Timestamp(TAI + number, 1000, "ptp", ClockState.LOCKED)
                priority = Priority.P2 if number % 10 == 0 else Priority.P4
                said.append(Message("robot-1", "arm", "published", priority, Severity.NOTICE, stamp, stamp, sequence=number))
            repository.add_messages(said, box=box, envelope=bytes(16), now_tai_ns=TAI)


def test_counted_once_and_then_only_what_is_new(tmp_path: Path) -> None:
    """(S2-121) Of all and of one box, the same as counted at once; a box nobody has heard of has none."""
    repository, counts = Repository(str(tmp_path / "hub.sqlite")), Counts()
    found = [(counts.of(repository), counts.of(repository, box="box-1"), counts.of(repository, box="box-9"))]
    for first, count in ((0, 100), (100, 1), (101, 99)):
        add(repository, first, count)
        found.append((counts.of(repository), counts.of(repository, box="box-1"), counts.of(repository, box="box-9")))

    assert [
        ({}, {}, {}),
        ({"2": 10, "4": 90}, {"2": 10, "4": 40}, {}),
        ({"2": 11, "4": 90}, {"2": 11, "4": 40}, {}),
        ({"2": 20, "4": 180}, {"2": 20, "4": 80}, {}),
    ] == found
    assert found[-1][:2] == (Counts().of(repository), Counts().of(repository, box="box-1"))


def test_a_look_costs_what_is_new_however_many_there_are(tmp_path: Path) -> None:
    """(S2-121) A fleet's day is a hundred million rows: in SQLite's own steps, the second look of a page is no more than a moment's."""
    repository, counts = Repository(str(tmp_path / "hub.sqlite")), Counts()

    def steps() -> int:
        taken = [0]

        def step() -> int:
            taken[0] += 1
            return 0

        repository._base.set_progress_handler(step, 1)
        counts.of(repository)
        counts.of(repository, box="box-1")
        repository._base.set_progress_handler(None, 1)
        return taken[0]

    add(repository, 0, 100)
    first = steps()
    again = [steps()]
    add(repository, 100, 3000)
    whole = steps()
    again.append(steps())

    assert again[0] == again[1]
    assert again[0] < first < whole


def test_a_database_that_was_lost_is_counted_anew(tmp_path: Path) -> None:
    """What was counted of another one is nobody's any more."""
    counts = Counts()
    for name, count in (("one", 50), ("other", 20)):
        repository = Repository(str(tmp_path / f"{name}.sqlite"))
        add(repository, 0, count)
        found = counts.of(repository), counts.of(repository, box="box-2")

    assert ({"2": 2, "4": 18}, {"4": 10}) == found
