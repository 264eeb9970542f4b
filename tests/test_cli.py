"""The command line: what each command does, and that every error says what was expected, what came and what to do; never a traceback."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from drivers.linux.clock import LinuxClock
from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity
from firmware.cli import SUBJECTS, main, parser
from firmware.cli.given import recording_into
from firmware.cli.simulated import BENCHMARKS
from firmware.cli.store import spoken
from firmware.core import pcapng
from firmware.core.datagram import decoded
from firmware.core.report import Report, publish
from firmware.core.verify import verify
from simulator.board import SimulatedBoard
from simulator.written_store import begin_segment, end_segment, frame

Run = Callable[..., tuple[int, str, str]]
PCAP_OF_OTHERS = bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000")
HALF_A_DAY_NS = 43_200 * 10**9


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`scrubjay …` in this process: exit status, what it printed, what it complained about."""

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(word) for word in arguments])
        except SystemExit as end:  # argparse's own
            status = int(str(end.code))
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out, said.err

    return call


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """`find` answers Ctrl-C itself; here it does so in the tests' own process."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three segments of five frames each, a status, and the key they are signed with."""
    root = tmp_path / "store"
    disk = LinuxDisk(root)
    board = SimulatedBoard(disk=cast(Any, disk))  # the real disk in an otherwise simulated board
    for number in range(3):
        writer = begin_segment(board, [[frame(board.clock.now().utc_ns + n, port=47001 + number) for n in range(5)]])
        board.clock.advance(HALF_A_DAY_NS)
        end_segment(board, writer)
    disk.mkdir("state")
    report = Report("intake")
    report.count("messages", 7)
    report.drop("disk_full", 3)
    publish(disk, "roomside", [report], LinuxClock().now())
    disk.mkdir("identity")
    (root / "identity" / "key.pub").write_text(board.identity.public_key().hex())
    return root


# ---- the good side


def test_find_speaks_in_words(run: Run, store: Path) -> None:
    """Devices by name, direction, kind of record; only counting; a name that is none says which there are. (S2-108)"""
    names = "intake.devices=['10.77.0.10=arm-2', '10.77.0.11=console']"

    assert (0, "15\n") == run("find", store, "--device", "arm-2", "--set", names, "--count")[:2]
    assert (0, "15\n") == run(
        "find", store, "--from", "arm-2", "--to", "Console", "--kind", "message", "--set", names, "--count"
    )[:2]
    assert (1, "0\n") == run("find", store, "--from", "console", "--set", names, "--count")[:2]
    status, _, complaint = run("find", store, "--device", "arm-3", "--set", names)
    assert (2, True) == (status, "known are arm-2, console" in complaint)


def test_find_the_frame_that_carried_a_message(run: Run, tmp_path: Path) -> None:
    """By its identity, as the hub shows it: that one frame and no other, sealed or just heard; narrowed by time as well. (S2-107, S2-108)"""
    root = tmp_path / "store"
    board = SimulatedBoard(disk=cast(Any, LinuxDisk(root)))
    start = board.clock.now().utc_ns
    bodies = {
        text: json.dumps({"version": 1, "text": text, "time_utc_ns": start, "event": f"event-{text[-1]}"}).encode()
        for text in ("arm stopped 1", "arm stopped 2", "arm moves 3", "just heard 4")
    }
    *sealed, heard = [frame(start + n * 10**9, port=47001 + n % 4, payload=body) for n, body in enumerate(bodies.values())]
    noise = [frame(start + n * 10**6, port=47001, payload=b"hello %d" % n) for n in range(3)] + [frame(start, port=104)]
    end_segment(board, begin_segment(board, [[*noise, *sealed]]))
    begin_segment(board, [[heard]])
    told = {row["text"]: row["identity"] for row in json.loads(run("find", root, "--order", "--json")[1])}
    assert set(bodies) <= set(told)
    out = tmp_path / "one.pcapng"

    for text, body in bodies.items():
        for digits in (told[text], told[text].upper()):
            assert 0 == run("find", root, "--message", digits, "-w", out)[0]
            assert [body] == [packet.data[42:] for packet in pcapng.packets(out.read_bytes())]
        assert (0, "1\n") == run("find", root, "--event", f"event-{text[-1]}", "--count")[:2]
    first = told["arm stopped 1"]
    assert (1, "0\n") == run("find", root, "--message", first, "--since", "2026-11-22T10:15:01", "--count")[:2]
    assert (1, "0\n") == run("find", root, "--message", first, "--port", 47002, "--count")[:2]
    assert (1, "0\n") == run("find", root, "--message", "ab" * 16, "--count")[:2]


@pytest.mark.parametrize("digits", ["12", "xy" * 16, "ab" * 17])
def test_an_identity_that_is_none(run: Run, store: Path, digits: str) -> None:
    """Said at once what it looks like and where it comes from; nothing is searched. (S2-108)"""
    status, out, complaint = run("find", store, "--message", digits)

    assert (2, "") == (status, out)
    assert "--message: expected an identity of 32 hexadecimal digits, as `scrubjay fleet watch` prints it" in complaint


def test_a_link_to_the_segments(run: Run, store: Path, tmp_path: Path) -> None:
    """As the demo leaves one: what is looked at is the store it leads to, and never nothing, which would verify. (S2-090)"""
    place = tmp_path / "results"
    place.mkdir()
    (place / "segments").symlink_to(store / "segments")
    (place / "more").mkdir()
    (place / "more" / "segments").symlink_to(tmp_path / "elsewhere")

    assert run("verify", store) == run("verify", place)
    assert run("find", store, "--count") == run("find", place, "--count")
    status, _, said = run("verify", place / "more")
    assert 2 == status and "there is none" in said


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["--mac", "02:53:4a:00:00:0b"], 15),
        (["--host", "10.77.0.11", "--host", "192.0.2.9", "--proto", "udp"], 15),
        (["--proto", "arp"], 0),
        (["--vlan", 7], 0),
        (["--port", 47002, "--contains", "hello"], 5),
        (["--contains", "0x00ff00ff00ff"], 0),
        (["--filter", "udp port 47002 or udp port 47003"], 10),
        (["--filter", "udp port 47002", "--port", 47003], 0),
        (["--since", "2026-11-22T20:00:00", "--until", "2026-11-23T08:00:00", "--port", 47001, "--port", 47002], 5),
    ],
)  # fmt: skip
def test_find_by_every_field(run: Run, store: Path, fields: list[object], expected: int) -> None:
    """Hardware address, protocol, VLAN, contents, a libpcap expression, time; fields narrow, several of one widen. (S2-107, S2-108)"""
    assert (0 if expected else 1, f"{expected}\n") == run("find", store, *fields, "--count")[:2]


