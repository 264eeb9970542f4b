"""A tray: an item is settled when its work is done, comes again when it is not, and never pays for the disk's troubles."""

import pytest

from firmware.core.disk_pause import DiskPause
from firmware.core.errors import BadItem, DiskFailed, DiskFull
from firmware.core.report import Report
from firmware.core.spool import ATTEMPTS_MAX, Spool
from firmware.core.timestamp import SECOND
from firmware.core.tray import Tray
from simulator.board import SimulatedBoard
from simulator.disk import SimulatedDisk


def _read(data: bytes) -> str:
    if not data.isalpha():
        raise BadItem("expected letters")
    return data.decode()


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk()


@pytest.fixture
def report() -> Report:
    return Report("any")


@pytest.fixture
def tray(disk: SimulatedDisk, report: Report) -> Tray[str]:
    tray = Tray(Spool(disk, "orders"), report, _read, bad="not_an_order")
    tray.spool.start(report.drop)
    return tray


def test_done_with_and_not(tray: Tray[str], disk: SimulatedDisk) -> None:
    """The first item first; it stays, at no cost to it, until its work says that it is done with."""
    for name in ("b", "a"):
        tray.spool.publish(name, name.encode())
    seen: list[str] = []

    def work(value: str) -> bool:
        seen.append(value)
        return len(seen) > 2 * ATTEMPTS_MAX

    while len(seen) <= 2 * ATTEMPTS_MAX:
        assert tray.handle(work)

    assert {"a"} == set(seen)
    assert ["b"] == disk.list("orders")
    assert tray.handle(lambda value: True)
    assert not tray.handle(lambda value: True)


def test_what_makes_no_sense(tray: Tray[str], disk: SimulatedDisk, report: Report) -> None:
    """It goes to quarantine with its reason, counted by the station's word for it, and the next has its turn."""
    tray.spool.publish("a", b"17")
    tray.spool.publish("b", b"fine")
    seen: list[str] = []

    assert tray.handle(lambda value: not seen.append(value))
    assert tray.handle(lambda value: not seen.append(value))
    assert ["fine"] == seen
    assert b"expected letters" == disk.read("quarantine/orders/a.reason")
    assert {"not_an_order": 1} == report.drops


def test_the_disk_is_no_fault_of_the_items(tray: Tray[str], disk: SimulatedDisk) -> None:
    """However often the disk is full at its work, or fails when it is to be removed: it is met again, and never quarantined. (S2-109)"""
    tray.spool.publish("a", b"order")

    def no_room(value: str) -> bool:
        raise DiskFull("no room")

    for _ in range(2 * ATTEMPTS_MAX):
        with pytest.raises(DiskFull):
            tray.handle(no_room)

    def no_removal(number: int, what: str, path: str) -> None:
        if what == "remove":
            raise DiskFailed("sick")

    disk.before = no_removal
    for _ in range(2 * ATTEMPTS_MAX):
        with pytest.raises(DiskFailed):
            tray.handle(lambda value: True)
    disk.before = None

    assert ["a"] == disk.list("orders")
    assert tray.handle(lambda value: value == "order")
    assert [] == disk.list("orders")


def test_a_work_that_ends_the_process_counts(tray: Tray[str], disk: SimulatedDisk) -> None:
    """An end of our own is an attempt: the fifth time the item is out of the way."""
    tray.spool.publish("a", b"order")

    def mistake(value: str) -> bool:
        raise AssertionError

    for _ in range(ATTEMPTS_MAX - 1):
        with pytest.raises(AssertionError):
            tray.handle(mistake)

    assert not tray.handle(mistake)
    assert ["a", "a.reason"] == disk.list("quarantine/orders")


@pytest.mark.parametrize(("trouble", "cause"), [(DiskFull("full"), "disk_full"), (DiskFailed("sick"), "disk_failed")])
def test_the_disk_is_left_alone_for_a_while(report: Report, trouble: Exception, cause: str) -> None:
    """After a trouble nothing is tried before the pause is over, whoever wakes the station meanwhile; then its own wish counts again."""
    board = SimulatedBoard()
    pause = DiskPause(report.drop, pause_ns=2 * SECOND)
    troubles = [trouble]
    began = board.clock.now()

    def work(now: object) -> None:
        if troubles:
            raise troubles.pop()

    assert began.monotonic.after(2 * SECOND) == pause.step(began, work)
    assert {cause: 1} == report.drops
    troubles = [trouble]
    board.clock.advance(SECOND)
    assert began.monotonic.after(2 * SECOND) == pause.step(board.clock.now(), work)
    assert [trouble] == troubles
    troubles.clear()
    board.clock.advance(SECOND)
    assert pause.step(board.clock.now(), work) is None
    assert {cause: 1} == report.drops
