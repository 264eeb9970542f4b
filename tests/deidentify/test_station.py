"""The only door: what comes through it, what does not, and what happens when the power goes in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

import firmware
from firmware.core import envelope, pcapng, release
from firmware.core.envelope import Envelope
from firmware.core.message import Message, Priority, Severity, packed, unpacked
from firmware.core.release import Release, name_of
from firmware.core.timestamp import ClockState, Timestamp
from firmware.deidentify.settings import DeidentifySettings
from firmware.deidentify.station import DeidentifyStation
from firmware.roles import SECTIONS
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock
from simulator.disk import PowerCut, SimulatedDisk

STAMP = Timestamp(1, 2, "ptp", ClockState.LOCKED)


@dataclass
class Door:
    """One deidentify station; `restart` gives it a new life on the same disk."""

    settings: DeidentifySettings = field(default_factory=DeidentifySettings)
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    clock: SimulatedClock = field(default_factory=SimulatedClock)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.station = DeidentifyStation(SimulatedBoard(disk=self.disk, clock=self.clock), self.settings)
        self.station.start(self.clock.now())

    def put(self, name: str, data: bytes) -> None:
        self.disk.write(f"release/.{name}", data)
        self.disk.sync(f"release/.{name}")
        self.disk.rename(f"release/.{name}", f"release/{name}")
        self.disk.sync_dir("release")

    def put_group(self, *texts: str, priority: int = 1, first: int = 1) -> None:
        rows = [
            Message("robot-1", "arm", "published", Priority(priority), Severity.ERROR, STAMP, STAMP, text=text) for text in texts
        ]
        item = Release("group", Priority(priority), first, first, packed(rows), facts={"messages": len(rows)})
        self.put(name_of(item.priority, first, "group-1"), release.packed(item))

    def put_evidence(self, frames: list[bytes], *, priority: int = 3, asked_by: bytes | None = None, part: int = 1) -> None:
        body = pcapng.section_header() + pcapng.interface("eth1")
        body += b"".join(pcapng.enhanced_packet(n, data, len(data)) for n, data in enumerate(frames))
        item = Release("evidence", Priority(priority), 5, 6, body, asked_by=asked_by, facts={"part": 0, "frames": len(frames)})
        self.put(name_of(item.priority, 5, f"evidence-{part}"), release.packed(item))

    def steps(self, count_max: int = 1_000, after_s: int = 0) -> int:
        """Steps until it rests; how many."""
        self.clock.advance(after_s * 10**9)
        for count in range(count_max):
            now = self.clock.now()
            wish = self.station.step(now)
            if wish is None or wish > now.monotonic:
                return count
        return count_max

    def names(self, directory: str) -> list[str]:
        return [name for name in self.disk.list(directory) if not name.startswith(".")]

    def out(self) -> list[Envelope]:
        return [envelope.unpacked(self.disk.read(f"outbox/{name}")) for name in self.names("outbox")]

    def texts(self) -> list[str | None]:
        return [message.text for out in self.out() if out.kind == "group" for message in unpacked(envelope.content_of(out))]


@pytest.fixture
def door() -> Door:
    """With settings as they come."""
    return Door()


@pytest.fixture
def make_door() -> Callable[..., Door]:
    """With settings changed."""
    return lambda **changes: Door(DeidentifySettings(**changes))


def test_a_group_goes_out_clean(door: Door) -> None:
    """Same name, the box's name on it, spans removed and counted; the release item is settled. (S2-085, S2-087, S2-088)"""
    door.put_group("stopped for #phi Jane Doe #end", "stopped")
    door.steps()
    (out,) = door.out()

    assert ["stopped for [removed]", "stopped"] == door.texts()
    assert ("box-1", "group", Priority.P1, {"messages": 2, "parts_removed": 1}) == (out.box, out.kind, out.priority, out.facts)
    assert ([], ["p1-00000000000000000001-group-1"]) == (door.names("release"), door.names("outbox"))


def test_what_a_group_is_about_is_a_word_of_its_messages(door: Door) -> None:
    """The event an envelope is said to be of leaves as its messages' events do. (S2-085)"""
    row = Message("robot-1", "arm", "published", Priority.P1, Severity.ERROR, STAMP, STAMP, event="mrn:4711")
    item = Release("group", Priority.P1, 1, 1, packed([row]), facts={"messages": 1, "event": "mrn:4711"})
    door.put(name_of(item.priority, 1, "group-1"), release.packed(item))
    door.steps()
    (out,) = door.out()

    assert {"messages": 1, "parts_removed": 1, "event": "removed"} == out.facts
    assert ["removed"] == [message.event for message in unpacked(envelope.content_of(out))]


