"""A disk with bad places: what it does not give back is one segment's trouble, and room is made all the same."""

import pytest

from firmware.core.receipt import SUM
from firmware.retention.settings import RetentionSettings

from .conftest import Steward


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
