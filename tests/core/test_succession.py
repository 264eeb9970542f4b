"""A process is followed by another version of itself, while it works, or goes on as if nothing had been."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from drivers.clock import Monotonic, Now
from drivers.supervisor import Heir, Standing
from firmware.core.report import Report
from firmware.core.station import run
from firmware.core.succession import READY_NS_MAX, Succession
from firmware.core.versions import IMAGE, OFFICIAL, is_version, official
from simulator.board import SimulatedBoard

SECOND = 1_000_000_000


@dataclass(slots=True)
class Work:
    """A station that counts its steps, and does what the test wants in them."""

    deed: Callable[[int, Now], None] = lambda count, now: None
    name: str = "work"
    report: Report = field(default_factory=lambda: Report("work"))
    steps: int = 0
    ended: list[bool] = field(default_factory=list)
    board: SimulatedBoard | None = None

    def start(self, now: Now) -> None:
        return

    def step(self, now: Now) -> Monotonic | None:
        self.steps += 1
        self.deed(self.steps, now)
        return now.monotonic.after(SECOND)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        assert self.board is not None
        self.ended.append(self.board.supervisor.hands_over)


class Process:
    """One process with its succession; the other versions are there, and marked by the test."""

    def __init__(self, *versions: str, running: str = IMAGE) -> None:
        self.board = SimulatedBoard()
        for version in versions:
            self.board.disk.mkdir(f"versions/{version}")
        self.board.disk.mkdir(OFFICIAL)
        self.succession = Succession(self.board, "gate", running=running, launch=lambda v: (["run", v], {"V": v}))
        self.work = Work(board=self.board)

    def mark(self, version: str) -> None:
        self.board.disk.write(f"{OFFICIAL}/gate", version.encode())

    def run(self, deed: Callable[[int, Now], None], *, steps: int = 100) -> None:
        def work(count: int, now: Now) -> None:
            deed(count, now)
            self.board.supervisor.stop = count >= steps

        self.work.deed = work
        run(
            [self.work, self.succession], clock=self.board.clock, bell=self.board.bell(), supervisor=self.board.supervisor,
            publish_reports=lambda reports, now: None, heir=self.succession.heir,
        )  # fmt: skip


def test_another_version_goes_on_without_the_first_being_stopped() -> None:
    """It is started beside the one at work, which works on until it is ready, and then hands over; no end is told. (S1-08, S1-14)"""
    process = Process("v2")

    def deed(count: int, now: Now) -> None:
        if count == 3:
            process.mark("v2")
        if count == 20:
            process.board.supervisor.heirs[0].stands = Standing.READY

    process.run(deed)
    heir = process.board.supervisor.heirs[0]

    assert 1 == len(process.board.supervisor.heirs)
    assert (("run", "v2"), {"V": "v2"}) == (heir.command, heir.environment)
    assert ["announced", "handed over"] == heir.said
    assert [True] == process.work.ended
    assert process.work.steps in (20, 21)
    assert "stopping" not in [word for word, _ in process.board.supervisor.said]


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_one_that_cannot_start_costs_nothing(how: str) -> None:
    """It ends, or gets ready never: the first works on, says so, and tries it no more until the mark names another. (S1-16)"""
    process = Process("v2", "v3")
    process.mark("v2")

    def deed(count: int, now: Now) -> None:
        if count == 5 and how == "fails":
            process.board.supervisor.heirs[0].stands = Standing.FAILED
        if count == 90:
            assert "v2 failed" == process.succession.report.gauges["heir"]
            process.mark("v3")

    process.run(deed)

    assert [("run", "v2"), ("run", "v3")] == [heir.command for heir in process.board.supervisor.heirs]
    assert {"heir_failed": 1} == process.succession.report.drops
    assert 100 == process.work.steps
    assert [False] == process.work.ended
    assert READY_NS_MAX < 90 * SECOND
    assert ["dismissed"] == process.board.supervisor.heirs[1].said


def test_a_mark_taken_back_takes_the_heir_back() -> None:
    """Before it was ready: it is ended, and the first works on."""
    process = Process("v2")
    process.mark("v2")

    def deed(count: int, now: Now) -> None:
        if count == 5:
            process.mark(IMAGE)

    process.run(deed, steps=10)

    assert [["dismissed"]] == [heir.said for heir in process.board.supervisor.heirs]


def test_without_a_keeper_nobody_is_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was started by hand would end, and the heir be nobody's."""
    process = Process("v2")
    monkeypatch.setattr(type(process.board.supervisor), "keeps", property(lambda self: False))
    process.mark("v2")
    process.run(lambda count, now: None, steps=10)

    assert [] == process.board.supervisor.heirs


@pytest.mark.parametrize("mark", [b"", b"v9", b"../v2", b"official", b"image", b"V2", b"\xff\xfe", b"v2\n", b"." * 300])
def test_a_mark_that_names_nothing_is_the_image(mark: bytes) -> None:
    """No copy of that name, no name at all, a path: the image's own version, which is always there. (S1-12)"""
    board = SimulatedBoard()
    board.disk.mkdir("versions/v2")
    board.disk.mkdir(OFFICIAL)
    board.disk.write(f"{OFFICIAL}/gate", mark)

    assert IMAGE == official(board.disk, "gate")
    assert IMAGE == official(board.disk, "capture")
    assert is_version("2.4.1+3") and not is_version("-v2")


def test_an_heir_whose_elder_ended_does_not_begin() -> None:
    """The keeper starts whoever is right; two of one process would be worse than none."""
    board = SimulatedBoard()
    board.supervisor.await_turn = lambda: False  # type: ignore[method-assign]
    work = Work(board=board)
    heirs: list[Heir] = []
    run(
        [work], clock=board.clock, bell=board.bell(), supervisor=board.supervisor, publish_reports=lambda reports, now: None,
        heir=lambda: heirs[0] if heirs else None,
    )  # fmt: skip

    assert (0, []) == (work.steps, board.supervisor.said)


def test_a_copy_made_on_another_image_gives_way() -> None:
    """That image came later and brought its own application; one made by hand, without a word about its ground, is taken."""
    board = SimulatedBoard()
    board.disk.mkdir("versions/v2")
    board.disk.mkdir(OFFICIAL)
    board.disk.write(f"{OFFICIAL}/gate", b"v2")
    assert "v2" == official(board.disk, "gate", ground="image 2")
    board.disk.write("versions/v2/ground", b"image 1")

    assert ("v2", IMAGE) == (official(board.disk, "gate", ground="image 1"), official(board.disk, "gate", ground="image 2"))
