"""A disk with bad places: the segment in which one is stays as it is, those after it get cold."""

import pytest

from drivers.errors import DiskFailed
from firmware.core.layout import COLD_SEAL

from .conftest import ColdBox


@pytest.mark.parametrize("file", ["seal", "frames.pcapng.lz4"])
def test_one_segment_stays_hot(file: str) -> None:
    """It was tried for ever, and those after it never: of a store for a month a week would have fitted. (S2-096)"""
    box = ColdBox()
    names = box.record(4, rows=200)
    box.board.disk.spoil(f"segments/{names[1]}/{file}", at=100)
    box.work(hours=30)

    assert [True, False, True, True] == [COLD_SEAL in box.files(name) for name in names]
    assert 1 == box.station.report.counts["stays_hot_unreadable"]
    assert not any(name.startswith(".") for name in box.files(names[1]))


def test_a_disk_that_gives_nothing_back_is_no_bad_place() -> None:
    """Nothing is put aside for it: when it works again, everything is tried. (S2-096)"""
    box = ColdBox()
    names = box.record(3, rows=200)
    read = box.board.disk.read

    def failing(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        raise DiskFailed("expected a disk to read, it is gone")

    def gone(path: str) -> list[str]:
        raise DiskFailed("expected a disk to read, it is gone")

    listed = box.board.disk.list
    box.board.disk.read, box.board.disk.list = failing, gone  # type: ignore[method-assign]
    box.station.step(box.board.clock.now())
    box.board.disk.read, box.board.disk.list = read, listed  # type: ignore[method-assign]
    box.work(hours=30)

    assert [True] * 3 == [COLD_SEAL in box.files(name) for name in names]
    assert "stays_hot_unreadable" not in box.station.report.counts
