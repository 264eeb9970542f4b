"""The clock's contract, on the real one and the simulated one."""

import ctypes
import json
import time
from pathlib import Path

import pytest

from drivers.clock import Clock, ClockState, Monotonic
from drivers.linux import clock as linux_clock
from drivers.linux.clock import LinuxClock
from simulator.clock import SimulatedClock, Timeline


@pytest.fixture(params=["linux", "simulated"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return LinuxClock() if request.param == "linux" else SimulatedClock()


def test_monotonic_time_only_grows(clock: Clock) -> None:
    """Readings never go back, and start at or above zero."""
    readings = [clock.now().monotonic for _ in range(100)]

    assert sorted(readings) == readings
    assert readings[0] >= Monotonic(0)


def test_the_stamp_says_how_good_it_is(clock: Clock) -> None:
    """A stamp is labelled with state, source and an uncertainty that is not zero (S2-014)."""
    stamp = clock.now().timestamp

    assert stamp.uncertainty_ns > 0
    assert stamp.source in {"ptp", "ntp", "rtc"}
    assert stamp.state in ClockState


def test_utc_follows_from_tai() -> None:
    """The real clock's UTC is the kernel's, its TAI ahead of it by the leap seconds, also when nobody told the kernel (37 by table)."""
    now = LinuxClock().now()

    assert abs(time.clock_gettime_ns(time.CLOCK_REALTIME) - now.utc_ns) < 1_000_000_000
    assert 37 <= now.tai_offset_s < 60
    assert now.timestamp.tai_ns - now.utc_ns == now.tai_offset_s * 1_000_000_000


@pytest.mark.parametrize("synchronised", [True, False])
def test_linux_states(monkeypatch: pytest.MonkeyPatch, synchronised: bool) -> None:
    """Synchronised is LOCKED with the kernel's own error; lost is HOLDOVER growing by 500 ppm; never synchronised is FREE."""
    clock = LinuxClock()
    kernel = {"answer": 0 if synchronised else 5, "maxerror": 1200, "tai": 38}

    def adjtimex(pointer: object) -> int:
        timex = ctypes.cast(pointer, ctypes.POINTER(linux_clock._Timex)).contents  # type: ignore[arg-type]
        timex.maxerror, timex.tai, timex.status = kernel["maxerror"], kernel["tai"], 0 if kernel["answer"] == 0 else 0x40
        return kernel["answer"]

    monkeypatch.setattr(clock, "_adjtimex", adjtimex)
    first = clock.now()
    assert 38 == first.tai_offset_s
    if not synchronised:
        assert (ClockState.FREE, "rtc", 600 * 10**9) == (
            first.timestamp.state,
            first.timestamp.source,
            first.timestamp.uncertainty_ns,
        )
        return
    assert (ClockState.LOCKED, "ntp", 1_200_000) == (
        first.timestamp.state,
        first.timestamp.source,
        first.timestamp.uncertainty_ns,
    )
    kernel["answer"] = 5
    clock._ask(first.monotonic.ns + 10 * 10**9)
    later = clock.now().timestamp
    assert ClockState.HOLDOVER is later.state
    assert 1_200_000 + 5_000_000 == pytest.approx(later.uncertainty_ns, abs=200_000)


def test_a_stepped_clock_moves_only_its_stamps() -> None:
    """A step changes TAI and not monotonic time; a restart begins monotonic time again; both machines share the truth."""
    timeline = Timeline()
    box, hub = SimulatedClock(timeline), SimulatedClock(timeline)
    timeline.advance(5)
    box.step(-100)

    assert (Monotonic(5), -100) == (box.now().monotonic, box.now().timestamp.tai_ns - hub.now().timestamp.tai_ns)
    box.restart()
    assert (Monotonic(0), Monotonic(5)) == (box.now().monotonic, hub.now().monotonic)
    assert timeline.tai_ns + 7 == box.moment(Monotonic(7))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, (ClockState.HOLDOVER, "ntp", 800_000)),
        ({"monotonic_ns": -6 * 10**9}, None),
        ({"monotonic_ns": 10**9}, None),
        ({"state": "certain"}, None),
        ({"uncertainty_ns": -1}, None),
        ({"source": 7}, None),
    ],
)
def test_the_clock_process_is_believed_while_it_is_fresh(
    tmp_path: Path, row: dict[str, object], expected: tuple[ClockState, str, int] | None
) -> None:
    """Its word on state, source and uncertainty; an old one, one of another start, or none that reads: the kernel's. (S2-012)"""
    account = tmp_path / "clock"
    now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    then_ns = now_ns + int(str(row.get("monotonic_ns", 0)))
    account.write_text(
        json.dumps({"state": "holdover", "source": "ntp", "uncertainty_ns": 800_000} | row | {"monotonic_ns": then_ns})
    )
    stamp, kernel = LinuxClock(account).now().timestamp, LinuxClock().now().timestamp

    assert (expected or (kernel.state, kernel.source)) == (stamp.state, stamp.source, stamp.uncertainty_ns)[
        : 3 if expected else 2
    ]