def test_evidence_goes_out_cut(door: Door) -> None:
    """Payload is cut, lengths on the wire are kept, the command that asked is named. (S2-089)"""
    secret = bytes(Ether() / IP() / TCP(dport=104) / b"SECRET")
    plain = bytes(Ether() / IP() / UDP(dport=47001) / b"stopped")
    door.put_evidence([secret, plain], asked_by=b"c" * 16)
    door.steps()
    (out,) = door.out()
    packets = list(pcapng.packets(envelope.content_of(out)))

    assert b"SECRET" not in envelope.content_of(out)
    assert [(0, len(secret), len(secret) - 6), (1, len(plain), len(plain))] == [
        (p.stamp_ns, p.wire_bytes, len(p.data)) for p in packets
    ]
    assert {"part": 0, "frames": 2, "released_whole": 1, "released_cut": 1} == {
        k: v for k, v in out.facts.items() if k != "codec"
    }
    assert str(out.facts["codec"]).startswith("probe ")
    assert b"c" * 16 == out.asked_by


def test_alarms_do_not_wait_for_evidence(door: Door) -> None:
    """An alarm that comes while megabytes of frames are in hand is out one step later."""
    door.put_evidence([bytes(Ether() / IP() / TCP() / b"x")] * 20_000)
    door.station.step(door.clock.now())
    door.put_group("alarm")
    door.station.step(door.clock.now())

    assert ["alarm"] == door.texts()
    assert door.steps() > 10
    assert 2 == len(door.out())


def test_alarms_do_not_wait_for_much_evidence(door: Door) -> None:
    """However many pieces wait, two are in hand at most, and the alarm is the next to go."""
    for part in range(9):
        door.put_evidence([bytes(Ether() / IP() / TCP() / b"x")] * 2_000, part=part)
    for _ in range(3):
        door.station.step(door.clock.now())
    door.put_group("alarm")
    door.station.step(door.clock.now())

    assert ["alarm"] == door.texts()
    assert 2 >= door.station.report.gauges["evidence_in_hand"]
    door.steps()
    assert ([], 10) == (door.names("release"), len(door.out()))


def test_evidence_goes_on_under_a_stream_of_groups(door: Door) -> None:
    """Each step does a group and a stretch of the evidence in hand, so that it is finished however many groups come."""
    door.put_evidence([bytes(Ether() / IP() / TCP() / b"x")] * 3_000, priority=4)
    door.station.step(door.clock.now())
    for n in range(8):
        door.put_group(f"alarm {n}", first=n)
        door.station.step(door.clock.now())
    door.steps(1)

    assert "evidence" in {out.kind for out in door.out()}


@pytest.mark.parametrize(
    "data",
    [
        b"#phi Jane",
        release.packed(Release("group", Priority.P1, 1, 1, b"#phi Jane")),
        release.packed(Release("evidence", Priority.P1, 1, 1, b"#phi Jane")),
        release.packed(Release("evidence", Priority.P1, 1, 1, pcapng.section_header() + pcapng.interface("x", link_type=0))),
        release.packed(
            Release("evidence", Priority.P1, 1, 1, pcapng.section_header() + pcapng.interface("x") + b"#phi Jane Doe")
        ),
    ],
)
def test_poison_stays_in_the_house(door: Door, data: bytes) -> None:
    """What cannot be read cannot be cleaned: quarantine, with a reason that repeats nothing."""
    door.put("p1-00000000000000000001-x", data)
    door.put_group("alarm", first=2)
    door.steps()

    assert ["alarm"] == door.texts()
    assert b"Jane" not in door.disk.read("quarantine/release/p1-00000000000000000001-x.reason")
    assert (1, []) == (door.station.report.drops["bad_item"], door.names("release"))


def test_a_full_disk_waits_and_harms_no_innocent(door: Door) -> None:
    """The item stays, however long the disk is full; then it goes."""
    door.put_group("alarm")
    door.disk.fill(leave_bytes=0)
    for _ in range(9):
        door.steps(after_s=1)

    assert ([], 9) == (door.out(), door.station.report.counts["waits_disk_full"])
    door.station.stop(door.clock.now())
    door.disk.fill(leave_bytes=1 << 20)
    door.restart()
    door.steps()
    assert ["alarm"] == door.texts()


