"""The loop that lets stations share a process: nobody forgotten, nobody starved, an orderly end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.clock import Monotonic, Now
from firmware.core.report import Report
from firmware.core.station import ALIVE_EVERY_NS, Station, run
from simulator.board import SimulatedBoard

SECOND = 1_000_000_000


@dataclass(slots=True)
class Recorded:
    """A station that writes down when it was called, and answers what the test wants."""

    name: str
    answer: Callable[[Now, int], Monotonic | None]
    log: list[tuple[str, str]]
    report: Report = field(default_factory=lambda: Report("x"))
    watched: tuple[str, ...] = ()
    stepped_at: list[int] = field(default_factory=list)

    def start(self, now: Now) -> None:
        self.log.append((self.name, "start"))

    def step(self, now: Now) -> Monotonic | None:
        self.log.append((self.name, "step"))
        self.stepped_at.append(now.monotonic.ns)
        return self.answer(now, len(self.stepped_at))

    def directories(self) -> Sequence[str]:
        return self.watched

    def descriptors(self) -> Sequence[int]:
        return (-1,)

    def stop(self, now: Now) -> None:
        self.log.append((self.name, "stop"))


def ran(board: SimulatedBoard, stations: Sequence[Station], *, until_ns: int) -> list[int]:
    """Run until this moment; returns when reports were published."""
    published: list[int] = []

    def publish(reports: Sequence[Report], now: Now) -> None:
        published.append(now.monotonic.ns)
        board.supervisor.stop = now.monotonic.ns >= until_ns

    run(stations, clock=board.clock, bell=board.bell(), supervisor=board.supervisor, publish_reports=publish)
    return published


def test_life_of_a_process() -> None:
    """Started in order, said to be ready, stepped, stopped in order, in that order; signs of life every two seconds."""
    board, log = SimulatedBoard(), []  # type: ignore[var-annotated]
    stations = [Recorded(name, lambda now, count: None, log) for name in ("one", "two")]
    published = ran(board, stations, until_ns=3 * ALIVE_EVERY_NS)

    assert [("one", "start"), ("two", "start"), ("one", "step"), ("two", "step")] == log[:4]
    assert [("one", "stop"), ("two", "stop")] == log[-2:]
    assert [0, ALIVE_EVERY_NS, 2 * ALIVE_EVERY_NS, 3 * ALIVE_EVERY_NS] == published[:-1]
    assert ("ready", "one two") == board.supervisor.said[0]
    assert ("stopping", "") == board.supervisor.said[-1]


def test_a_wish_is_kept() -> None:
    """A station that names a moment is stepped at it, to the nanosecond in virtual time."""
    board = SimulatedBoard()
    station = Recorded("one", lambda now, count: now.monotonic.after(SECOND // 4), [])
    ran(board, [station], until_ns=ALIVE_EVERY_NS)

    assert [number * SECOND // 4 for number in range(9)] == station.stepped_at


def test_a_backlog_delays_nobody() -> None:
    """A station that always wants more takes turns with the others, and the reports still go out."""
    board = SimulatedBoard()

    def hungry(now: Now, count: int) -> Monotonic:
        board.clock.advance(SECOND // 100)  # work takes time
        return now.monotonic

    busy, other = Recorded("busy", hungry, []), Recorded("other", lambda now, count: None, [])
    published = ran(board, [busy, other], until_ns=2 * ALIVE_EVERY_NS)

    assert len(busy.stepped_at) == len(other.stepped_at) > 300
    assert 4 == len(published)


def test_an_arrival_wakes() -> None:
    """A name appearing in a watched directory steps the stations at once and not at the next sign of life."""
    board = SimulatedBoard()
    board.disk.mkdir("in")

    def writes_once(now: Now, count: int) -> Monotonic | None:
        if count == 2:
            board.disk.write("in/item", b"")
        return now.monotonic.after(SECOND // 2) if count == 1 else None

    writer = Recorded("writer", writes_once, [])
    reader = Recorded("reader", lambda now, count: None, [], watched=("in",))
    ran(board, [reader, writer], until_ns=ALIVE_EVERY_NS)

    assert [0, SECOND // 2, SECOND // 2] == reader.stepped_at[:3]
