"""Evidence carried away by hand: what was asked for, in the form that is allowed, and never without a record."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from firmware.console.settings import ConsoleSettings
from firmware.core import exported, pcapng
from firmware.core.errors import BadItem, DiskFailed, DiskFull
from firmware.core.exported import Exported
from firmware.core.seal import digest
from firmware.core.settings import Settings, layer_from_assignments
from firmware.core.timestamp import SECOND
from firmware.core.verify import verify
from firmware.retrieval.listing import shown
from firmware.retrieval.local import CRITERIA, LocalAccess
from firmware.roles import BOX, SECTIONS
from simulator.board import SimulatedBoard
from simulator.disk import SimulatedDisk
from simulator.tty import SimulatedTty
from simulator.written_store import frame, write_segment

SINCE, UNTIL = "2026-11-22T10:15:00", "2026-11-22T10:16:00"
INTERVAL = ("since", SINCE, "until", UNTIL)
HOW = ("onto", "sda1", "by", "J. Bloggs", "reason", "service call 7")
SECRET = b"patient Jane Doe"


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


@dataclass
class Person:
    """At the console of a box that has recorded ten frames; a stick is plugged in."""

    settings: Sequence[str] = ()
    board: SimulatedBoard = field(default_factory=lambda: SimulatedBoard(ttys={"/dev/ttyS0": SimulatedTty()}))

    def __post_init__(self) -> None:
        start = self.board.clock.now().utc_ns
        write_segment(self.board, [[frame(start + n * SECOND, port=5000 + n % 2, payload=SECRET) for n in range(10)]])
        self.board.clock.advance(60 * SECOND)
        self.stick = self.board.plugs.plugged["sda1"] = SimulatedDisk()
        layers = [layer_from_assignments(["console.device=/dev/ttyS0", *self.settings])]
        build = next(process.build for process in BOX if process.name == "console")
        assert build is not None
        (self.console,) = build(self.board, Settings(SECTIONS["box"], layers))
        self.console.start(self.board.clock.now())
        local = self.console._local  # type: ignore[attr-defined]
        assert isinstance(local, LocalAccess)
        self.local = local

    def export(self, *words: str) -> list[str]:
        return self.local.export((*INTERVAL, *HOW, *words), lambda how_far: None)

    def types(self, line: bytes) -> str:
        tty = self.board.ttys["/dev/ttyS0"]
        assert isinstance(tty, SimulatedTty)
        tty.type(line)
        for _ in range(1000):
            now = self.board.clock.now()
            wish = self.console.step(now)
            if wish is None or wish > now.monotonic:
                break
        return tty.shown().decode()

    def records(self) -> list[Exported]:
        names = self.board.disk.list("exports")
        return [exported.unpacked(self.board.disk.read(f"exports/{name}")) for name in names]

    def carried(self) -> dict[str, bytes]:
        return {name: self.stick.read(name) for name in self.stick.list("")}


def test_evidence_is_carried_away_deidentified() -> None:
    """Onto the stick, cleaned as what leaves for the hub, with a manifest and the box's signed word for it. (S2-108)"""
    person = Person()
    said = person.export("port", "5001")
    (name,) = [name for name in person.carried() if name.endswith(".pcapng")]
    data = person.carried()[name]
    packets = list(pcapng.packets(data))
    (record,) = person.records()
    manifest = json.loads(person.carried()[name.replace(".pcapng", ".json")])

    assert (5, True) == (len(packets), all(SECRET not in packet.data and packet.wire_bytes > 42 for packet in packets))
    assert (5, len(data), hashlib.sha256(data).digest(), "deidentified") == (
        record.frames,
        record.size,
        record.digest,
        record.form,
    )
    assert ("J. Bloggs", "service call 7", "sda1", name) == (record.by, record.reason, record.stick, record.file)
    assert {"since": SINCE, "until": UNTIL, "port": "5001"} == record.asked
    assert record.is_signed_by(person.board.identity.public_key())
    assert exported.packed(record) == person.carried()[name.replace(".pcapng", ".record")]
    assert (record.digest.hex(), 5, "J. Bloggs") == (manifest["sha256"], manifest["frames"], manifest["by"])
    assert "the stick may be pulled out" == said[-1]
    assert [] == [name for name in person.stick.list("") if name.startswith(".")]


