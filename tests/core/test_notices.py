"""What the box says itself, and the small durable things beside the spools."""

import pytest

from drivers.clock import Monotonic
from firmware.core import message
from firmware.core.allowance import Allowance
from firmware.core.durable import replace
from firmware.core.message import Priority, Severity
from firmware.core.notices import INBOX, Notices
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from simulator.board import SimulatedBoard


def _say(notices: Notices, board: SimulatedBoard, text: str) -> None:
    notices.say(board.clock.now(), "error", Priority.P2, Severity.ERROR, text)


def _said(board: SimulatedBoard) -> list[str | None]:
    return [row.text for name in board.disk.list(INBOX) for row in message.unpacked(board.disk.read(f"{INBOX}/{name}"))]


def test_restart_within_one_tick_overwrites_nothing() -> None:
    """A process that comes back at the same instant by its clock chooses another name, also beside an item being worked on."""
    board = SimulatedBoard()
    for text in ("first", "second", "third"):
        notices = Notices(board, "health")
        notices.start()
        _say(notices, board, text)
        inbox = Spool(board.disk, INBOX)
        inbox.take()

    assert {"first", "second", "third"} == set(_said(board))


@pytest.mark.parametrize("at", ["sync", "rename"])
def test_consumer_that_starts_meanwhile_loses_nothing(at: str) -> None:
    """Start-up removes hidden leftovers; a writer between its write and its rename writes again, and does not end for it."""
    board = SimulatedBoard()
    notices = Notices(board, "health")
    notices.start()

    def start_consumer(number: int, what: str, path: str) -> None:
        if what == at and path.startswith(f"{INBOX}/."):
            board.disk.before = None
            Spool(board.disk, INBOX).start(lambda cause: None)

    board.disk.before = start_consumer
    _say(notices, board, "still here")

    assert ["still here"] == _said(board)


def test_file_replaced_whole() -> None:
    """After a replacement the former content is gone and nothing hidden is left."""
    board = SimulatedBoard()
    board.disk.mkdir("x")
    replace(board.disk, "x", "a", b"one")
    replace(board.disk, "x", "a", b"two")

    assert (["a"], b"two") == (board.disk.list("x"), board.disk.read("x/a"))


def test_allowance_fills_evenly() -> None:
    """So many at once, then one each interval, and never more than so many however long nobody asked."""
    allowance = Allowance(at_once=3, every_ns=SECOND)

    assert [True, True, True, False] == [allowance.take(Monotonic(0)) for _ in range(4)]
    assert [True, False] == [allowance.take(Monotonic(SECOND)) for _ in range(2)]
    assert [True, True, True, False] == [allowance.take(Monotonic(100 * SECOND)) for _ in range(4)]
