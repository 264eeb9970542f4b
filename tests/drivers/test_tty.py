"""The serial line's contract, on the real one (a pseudo-terminal's far end) and the simulated one."""

import os
import select
import tty as terminal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.errors import Missing
from drivers.linux.tty import LinuxTty
from drivers.tty import Tty
from simulator.tty import SimulatedTty


@dataclass(frozen=True, slots=True)
class Line:
    tty: Tty
    type: Callable[[bytes], object]
    shown: Callable[[], bytes]


@pytest.fixture(params=["linux", "simulated"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    if request.param == "simulated":
        simulated = SimulatedTty()
        yield Line(simulated, simulated.type, simulated.shown)
        return
    person, far = os.openpty()
    terminal.setraw(person)
    real = LinuxTty(os.ttyname(far))
    yield Line(real, lambda data: os.write(person, data), lambda: os.read(person, 4096))
    real.close()
    for descriptor in (person, far):
        os.close(descriptor)


def test_nothing_typed_is_nothing_read(line: Line) -> None:
    """Reading never waits."""
    assert b"" == line.tty.read()


def test_bytes_pass_unchanged_both_ways(line: Line) -> None:
    """Every byte value, line ends and control characters among them, in both directions."""
    every = bytes(range(256))
    line.type(every)
    if line.tty.fileno() >= 0:
        select.select([line.tty.fileno()], [], [], 5)

    assert every == line.tty.read()
    line.tty.write(every)
    assert every == line.shown()


def test_closing_is_as_good_once_as_twice(line: Line) -> None:
    """Closing twice does nothing more."""
    line.tty.close()
    line.tty.close()


def test_a_line_that_takes_nothing_costs_the_oldest_bytes() -> None:
    """Beyond 64 KiB the oldest are dropped; the newest come out when the line takes again."""
    tty = SimulatedTty()
    tty.stuck = True
    tty.write(b"old" + b"x" * 65_536)
    tty.write(b"end")
    tty.stuck = False
    tty.read()

    assert b"x" * 65_533 + b"end" == tty.shown()


def test_a_stuck_linux_line_goes_on_later() -> None:
    """What the line will not take at once is kept, never waited for, and follows when there is room again."""
    person, far = os.openpty()
    terminal.setraw(person)
    tty = LinuxTty(os.ttyname(far))
    tty.write(b"a" * 60_000)
    received = 0
    while received < 60_000:
        received += len(os.read(person, 65_536))
        assert b"" == tty.read()
    tty.close()
    for descriptor in (person, far):
        os.close(descriptor)

    assert 60_000 == received


def test_a_hang_up_ends_nothing() -> None:
    """When the other end goes away the line reads as quiet and has no descriptor that would ring for ever."""
    person, far = os.openpty()
    tty = LinuxTty(os.ttyname(far))
    os.close(far)
    os.close(person)

    assert b"" == tty.read()
    assert -1 == tty.fileno()
    tty.write(b"into the void")
    assert b"" == tty.read()
    tty.close()


def test_a_hang_up_is_said_once_and_keeps_nothing_for_the_next(tmp_path: Path) -> None:
    """An adapter pulled and put back: that the line was away is told, and what was still to be shown to the one is not for the other."""
    device = tmp_path / "ttyUSB0"
    person, far = os.openpty()
    device.symlink_to(os.ttyname(far))
    tty = LinuxTty(str(device))
    assert not tty.hung_up()
    for descriptor in (person, far):
        os.close(descriptor)
    device.unlink()
    tty.write(b"for the one")
    assert (b"", True, False) == (tty.read(), tty.hung_up(), tty.hung_up())

    person, far = os.openpty()
    terminal.setraw(person)
    device.symlink_to(os.ttyname(far))
    tty.read()
    tty.write(b"for the other")
    assert b"for the other" == os.read(person, 4096)
    assert not tty.hung_up()
    tty.close()
    for descriptor in (person, far):
        os.close(descriptor)


@pytest.mark.parametrize(("device", "said"), [("nothing", "there is none"), ("file", "this is none")])
def test_no_line(tmp_path: Path, device: str, said: str) -> None:
    """A device that is not there, or is no terminal, is Missing."""
    (tmp_path / "file").touch()
    with pytest.raises(Missing, match=f"{device}, {said}"):
        LinuxTty(str(tmp_path / device))


def test_a_line_without_the_right_to_it_is_not_said_to_be_missing(tmp_path: Path) -> None:
    """Who is not of the group of /dev/ttyUSB0 looks for his rights then, and not for the cable."""
    device = tmp_path / "ttyUSB0"
    person, far = os.openpty()
    device.symlink_to(os.ttyname(far))
    os.fchmod(far, 0)
    former = os.geteuid()
    if former == 0:
        os.seteuid(65_534)  # nobody: root has every right
    try:
        with pytest.raises(Missing, match="ttyUSB0, the system says: Permission denied"):
            LinuxTty(str(device))
    finally:
        os.seteuid(former)
        for descriptor in (person, far):
            os.close(descriptor)