def test_raw_only_where_the_site_allows() -> None:
    """Payloads leave as they are only where the settings say so; where they say off, nothing leaves. (S2-108)"""
    with pytest.raises(BadItem, match="deidentified"):
        Person().export("raw")
    with pytest.raises(BadItem, match="nothing"):
        Person(["console.export=off"]).export()
    person = Person(["console.export=raw"])
    person.export("raw")
    (data,) = [data for name, data in person.carried().items() if name.endswith(".pcapng")]

    assert 10 == data.count(SECRET)
    assert "raw" == person.records()[0].form


def test_records_are_a_chain() -> None:
    """Each holds the digest of the one before, over restarts; the hub hears of each, without names of people. (S2-108)"""
    person = Person()
    for _ in range(3):
        person.export()
        person.board.clock.advance(SECOND)
        person.local.start()
    records = person.records()

    assert [1, 2, 3] == [record.number for record in records]
    assert [None, *(digest(exported.packed(record)) for record in records[:2])] == [record.previous for record in records]
    notices = [person.board.disk.read(f"inbox/{name}") for name in person.board.disk.list("inbox")]
    assert 3 == sum(b"carried away on a stick" in notice for notice in notices)
    assert not any(b"Bloggs" in notice for notice in notices)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("what", ["removed", "altered", "exchanged"])
def test_verify_names_a_record_that_was_touched(number: int, what: str) -> None:
    """Nobody carries something away and takes the word about it out of the chain; only its newest end can be cut off unseen."""
    person = Person()
    for _ in range(3):
        person.export()
    assert verify(person.board.disk).ok
    names = person.board.disk.list("exports")
    path = f"exports/{names[number - 1]}"
    data = person.board.disk.read(path)
    if what == "removed":
        person.board.disk.remove(path)
    elif what == "altered":
        person.board.disk.write(path, data.replace(b"Bloggs", b"Bloggz"))
    else:
        person.board.disk.write(path, person.board.disk.read(f"exports/{names[number % 3]}"))

    found = [row.segment for row in verify(person.board.disk).findings]
    assert found if (number, what) != (3, "removed") else not found
    assert set(found) <= set(names)


def test_stopped_leaves_nothing() -> None:
    """Ctrl-C in the middle: no file, hidden or not, and no record of one. (S2-108)"""
    person = Person()
    steps = iter([None, None])

    def watch(how_far: str) -> None:
        if next(steps, Stopped) is Stopped:
            raise Stopped

    with pytest.raises(Stopped):
        person.local.export((*INTERVAL, *HOW), watch)

    assert ({}, []) == (person.carried(), person.records())


def test_a_full_stick_says_so() -> None:
    """What does not fit is removed again."""
    person = Person()
    person.stick.capacity_bytes = 200
    said = person.export()

    assert "is full" in said[0]
    assert ({}, []) == (person.carried(), person.records())


def test_a_slow_stick_is_not_waited_for_in_one_piece() -> None:
    """Ten megabytes are with the stick in pieces, and between two of them it is said that the work goes on: at 1 MB/s, all at once, who
    carries it away would be ended by its watchdog."""
    person = Person(settings=["console.export=raw"])
    start = person.board.clock.now().utc_ns - 30 * SECOND
    payload = Random(1).randbytes(1400)
    write_segment(person.board, [[frame(start + m * 1000 + n, payload=payload) for n in range(700)] for m in range(10)])
    waiting: list[int] = []

    def before(number: int, operation: str, path: str) -> None:
        if operation == "sync" and path.endswith(".pcapng"):
            waiting.append(person.stick.size(path) - person.stick.synced_bytes(path))

    person.stick.before = before
    said = person.export("raw")

    assert "the stick may be pulled out" == said[-1]
    assert 7010 * 1400 < sum(waiting) and max(waiting) < 4 << 20, waiting


def test_who_refused_is_not_guessed() -> None:
    """The box's own disk fails where the record should go: nobody is told to throw away the stick alone, and what was answered is said."""
    person = Person()

    def before(number: int, operation: str, path: str) -> None:
        if path.startswith("exports/"):
            raise DiskFailed("expected the disk to obey, the kernel answered EIO")

    person.board.disk.before = before
    said = person.export()

    assert "the box's own disk fails" in said[0] and "EIO" in said[1]
    assert ({}, []) == (person.carried(), person.records())