def test_index_sums_up(run: Run, store: Path) -> None:
    """Once for each segment; afterwards find gives the same answers. (S2-109)"""
    before = json.loads(run("find", store, "--port", 47002, "--json")[1])

    assert run("index", store)[1].startswith("3 segments summed up")
    assert run("index", store)[1].startswith("0 segments summed up")
    after = json.loads(run("find", store, "--port", 47002, "--json")[1])
    assert [before[key] for key in ("frames", "bytes", "segments")] == [after[key] for key in ("frames", "bytes", "segments")]


def test_find_to_standard_output(store: Path) -> None:
    """`-w -` is a section and nothing else; what is said about it goes to the other channel. (S2-108)"""
    command = [sys.executable, "-m", "firmware.cli", "find", str(store), "--port", "47002", "--newest-first", "-w", "-"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)

    assert 5 == len(list(pcapng.packets(done.stdout)))
    assert (0, True) == (done.returncode, done.stderr.startswith(b"5 frames"))


def test_interrupted_find_leaves_a_whole_section(tmp_path: Path) -> None:
    """Ctrl-C while somebody reads: what came is whole, less than all of it, and how far it got is said; exit status 130. (S2-108)"""
    board = SimulatedBoard(disk=cast(Any, LinuxDisk(tmp_path / "store")))
    start = board.clock.now().utc_ns
    for number in range(40):
        rows = [frame(start + number * 1000 + n, payload=bytes(1000)) for n in range(100)]
        end_segment(board, begin_segment(board, [rows]))
    command = [sys.executable, "-m", "firmware.cli", "find", str(tmp_path / "store"), "-w", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as find:
        assert find.stdout is not None and find.stderr is not None
        data = find.stdout.read(1000)  # it has begun, and waits for us: a pipe holds 64 KiB, the frames are four MB
        find.send_signal(signal.SIGINT)
        data += find.stdout.read()
        said = find.stderr.read()

    assert 130 == find.returncode
    assert 0 < len(list(pcapng.packets(data))) < 4000
    assert b"stopped after" in said


def test_find_with_damage_ends_as_not_done(run: Run, store: Path) -> None:
    """What could not be looked at makes the answer incomplete: exit status 2, and the segment is named."""
    segment = sorted((store / "segments").iterdir())[0]
    frames = segment / "frames.pcapng.lz4"
    data = bytearray(frames.read_bytes())
    data[len(data) // 2] ^= 1
    frames.write_bytes(data)
    status, said, _ = run("find", store)

    assert 2 == status
    assert f"NOT READ: {segment.name}" in said


def test_reading_a_store(run: Run, store: Path, tmp_path: Path) -> None:
    """`ls`, `verify`, `find` and `show` say what is there, for people and as JSON. (S2-108)"""
    segment = next(iter(sorted((store / "segments").iterdir())))
    out = tmp_path / "found.pcapng"

    assert 3 == len(json.loads(run("ls", store, "--json")[1]))
    assert segment.name in run("ls", store / "segments")[1]
    assert run("verify", store)[1].startswith("verified: 3 segments, 15 frames")
    assert json.loads(run("verify", store, "--json")[1])["ok"]
    assert 5 == json.loads(run("find", store, "--port", 47002, "-w", out, "--json")[1])["frames"]
    assert b"\x0a\x0d\x0d\x0a" == out.read_bytes()[:4]
    assert 1 == run("find", store, "--host", "192.0.2.1")[0]
    assert f"seal of segment {segment.name}" in run("show", segment / "seal")[1]


def test_pin_says_what_it_cannot_hold(run: Run, store: Path) -> None:
    """What is still being recorded is not held, and is said not to be; an older question has nothing to do with it. (S2-095)"""
    board = SimulatedBoard(disk=cast(Any, LinuxDisk(store)))
    board.clock.advance(3 * HALF_A_DAY_NS)
    opened = begin_segment(board, [[frame(board.clock.now().utc_ns)]]).name
    status, out, err = run("pin", store, "--since", "2026-11-22", "--until", "2026-11-30", "--reason", "case 17")

    assert (0, 3) == (status, len(out.splitlines()))
    assert f"NOT HELD: {opened} is still being recorded" in err
    assert opened not in run("pin", store, "--since", "2026-11-22", "--until", "2026-11-22T11:00", "--reason", "case 17")[2]


def test_pin_says_that_it_holds_nothing_that_is_to_come(run: Run, store: Path) -> None:
    """An interval that ends in the future: what is sealed in it later is not held, also where nothing is being recorded now. (S2-095)"""
    status, out, err = run("pin", store, "--since", "2026-11-22", "--until", "2200-01-01", "--reason", "case 17")

    assert (0, 3) == (status, len(out.splitlines()))
    assert "NOT HELD: what is still to be recorded" in err
    assert "" == run("pin", store, "--since", "1971-01-01", "--until", "1971-01-02", "--reason", "case 17")[2]


def test_unpin_lets_go_of_all_that_was_named_or_of_none(run: Run, store: Path) -> None:
    """One that is not held is a mistake in what was asked, found before the first is let go; one named twice is none. (S2-094)"""
    one, two, three = sorted(path.name for path in (store / "segments").iterdir())
    run("pin", store, one, three, "--reason", "case 7")
    status, out, err = run("unpin", store, one, two, three)

    assert (2, "") == (status, out)
    assert f"{two} is not" in err
    assert [one, three] == [entry["segment"] for entry in json.loads(run("pins", store, "--json")[1])]
    assert 0 == run("unpin", store, one, three, one)[0]
    assert "[]" == run("pins", store, "--json")[1].strip()


def test_status(run: Run, store: Path) -> None:
    """Losses first, by station and cause."""
    status, out, _ = run("status", "--root", store)

    assert 0 == status
    assert ["LOST OR REFUSED, by cause", "  intake  disk_full  3"] == out.splitlines()[:2]
    assert {"disk_full": 3} == json.loads(run("status", "--root", store, "--json")[1])["roomside"]["stations"]["intake"]["drops"]


@pytest.mark.lab
def test_status_of_a_disk_that_became_read_only(run: Run, store: Path) -> None:
    """The last that could be written may say "recording": it is said first that nothing is any more."""
    bound = [["mount", "--bind", str(store), str(store)], ["mount", "-o", "remount,bind,ro", str(store)]]
    if subprocess.run(bound[0], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(bound[1], check=True)
        status, out, _ = run("status", "--root", store)
    finally:
        subprocess.run(["umount", str(store)], check=True)

    assert (0, True) == (status, out.startswith("THE DISK IS READ-ONLY: nothing is recorded")), out
    assert "READ-ONLY" not in run("status", "--root", store)[1]


def test_a_clock_that_has_said_nothing_yet(run: Run, store: Path) -> None:
    """Status 1, a sentence for a person, and for a program something it can read."""
    said, told = run("clock", "--root", store), run("clock", "--root", store, "--json")

    assert (1, "the clock process has not said anything yet\n") == said[:2]
    assert (1, None) == (told[0], json.loads(told[1]))


def test_settings(run: Run, tmp_path: Path) -> None:
    """Every setting with its meaning and range, and what was changed where."""
    path = tmp_path / "box.toml"
    path.write_text("[capture]\nsegment_s = 60\n")
    rows = json.loads(run("settings", "--settings", path, "--set", "capture.interface=lo", "--changed", "--json")[1])

    assert {"capture.segment_s": str(path), "capture.interface": "--set"} == {row["setting"]: row["from"] for row in rows}
    assert ["1 to 86400", None] == [row["range"] for row in rows if row["setting"] == "capture.segment_s"] + [
        row["range"] for row in rows if row["setting"] == "capture.interface"
    ]
    said = run("settings")[1]
    assert (
        "capture.segment_s = 300\n    Length of a segment by time stamp; segments begin at whole multiples of it. [1 to 86400]\n"
        in said
    )
    assert "    How PTP travels. [one of " in said
    assert "hub.brokers" in run("settings", "hub")[1]


def test_a_hub_keeps_its_database_in_its_store(tmp_path: Path) -> None:
    """Wherever its starter stands: in another directory it would begin with no box and no message."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "firmware.cli", "run", "hub", "--without", "web", "--root", str(tmp_path / "hub")]
    command += ["--set", 'hub.brokers=["127.0.0.1:9"]']
    with subprocess.Popen(command, cwd=elsewhere, stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        ready = any("process=hub state=ready" in line for line in hub.stdout)
        hub.terminate()

    assert ready
    assert (tmp_path / "hub/hub.sqlite").is_file()
    assert [] == list(elsewhere.iterdir())


@pytest.mark.parametrize("words", [("identity",), ("run", "box"), ("run", "box", "--process", "capture")])
def test_keys_that_do_not_belong_together(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    """A key that was replaced without the public one: said at once, and not by a recorder that cannot seal its first segment."""
    for place in ("one", "two"):
        LinuxIdentity(tmp_path / place / "identity")
    (tmp_path / "two/identity/key").rename(tmp_path / "one/identity/key")

    code, _, complaint = run(*words, "--root", tmp_path / "one")
    assert 2 == code
    assert f"expected key and key.pub in {tmp_path / 'one/identity'} to belong together" in complaint
    (tmp_path / "one/identity/key.pub").unlink()  # As it says, where that was on purpose.
    assert 0 == run("identity", "--root", tmp_path / "one")[0]


def test_identity(run: Run, tmp_path: Path) -> None:
    """Made at first use, the same ever after; trusted keys are listed."""
    key = "ab" * 32
    row = json.loads(
        run("identity", "--root", tmp_path, "--name", "box-9", "--site", "site-9", "--trust", f"hub-1={key}", "--json")[1]
    )

    assert ("box-9", {"hub-1": key}) == (row["name"], row["trusted"])
    assert f"public_key: {row['public_key']}\ntrusted: hub-1 {key}\n" in run("identity", "--root", tmp_path)[1]
    other = bytes(range(1, 33)).hex()
    assert f"trusted: hub-1 {other}, in place of {key}\n" in run("identity", "--root", tmp_path, "--trust", f"hub-1={other}")[1]


@pytest.mark.parametrize(
    "words",
    [
        ("--site", "Dr. X"),
        ("--trust", "hub-2"),
        ("--trust", f"hub-2={'ab' * 32}", "--trust", "hub-3=ab"),
        ("--trust", "hub-2=ab"),
        ("--trust", f"hub-2={'ab' * 32}", "--trust", f"hub-2={'cd' * 32}"),
    ],
)
def test_an_identity_that_is_refused_is_as_it_was(run: Run, tmp_path: Path, words: Sequence[str]) -> None:
    """One word that makes no sense: nothing of what was asked is done, least of all half of it."""
    former = run("identity", "--root", tmp_path, "--name", "box-9", "--trust", f"hub-1={'cd' * 32}", "--json")[1]

    assert 2 == run("identity", "--root", tmp_path, "--name", "box-8", *words)[0]
    assert former == run("identity", "--root", tmp_path, "--json")[1]


def test_publish(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A datagram as a task device would send it, to the port of its priority."""
    sent: list[tuple[bytes, tuple[str, int]]] = []

    class Wire(socket.socket):
        def sendto(self, data: bytes, address: tuple[str, int]) -> int:  # type: ignore[override]
            sent.append((data, address))
            return len(data)

    monkeypatch.setattr(socket, "socket", Wire)
    status, out, _ = run("publish", "arm 3 stopped", "--priority", 1, "--field", "arm=3", "--event", "e1", "--to", "127.0.0.1")
    said = decoded(sent[0][0])

    assert (0, ("127.0.0.1", 47001)) == (status, sent[0][1])
    assert ("arm 3 stopped", "e1", {"arm": "3"}) == (said.text, said.event, dict(said.fields))
    assert "a datagram is not acknowledged" in out


def test_a_console_by_hand_leaves_the_box_s_own_alone(tmp_path: Path) -> None:
    """Beside a box at work: were its reports those of the box's console, that would seem to end at each turn, and the version be taken
    back for it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/console.json").write_bytes(b"of the box")
    person, line = os.openpty()
    command = [sys.executable, "-m", "firmware.cli", "console", "--root", str(tmp_path), "--tty", os.ttyname(line)]
    with subprocess.Popen(command) as program:
        said = b""
        while b"> " not in said:
            os.write(person, b"\r")
            said += os.read(person, 4096) if select.select([person], [], [], 0.5)[0] else b""
            assert program.poll() is None
        program.terminate()
    os.close(person)
    os.close(line)

    assert 0 == program.returncode
    assert b"of the box" == (tmp_path / "state/console.json").read_bytes()


def test_publish_says_what_the_environment_leaves_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, and nobody is told that it was."""
    monkeypatch.setenv("SCRUBJAY_PUBLISH", "alarms")
    status, out, _ = run("publish", "arm 3 is warm", "--priority", 2, "--to", "127.0.0.1")

    assert (1, "not sent: SCRUBJAY_PUBLISH=alarms leaves out priority 2 of cli\n") == (status, out)


@pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0, reason="a network of its own"
)
def test_publish_where_there_is_no_way() -> None:
    """Everybody is the default, and on a machine without a default route nobody: it says what to name instead."""
    command = ["unshare", "--net", sys.executable, "-m", "firmware.cli", "publish", "arm 3 stopped"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (2, "") == (said.returncode, said.stdout)
    assert "--to: expected an address this machine has a way to, 255.255.255.255 cannot be sent to" in said.stderr
    assert "Network is unreachable" in said.stderr


def test_storm(run: Run) -> None:
    """One row for each seed."""
    status, out, _ = run("sim", "storm", "--seed", 1)

    assert 0 == status
    assert out.splitlines()[-1].endswith("ok")


def test_help(run: Run) -> None:
    """Every command explains itself."""
    for command in (
        "demo",
        "run",
        "settings",
        "identity",
        "record",
        "replay",
        "find",
        "verify",
        "ls",
        "show",
        "status",
        "publish",
        "console",
        "sim",
        "bench",
    ):
        assert 0 == run(command, "--help")[0]
    for what in ("list", "watch", "retrieve"):
        assert 0 == run("fleet", what, "--help")[0]


def test_the_help_of_bench_names_each(run: Run) -> None:
    """Whoever wants one of them need not look into the source; and each is there."""
    said = run("bench", "--help")[1].replace(",", " ").replace(";", " ").split()

    assert set(BENCHMARKS) <= set(said)
    assert [] == [name for name in BENCHMARKS if not (Path(__file__).parent / "bench" / f"{name}.py").is_file()]


def test_each_command_is_where_it_is_looked_for() -> None:
    """The table of subjects says what their modules register, no more and no less, in the order of the help."""

    def told(command: str | None) -> tuple[str, ...]:
        return tuple(re.findall(r"^    (\S+)", parser(command).format_help(), re.MULTILINE))

    assert SUBJECTS == {subject: told(commands[-1]) for subject, commands in SUBJECTS.items()}
    assert tuple(command for commands in SUBJECTS.values() for command in commands) == told(None) == told("foo")


def test_find_begins_with_nothing_of_others(store: Path) -> None:
    """Of the subjects only its own is read before the search begins, and nothing that only they need (S2-108)."""
    asks = "import sys; from firmware.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", asks, "find", str(store), "--count"], capture_output=True, text=True, check=True
    )
    read = set(ended.stderr.split())
    others = {f"firmware.cli.{subject}" for subject in SUBJECTS if subject != "find"}
    theirs = {"firmware.core.advice", "firmware.core.succession", "firmware.core.verify", "drivers.board", "cryptography"}
    unused = {"firmware.core.segment_writer", "firmware.core.seal", "hashlib", "logging", "shutil", "dis"}  # dis: inspect's

    assert "firmware.retrieval.find" in read
    assert set() == read & (others | theirs | unused)


def test_what_is_put_off_is_there_when_it_is_used() -> None:
    """A class without a docstring needs `inspect` in the middle of a start; whoever has it by then, has the real one."""
    asks = (
        "import sys; from firmware.cli.start import started\n"
        "with started():\n import inspect; from dataclasses import make_dataclass; before = 'dis' in sys.modules\n"
        "print(before, make_dataclass('A', ['b']).__doc__, inspect.ismodule(sys), sys.modules['inspect'].__file__[-10:])"
    )
    ended = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert "False A(b: 'typing.Any') True inspect.py" == ended.stdout.strip()


@pytest.mark.parametrize(("columns", "widest"), [("60", 58), ("200", 198), ("0", 78), ("wide", 78), ("", 78)])
def test_help_is_as_wide_as_the_terminal(columns: str, widest: int) -> None:
    """As argparse has it: what COLUMNS says, 80 where nothing is known."""
    ended = subprocess.run(
        [sys.executable, "-m", "firmware.cli", "find", "--help"],
        capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": columns},
    )  # fmt: skip
    lengths = [len(line) for line in ended.stdout.splitlines()]
    assert widest - 12 < max(lengths) <= widest


# ---- the bad side


@pytest.mark.parametrize("words", [["ls", "STORE"], ["--help"], ["find", "STORE", "--since", "2100-01-01T00:00:00", "--count"]])
def test_a_reader_who_has_gone(store: Path, words: list[str]) -> None:
    """What fits into a buffer meets the closed pipe at the very end: the status is the command's, and nobody complains."""
    command = [str(store) if word == "STORE" else word for word in words]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipe, end = os.pipe()
    os.close(pipe)
    ended = subprocess.run(
        [sys.executable, "-m", "firmware.cli", *command], stdout=end, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(end)

    assert (1 if "--count" in words else 0, b"") == (ended.returncode, ended.stderr.strip())


def test_a_verdict_nobody_reads_to_its_end(run: Run, store: Path) -> None:
    """`verify | head -1` under pipefail: what was altered is no less altered for that."""
    for segment in (store / "segments").iterdir():
        (segment / "frames.pcapng.lz4").write_bytes(b"altered")
    pipe, end = os.pipe()
    os.close(pipe)
    ended = [
        subprocess.run(
            [sys.executable, "-m", "firmware.cli", *words],
            stdout=end, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False,
        )
        for words in (["verify", str(store)], ["verify", str(store), "--json"], ["promises", "--root", str(store)])
    ]  # fmt: skip
    os.close(end)

    assert [(1, b"")] * 3 == [(row.returncode, row.stderr) for row in ended]


@pytest.mark.parametrize("complaints", ["gone", "full", "closed"])
def test_who_hears_no_complaints_gets_the_work_all_the_same(run: Run, store: Path, complaints: str) -> None:
    """Progress that nobody takes ends no search and no sum half-way, least of all as done; nor does it get among the frames."""
    shell = {"gone": 'exec "$0" -m firmware.cli "$@"', "full": 'exec "$0" -m firmware.cli "$@" 2>/dev/full'}.get(
        complaints, 'exec "$0" -m firmware.cli "$@" 2>&-'
    )
    pipe, end = os.pipe()
    os.close(pipe)
    for words in (["index", str(store)], ["find", str(store), "-w", "-"]):
        ended = subprocess.run(
            ["sh", "-c", shell, sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=None if complaints != "gone" else end,
            check=False,
        )
        assert 0 == ended.returncode

    assert 15 == len(list(pcapng.packets(ended.stdout)))
    assert b"15 frames" not in ended.stdout
    assert run("index", store)[1].startswith("0 segments summed up"), "all were"


@pytest.mark.parametrize("words", [["--help"], ["find", "--help"]])
def test_a_terminal_that_knows_ascii_only(words: list[str]) -> None:
    """What it has no sign for is marked; the rest is said, and the status is the command's."""
    ended = subprocess.run(
        [sys.executable, "-m", "firmware.cli", *words],
        capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False,
    )  # fmt: skip

    assert (0, b"") == (ended.returncode, ended.stderr)
    assert b"?" in ended.stdout


def test_standard_output_that_takes_nothing(store: Path) -> None:
    """A full disk behind `>` is said, with status 2."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "firmware.cli", "ls", str(store)],
            stdout=full, stderr=subprocess.PIPE, env=environment, check=False,
        )  # fmt: skip

    assert 2 == ended.returncode
    assert b"scrubjay: expected standard output to take what was said, the system says: No space left on device\n" == ended.stderr


@pytest.mark.parametrize("words", [["find", "STORE"], ["record", "lo", "-q", "-t", "0.3"]])
def test_frames_to_a_standard_output_that_is_closed(store: Path, words: list[str]) -> None:
    """Refused in a sentence."""
    command = [str(store) if word == "STORE" else word for word in words]
    shell = 'exec "$0" -m firmware.cli "$@" -w - >&-'
    ended = subprocess.run(["sh", "-c", shell, sys.executable, *command], stderr=subprocess.PIPE, check=False)

    assert (2, b"scrubjay: -w -: expected a pipe or a file at standard output, it is closed\n") == (
        ended.returncode,
        ended.stderr,
    )


def test_frames_onto_a_full_disk(run: Run, store: Path) -> None:
    """The message names the file that could not take them."""
    status, out, err = run("find", store, "-w", "/dev/full")

    assert (2, "") == (status, out)
    assert "/dev/full: expected it to be usable, the system says: No space left on device" in err


def test_a_reason_obeys_no_terminal_and_makes_no_lines(run: Run, store: Path) -> None:
    """What a pin's reason holds of control characters is shown as such: one line is one segment that is held."""
    segment = sorted((store / "segments").iterdir())[0].name
    run("pin", store, segment, "--reason", "case 17\n20260101T000000Z-000099\x1b[2J")
    status, out, _ = run("pins", store)

    assert (0, 1) == (status, len(out.splitlines()))
    assert "\x1b" not in out and out.startswith(segment)


def test_one_recorder_a_store(store: Path) -> None:
    """A second one is told so, beside the box's as beside another; the box's own hand over to each other."""
    refused = pytest.raises(ValueError, match="expected a store into which nobody else records")
    with recording_into(store, is_box=True):
        with recording_into(store, is_box=True):
            pass
        with refused, recording_into(store):
            pass
    with recording_into(store):
        for is_box in (True, False):
            with refused, recording_into(store, is_box=is_box):
                pass
    with recording_into(store):
        pass


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("invalid choice: 'foo'", ["foo"]),
        ("required: COMMAND", []),
        ("invalid choice: 'robot'", ["run", "robot"]),
        ("NOWHERE: expected a settings file (TOML), it cannot be read: No such file", ["run", "box", "--settings", "NOWHERE"]),
        ("HERE: expected a settings file (TOML), it cannot be read: Is a directory", ["run", "box", "--settings", "HERE"]),
        ("NOISE: expected a settings file (TOML), it is not text", ["settings", "--settings", "NOISE"]),
        ("TEXT: expected TOML", ["settings", "--settings", "TEXT"]),
        ("--set: expected section.key=value, got 'x'", ["run", "box", "--set", "x"]),
        ("[capture] has no setting 'interfase'; did you mean 'interface'?", ["run", "box", "--set", "capture.interfase=lo"]),
        ("no section [captur]; did you mean 'capture'?", ["run", "box", "--set", "captur.interface=lo"]),
        ("[capture] segment_s: expected 1 to 86400, got 0", ["run", "box", "--set", "capture.segment_s=0"]),
        ("has no process 'kapture'; its processes are capture", ["run", "box", "--process", "kapture"]),
        ("--without: expected a process that is left to run, all of the role hub are left out", ["run", "hub", "--root", "NOWHERE", "--without", "hub", "--without", "web"]),
        ("--without: expected without --process", ["run", "hub", "--root", "NOWHERE", "--process", "hub", "--without", "hub"]),
        ("expected a pcap-filter(7) expression", ["run", "box", "--set", "capture.filter=port eleventy"]),
        ("[intake] devices: expected entries such as", ["run", "box", "--set", 'intake.devices=["robot"]']),
        ("[slice] rules: expected NAME: CONDITION", ["run", "box", "--set", 'slice.rules=["worn event=x"]']),
        ("[slice] whole_every_s: expected 0 or at least 300", ["run", "box", "--set", "slice.whole_every_s=60"]),
        ("expected for a system bundle --version", ["update", "edition", "x.raucb", "--version", "1.0T", "--number", "3", "-w", "x", "--root", "STORE"]),
        ("[group] leave_out: expected entries such as", ["run", "box", "--set", 'group.leave_out=["attachment"]']),
        ("[group] leave_out: expected entries such as", ["settings", "box", "--set", 'group.leave_out=["attachment"]']),
        ("[feedback] address: expected a multicast group", ["run", "box", "--set", "feedback.publish=true", "--set", "feedback.address=239.255.83"]),
        ("[session] opens: expected KIND: CONDITION", ["settings", "box", "--set", 'session.opens=["picnic: event=x"]']),
        ("expected a pcap-filter(7) expression", ["settings", "--changed", "--set", "capture.filter=port eleventy"]),
        ("[hub] update_hours: expected", ["settings", "hub", "--json", "--set", 'hub.update_hours=["always"]']),
        ("brokers: expected at least one host:port", ["settings", "relay", "--set", "relay.brokers=[]"]),
        ("[session] opens: expected KIND: CONDITION", ["run", "box", "--set", 'session.opens=["picnic: event=x"]']),
        ("[hub] people: entry 1: expected", ["run", "hub", "--set", 'hub.people=["kim boss 12"]']),
        ("[hub] update_hours: expected", ["run", "hub", "--set", 'hub.update_hours=["always"]']),
        ("rollout phases: expected 1 to 20", ["run", "hub", "--set", 'hub.rollout_phases=["0%"]']),
        ("[intake] dicom_tls_listen: expected tls_certificate", ["run", "box", "--set", "intake.dicom_tls_listen=2762"]),
        ("brokers: expected at least one host:port", ["run", "hub", "--set", "hub.brokers=[]"]),
        ("expected host:port with a port of 1 to 65535, got 'broker:0'", ["run", "box", "--set", 'uplink.brokers=["broker:0"]']),
        ("[uplink] ca: expected one beside certificate and key", ["run", "box", "--set", "uplink.certificate=box.pem", "--set", "uplink.key=box.key"]),
        ("[hub] ca: expected one beside certificate and key", ["run", "hub", "--set", "hub.key=hub.key"]),
        ("[relay] ca: expected one beside certificate and key", ["settings", "relay", "--set", "relay.certificate=relay.pem"]),
        ("TEXT: expected a directory, or a place for one", ["run", "box", "--root", "TEXT"]),
        ("[board] name: expected 3 to 63 of a-z, 0-9 and '-', got 'Dr. X'", ["run", "hub", "--root", "NOWHERE", "--set", "board.name=Dr. X"]),
        ("[board] site: expected 3 to 63 of a-z, 0-9 and '-', got 'X'", ["run", "relay", "--root", "NOWHERE", "--set", "board.site=X"]),
        ("expected ring, portable or recording:FILE@SPEED", ["run", "box", "--root", "NOWHERE", "--set", "board.tap=x"]),
        ("expected a speed above 0", ["run", "box", "--root", "NOWHERE", "--set", "board.tap=recording:TEXT@fast"]),
        ("[group] leave_out: expected entries such as", ["run", "box", "--root", "NOWHERE", "--set", 'group.leave_out=["x"]']),
        ("expected ring, portable or recording:FILE@SPEED", ["run", "box", "--root", "NOWHERE", "--process", "capture", "--set", "board.tap=x"]),
        ("expected a name of [a-z0-9]", ["identity", "--root", "NOWHERE", "--name", "Dr. X"]),
        ("--trust: expected SIGNER=64 hexadecimal", ["identity", "--root", "NOWHERE", "--trust", "hub"]),
        ("--trust hub-1: expected a public key of 64 hexadecimal digits", ["identity", "--root", "NOWHERE", "--trust", "hub-1=" + "z" * 64]),
        ("expected a pcap-filter(7) expression", ["record", "lo", "-o", "NOWHERE", "-f", "port eleventy", "-t", "1"]),
        ("--keep: expected a time such as 14d or a size such as 100MB, got 'x'", ["record", "lo", "-o", "NOWHERE", "--keep", "x"]),
        ("--keep: expected whole days, such as 14d, or a size such as 10GB, got '60s'", ["record", "lo", "-o", "NOWHERE", "--keep", "60s"]),
        ("expected a time such as 90, 10m, 2h or 1d, got 'nan'", ["record", "lo", "-o", "NOWHERE", "-t", "nan"]),
        (": expected a file to write, in a directory that is there", ["record", "lo", "-o", "NOWHERE", "-t", "1", "-w", ""]),
        ("TEXT: expected a directory, or a place for one", ["record", "lo", "-o", "TEXT", "-t", "1"]),
        ("NOWHERE: No such file", ["replay", "NOWHERE"]),
        ("--to: expected an interface, it is empty", ["replay", "TEXT", "--to", ""]),
        ("--into: expected a directory for the results, it is empty", ["replay", "TEXT", "--into", ""]),
        ("--into: expected a directory for the results, it is empty", ["demo", "--into", ""]),
        ("STORE: expected a new or empty directory, or one of former results; segments in it", ["demo", "--into", "STORE"]),
        ("expected a pcap or pcapng file", ["replay", "TEXT"]),
        ("expected a speed above 0 and at most 1e+06, or \"max\", got 'fast'", ["replay", "TEXT", "--speed", "fast"]),
        ("expected the directory of a store, there is none at NOWHERE", ["find", "NOWHERE"]),
        ("expected a store with a directory segments/ at EMPTY, there is none", ["find", "EMPTY"]),
        ("--port: expected a port of 0 to 65535, got 99999", ["find", "STORE", "--port", "80", "--port", "99999"]),
        ("--host: expected a host as an IPv4 or IPv6 address, got 'console'", ["find", "STORE", "--host", "10.0.0.1", "--host", "console"]),
        ("--mac: expected a MAC address as aa:bb:cc:dd:ee:ff, got '0200.0000.0001'", ["find", "STORE", "--mac", "0200.0000.0001"]),
        ("--vlan: expected a VLAN of 0 to 4095, got 4096", ["find", "STORE", "--vlan", "4096"]),
        ("or 0x and an ethertype, got 'x'", ["find", "STORE", "--proto", "x"]),
        ("--set: expected capture.segment_s once, got it again", ["settings", "--set", "capture.segment_s=60", "--set", "capture.segment_s=70"]),
        ("expected a time such as 2026-11-22T10:15:00", ["find", "STORE", "--since", "yesterday"]),
        ("expected a file to write, in a directory that is there", ["find", "STORE", "-w", "NOWHERE/x"]),
        ("--until: expected a moment that is not before --since 20, got 10", ["find", "STORE", "--since", "20", "--until", "10"]),
        ("--until: expected a moment that is not before --since 20, got 10", ["ls", "STORE", "--since", "20", "--until", "10"]),
        ("--until: expected a moment", ["pin", "STORE", "--since", "20", "--until", "10", "--reason", "x"]),
        ("--until: expected a moment", ["fleet", "retrieve", "--box", "box-1", "--since", "20", "--until", "10"]),
        ("expected segments, or --since and --until", ["pin", "STORE", "20261122T101500Z-000001", "--since", "0", "--until", "1", "--reason", "x"]),
        ("there is no 20261122T101500Z-000009", ["thaw", "STORE", "20261122T101500Z-000009"]),
        ("expected a segment that is held, as `scrubjay pins` lists them; 20261122T101500Z-000001 is not", ["unpin", "STORE", "20261122T101500Z-000001"]),
        ("--count: expected without -w", ["find", "STORE", "--count", "-w", "NOWHERE"]),
        ("--order: expected without --count, -w and --newest-first", ["find", "STORE", "--order", "-w", "NOWHERE"]),
        ("--order: expected without --count, -w and --newest-first", ["find", "STORE", "--order", "--newest-first"]),
        ("--newest-first: expected without --kind motion", ["find", "STORE", "--newest-first", "--kind", "time", "--kind", "stream"]),
        ("--message: expected something to look for, it is empty", ["find", "STORE", "--message", ""]),
        ("--filter: expected something to look for, it is empty", ["find", "STORE", "-f", ""]),
        ("--contains: expected something to look for, it is empty", ["find", "STORE", "--contains", ""]),
        (r"expected text in UTF-8, got '\udcff'", ["find", "STORE", "--contains", "\udcff"]),
        (r"expected text in UTF-8, got '\udcff'", ["find", "STORE", "-f", "\udcff"]),
        (r"expected text in UTF-8, got '\udcff'", ["publish", "\udcff", "--to", "127.0.0.1"]),
        (r"expected text in UTF-8, got '\udcff'", ["fleet", "sessions", "--box", "\udcff", "--hub", "http://127.0.0.1:1"]),
        ("expected a text, or 0x and an even number of hexadecimal digits", ["find", "STORE", "--contains", "0x"]),
        ("expected a time such as 2026-11-22T10:15:00", ["find", "STORE", "--until", ""]),
        ("expected a time such as 2026-11-22T10:15:00", ["ls", "STORE", "--since", ""]),
        ("expected the directory of a store", ["verify", "TEXT"]),
        ("expected a store with a directory segments/", ["verify", "EMPTY"]),
        ("NOWHERE: expected a public key, it cannot be read", ["verify", "STORE", "--key", "NOWHERE"]),
        ("TEXT: expected a public key of 64 hexadecimal digits", ["verify", "STORE", "--key", "TEXT"]),
        ("expected a public key, it cannot be read", ["verify", "STORE", "--key", ""]),
        ("expected a store with a directory segments/", ["ls", "EMPTY"]),
        ("NOWHERE: expected a file of a store, it cannot be read", ["show", "NOWHERE"]),
        ("TEXT: expected a seal, receipt, index", ["show", "TEXT"]),
        ("recordings open in Wireshark", ["show", "PCAP"]),
        ("expected a store with a directory state/", ["status", "--root", "EMPTY"]),
        ("--field: expected NAME=VALUE, got 'x'", ["publish", "x", "--field", "x"]),
        ("--field: expected each name once, got 'a' more often", ["publish", "x", "--field", "a=1", "--field", "a=2"]),
        ("--event: expected a word of 1 to 64 characters [A-Za-z0-9._:/-], got 'a b'", ["publish", "x", "--event", "a b"]),
        ("--process: expected a word of 1 to 64 characters [A-Za-z0-9._:/-], got 'é'", ["publish", "x", "--process", "é"]),
        ("--to: expected an IPv4 address or a host's name", ["publish", "x", "--to", ""]),
        ("at most 65507 bytes", ["publish", "x" * 70_000, "--to", "127.0.0.1"]),
        ("expected --seed from 0 and --count from 1", ["sim", "storm", "--count", "0"]),
        ("TEXT: expected an edition, as `scrubjay update edition` signs it: expected CBOR", ["fleet", "update", "publish", "TEXT", "TEXT"]),
        ("TEXT: expected a signed order, as `scrubjay update order` makes it: expected CBOR", ["update", "rollback", "TEXT", "--root", "STORE"]),
        ("TEXT: expected a bundle, this is none", ["update", "install", "TEXT", "--root", "STORE"]),
        ("TEXT: expected a bundle, this is none", ["update", "edition", "TEXT", "-w", "x", "--root", "STORE"]),
        ("TEXT: expected a bundle, this is none", ["update", "make", "1", "--number", "1", "--base", "TEXT", "-w", "x", "--root", "STORE"]),
        ("expected a serial line at NOWHERE, there is none", ["console", "--tty", "NOWHERE", "--root", "HERE"]),
        ("--tty: expected the path of a serial line", ["console", "--tty", "", "--root", "HERE"]),
        ("--configuration: expected without --json", ["clock", "--configuration", "chronyd", "--json"]),
        ("--after-h: expected 0 or more", ["update", "edition", "x.raucb", "--version", "1", "--number", "3", "--after-h", "-5", "-w", "x", "--root", "STORE"]),
        ("--after: expected 0 or more", ["promises", "--after", "-5", "--root", "STORE"]),
        ("--number: expected for a system bundle only", ["update", "edition", "x.scrubjay", "--number", "3", "-w", "x", "--root", "STORE"]),
        ("nobody takes orders of sessions here", ["session", "start", "test", "--root", "STORE"]),
        ("expected the directory of a store, there is none at NOWHERE", ["vault", "status", "--root", "NOWHERE"]),
        ("expected the directory of a store, there is none at TEXT", ["vault", "status", "--json", "--root", "TEXT"]),
        ("expected the store's key in NOWHERE, there is none", ["vault", "open", "--root", "EMPTY", "--key", "NOWHERE"]),
        ("expected a key of 64 bytes in TEXT, got 14", ["vault", "open", "--root", "EMPTY", "--key", "TEXT"]),
        ("expected --box and --advice with --about, --device and --reason", ["fleet", "advise", "--device", "arm-2", "--reason", "x"]),
        ("expected the hub's address as http://host:port", ["fleet", "list", "--hub", "hub"]),
        ("expected a hub at http://127.0.0.1:1, got no answer", ["fleet", "list", "--hub", "http://127.0.0.1:1"]),
        ("expected the answers of a hub", ["fleet", "list", "--hub", "http://a b"]),
        ("NOWHERE: expected a file of rules (TOML), it cannot be read: No such file", ["fleet", "rules", "NOWHERE"]),
        ("NOISE: expected a file of rules (TOML), it is not text", ["fleet", "rules", "NOISE"]),
        ("expected a file of rules (TOML), it cannot be read", ["fleet", "rules", ""]),
        ("--about: expected without --since and --until", ["fleet", "retrieve", "--box", "box-1", "--about", "00" * 16, "--since", "1"]),
        ("--only-message: expected with --about", ["fleet", "retrieve", "--box", "box-1", "--since", "1", "--until", "2", "--only-message"]),
        ("--around: expected with --about", ["fleet", "retrieve", "--box", "box-1", "--since", "1", "--until", "2", "--around", "0"]),
        ("expected a pcap-filter(7) expression", ["fleet", "retrieve", "--box", "box-1", "--about", "00" * 16, "-f", "port eleventy"]),
        ("expected --about a message's identity, or --since and --until", ["fleet", "retrieve", "--box", "box-1"]),
        ("expected host:port with a port of 1 to 65535, got 'broker'", ["run", "box", "--root", "NOWHERE", "--process", "uplink", "--set", 'uplink.brokers=["broker"]']),
    ],
)  # fmt: skip
def test_errors(run: Run, store: Path, tmp_path: Path, expected: str, arguments: Sequence[str]) -> None:
    """Exit 2, nothing printed, and one sentence that helps."""
    (tmp_path / "TEXT").write_text("no such thing\n")
    (tmp_path / "NOISE").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "PCAP").write_bytes(PCAP_OF_OTHERS)
    (tmp_path / "EMPTY").mkdir()
    for directory in ("updates", "session"):
        (store / directory).mkdir()
    (store / "identity" / "key.pub").unlink()
    LinuxIdentity(store / "identity")  # Some sign, with a key of their own.
    places = {name: str(tmp_path / name) for name in ("NOWHERE", "TEXT", "NOISE", "PCAP", "EMPTY")} | {
        "STORE": str(store),
        "HERE": str(tmp_path),
    }

    def placed(word: str) -> str:
        for name, place in places.items():
            word = word.replace(name, place)
        return word

    status, out, err = run(*map(placed, arguments))

    assert (2, "") == (status, out)
    assert placed(expected) in err


