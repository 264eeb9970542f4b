"""What the storm's witness takes for a promise: a checker that believes too much finds what is not there."""

from typing import Any

import pytest

from drivers.clock import ClockState, Timestamp
from firmware.core.message import Message, Priority, Severity, packed
from firmware.core.settings import Settings
from firmware.roles import SECTIONS
from simulator.checkers import Witness
from simulator.world import Life, Machine, World, WorldBoard

STAMP = Timestamp(10**18, 1000, "ptp", ClockState.LOCKED)
ITEM = packed([Message("robot-1", "arm", "published", Priority.P1, Severity.ERROR, STAMP, STAMP, sequence=1, text="stopped")])


class Stage:
    """A box on which the test plays all processes."""

    def __init__(self) -> None:
        self.world = World(1)
        self.box: Machine = self.world.add("or3-box", [], Settings(SECTIONS["box"], []), site="site-1", capacity_bytes=1 << 20)
        self.witness = Witness(self.box, self.box)
        self.witness.watch()
        self.writer, self.reader = (Life(_process(name), self.box, WorldBoard(self.box, name)) for name in ("intake", "group"))
        self.box.disk.mkdir("inbox")

    def publish_without_sync(self) -> None:
        """As far as a writer comes who is killed before the last step."""
        self.world.current = self.writer
        self.box.disk.write("inbox/.one", ITEM)
        self.box.disk.sync("inbox/.one")
        self.box.disk.rename("inbox/.one", "inbox/one")

    def look_at_it(self) -> None:
        """The reader takes it and puts it back; its turn is over."""
        self.world.current = self.reader
        self.box.disk.rename("inbox/one", "inbox/one~1")
        self.box.disk.rename("inbox/one~1", "inbox/one")
        self.witness._turned(self.reader)


def _process(name: str) -> Any:
    """Only its identity counts here."""
    return name


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_putting_back_promises_nothing(stage: Stage) -> None:
    """The writer was killed before its publish returned; that a reader looked at the item makes nothing durable (storm seed 663)."""
    stage.publish_without_sync()
    stage.look_at_it()

    assert {} == stage.witness.promised


def test_a_finished_publish_is_a_promise(stage: Stage) -> None:
    """By the sync of the directory, whoever it is that syncs, or by the end of the writer's turn."""
    stage.publish_without_sync()
    stage.look_at_it()
    stage.box.disk.sync_dir("inbox")
    assert 1 == len(stage.witness.promised)

    other = Stage()
    other.publish_without_sync()
    other.witness._turned(other.writer)
    assert 1 == len(other.witness.promised)
