"""The whole chain in virtual time: an event said in the room, and its evidence at the hub without anybody asking."""

from itertools import pairwise
from pathlib import Path

import pytest

from firmware.core.pcapng import packets
from firmware.core.timestamp import SECOND
from simulator.fleet import SmallFleet
from simulator.parrots import CONSOLE

DEVICES = '[intake]\ndevices = ["10.77.0.11=arm-2"]\n'


def frames_of(fleet: SmallFleet, command: bytes) -> list[int]:
    """Their stamps, UTC ns."""
    return [packet.stamp_ns for packet in packets(fleet.hub.disk.read(f"evidence/{command.hex()}.pcapng"))]


def test_an_injury_brings_the_minute_around_it(tmp_path: Path) -> None:
    """The alarm is at the hub at once, and when the half minute after it is over so are the frames of ±30 s, every one the wire
    carried then, through the same door and with the alarm's priority; the hub's list joins the two. (S2-106)"""
    fleet = SmallFleet(tmp_path)
    fleet.chatter(40)
    at = fleet.box.clock.now().utc_ns
    fleet.say("patient injured at port 2", priority=4)
    fleet.run(1)
    (told,) = fleet.rows("select identity, priority, event from messages where kind = 'published'")
    assert (1, "patient-injury") == (told["priority"], told["event"])

    fleet.chatter(45)
    (row,) = fleet.rows("select c.*, e.frames, e.complete from commands c join evidence e on e.command = c.identity")
    assert ("or3-box", "or3-box", told["identity"], 1) == (row["box"], row["signer"], row["about"], row["complete"])
    stamps = frames_of(fleet, row["identity"])
    assert 116 <= len(stamps) <= 121  # two a second but for one, and the message itself
    assert at - 30 * SECOND <= min(stamps) < at - 29 * SECOND
    assert at + 29 * SECOND < max(stamps) <= at + 31 * SECOND
    assert {1} == {entry["priority"] for entry in fleet.rows("select priority from envelopes where kind = 'evidence'")}
    assert ["or3-box 10.77.0.11"] == [call["key"] for call in fleet.rows("select key from calls")]
    assert [] == fleet.crashes()


def test_a_second_event_has_all_of_its_half_minute(tmp_path: Path) -> None:
    """Fourteen seconds after the first: the two answers together are every frame from half a minute before the one to half a minute
    after the other, none twice, and the second is at the hub some seconds after its last frame was heard. (S2-106)"""
    fleet = SmallFleet(tmp_path)
    fleet.chatter(32)
    first = fleet.box.clock.now().utc_ns
    fleet.say("patient injured at port 2", priority=1, event="patient-injury")
    fleet.chatter(14)
    second = fleet.box.clock.now().utc_ns
    fleet.say("patient injured at port 3", priority=1, event="patient-injury")
    fleet.chatter(34)

    rows = fleet.rows("select c.identity, e.complete from commands c join evidence e on e.command = c.identity")
    assert [1, 1] == [row["complete"] for row in rows]
    stamps = sorted(stamp for row in rows for stamp in frames_of(fleet, row["identity"]))
    assert len(set(stamps)) == len(stamps)
    assert first - 30 * SECOND <= stamps[0] < first - 29 * SECOND
    assert second + 29 * SECOND < stamps[-1] <= second + 30 * SECOND
    assert SECOND > max(later - earlier for earlier, later in pairwise(stamps))
    assert [] == fleet.crashes()


def test_only_the_device_concerned(tmp_path: Path) -> None:
    """A rule of the site's for a tool's failure: the frames of the arm that told of it, and nobody else's. (S2-106)"""
    rule = '[slice]\nrules = ["tool: event=tool-failure -> of=device around=5 send=2"]\n'
    fleet = SmallFleet(tmp_path, box=DEVICES + rule)
    fleet.chatter(10, every_ms=100)
    fleet.say("joint 2 stopped", priority=1, event="tool-failure")
    fleet.chatter(12, every_ms=100)

    (row,) = fleet.rows("select identity from commands where signer = box")
    found = list(packets(fleet.hub.disk.read(f"evidence/{row['identity'].hex()}.pcapng")))
    assert found
    assert {True} == {b"\x0a\x4d\x00\x0b" in packet.data[26:34] or packet.data[12:14] != b"\x08\x00" for packet in found}
    assert len(found) < 60


def test_only_what_the_process_said(tmp_path: Path) -> None:
    """The frames in which the process that told of it spoke, out of all that its device sent and others said. (S2-106)"""
    rule = '[slice]\nrules = ["tool: event=tool-failure -> of=process around=6"]\n'
    fleet = SmallFleet(tmp_path, box=DEVICES + rule)
    for number in range(6):
        fleet.say(f"torque {number}", process="drive")
        fleet.say(f"picture {number}", process="camera")
        fleet.say(f"torque {number}", process="drive", device=CONSOLE)
        fleet.chatter(1)
    fleet.say("joint 2 stopped", priority=1, event="tool-failure", process="drive")
    fleet.chatter(12)

    (row,) = fleet.rows("select identity from commands where signer = box")
    found = list(packets(fleet.hub.disk.read(f"evidence/{row['identity'].hex()}.pcapng")))
    assert 6 <= len(found) <= 7
    assert {b"\x0a\x4d\x00\x0b"} == {packet.data[26:30] for packet in found}


@pytest.mark.parametrize("seed", [3, 4])
def test_power_cut_in_any_step(tmp_path: Path, seed: int) -> None:
    """The power goes while the event is heard, noticed, ordered for, searched: the evidence is at the hub in the end, once, and
    says what was not recorded. (S2-106)"""
    fleet = SmallFleet(tmp_path, seed=seed)
    for number, path in enumerate(("noticed/slice", "commands/verified/retrieval", "slice/.ordered", "release")):
        fleet.chatter(5)
        fleet.world.doom(fleet.box, None, fleet.world.random.randrange(6), path=path)
        fleet.say(f"number {number}: patient injury", priority=1, event="patient-injury")
        fleet.chatter(20)
    fleet.world.forget_doom()
    fleet.chatter(90)

    rows = fleet.rows("select c.identity, c.signer, e.complete from commands c left join evidence e on e.command = c.identity")
    assert rows
    assert {("or3-box", 1)} == {(row["signer"], row["complete"]) for row in rows}
    assert 4 == len(fleet.rows("select 1 from messages where kind = 'published'"))
    assert [] == fleet.crashes()


def test_the_whole_record_of_a_quiet_room(tmp_path: Path) -> None:
    """Nobody asks and nothing happens: every frame that was recorded is at the hub a few minutes later, once, through the same door. (S2-105)"""
    fleet = SmallFleet(tmp_path, box=DEVICES + "[slice]\nwhole_every_s = 300\n")
    began = fleet.box.clock.now().utc_ns
    fleet.chatter(640)

    rows = fleet.rows("select c.identity, e.complete from commands c join evidence e on e.command = c.identity")
    assert [1, 1] == [row["complete"] for row in rows]
    stamps = sorted(stamp for row in rows for stamp in frames_of(fleet, row["identity"]))
    assert len(set(stamps)) == len(stamps)
    assert max(after - before for before, after in pairwise(stamps)) <= SECOND
    assert stamps[0] < began + 2 * SECOND and began + 596 * SECOND < stamps[-1]
    assert {4} == {entry["priority"] for entry in fleet.rows("select priority from envelopes where kind = 'evidence'")}
    assert [] == fleet.crashes()
