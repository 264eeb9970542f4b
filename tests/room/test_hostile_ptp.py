"""Bad input to the room's time: what is malformed, replayed, too much or too good to be true neither ends nor turns the box's clock, its
certificates stay true, and every frame of it is recorded."""

import json
import os
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
from typing import Any

import pytest
from scapy.contrib.ptp_v2 import PTP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from firmware.core.certificate import DeviceOffset, account_from
from firmware.core.errors import BadItem
from firmware.core.message import unpacked as unpacked_messages
from firmware.core.ptp import MessageType, unpacked
from simulator.namespaces import search_path, what_is_missing
from simulator.ptp.hostile import Replayer, good, malformed, messages_in
from simulator.ptp.time_room import CLOCK, Part, TimeRoom

SHARED = Path(os.environ.get("SCRUBJAY_SHARED", Path(__file__).parents[3] / "shared")) / "data"
SEED = 20_261_125
TAI_NS = 37 * 10**9
OWN = ("steps", "step_total_ns", "tai_offset_s", "grandmaster", "leap")  # what nobody in the room may change
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
        assert " heard " in self._process.stderr.readline()
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
    with TimeRoom(directory, DEVICES, log_announce=-1) as room:
        recorder = Recorder(room.network.mirror, directory / "recording")
        try:
            room.start_box(directory / "box", "--set=clock.ask_s=2")
            room.start()
            until(lambda: all(room.is_born(part.name) for part in DEVICES) and master_state(room) == "MASTER", timeout_s=30)
            until(lambda: all(is_certified(room, part.name) for part in DEVICES), timeout_s=30)
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
        assert recorded > 300, "a recording of little shows little"  # ten seconds of the room alone, whichever tests are run


def known(room: TimeRoom) -> dict[str, Any]:
    """What the box's clock station says."""
    file = room.directory / "box" / "state" / "clock"
    found: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    return found


def figures(room: TimeRoom) -> dict[str, dict[str, int]]:
    """What it counted, as its process last reported."""
    row: dict[str, dict[str, int]] = json.loads((room.directory / "box" / "state" / "clock.json").read_text())["stations"][
        "clock"
    ]
    return row


def said(room: TimeRoom) -> set[str | None]:
    """Events of the messages it published."""
    inbox = room.directory / "box" / "inbox"
    return {message.event for path in inbox.glob("[!.]*") for message in unpacked_messages(path.read_bytes())}


def certificate(room: TimeRoom, name: str) -> DeviceOffset | None:
    return account_from(json.dumps(known(room)).encode()).of(room.address(name))


def is_certified(room: TimeRoom, name: str) -> bool:
    row = certificate(room, name)
    return row is not None and row.method.is_measured


def is_true(room: TimeRoom, name: str) -> bool:
    """Whether this device is certified, and the truth lies inside, at the moment it is certified for.

    Its clock may be set between a probe and the moment the box publishes what it knows: then one more look is due.
    """
    row = certificate(room, name)
    if row is None or not row.method.is_measured or row.low_ns is None or row.high_ns is None:
        return False
    return row.low_ns <= room.truth(name).error_ns(row.at_tai_ns - TAI_NS) <= row.high_ns


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


def scapy_messages(path: Path) -> Path:
    """A capture of PTP messages as scapy's own layer makes them, over UDP and over Ethernet."""
    rows = [PTP(messageType=kind, domainNumber=0, sequenceId=kind) for kind in MessageType]
    wrpcap(
        str(path),
        [Ether(dst="01:00:5e:00:01:81") / IP(dst="224.0.1.129") / UDP(sport=319, dport=319) / row for row in rows]
        + [Ether(dst="01:1b:19:00:00:00", type=0x88F7) / row for row in rows],
    )
    return path


def captures(directory: Path) -> list[Path]:
    """What others have recorded or made: scapy's messages, and the captures in the shared folder where it is there."""
    return [scapy_messages(directory / "scapy.pcap"), *sorted((SHARED / "pcap" / "ptp").glob("*.pcap"))]


