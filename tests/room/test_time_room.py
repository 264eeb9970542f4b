"""Devices with clocks of their own over real sockets: they follow linuxptp's grandmaster, and linuxptp's own tools read and measure them."""

import re
import select
import shutil
from collections.abc import Callable, Iterator
from time import CLOCK_REALTIME, clock_gettime_ns, monotonic

import pytest

from simulator.namespaces import search_path, what_is_missing
from simulator.ptp.time_room import Part, TimeRoom

pytestmark = pytest.mark.lab
PARTS = (
    Part("good", 21, "synchronised", offset_us=5_000, drift_ppm=40),
    Part("free", 22, "free", offset_us=300, drift_ppm=15),
    Part("liar", 23, "lying", offset_us=-9_000),
    Part("old", 24, "1970"),
    # Four milliseconds more towards it than back: a slave that believes in symmetric paths is two of them wrong.
    Part("far", 25, "synchronised", offset_us=100, slow_us=(4_000, 0)),
)
ONE_WAY_NS = 2_000_000  # what a probe may take each way on this machine while others use it; a veth takes a hundredth of it


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimeRoom]:
    """One room for all of them, some of which take half a minute to settle."""
    missing = what_is_missing()
    for program in ("ptp4l", "nsm", "pmc"):
        if missing is None and shutil.which(program, path=search_path()) is None:
            missing = "linuxptp is not installed"
    if missing is not None:
        pytest.skip(f"no lab here: {missing}")
    with TimeRoom(tmp_path_factory.mktemp("time"), PARTS, log_announce=-1) as room:
        room.start()
        until(lambda: all(room.is_born(part.name) for part in PARTS), timeout_s=20)
        yield room
        assert all(program.running for program in room.programs.values()), [
            program.said() for program in room.programs.values() if not program.running
        ]


def until(condition: Callable[[], bool], *, timeout_s: float) -> None:
    limit = monotonic() + timeout_s
    while not condition():
        assert monotonic() < limit, "expected it to hold in time"
        select.select([], [], [], 0.1)


def error_ns(room: TimeRoom, name: str) -> int:
    return room.truth(name).error_ns(clock_gettime_ns(CLOCK_REALTIME))


def measured(room: TimeRoom, name: str) -> tuple[int, str, tuple[int, int]]:
    """What linuxptp's own NetSync Monitor client says: offset ns, port state; and the truth before and after it asked."""
    file = room.directory / "nsm.cfg"
    file.write_text("[global]\ntime_stamping software\n")
    # nsm waits a millisecond for the stamp of its probe; a probe that first has to wait for ARP has it later.
    room.network.run("stranger", ["ping", "-q", "-c", "1", room.address(name)])
    since = clock_gettime_ns(CLOCK_REALTIME)
    # It ends when nothing has been heard for a tenth of a second, and in this room there is no such moment.
    command = f"(echo NSM {room.address(name)}; sleep 0.5) | timeout 1 nsm -i eth0 -f {file} 2>&1; true"
    said = room.network.run("stranger", ["sh", "-c", command])
    offset, state = re.search(r"offset +(-?\d+)", said), re.search(r"portState +(\w+)", said)
    assert offset and state, said
    return int(offset[1]), state[1], room.truth(name).bounds(since, clock_gettime_ns(CLOCK_REALTIME))


def test_device_follows_ptp4l(room: TimeRoom) -> None:
    """From 5 ms off and 40 ppm fast to within half a millisecond of the grandmaster, and it stays. (S2-010, S2-012)"""
    until(lambda: abs(error_ns(room, "good")) < 500_000, timeout_s=40)
    worst = 0
    for _ in range(30):
        select.select([], [], [], 0.1)
        worst = max(worst, abs(error_ns(room, "good")))

    assert worst < 500_000


def test_free_device_keeps_its_own_time(room: TimeRoom) -> None:
    """One that follows nobody is where its crystal takes it, exactly."""
    known = room.truth("free")

    assert 300_000 == known.error_ns(known.first_ns)
    assert 300_000 + 15_000 * 60 == known.error_ns(known.first_ns + 60 * 10**9)


@pytest.mark.parametrize("name", ["good", "free", "liar", "far"])
def test_linuxptp_measures_our_device(room: TimeRoom, name: str) -> None:
    """nsm, as Debian ships it, measures each of our devices, the lying one too, within what the way there allows."""
    until(lambda: name in ("free", "liar") or abs(error_ns(room, name)) < 3_000_000, timeout_s=40)
    offset, state, (least, most) = measured(room, name)
    slow_ns = max(room.parts[name].slow_us) * 1000

    assert state in ("SLAVE", "UNCALIBRATED")
    # nsm says how far its own clock is ahead of the device's.
    assert least - ONE_WAY_NS - slow_ns <= -offset <= most + ONE_WAY_NS + slow_ns


def test_asymmetry_is_real_and_invisible(room: TimeRoom) -> None:
    """4 ms more one way than the other put a slave 2 ms off, while it reports a few microseconds: never certify from that alone."""
    until(lambda: 1_000_000 < abs(error_ns(room, "far")) < 3_000_000 and abs(reported(room, 25)) < 500_000, timeout_s=60)

    assert 2_000_000 == pytest.approx(abs(error_ns(room, "far")), abs=700_000)


def test_linuxptp_reads_our_device(room: TimeRoom) -> None:
    """pmc reads the state and the self-report of each; the liar's says 40 ns, and it is 9 ms off."""
    until(lambda: -9_000_000 == error_ns(room, "liar") and reported(room, 23) == 40, timeout_s=20)
    said = asked(room, "GET PORT_DATA_SET")

    assert {"000015", "000016", "000017", "000018", "000019"} <= set(re.findall(r"02534a\.fffe\.(\w{6})-1 seq", said))


def asked(room: TimeRoom, question: str) -> str:
    return room.network.run("stranger", ["sh", "-c", f"pmc -4 -i eth0 -s {room.directory}/none -b 1 '{question}' 2>&1"])


def reported(room: TimeRoom, number: int) -> float:
    """offsetFromMaster this device reports, ns."""
    found = re.search(
        rf"fffe\.{number:06x}-1 seq \d+ RESPONSE MANAGEMENT CURRENT_DATA_SET\s+stepsRemoved +\d+\s+offsetFromMaster +(\S+)",
        asked(room, "GET CURRENT_DATA_SET"),
    )
    return float(found[1]) if found else float("inf")
