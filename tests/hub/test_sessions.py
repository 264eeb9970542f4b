"""Whether all of a session is here, looked at again and again while it is not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from drivers.clock import ClockState, Timestamp
from firmware.core.message import Message, Priority, Severity
from firmware.core.timestamp import SECOND
from firmware.hub import sessions
from firmware.hub.repository import Repository

START, END = 1_795_342_537 * SECOND, 1_795_342_537 * SECOND + 3600 * SECOND
IDENTITY = "00ff00ff00ff00ff"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "hub.sqlite"))


def add(repository: Repository, numbers: Sequence[int], process: str = "arm") -> None:
    """Messages of the session, by their numbers."""
    said = []
    for number in numbers:
        stamp = Timestamp(START + number, 1000, "ptp", ClockState.LOCKED)
        said.append(Message("robot-1", process, "published", Priority.P4, Severity.NOTICE, stamp, stamp, sequence=number))
    with repository.transaction():
        repository.add_messages(said, box="box-1", envelope=bytes(16), now_tai_ns=START)


def close(repository: Repository, streams: Sequence[str], *, end: int = END) -> None:
    """As a box says it."""
    stamp = Timestamp(END, 1000, "ptp", ClockState.LOCKED)
    fields = {
        "session": IDENTITY, "session_kind": "procedure", "state": "closed", "start_tai_ns": START, "end_tai_ns": end, "opened_by": "person",
        **{f"stream.{place}": text for place, text in enumerate(streams)},
    }  # fmt: skip
    word = Message("box-1", "session", "session", Priority.P3, Severity.NOTICE, stamp, stamp, fields=fields)
    with repository.transaction():
        sessions.take(repository, "box-1", word, END)


def look(repository: Repository, held: sessions.Held) -> tuple[list[str], int | None]:
    """Which have become complete, and how many messages the newest one misses."""
    with repository.transaction():
        complete = held.look(repository, "box-1", END)
    missing = sessions.listed(repository, tai_offset_s=37)[0]["missing"]
    assert missing is None or isinstance(missing, int)
    return complete, missing


def test_what_is_missing_is_counted_down_to_nothing(repository: Repository) -> None:
    """(S2-131) Each look counts on from the last: of each stream by itself, and anew where the box has closed it again, later."""
    held = sessions.Held()
    add(repository, range(40))
    close(repository, ["robot-1 arm 60 -", "robot-1 camera 5 -"], end=START + 100)
    found = [look(repository, held)]
    add(repository, range(40, 59))
    found.append(look(repository, held))
    add(repository, range(200, 205), "camera")  # after the end
    found.append(look(repository, held))
    close(repository, ["robot-1 arm 60 -", "robot-1 camera 5 -"], end=END)
    found.append(look(repository, held))
    add(repository, [59])
    found += [look(repository, held), look(repository, held)]

    assert [([], 25), ([], 6), ([], 6), ([], 1), ([IDENTITY], 0), ([], 0)] == found


def test_a_session_that_is_never_complete_costs_what_is_new(repository: Repository) -> None:
    """(S2-131) Its box speaks every second, and would have hours of messages counted each time: in SQLite's own steps, the later looks are
    alike however many there are."""
    steps = []
    for first, count in ((0, 100), (100, 4000)):
        add(repository, range(first, first + count))
        close(repository, ["robot-1 arm 1000000 -"])
        held = sessions.Held()
        look(repository, held)
        add(repository, [first + count + 10_000])
        taken = [0]

        def step(taken: list[int] = taken) -> int:
            taken[0] += 1
            return 0

        repository._base.set_progress_handler(step, 1)
        look(repository, held)
        repository._base.set_progress_handler(None, 1)
        steps += taken

    assert steps[0] == steps[1]
