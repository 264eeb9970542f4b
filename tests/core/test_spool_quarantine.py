"""Quarantine has bounds: a writer gone mad cannot fill the disk with what nobody can read."""

import pytest

from firmware.core import spool
from firmware.core.spool import Spool
from simulator.disk import SimulatedDisk


def rejected(box: Spool, count: int, *, size: int = 10, prefix: str = "p4") -> None:
    for number in range(count):
        box.publish(f"{prefix}-{number:05d}", bytes(size))
        item = box.take_named(f"{prefix}-{number:05d}")
        assert item is not None
        box.reject(item, "no envelope")


def test_so_many_items_and_what_is_least_important_goes() -> None:
    """(S2-060) Beyond 500 what sorts last goes, item and reason, and is counted; what is there of P1 stays."""
    disk = SimulatedDisk()
    box = Spool(disk, "outbox")
    lost: list[str] = []
    box.start(lost.append)
    rejected(box, 3, prefix="p1")
    rejected(box, spool.QUARANTINE_ITEMS_MAX)
    names = disk.list("quarantine/outbox")

    assert 2 * spool.QUARANTINE_ITEMS_MAX == len(names)
    assert 6 == sum(name.startswith("p1-") for name in names)
    assert ["quarantine_full"] * 3 == lost


def test_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever bound is met first."""
    monkeypatch.setattr(spool, "QUARANTINE_BYTES_MAX", 1000)
    disk = SimulatedDisk()
    box = Spool(disk, "outbox")
    lost: list[str] = []
    box.start(lost.append)
    rejected(box, 20, size=100)

    assert 10 == sum(not name.endswith(".reason") for name in disk.list("quarantine/outbox"))
    assert ["quarantine_full"] * 10 == lost


def test_what_a_person_does_there_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person may empty it while it is looked through, and may make a directory in it to put things aside; neither counts."""
    disk = SimulatedDisk()
    box = Spool(disk, "outbox")
    box.start(lambda cause: None)
    rejected(box, 2)
    disk.mkdir("quarantine/outbox/seen")
    listed = disk.list

    def emptied(path: str) -> list[str]:
        names = listed(path)
        if path == "quarantine/outbox" and disk.exists("quarantine/outbox/p4-00000"):
            disk.remove("quarantine/outbox/p4-00000")
        return names

    monkeypatch.setattr(disk, "list", emptied)
    rejected(box, 1, prefix="p3")

    assert ["p3-00000", "p4-00001", "seen"] == [name for name in listed("quarantine/outbox") if not name.endswith(".reason")]
    assert [] == box.names()
