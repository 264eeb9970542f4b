"""A disk with bad places: what it does not give back is one segment's trouble, and room is made all the same."""

import pytest

from drivers.errors import DiskFailed
from firmware.core import release
from firmware.core.message import Priority
from firmware.core.receipt import SUM
from firmware.retention.settings import RetentionSettings

from .conftest import DAY, Steward


@pytest.mark.parametrize("file", ["seal", "frames.pcapng.lz4", "index"])
@pytest.mark.parametrize("which", [0, 2, 5])
def test_the_oldest_go_whatever_the_disk_does_not_give_back(file: str, which: int) -> None:
    """Six segments, room for three; one bad place in any file of any of them. It was the end of all deleting: a full disk, and a recorder
    that loses. (S2-095)"""
    steward = Steward(settings=RetentionSettings(budget_bytes=3_000, keep_free_bytes=0))
    names = steward.record(6)
    steward.board.disk.spoil(f"segments/{names[which]}/{file}")
    steward.work(seconds=700)

    left = steward.segments()
    assert 0 < len(left) < 6
    assert left == names[-len(left) :] or (file == "seal" and names[which] not in left)
    assert "disk_failed" not in steward.station.report.drops
    # What is wrong is what is unreadable, as long as it is there; a chain that was not exchanged is not said to be.
    there = [names[which]] if names[which] in left else []
    assert there == [row.segment for row in steward.verdict().findings]


@pytest.mark.parametrize("which", ["newest receipt", "sum"])
def test_a_receipt_the_disk_does_not_give_back(which: str) -> None:
    """The next life deletes on, and verify names the place: nothing else is wrong with the chain. (S2-095)"""
    settings = RetentionSettings(budget_bytes=3_000, keep_free_bytes=0, receipts_max=1)
    steward = Steward(settings=settings)
    steward.record(8)
    steward.work(seconds=700)
    disk = steward.board.disk
    receipts = sorted(name for name in disk.list("receipts") if name != SUM)
    disk.spoil(f"receipts/{SUM if which == 'sum' else receipts[-1]}")
    steward.boot()
    steward.record(4)
    steward.work(seconds=700)

    assert "disk_failed" not in steward.station.report.drops
    found = {(row.segment, row.what) for row in steward.verdict().findings}
    assert any(what == "unreadable" for _, what in found)
    assert {"unreadable", "missing"} >= {what for _, what in found}
    assert len(steward.segments()) < 8


def test_a_group_the_disk_does_not_give_back_holds_up_no_other() -> None:
    """One bad place in an old group: every hour the sweep ended there, what is behind it was never deleted, neither for age nor for room,
    and segments made room for it. (S2-095)"""
    steward = Steward(settings=RetentionSettings(sent_bytes_max=1 << 20))
    disk = steward.board.disk
    for directory in ("groups/p1", "groups/p2", "sent"):
        disk.mkdir(directory)
    then = steward.board.clock.now().timestamp.tai_ns
    bad, old = (release.name_of(Priority.P1, then, word) for word in ("bad", "old"))
    disk.write(f"groups/p1/{bad}", bytes(100))
    disk.spoil(f"groups/p1/{bad}")
    disk.write(f"groups/p2/{old}", bytes(100))
    for number in range(8):
        disk.write(f"sent/{release.name_of(Priority.P4, then + number, 'copy')}", bytes(1 << 18))
    steward.board.clock.advance(70 * DAY)
    steward.work(seconds=4000)

    assert [] == disk.list("groups/p2")
    assert len(disk.list("sent")) <= 4
    assert "disk_failed" not in steward.station.report.drops


def test_a_directory_the_disk_does_not_give_back_holds_up_no_deletion() -> None:
    """Of one segment not even its names: the others go for room as ever. (S2-095)"""
    steward = Steward(settings=RetentionSettings(budget_bytes=3_000, keep_free_bytes=0))
    names = steward.record(6)
    listed = steward.board.disk.list

    def failing(path: str) -> list[str]:
        if path == f"segments/{names[3]}":
            raise DiskFailed("expected the disk to obey, the kernel answered EUCLEAN")
        return listed(path)

    steward.board.disk.list = failing  # type: ignore[method-assign]
    steward.work(seconds=700)

    assert 0 < len(steward.segments()) < 6
    assert "disk_failed" not in steward.station.report.drops


def test_trash_that_cannot_be_emptied_holds_up_nobody() -> None:
    """A directory on a bad place takes its room and nothing else; the steward could not start any more. (S2-095)"""
    steward = Steward(settings=RetentionSettings(budget_bytes=3_000, keep_free_bytes=0))
    names = steward.record(6)
    remove = steward.board.disk.remove

    def failing(path: str) -> None:
        if path == f"trash/{names[0]}":
            raise DiskFailed("expected the disk to obey, the kernel answered EUCLEAN")
        remove(path)

    steward.board.disk.remove = failing  # type: ignore[method-assign]
    steward.work(seconds=700)
    steward.boot()
    more = steward.record(6)
    steward.work(seconds=700)

    assert names[0] in steward.board.disk.list("trash")
    assert more[-1] in steward.segments()
    assert len(steward.segments()) < 6
    assert "disk_failed" not in steward.station.report.drops
    assert steward.verdict().ok