@pytest.mark.parametrize("trouble", [DiskFull, DiskFailed])
def test_what_is_said_not_to_be_on_the_stick_is_not_on_it(trouble: type[Exception]) -> None:
    """Whatever the stick refuses, once: either all three files are there and it says so, or none. (S2-108)"""
    for refused in range(100):
        person = Person()
        deeds = [0]

        def before(number: int, operation: str, path: str, deeds: list[int] = deeds, refused: int = refused) -> None:
            deeds[0] += 1
            if deeds[0] == refused + 1:
                raise trouble("expected the stick to obey")

        person.stick.before = before
        said = person.export()

        files = sorted(name.rpartition(".")[2] for name in person.carried())
        is_done = "the stick may be pulled out" == said[-1]
        assert (["json", "pcapng", "record"] if is_done else []) == files, f"operation {refused}: {said}"
        if deeds[0] <= refused:
            return
    raise AssertionError("expected an export of less than 100 operations")


def test_no_record_no_evidence() -> None:
    """Where the box cannot write down that something leaves, it does not leave."""
    person = Person()
    person.board.disk.fill(leave_bytes=10)
    said = person.export()

    assert "nothing was carried away" in said[0]
    assert ({}, []) == (person.carried(), person.records())


def test_what_is_not_held_is_said() -> None:
    """A hole in the interval is on the screen and in the manifest."""
    person = Person()
    said = person.local.export(("since", "2026-11-22T10:00:00", "until", UNTIL, *HOW), lambda how_far: None)
    manifest = next(json.loads(data) for name, data in person.carried().items() if name.endswith(".json"))

    assert any(line.startswith("NOT HELD: 2026-11-22T10:00:00.000Z to") for line in said)
    assert manifest["not_held"].endswith("not recorded")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((*INTERVAL, "by", "x", "reason", "y"), "expected onto once"),
        ((*INTERVAL, "onto", "sda1", "reason", "y"), "expected by once"),
        ((*INTERVAL, "onto", "sda1", "by", "x"), "expected reason once"),
        ((*INTERVAL, *HOW, "by", "another"), "expected by once"),
        ((*INTERVAL, "onto", "sdz9", "by", "x", "reason", "y"), "plugged in: sda1"),
        ((*INTERVAL, "onto", "../x", "by", "x", "reason", "y"), "plugged in: sda1"),
        (HOW, "expected since and until"),
        ((*HOW, "since", UNTIL, "until", SINCE), "expected until as a moment that is not before since"),
        ((*INTERVAL, *HOW, "port", "http"), "expected port as a number"),
        ((*INTERVAL, *HOW, "colour", "red"), "expected one of"),
        ((*INTERVAL, *HOW, "host"), "expected after host a value"),
        ((*INTERVAL, *HOW, "host", "arm"), "expected a host"),
        ((*INTERVAL, *HOW, "device", "arm"), "no device has a name here"),
        ((*INTERVAL, *HOW, "message", "12"), "32 hexadecimal digits"),
        (("since", "yesterday", "until", UNTIL, *HOW), "expected since as"),
    ],
)
def test_every_mistake_says_what_was_expected(words: tuple[str, ...], expected: str) -> None:
    """And nothing is on the stick."""
    person = Person()
    with pytest.raises(BadItem, match=expected):
        person.local.export(words, lambda how_far: None)

    assert ({}, []) == (person.carried(), person.records())


def test_at_the_console() -> None:
    """`find`, `show media`, `export`, `show exports`, typed over the serial line. (S2-108)"""
    person = Person()
    person.types(b"\r")

    assert "5 frames" in person.types(b"find since 2026-11-22T10:15 port 5001\r")
    assert "sda1" in person.types(b"show media\r")
    assert "nothing was carried away" in person.types(b"show exports\r")
    typed = f'export since {SINCE} until {UNTIL} onto sda1 by "J. Bloggs" reason "call 7" port 5001\r'
    assert "the stick may be pulled out" in person.types(typed.encode())
    assert "J. Bloggs" in person.types(b"show exports\r")
    assert "5 frames" in person.types(b'find filter "udp and port 5001"\r')
    assert "expected filter as a pcap-filter(7) expression" in person.types(b"find filter eleventy\r")
    assert "expected one of since" in person.types(b"find colour red\r")
    assert f"  {' '.join(CRITERIA)}\r\n" in person.types(b"find ?\x15")
    assert "onto, by and reason once" in person.types(b"exp ?\x15")
    assert "expected until as a moment that is not before since" in person.types(f"find since {UNTIL} until {SINCE}\r".encode())
    (name,) = person.board.disk.list("exports")
    assert shown(person.board.disk.read(f"exports/{name}"))[0].startswith("record 1 of what was carried away: scrubjay-box-1-")


def test_by_default_only_deidentified() -> None:
    """Nobody has to set anything for the safe side."""
    assert "deidentified" == ConsoleSettings().export