def test_power_lost_before_each_disk_operation(make_door: Callable[..., Door]) -> None:
    """Cut before any operation, started again: every item comes out whole and clean, and none twice under two names."""
    operation = 0
    while True:
        door = make_door()
        door.put_group("alarm #phi Jane")
        door.put_group("debug", priority=4)
        door.put_evidence([bytes(Ether() / IP() / TCP(dport=104) / b"SECRET")])
        if not _cut_at(door, door.disk.operations + operation):
            break
        door.disk.power_cut(Random(operation))
        door.clock.restart()
        door.restart()
        door.steps()

        assert ["alarm [removed]", "debug"] == door.texts(), f"cut before operation {operation}"
        assert 3 == len(door.out())
        assert [] == door.names("release")
        operation += 1

    assert operation > 10


def _cut_at(door: Door, operation: int) -> bool:
    def before(number: int, what: str, path: str) -> None:
        if number == operation:
            raise PowerCut

    door.disk.before = before
    try:
        door.steps()
    except PowerCut:
        door.disk.before = None
        return True
    door.disk.before = None
    return False


def test_nobody_else_writes_the_outbox() -> None:
    """By the front pages: exactly one capability of a box says it writes outbox/; a relay's outbox is filled by the relay. (S2-085)"""
    pages = Path(firmware.__file__).parent.glob("*/__init__.py")
    writers = {
        page.parent.name
        for page in pages
        for line in page.read_text().splitlines()
        if line.startswith("Writes") and "outbox/" in line
    }

    assert {"deidentify", "relay"} == writers
    assert "relay" not in SECTIONS["box"]


@pytest.mark.parametrize(("claimed", "said"), [("change", True), ("none", False), ("Jane Doe", False), (None, False)])
def test_reduced_evidence_says_so(claimed: str | None, said: bool) -> None:
    """Whoever opens evidence with frames left out on request reads so in the file, in our words and never in the item's."""
    door = Door()
    body = pcapng.section_header("Jane Doe") + pcapng.interface("eth1") + pcapng.enhanced_packet(1, bytes(60), 60)
    facts: dict[str, int | str] = {"part": 0, "frames": 1} | ({"reduce": claimed} if claimed is not None else {})
    item = Release("evidence", Priority.P3, 5, 6, body, facts=facts)
    door.put(name_of(Priority.P3, 5, "evidence-1"), release.packed(item))
    for _ in range(10):
        door.station.step(door.clock.now())
    (name,) = [entry for entry in door.disk.list("outbox") if not entry.startswith(".")]
    content = envelope.content_of(envelope.unpacked(door.disk.read(f"outbox/{name}")))

    assert said is (b"reduced on request (change)" in content)
    assert b"Jane Doe" not in content


def test_a_long_item_is_compressed_a_slice_at_a_time_and_alarms_pass(make_door: Callable[..., Door]) -> None:
    """(S2-062, S2-072) On a slow link a long group takes a slow codec and many steps; an alarm put in meanwhile is out first."""
    door = make_door()
    door.disk.mkdir("state")
    door.disk.write("state/uplink.json", b'{"at_tai_ns": 1, "stations": {"uplink": {"gauges": {"rate_bytes_per_s": 3000}}}}')
    text = "".join(f"{number:06d} joint {number % 7} torque {number * 31 % 97} Nm\n" for number in range(9_000))
    door.put_group(*[text[at : at + 30_000] for at in range(0, len(text), 30_000)], priority=4)
    door.steps(2)
    assert [] == door.names("outbox")
    door.put_group("joint 2 stopped")
    door.steps(2)
    assert ["p1-00000000000000000001-group-1"] == door.names("outbox")
    door.steps()
    long = door.out()[1]

    assert "xz" == long.codec
    assert "3 kB/s" in str(long.facts["codec"])
    assert len(long.body) * 8 < long.raw_size
    assert {"codec_xz": 1, "codec_deflate": 1} == {k: v for k, v in door.station.report.counts.items() if k.startswith("codec")}


def test_a_policy_that_was_missed_tries_harder(make_door: Callable[..., Door]) -> None:
    """(S2-063) What the probe promised and the codec did not keep goes on with the next codec, and the envelope says so."""
    door = make_door(compress_to_percent=36)
    noise = Random(3)
    rows = [f"{number:06d} torque {noise.randrange(10**6):06d} Nm joint seven of the left arm\n" for number in range(4_000)]
    door.put_group(*["".join(rows[at : at + 500]) for at in range(0, 4_000, 500)], priority=4)
    door.steps()
    (out,) = door.out()

    assert len(out.body) * 100 <= out.raw_size * 36
    assert "policy" in str(out.facts["codec"])