def test_who_may_not_ask_the_kernel_goes_by_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under systemd's ProtectClock adjtimex(2) is forbidden: the offset is the published one, also when that has gone quiet. (S2-014)"""
    account = tmp_path / "clock"
    now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    account.write_text(
        json.dumps({"state": "locked", "source": "ntp", "uncertainty_ns": 1, "monotonic_ns": now_ns, "tai_offset_s": 38})
    )
    clock = LinuxClock(account)
    monkeypatch.setattr(clock, "_adjtimex", lambda pointer: -1)
    told = clock.now().tai_offset_s
    account.unlink()
    clock._ask(now_ns + 10**9)

    assert (38, 38) == (told, clock.now().tai_offset_s)


def test_a_process_put_aside_between_two_clocks_sees_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put aside for 80 ms between reading the one and the other, it reads again; always put aside, it keeps the closest pair. (S2-010)"""
    delays_ms = iter([80, 0, 0, 30, 70, 20, 90, 60])
    shown = {time.CLOCK_MONOTONIC: 5 * 10**9, time.CLOCK_REALTIME: 1_795_342_500 * 10**9}
    late_ns = 0

    def slow(which: int) -> int:
        nonlocal late_ns
        if which == time.CLOCK_REALTIME:
            late_ns += next(delays_ms) * 1_000_000
        return shown[which] + late_ns

    monkeypatch.setattr(time, "clock_gettime_ns", slow)
    apart = shown[time.CLOCK_REALTIME] - shown[time.CLOCK_MONOTONIC]
    clock = LinuxClock()
    once = clock.now()  # Read before it asks the kernel how good it is, and after.
    always = clock.now()

    assert (0, 20_000_000) == (once.utc_ns - once.monotonic.ns - apart, always.utc_ns - always.monotonic.ns - apart)


def test_a_leap_second_is_no_step_of_tai(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the leap the kernel's UTC says a second twice and its TAI offset grows by one: read in the same moment, TAI goes on. (S2-014)"""
    clock = LinuxClock()
    world = {"utc": 1_798_761_599 * 10**9, "monotonic": 5 * 10**9, "tai": 37}

    def adjtimex(pointer: object) -> int:
        timex = ctypes.cast(pointer, ctypes.POINTER(linux_clock._Timex)).contents  # type: ignore[arg-type]
        timex.maxerror, timex.tai, timex.status = 1200, world["tai"], 0
        return 0

    monkeypatch.setattr(clock, "_adjtimex", adjtimex)
    monkeypatch.setattr(
        linux_clock.time, "clock_gettime_ns", lambda which: world["utc" if which == time.CLOCK_REALTIME else "monotonic"]
    )
    before = clock.now()
    world |= {"utc": world["utc"] - 10**9 + 10**6, "monotonic": world["monotonic"] + 10**6, "tai": 38}
    after = clock.now()

    assert 10**6 == after.timestamp.tai_ns - before.timestamp.tai_ns
    assert (37, 38) == (before.tai_offset_s, after.tai_offset_s)
