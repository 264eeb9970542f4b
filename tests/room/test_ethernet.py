"""PTP over Ethernet, without IP, against the real ptp4l: end to end for several devices, and to the peer at the other end of a cable."""

import json
import select
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import CLOCK_REALTIME, clock_gettime_ns, monotonic

import pytest

from firmware.core.certificate import Method, account_from
from simulator.namespaces import search_path, what_is_missing
from simulator.ptp.time_room import Part, TimeRoom

pytestmark = pytest.mark.lab
GOOD_NS = 500_000  # of a servo, on a machine others use
DEVICES = (Part("good", 21, offset_us=5_000, drift_ppm=40), Part("late", 22, offset_us=-8_000, drift_ppm=-25))


@pytest.fixture(params=["E2E", "P2P"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TimeRoom]:
    missing = what_is_missing()
    if missing is None and shutil.which("ptp4l", path=search_path()) is None:
        missing = "linuxptp is not installed"
    if missing is not None:
        pytest.skip(f"no lab here: {missing}")
    is_peer = request.param == "P2P"
    devices = DEVICES[: 1 if is_peer else 2]
    with TimeRoom(
        tmp_path, devices, slave_count=0 if is_peer else 1, transport="L2", delay_mechanism=request.param, log_announce=-1
    ) as room:
        room.start_box(tmp_path / "box")
        room.start()
        yield room
        assert [] == [(name, program.said()) for name, program in room.programs.items() if not program.running]


def until(condition: Callable[[], bool], *, timeout_s: float) -> None:
    limit = monotonic() + timeout_s
    while not condition():
        assert monotonic() < limit, "expected it to hold in time"
        select.select([], [], [], 0.05)


def test_devices_follow_over_ethernet(room: TimeRoom) -> None:
    """Devices milliseconds off follow ptp4l by its Ethernet messages and their delay alone, ptp4l's own slave beside them; the box knows
    them by their MAC addresses, and certifies nothing it cannot ask. (S2-010, S2-012)"""
    until(lambda: all(room.is_born(name) for name in room.parts), timeout_s=20)
    for name in room.parts:
        until(lambda name=name: abs(room.truth(name).error_ns(clock_gettime_ns(CLOCK_REALTIME))) < GOOD_NS, timeout_s=60)  # type: ignore[misc]
    until(lambda: all(len(room.slave_offsets_ns(name)) > 0 for name in room.slaves), timeout_s=30)
    state = room.directory / "box" / "state" / "clock"
    macs = {room.network.hosts[name].mac for name in room.parts}
    until(lambda: state.exists() and macs <= {row.device for row in account_from(state.read_bytes()).devices}, timeout_s=30)
    rows = {row.device: row.method for row in account_from(state.read_bytes()).devices}

    assert {Method.PRESENT} == {rows[mac] for mac in macs}
    # The state names the port as it was when ptp4l was last asked, which may be just before it became master.
    until(lambda: json.loads(state.read_bytes())["ptp"]["port"] == "master", timeout_s=30)
