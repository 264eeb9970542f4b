"""Bad input to the room's time: what is malformed, replayed or too much neither ends nor turns the grandmaster, and every frame of it is
recorded."""

import json
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from time import CLOCK_REALTIME, clock_gettime_ns, monotonic

import pytest
from scapy.contrib.ptp_v2 import PTP

from firmware.core.errors import BadItem
from firmware.core.ptp import MessageType, unpacked
from simulator.namespaces import search_path, what_is_missing
from simulator.ptp.hostile import Replayer, good, malformed
from simulator.ptp.time_room import CLOCK, Part, TimeRoom

SEED = 20_261_125
DEVICES = (Part("good", 21, offset_us=3_000, drift_ppm=30), Part("free", 22, "free", offset_us=300, drift_ppm=15))


def until(condition: Callable[[], bool], *, timeout_s: float) -> None:
    limit = monotonic() + timeout_s
    while not condition():
        assert monotonic() < limit, "expected it to hold in time"
        select.select([], [], [], 0.05)


class Recorder:
    """`scrubjay record` on the mirror port, and what that port has delivered since."""

    def __init__(self, interface: str, into: Path) -> None:
        self._counter = Path(f"/sys/class/net/{interface}/statistics/rx_packets")
        command = [sys.executable, "-m", "firmware.cli", "record", interface, "-o", str(into), "--json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        assert "state=recording interface=heard" in self._process.stderr.readline()
        self._before = self.delivered()

    def delivered(self) -> int:
        return int(self._counter.read_text())

    def stop(self) -> tuple[int, int, int]:
        """(fewest frames it may have recorded, frames it has, most)."""
        least = self.delivered() - self._before  # before it is told to stop: what passes while it seals it need not have
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=30)
        told = json.loads(said)
        assert {} == {cause: count for cause, count in told.get("drops", {}).items() if count}, told
        return least, told["frames"], self.delivered()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimeRoom]:
    """A room whose every frame is recorded, whatever is said in it."""
    missing = what_is_missing()
    if missing is None and shutil.which("ptp4l", path=search_path()) is None:
        missing = "linuxptp is not installed"
    if missing is not None:
        pytest.skip(f"no lab here: {missing}")
    directory = tmp_path_factory.mktemp("hostile")
    with TimeRoom(directory, DEVICES) as room:
        recorder = Recorder(room.network.mirror, directory / "recording")
        try:
            room.start()
            until(lambda: all(room.is_born(part.name) for part in DEVICES) and master_state(room) == "MASTER", timeout_s=30)
            yield room
            assert [] == [name for name, program in room.programs.items() if not program.running]
            for program in room.programs.values():
                program.end()
            quiet_since = [recorder.delivered(), monotonic()]

            def quiet() -> bool:
                # Longer than the ring keeps a block open, so that what was said last is in it.
                if recorder.delivered() != quiet_since[0]:
                    quiet_since[:] = [recorder.delivered(), monotonic()]
                return monotonic() - quiet_since[1] > 0.5

            until(quiet, timeout_s=30)
        finally:
            least, recorded, most = recorder.stop()
        assert least <= recorded <= most
        assert recorded > 6_000, "a recording of little shows little"


def master_state(room: TimeRoom) -> str:
    """What ptp4l says its port is."""
    said = room.network.run(CLOCK, ["sh", "-c", f"pmc -u -b 0 -s {room.directory}/ptp4l-clock 'GET PORT_DATA_SET' 2>&1; true"])
    found = re.search(r"portState +(\w+)", said)
    return found[1] if found else said


def deed(room: TimeRoom, *arguments: str, timeout_s: float = 60) -> int:
    """What a stranger does, to its end; how many datagrams that were."""
    said = room.network.run("stranger", [sys.executable, "-m", "simulator.ptp.hostile", *arguments], timeout_s=timeout_s)
    return int(json.loads(said)["sent"])


def test_every_type_in_every_wrong_way() -> None:
    """Of 4000 malformed messages each of the ten types is there, and most are refused by the parser, none by accident."""
    rows = list(islice(malformed(SEED), 4000))
    refused = 0
    for data in rows:
        try:
            unpacked(data)
        except BadItem:
            refused += 1

    assert set(MessageType) <= {MessageType(row[0] & 15) for row in rows if row and (row[0] & 15) in list(MessageType)}
    assert 2_400 < refused < 4_000
    assert rows == list(islice(malformed(SEED), 4000))


def test_what_we_call_good_is_read_by_others() -> None:
    """The messages that are then broken are PTP to scapy's own parser as well: type, length and number are what ours says."""
    for data in islice(good(Random(SEED)), 100):
        ours, theirs = unpacked(data), PTP(data)

        assert (ours.messageType, len(data), ours.sequenceId) == (theirs.messageType, theirs.messageLength, theirs.sequenceId)


def test_replayer_says_old_time_under_the_newest_number() -> None:
    """Each Sync is answered with an old Follow_Up as it was, and with its time under the number of that Sync."""
    rows = [row for row in islice(good(Random(1)), 40) if row[0] & 15 in (0, 8)]
    replayer, said = Replayer(1), []
    for row in rows:
        said += replayer.heard(row)

    assert said and len(said) % 2 == 0
    assert {MessageType.FOLLOW_UP} == {unpacked(row).messageType for row in said}
    assert {unpacked(row).sequenceId for row in said[1::2]} <= {unpacked(row).sequenceId for row in rows if row[0] & 15 == 0}


@pytest.mark.lab
@pytest.mark.parametrize(
    "arguments",
    [
        ("malformed", "--seed", str(SEED), "--count", "3000", "--per-s", "1500"),
        ("flood", "--per-s", "1500", "--seconds", "3"),
        ("replay", "--seconds", "3"),
    ],
    ids=["malformed", "flood", "replay"],
)
def test_neither_ends_nor_turns_the_room(room: TimeRoom, arguments: tuple[str, ...]) -> None:
    """The grandmaster stays the master, no device ends, and one that follows nobody keeps exactly its own time. (S2-010)"""
    sent = deed(room, *arguments)
    known = room.truth("free")

    assert sent > 10
    until(lambda: master_state(room) == "MASTER", timeout_s=20)
    assert [] == [name for name, program in room.programs.items() if not program.running]
    assert 300_000 + 15_000 * 30 == known.error_ns(known.first_ns + 30 * 10**9)


@pytest.mark.lab
def test_devices_come_back_when_it_is_over(room: TimeRoom) -> None:
    """A device may be led astray while somebody forges its master's words: nothing in PTP forbids it. Then it finds back."""
    until(lambda: abs(room.truth("good").error_ns(clock_gettime_ns(CLOCK_REALTIME))) < 1_000_000, timeout_s=60)
