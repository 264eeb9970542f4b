"""A group station on a simulated board, and messages to give it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from firmware.core import release
from firmware.core.message import Message, Priority, Severity, packed, unpacked
from firmware.core.release import Release
from firmware.core.timestamp import ClockState, Timestamp
from firmware.group.settings import GroupSettings
from firmware.group.station import GroupStation
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk


@dataclass
class Gate:
    """One group station; `restart` gives it a new life on the same disk."""

    settings: GroupSettings = field(default_factory=GroupSettings)
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    count: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.board = SimulatedBoard(disk=self.disk, clock=self.clock)
        self.station = GroupStation(self.board, self.settings)
        self.station.start(self.clock.now())

    def message(self, text: str, priority: int = 2, *, ago_s: float = 0, device: str = "robot-1") -> Message:
        now = self.clock.now().timestamp
        origin = Timestamp(now.tai_ns - int(ago_s * 1e9), 1, "device", ClockState.FREE)
        return Message(device, "arm", "published", Priority(priority), Severity.NOTICE, origin, now, text=text)

    def put(self, messages: Sequence[Message], writer: str = "intake") -> str:
        """An item in the inbox, durable, as a writer leaves it."""
        self.count += 1
        name = f"{writer}-{self.clock.now().timestamp.tai_ns:020d}-{self.count:06d}"
        self.disk.write(f"inbox/.{name}", packed(messages))
        self.disk.sync(f"inbox/.{name}")
        self.disk.rename(f"inbox/.{name}", f"inbox/{name}")
        self.disk.sync_dir("inbox")
        return name

    def step(self, after_s: float = 0) -> float | None:
        """Time passes, then steps until the station wants to wait; how many s until it wants the next."""
        self.clock.advance(int(after_s * 1e9))
        for _ in range(1_000):
            now = self.clock.now()
            wish = self.station.step(now)
            if wish is None or wish > now.monotonic:
                return None if wish is None else wish.since(now.monotonic) / 1e9
        raise AssertionError("the station never rests")

    def releases(self) -> dict[str, Release]:
        return {name: release.unpacked(self.disk.read(f"release/{name}")) for name in self.names("release")}

    def texts(self) -> list[list[str | None]]:
        """What the groups in release/ say, in the order of their names."""
        return [[message.text for message in unpacked(item.body)] for item in self.releases().values()]

    def names(self, directory: str) -> list[str]:
        return [name for name in self.disk.list(directory) if not name.startswith(".")]


@pytest.fixture
def gate() -> Gate:
    """With settings as they come. The clock starts at 10:15:00 UTC, the beginning of a 5 minute interval."""
    return Gate()


@pytest.fixture
def make_gate() -> Callable[..., Gate]:
    """With settings changed: make_gate(count_max=3)."""
    return lambda **changes: Gate(GroupSettings(**changes))
