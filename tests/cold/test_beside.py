"""Whoever thaws beside whoever rewrites, and a thawing that is broken off: the frames are there once at least, and no room is lost."""

from collections.abc import Callable
from typing import Any

import pytest

from drivers.errors import DiskFailed, DiskFull
from firmware.core.layout import COLD, COLD_SEAL, INDEX, SEAL
from firmware.core.thaw import thaw
from firmware.core.verify import verify
from simulator.disk import SimulatedDisk

from .conftest import ColdBox


def test_thawed_in_any_moment_of_its_rewriting() -> None:
    """A person thaws a segment that is being rewritten: before each operation of it in turn. One form is whole whenever that ends. (S2-096)"""
    for when in range(200):
        box = ColdBox()
        (name,) = box.record(1)
        deeds = [0]

        def before(
            number: int,
            operation: str,
            path: str,
            box: ColdBox = box,
            name: str = name,
            deeds: list[int] = deeds,
            when: int = when,
        ) -> None:
            deeds[0] += 1
            if deeds[0] == when + 1:
                box.board.disk.before = None
                thaw(box.board.disk, "segments", name)

        box.board.disk.before = before
        box.work(hours=30)

        assert verify(box.board.disk).ok, f"operation {when}: {box.files(name)}"
        if deeds[0] <= when:
            return
    raise AssertionError("expected a rewriting of less than 200 operations")


class Stopped(Exception):
    """Ctrl-C."""


def _full(disk: SimulatedDisk) -> None:
    disk.fill(leave_bytes=100)


def _stopped(disk: SimulatedDisk) -> None:
    def before(number: int, operation: str, path: str) -> None:
        if operation == "append":
            disk.before = None
            raise Stopped

    disk.before = before


def _spoilt(disk: SimulatedDisk) -> None:
    (name,) = disk.list("segments")
    disk.spoil(f"segments/{name}/{COLD}", at=100)


@pytest.mark.parametrize(("trouble", "said"), [(_full, DiskFull), (_stopped, Stopped), (_spoilt, DiskFailed)])
def test_broken_off_it_leaves_no_half_file(trouble: Callable[[Any], None], said: type[Exception]) -> None:
    """Half a segment that nobody sees kept a full disk full. (S2-096)"""
    box = ColdBox()
    (name,) = box.record(1)
    box.work(hours=30)
    used = box.board.disk.used_bytes
    trouble(box.board.disk)
    with pytest.raises(said):
        thaw(box.board.disk, "segments", name)

    assert [COLD_SEAL, COLD, INDEX, SEAL] == box.files(name)
    assert used == box.board.disk.used_bytes