def test_a_query_that_is_refused_keeps_the_former_file(run: Run, store: Path, tmp_path: Path) -> None:
    """`-w` empties nothing before there is something to write."""
    former = tmp_path / "former.pcapng"
    former.write_text("precious")

    assert 2 == run("find", store, "--port", 99999, "-w", former)[0]
    assert "precious" == former.read_text()


def test_verify_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A store of terabytes is read for hours: once a second, beside the verdict, how much is done and how long the rest will take."""
    board = SimulatedBoard()
    for _ in range(5):
        end_segment(board, begin_segment(board, [[frame(board.clock.now().utc_ns)]]))
    say = spoken(board.clock)

    def progress(done: int, of: int) -> None:
        board.clock.advance(600_000_000)
        say(done, of)

    assert verify(board.disk, progress=progress).ok
    assert ("", "2 of 5 segments, about 1.8 s to go\n4 of 5 segments, about 600 ms to go\n") == capsys.readouterr()


def test_verify_names_what_is_not_as_recorded(run: Run, store: Path) -> None:
    """Exit 1 and the segment's name."""
    segment = sorted((store / "segments").iterdir())[1]
    data = bytearray((segment / "frames.pcapng.lz4").read_bytes())
    data[40] ^= 1
    (segment / "frames.pcapng.lz4").write_bytes(data)
    status, out, _ = run("verify", store)

    assert 1 == status
    assert out.startswith("NOT AS RECORDED") and segment.name in out


