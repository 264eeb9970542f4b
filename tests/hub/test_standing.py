"""What a page says of the process beside it."""

import pytest

from firmware.core.report import Report, Value, publish
from firmware.core.timestamp import SECOND
from firmware.hub.standing import Standing
from simulator.clock import SimulatedClock, Timeline
from simulator.disk import SimulatedDisk


class World:
    """A hub's disk and time. brokers: how many it is to hear."""

    def __init__(self, *, brokers: int = 1) -> None:
        self.disk, self.timeline = SimulatedDisk(), Timeline()
        self.clock = SimulatedClock(self.timeline)
        self.disk.mkdir("state")
        self.standing = Standing(self.disk, brokers=brokers, since=self.clock.now().monotonic)

    def says(self, **gauges: Value) -> None:
        publish(self.disk, "hub", [Report("hub", gauges=gauges)], self.clock.now())

    def trouble(self) -> str:
        now = self.clock.now()
        return self.standing.trouble(now.monotonic, tai_ns=now.timestamp.tai_ns)


@pytest.mark.parametrize(
    ("gauges", "said"),
    [
        ({"brokers": 2, "refused": ""}, ""),
        ({"brokers": 1}, "it reaches 1 of its 2 brokers"),
        ({"brokers": 0}, "it reaches no broker"),
        ({"brokers": 2, "refused": "repository_failed"}, "it cannot keep what comes (repository_failed)"),
        ({}, ""),
    ],
)
def test_what_it_says_of_itself(gauges: dict[str, Value], said: str) -> None:
    """All well, or the reason why not all of it arrives."""
    world = World(brokers=2)
    world.says(**gauges)

    assert said == world.trouble()


def test_silence_is_told_from_a_late_word() -> None:
    """Six of its reports missing may be a slow disk; after 15 s it is said, for ever longer, and taken back at its next word."""
    world = World()
    said = [world.trouble()]
    for seconds in (15, 1, 200):
        world.timeline.advance(seconds * SECOND)
        said.append(world.trouble())
    world.says(brokers=1)
    said.append(world.trouble())
    world.timeline.advance(16 * SECOND)
    said.append(world.trouble())

    silent = "its process has said nothing for"
    assert ["", "", f"{silent} 10 s", f"{silent} 3 min", "", f"{silent} 10 s"] == said


def test_a_clock_that_is_set_silences_nobody() -> None:
    """An hour ahead or back, the process reports as it did."""
    world = World()
    said = []
    for step_s in (0, 3600, -7200):
        world.clock.step(step_s * SECOND)
        world.says(brokers=1)
        said.append(world.trouble())
        world.timeline.advance(2 * SECOND)

    assert ["", "", ""] == said
