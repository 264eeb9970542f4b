"""The bell's contract, on the real one and the simulated one; descriptors and signals only where there are any."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.bell import Bell
from drivers.clock import Clock, Monotonic
from drivers.disk import Disk
from drivers.errors import Missing
from drivers.linux.bell import LinuxBell
from drivers.linux.clock import LinuxClock
from drivers.linux.disk import LinuxDisk
from simulator.bell import SimulatedBell
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk

FAR_NS = 20 * 10**9  # beyond this a wait that should have been rung was not


@dataclass(frozen=True, slots=True)
class Place:
    disk: Disk
    clock: Clock
    bell: Bell

    def waited_until(self, deadline: Monotonic) -> bool:
        """Whether the wait lasted to its end, which means that nobody rang."""
        self.bell.wait(deadline)
        return self.clock.now().monotonic >= deadline

    def soon(self, ns: int) -> Monotonic:
        return self.clock.now().monotonic.after(ns)


@pytest.fixture(params=["linux", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "simulated":
        disk, clock = SimulatedDisk(), SimulatedClock()
        yield Place(disk, clock, SimulatedBell(disk, clock))
        return
    bell = LinuxBell(tmp_path)
    yield Place(LinuxDisk(tmp_path), LinuxClock(), bell)
    bell.close()


def test_a_moment_rings(place: Place) -> None:
    """Without a ring the wait lasts until the moment, not shorter; a moment already past returns at once."""
    assert place.waited_until(place.soon(2_000_000))
    assert place.waited_until(place.soon(-1))


@pytest.mark.parametrize(
    "deed",
    [
        lambda disk: disk.rename("d/.item", "d/item"),
        lambda disk: disk.write("d/new", b""),
        lambda disk: disk.link("d/.item", "d/other"),
    ],
    ids=["renamed", "written", "linked"],
)
def test_a_name_appearing_rings(place: Place, deed: Callable[[Disk], None]) -> None:
    """Renamed into place, created or linked: each wakes the waiter, also when it came before the wait."""
    place.disk.mkdir("d")
    place.disk.write("d/.item", b"")
    place.bell.watch_directory("d")
    deed(place.disk)

    assert not place.waited_until(place.soon(FAR_NS))


def test_hidden_names_do_not_ring(place: Place) -> None:
    """A writer still writing wakes nobody, nor does a name that goes, nor another directory."""
    place.disk.mkdir("d")
    place.disk.mkdir("e")
    place.disk.write("d/old", b"")
    place.bell.watch_directory("d")
    place.disk.write("d/.item", b"")
    place.disk.remove("d/old")
    place.disk.write("e/item", b"")

    assert place.waited_until(place.soon(20_000_000))


def test_ring_before_the_wait_is_not_missed(place: Place) -> None:
    """A ring is remembered until one wait has had it; many are as good as one."""
    place.bell.ring()
    place.bell.ring()

    assert not place.waited_until(place.soon(FAR_NS))
    assert place.waited_until(place.soon(2_000_000))


def test_a_missing_directory_cannot_be_watched(place: Place) -> None:
    """It must exist."""
    with pytest.raises(Missing):
        place.bell.watch_directory("nowhere")


def test_another_directory_of_the_same_name_is_not_watched(place: Place) -> None:
    """The watch is of the directory, and ends with it."""
    place.disk.mkdir("spool")
    place.bell.watch_directory("spool")
    place.disk.remove("spool")
    place.waited_until(place.soon(2_000_000))  # Its end may ring.
    place.disk.mkdir("spool")
    place.disk.write("spool/item", b"x")

    assert place.waited_until(place.soon(2_000_000))


def test_descriptors_ring_while_they_are_readable(tmp_path: Path) -> None:
    """Bytes wake the waiter until they are read; the set is replaced as a whole; a number closed and used again is watched again."""
    bell, clock = LinuxBell(tmp_path), LinuxClock()
    place = Place(LinuxDisk(tmp_path), clock, bell)
    reader, writer = os.pipe()
    bell.watch_descriptors([reader])
    os.write(writer, b"1")

    assert not place.waited_until(place.soon(FAR_NS))
    assert not place.waited_until(place.soon(FAR_NS))
    bell.watch_descriptors([])
    assert place.waited_until(place.soon(2_000_000))
    bell.watch_descriptors([reader])
    os.close(reader)
    os.close(writer)
    again, writer = os.pipe()
    assert again == reader
    bell.watch_descriptors([again])
    os.write(writer, b"1")
    assert not place.waited_until(place.soon(FAR_NS))
    os.close(again)
    os.close(writer)
    bell.watch_descriptors([])
    bell.close()


def test_another_thread_and_a_signal_ring(tmp_path: Path) -> None:
    """A waiter with no moment to wait for is woken from a thread, and from a signal's handler."""
    bell = LinuxBell(tmp_path)
    thread = threading.Thread(target=bell.ring)
    thread.start()
    bell.wait(None)
    thread.join()
    former = signal.signal(signal.SIGALRM, lambda number, frame: bell.ring())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        started = time.monotonic_ns()
        bell.wait(None)
        assert time.monotonic_ns() - started < FAR_NS
    finally:
        signal.signal(signal.SIGALRM, former)
    bell.close()


def test_a_closed_bell_holds_nothing_and_a_late_signal_is_harmless(tmp_path: Path) -> None:
    """The page's process ends its bell while a signal may still ring it; and its tests make one after the other."""
    gc.collect()  # What other tests left open may be closed at any moment, and would be counted.
    before = len(list(Path("/proc/self/fd").iterdir()))
    bell = LinuxBell(tmp_path)
    bell.close()
    bell.ring()
    assert before >= len(list(Path("/proc/self/fd").iterdir()))