def test_status_shows_what_can_be_read(run: Run, store: Path) -> None:
    """State files that make no sense hide none of the others."""
    (store / "state" / "half.json").write_text('{"at_tai_ns": 1, "sta')
    (store / "state" / "list.json").write_text("[]")
    (store / "state" / "odd.json").write_text('{"at_tai_ns": 1, "stations": {"x": 5}}')
    (store / "state" / "place.json").mkdir()
    status, out, _ = run("status", "--root", store)

    assert 0 == status
    assert ["NOT REPORTING", *(f"  {name}: its state file makes no sense" for name in ("half", "list"))] == out.splitlines()[:3]
    assert "  place: its state file makes no sense" in out
    assert "  intake  disk_full  3" in out


def test_a_filter_is_looked_at_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    """A slip of the pen leaves no store behind that has a key and nothing else."""
    status, _, err = run("record", "lo", "-o", tmp_path / "new", "-f", "port eleventy")

    assert (2, True) == (status, "expected a pcap-filter(7) expression" in err)
    assert not (tmp_path / "new").exists()


def test_recording_an_interface_that_is_not_there(run: Run, tmp_path: Path) -> None:
    """Says so at once, and what to do; whoever waits for it is told at the end that it never came."""
    status, _, err = run("record", "nowhere0", "-o", tmp_path, "-t", "0.3")
    assert [] == list(tmp_path.iterdir())  # Not even a key, which whoever comes with the right to listen would sign with.
    waited, out, _ = run("record", "nowhere0", "-o", tmp_path, "-t", "0.3", "--wait", "-q")

    assert (2, 1) == (status, waited)
    assert "expected interface 'nowhere0'" in err and "--list` shows what there is, --wait begins without it" in err
    assert "nowhere0: 0 frames, lost 0; away for " in out
    assert "  not heard at the end: expected interface 'nowhere0' and room for its ring, there is none of this name" in out