def test_what_others_recorded_is_made_wrong_too(tmp_path: Path) -> None:
    """Messages of scapy's layer and of captures nobody here wrote are among those that are broken; ours and theirs of every type."""
    recorded = [data for path in captures(tmp_path) for data in messages_in(path)]
    rows = list(islice(malformed(SEED, recorded), 3000))

    assert {kind.value for kind in MessageType} <= {data[0] & 15 for data in recorded}
    assert rows != list(islice(malformed(SEED), 3000))
    assert {kind.value for kind in MessageType} <= {row[0] & 15 for row in rows if row}


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
        # First, while the box has said little: what it says is rationed, and a hundred odd clocks use that up.
        ("replay", "--seconds", "3"),
        ("flood", "--per-s", "1500", "--seconds", "3"),
        ("malformed", "--seed", str(SEED), "--count", "3000", "--per-s", "1500"),
    ],
    ids=["replay", "flood", "malformed"],
)
def test_neither_ends_nor_turns_the_room(room: TimeRoom, arguments: tuple[str, ...]) -> None:
    """The grandmaster stays the master, nobody ends, the box knows what it knew of its own clock, and certifies what is true. (S2-010)"""
    before = known(room)
    if arguments[0] == "malformed":
        arguments += tuple(word for path in captures(room.directory) for word in ("--pcap", str(path)))
    sent = deed(room, *arguments)
    truth = room.truth("free")

    assert sent > 10
    # Among what is malformed are Announces that are well formed, of a clock on another timescale. A device that follows it says it is on
    # that timescale, is taken at its word, and so is 37 s off until it has given that clock up; which takes three of its own 2 s.
    until(lambda: master_state(room) == "MASTER" and is_true(room, "free"), timeout_s=60)
    after = known(room)
    assert [] == [name for name, program in room.programs.items() if not program.running]
    assert 300_000 + 15_000 * 30 == truth.error_ns(truth.first_ns + 30 * 10**9)
    assert [before[key] for key in OWN] == [after[key] for key in OWN]
    # Its source is this machine's affair, where others may start or stop an NTP client meanwhile; the room's it never becomes.
    # What it says of ptp4l is as old as its last question.
    until(lambda: known(room)["ptp"]["is_grandmaster"], timeout_s=30)
    assert "ptp" != after["source"]


@pytest.mark.lab
def test_what_was_wrong_is_counted_by_cause(room: TimeRoom) -> None:
    """Malformed messages by their type, and words in this box's name, which is said aloud as well, once. (S2-010)"""
    wanted = {f"ptp_malformed_{kind:x}" for kind in MessageType} | {"ptp_in_our_name"}
    until(lambda: wanted <= figures(room)["drops"].keys(), timeout_s=20)

    assert "impersonated" in said(room)


@pytest.mark.lab
def test_an_empty_datagram_is_soon_forgiven(room: TimeRoom) -> None:
    """ptp4l takes one for a fault of its network. It is back within seconds; meanwhile devices go on by themselves, and are certified."""
    until(lambda: master_state(room) == "MASTER", timeout_s=30)
    empty = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('10.77.0.1', 319))"
    room.network.run("stranger", [sys.executable, "-c", empty])
    since = monotonic()
    until(lambda: master_state(room) != "MASTER", timeout_s=5)
    while_away = is_certified(room, "free")
    until(lambda: master_state(room) == "MASTER", timeout_s=15)

    assert while_away
    assert monotonic() - since < 15


@pytest.mark.lab
def test_better_clock_that_lies(room: TimeRoom) -> None:
    """It claims to be GNSS and is an hour ahead. Devices choose by themselves and follow it; the box does not, says so, and certifies
    that they are an hour off; when it has gone they are right again, and that is certified, too. (S2-010, S2-012)"""
    arguments = ["--number", "250", "--priority", "1", "--offset-us", "3600000000"]
    rogue = room.network.start("stranger", "rogue", [sys.executable, "-m", "simulator.ptp.grandmaster", *arguments])
    until(lambda: error_ns(room, "good") > 3_599 * 10**9 and is_true(room, "good"), timeout_s=60)
    until(lambda: (known(room)["ptp"] or {}).get("port") == "master", timeout_s=20)
    captured = known(room)
    until(lambda: "rogue_master" in said(room), timeout_s=20)
    rogue.end()
    until(lambda: abs(error_ns(room, "good")) < 1_000_000 and is_true(room, "good"), timeout_s=90)

    assert captured["ptp"]["is_grandmaster"] and "master" == captured["ptp"]["port"]
    assert "02534a.fffe.0000fa-1" in [row["name"] for row in captured["masters"] if row["address"] == room.address("stranger")]
    assert is_true(room, "free")


def error_ns(room: TimeRoom, name: str) -> int:
    return room.truth(name).error_ns(clock_gettime_ns(CLOCK_REALTIME))


@pytest.mark.lab
def test_devices_come_back_when_it_is_over(room: TimeRoom) -> None:
    """A device may be led astray while somebody forges its master's words: nothing in PTP forbids it. Then it finds back."""
    until(lambda: abs(error_ns(room, "good")) < 1_000_000 and is_true(room, "good"), timeout_s=60)
