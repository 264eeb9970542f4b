"""What every interface's clock promises, on the simulated one and, where this machine has one, on the kernel's; and the way from its time to UTC."""

import fcntl
import os
import struct
import time
from pathlib import Path

import pytest

from drivers.errors import NotConnected
from drivers.hardware_clock import Comparison, HardwareClock, HardwareTrack, Translation
from drivers.linux import hardware_clock as driver
from drivers.linux.hardware_clock import LinuxHardwareClock
from simulator.clock import SimulatedClock
from simulator.hardware_clock import SimulatedHardwareClock

SECOND = 1_000_000_000
REAL = sorted(Path("/dev").glob("ptp[0-9]*"))
REASON = "no /dev/ptpN: neither a card with a clock nor ptp_kvm, ptp_mock or netdevsim in this kernel"


@pytest.fixture(params=["simulated", pytest.param("linux", marks=pytest.mark.skipif(not REAL, reason=REASON))])
def clock(request: pytest.FixtureRequest) -> HardwareClock:
    if request.param == "linux":
        return LinuxHardwareClock(os.open(REAL[0], os.O_RDONLY))
    return SimulatedHardwareClock(SimulatedClock(), offset_ns=-56 * 365 * 86_400 * SECOND, drift_ppm=12)


def test_both_clocks_in_one_moment(clock: HardwareClock) -> None:
    """Looks are a few microseconds wide, later ones are later by both clocks, and closing twice is as good as once. (S2-011)"""
    rows = [clock.compare() for _ in range(20)]
    clock.close()
    clock.close()

    assert all(0 < row.uncertainty_ns < 1_000_000 for row in rows)
    assert sorted(row.hardware_ns for row in rows) == [row.hardware_ns for row in rows]
    assert sorted(row.utc_ns for row in rows) == [row.utc_ns for row in rows]


def test_one_that_is_gone() -> None:
    """A clock whose card was pulled out says so, simulated and real."""
    simulated = SimulatedHardwareClock(SimulatedClock())
    simulated.is_there = False
    nothing = LinuxHardwareClock(os.open("/dev/null", os.O_RDONLY))
    for gone in (simulated, nothing):
        with pytest.raises(NotConnected):
            gone.compare()
        gone.close()


@pytest.mark.parametrize(
    ("command", "stamps"),
    [
        (driver.PTP_SYS_OFFSET_EXTENDED, 3),  # system, card, system for each sample
        (driver.PTP_SYS_OFFSET, 2),  # system, card, system, card, system: neighbours share one
    ],
    ids=["extended", "offset"],
)
def test_what_the_kernel_writes(monkeypatch: pytest.MonkeyPatch, command: int, stamps: int) -> None:
    """As linux/ptp_clock.h lays it out: of five samples the narrowest counts, its middle and half its width; a driver without the better
    way is asked the other from then on. (S2-011)"""
    utc, card = 1_795_342_500 * SECOND, 77 * SECOND
    widths = [9_000, 5_000, 2_000, 7_000, 6_000]
    asked = []

    def kernel(descriptor: int, what: int, answer: bytearray) -> int:
        asked.append(what)
        if what != command:
            raise OSError(25, "ENOTTY")
        assert 5 == struct.unpack_from("=I", answer)[0]
        rows, at = [], utc
        for width in widths:
            rows += [at, card + (at - utc) + width // 2, at + width]
            at += width
            if stamps == 3:
                at += SECOND
        if stamps == 2:
            rows = [row for place, row in enumerate(rows) if place % 3 < 2] + [at]
        for place, ns in enumerate(rows):
            struct.pack_into("=qI4x", answer, 16 + 16 * place, *divmod(ns, SECOND))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", kernel)
    clock = LinuxHardwareClock(os.open("/dev/null", os.O_RDONLY))
    first, second = clock.compare(), clock.compare()
    clock.close()

    assert first == second
    assert (card - utc, 2_000 // 2 + 1) == (first.ahead_ns, first.uncertainty_ns)
    assert asked == ([] if stamps == 3 else [driver.PTP_SYS_OFFSET_EXTENDED]) + [command, command]


def test_any_clock_of_the_kernels() -> None:
    """Where a driver offers neither way, two readings of the system's clock stand around one of the card's: here, of CLOCK_MONOTONIC."""
    true_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - time.clock_gettime_ns(time.CLOCK_REALTIME)
    seen = driver.read_between(time.CLOCK_MONOTONIC)

    assert abs(seen.ahead_ns - true_ns) < 50_000_000  # whatever put this process aside, or slews the clock of this machine
    assert 0 < seen.uncertainty_ns < 50_000_000


def test_no_clock_where_the_interface_has_none() -> None:
    """Loopback stamps nothing."""
    assert driver.hardware_clock("lo") is None
    assert driver.hardware_clock("nosuch") is None


@pytest.mark.parametrize("drift_ppm", [-100.0, 0.0, 0.02, 100.0])
def test_stamps_become_utc(drift_ppm: float) -> None:
    """A card half a century off that drifts by 100 ppm: looked at once a second, its stamps of that second are UTC within 100 ns. (S2-011)"""
    board = SimulatedClock()
    card = SimulatedHardwareClock(board, offset_ns=-56 * 365 * 86_400 * SECOND, drift_ppm=drift_ppm)
    track, worst = HardwareTrack(), 0
    for second in range(20):
        track.take(card.compare())
        for _ in range(10):
            board.advance(SECOND // 10)
            utc_ns = board.now().utc_ns
            if second >= 2:
                worst = max(worst, abs(track.translation.utc_ns(card.stamp(utc_ns)) - utc_ns))

    assert worst <= 100


def test_a_clock_that_was_set_is_another_clock() -> None:
    """Set by 37 s, as phc2sys does when it begins: with the next look its stamps are right, and no rate is made of the jump. (S2-011)"""
    board = SimulatedClock()
    card = SimulatedHardwareClock(board)
    track = HardwareTrack()
    for second in range(6):
        if second == 4:
            card.shown.step(board.timeline.tai_ns, -37 * SECOND)
        track.take(card.compare())
        board.advance(SECOND)

    assert Translation(track.translation.at_ns, 0, 0) == track.translation
    assert board.now().utc_ns == track.translation.utc_ns(card.stamp(board.now().utc_ns))


def test_the_rate_is_of_the_last_seconds() -> None:
    """Two looks within a second make no rate; steered by 50 ppm since four seconds, it is 50 ppm. (S2-011)"""
    track = HardwareTrack()
    track.take(Comparison(0, 0, 400))
    track.take(Comparison(SECOND // 2, SECOND // 2 - 5_000, 400))
    early = track.translation.gain_ppb
    for second in range(10):
        utc_ns = second * SECOND
        track.take(Comparison(utc_ns + max(0, second - 4) * 50_000, utc_ns, 400))

    assert (0, 50_000) == (early, pytest.approx(track.translation.gain_ppb, abs=5))