@contextmanager
def server(answer: bytes, heard: list[bytes] | None = None) -> Iterator[str]:
    """Something that says this to everybody. heard: gets what it was asked."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            try:
                while True:
                    guest, _ = door.accept()
                    with guest:
                        asked = guest.recv(65_536)
                        while asked.endswith(b"\r\n\r\n") and asked.startswith(b"POST "):  # The body comes after the head.
                            asked += guest.recv(65_536)
                        if heard is not None:
                            heard.append(asked)
                        guest.sendall(answer)
            except OSError:
                return  # closed: the test is over

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        door.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("command", [["start", "v2"], ["halt", "1"], ["back", "1"]])
def test_an_operator_without_a_name_on_this_machine(run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """A user id that no line of /etc/passwd has, as in a container, halts a roll-out as well, and the hub is not blamed for it."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654)
    answer = b'{"number": 7}'
    heard: list[bytes] = []
    with server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer), heard) as address:
        status, out, _ = run("fleet", "update", *command, "--json", "--hub", address)

    assert (0, {"number": 7}) == (status, json.loads(out))
    assert b'"by": "user 987654"' in b"".join(heard)


@pytest.mark.parametrize("command", [["list"], ["watch"], ["retrieve", "--box", "box-1", "--about", "00" * 16]])
@pytest.mark.parametrize(
    "answer",
    [
        b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nno json", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\n[]", b'HTTP/1.1 200 OK\r\n\r\n{"boxes": [{}], "messages": [{}], "command": 5}',
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe", b"HTTP/1.1 500 X\r\n\r\n\xff\xfe", b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)  # fmt: skip
def test_a_hub_that_is_none(run: Run, command: list[str], answer: bytes) -> None:
    """Whatever answers there, the operator learns that it is no hub."""
    with server(answer) as address:
        status, out, err = run("fleet", *command, "--hub", address)

    assert (2, "") == (status, out)
    assert "hub" in err
