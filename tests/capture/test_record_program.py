"""`scrubjay record` as a person uses it: the real program between real cables, its options, its ends and its exit status."""

import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity, introduce
from firmware.core import pcapng
from firmware.core.store import Store
from firmware.core.verify import verify

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
PROGRAM = [sys.executable, "-m", "firmware.cli", "record"]
FRAME = bytes.fromhex("020000000001 020000000002 0800 4500001c00000000401100000a0000010a000002 2710 0068 0008 0000") + bytes(18)
WAIT_S = 90.0  # of a machine that does much else


@pytest.fixture
def line() -> Iterator[wire.Wire]:
    with wire.Wire(cables=2) as made:
        yield made


class Program:
    """One run of it, between a start that is waited for and an end that is asked for."""

    def __init__(self, *words: object, before: Sequence[str] = ()) -> None:
        command = [*before, *PROGRAM, *map(str, words)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.said = b""

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *problem: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def wait_for(self, text: bytes) -> None:
        """Until this stands at its standard error."""
        assert self.process.stderr is not None
        end = time.monotonic() + WAIT_S
        while text not in self.said:
            assert time.monotonic() < end, self.said
            if select.select([self.process.stderr], [], [], 1)[0]:
                data = os.read(self.process.stderr.fileno(), 65_536)
                assert data, self.said
                self.said += data

    def end(self, number: int = signal.SIGINT) -> tuple[int, bytes, bytes]:
        """Ask it to; status, what it wrote, what it said."""
        self.process.send_signal(number)
        return self.result()

    def result(self) -> tuple[int, bytes, bytes]:
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, self.said + err


def run(*words: object, before: Sequence[str] = ()) -> tuple[int, str, str]:
    with Program(*words, before=before) as program:
        status, out, err = program.result()
    return status, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_every_wish_to_end_is_kept(line, tmp_path, number):
    """Ctrl-C, Ctrl-\\, a terminal that is closed, a shutdown, but not what asks tcpdump for its counts: sealed, all that was sent, a summary for each interface, exit 0. (S2-090)"""
    # As a terminal starts it: whoever runs these tests under nohup, or in the background, ignores some of them, and so would it.
    listening = ["env", "--default-signal=INT,TERM,HUP,QUIT,USR1,USR2"]
    with Program(wire.HEARS, wire.HEARS_TOO, "-o", tmp_path, before=listening) as program:
        program.wait_for(b"1 s  heard")
        line.send([FRAME] * 300)
        program.process.send_signal(signal.SIGUSR1)
        program.process.send_signal(signal.SIGUSR2)
        line.send([FRAME] * 200, end=wire.SENDS_TOO)
        program.wait_for(b"2 s  heard")
        status, out, _ = program.end(number)
    verdict = verify(LinuxDisk(tmp_path))

    assert (0, [], 500) == (status, verdict.findings, verdict.frames)
    assert b"  hears: 300 frames, lost 0\n  hears2: 200 frames, lost 0\n  lost 0\n" in out
    assert b"500 frames, 30 kB on the wire" in out


def test_the_last_frame_before_ctrl_c(line, tmp_path):
    """What was sent before the signal is recorded, though the kernel had not yet handed its block over. (S2-090)"""
    with Program(wire.HEARS, wire.HEARS_TOO, "-o", tmp_path, "--set", "capture.ring_retire_ms=500") as program:
        program.wait_for(b"1 s  heard")
        line.send([FRAME] * 7)
        line.send([FRAME] * 5, end=wire.SENDS_TOO)
        status, out, _ = program.end()

    assert (0, 12) == (status, verify(LinuxDisk(tmp_path)).frames)
    assert b"  hears: 7 frames, lost 0\n  hears2: 5 frames, lost 0\n" in out


def test_a_second_recorder_of_a_store_is_refused(line, tmp_path):
    """It sealed what the first was writing; the first went on in what was sealed, and ended when it wanted to seal it itself. (S2-090)"""
    with Program(wire.HEARS, "-o", tmp_path) as program:
        program.wait_for(b"1 s  heard")
        line.send([FRAME] * 300)
        status, _, err = run(wire.HEARS_TOO, "-o", tmp_path, "-t", 1)
        line.send([FRAME] * 200)
        program.wait_for(b"3 s  heard")
        first, _, _ = program.end()
    verdict = verify(LinuxDisk(tmp_path))

    assert (2, 0) == (status, first)
    assert "expected a store into which nobody else records" in err
    assert ([], 500) == (verdict.findings, verdict.frames)
    assert 0 == run(wire.HEARS, "-o", tmp_path, "-t", 1)[0]


def test_a_disk_that_takes_nothing_is_no_success(line, tmp_path):
    """A store on a file system that has become read-only: it listens on and counts, and who only looks at the exit status is told. (S2-090)"""
    introduce(tmp_path / "identity", name="or3-box", site="lab")
    LinuxIdentity(tmp_path / "identity").public_key()
    (tmp_path / "segments").mkdir()
    bound = [["mount", "--bind", tmp_path, tmp_path], ["mount", "-o", "remount,bind,ro", tmp_path]]
    assert [0, 0] == [subprocess.run(words, check=False).returncode for words in bound]
    try:
        with Program(wire.HEARS, "-o", tmp_path) as program:
            program.wait_for(b"NOT RECORDING: disk_failed")
            status, out, _ = program.end()
    finally:
        subprocess.run(["umount", tmp_path], check=True)

    assert 1 == status, out


def test_nohup_is_respected(line, tmp_path):
    """Who asked for it to survive the terminal gets it."""
    with Program(wire.HEARS, "-o", tmp_path, before=["nohup"]) as program:
        program.wait_for(b"1 s  heard")
        program.process.send_signal(signal.SIGHUP)
        program.wait_for(b"3 s  heard")
        status, _, _ = program.end()

    assert 0 == status


def test_into_a_pipe(line):
    """`-w - | wireshark -k -i -`: frames are there within a second, and Ctrl-C leaves a whole section; nothing else stays."""
    with Program(wire.HEARS, "-w", "-") as program:
        assert program.process.stdout is not None
        program.wait_for(b"1 s  heard")
        line.send([FRAME] * 50)
        sent = time.monotonic()
        seen = b""
        while seen.count(FRAME) < 50:
            assert select.select([program.process.stdout], [], [], WAIT_S)[0]
            seen += os.read(program.process.stdout.fileno(), 65_536)
        took_s = time.monotonic() - sent
        status, rest, err = program.end()

    assert 0 == status
    assert 50 == len(list(pcapng.packets(seen + rest)))
    assert took_s < 5  # Usually a third of a second; the machine may be busy.
    assert b"copied 50 frames" in err and b"50 frames" not in rest


def test_a_pipe_that_is_closed(line, tmp_path):
    """Wireshark's stop button: the recording ends by itself, sealed, exit 0, also when nothing passes."""
    with Program(wire.HEARS, "-w", "-", "-o", tmp_path) as program:
        program.wait_for(b"1 s  heard")
        line.send([FRAME] * 20)
        assert program.process.stdout is not None
        program.wait_for(b"2 s  heard")
        program.process.stdout.close()
        assert program.process.wait(timeout=WAIT_S) == 0
        assert program.process.stderr is not None
        err = program.process.stderr.read()
    verdict = verify(LinuxDisk(tmp_path))

    assert b"the reader went away" in err
    assert ([], 20) == (verdict.findings, verdict.frames)


def test_lines_nobody_reads(line, tmp_path):
    """A closed standard error costs the lines, never the recording."""
    with Program(wire.HEARS, "-o", tmp_path, "-t", "3.5") as program:
        program.wait_for(b"1 s  heard")
        assert program.process.stderr is not None
        program.process.stderr.close()
        line.send([FRAME] * 20)
        assert program.process.stdout is not None
        out = program.process.stdout.read()
        assert 0 == program.process.wait(timeout=WAIT_S)

    assert b"20 frames" in out
    assert 20 == verify(LinuxDisk(tmp_path)).frames


def test_a_plain_file_as_well(line, tmp_path):
    """One pcapng that others count like ours; and one alone leaves nothing else behind."""
    plain = tmp_path / "plain.pcapng"
    with Program(wire.HEARS, "-i", wire.HEARS_TOO, "-o", tmp_path / "store", "-w", plain, "-c", "150", "--json") as program:
        program.wait_for(b"1 s  heard")
        line.send([FRAME] * 100)
        line.send([FRAME] * 100, end=wire.SENDS_TOO)
        status, out, _ = program.result()
    told = json.loads(out)

    assert (0, 200, 200) == (status, told["frames"], told["copied_frames"])
    assert [("hears", 100), ("hears2", 100)] == [(row["name"], row["frames"]) for row in told["interfaces"]]
    assert 200 == len(list(pcapng.packets(plain.read_bytes())))
    if shutil.which("capinfos"):
        read = subprocess.run(["capinfos", "-cM", str(plain)], capture_output=True, text=True, timeout=60, check=True).stdout
        assert "200" in read.split("Number of packets:")[1].splitlines()[0]


def test_loss_only_when_asked(line, tmp_path):
    """An interface that was away for a time: said in the summary, exit 1 only with --fail-on-loss."""
    for more, expected in (([], 0), (["--fail-on-loss"], 1)):
        with Program(wire.HEARS, wire.HEARS_TOO, "-o", tmp_path, *more) as program:
            program.wait_for(b"1 s  heard")
            line.cut(wire.HEARS_TOO)
            program.wait_for(b"partly heard")
            program.wait_for(b"3 s  ")
            status, out, _ = program.end()
        assert expected == status
        assert b"hears2: 0 frames, lost 0; away for " in out
        line.connect(wire.HEARS_TOO, wire.SENDS_TOO)


def test_ring_of_segments(line, tmp_path):
    """--keep deletes the oldest, each with a receipt, and the chain is whole. (S2-095)"""
    random = [bytes(FRAME[:14]) + os.urandom(1400) for _ in range(50)]
    disk, end = LinuxDisk(tmp_path), time.monotonic() + WAIT_S
    with Program(wire.HEARS, "-o", tmp_path, "--keep", "8.5MB", "--segment", "1s", "-q", "--json") as program:
        while not (tmp_path / "receipts").is_dir() or not disk.list("receipts"):
            assert time.monotonic() < end, "nothing was deleted"
            line.send(random * 8)
            select.select([], [], [], 0.15)
        status, out, _ = program.end()
    kept, receipts = Store(disk).names(), disk.list("receipts")

    assert (0, []) == (status, verify(disk).findings)
    assert json.loads(out)["segments_sealed"] == len(kept) + len(receipts)
    assert receipts and len(kept) >= 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([wire.HEARS, "nosuch0"], "expected interface 'nosuch0'"),
        ([wire.HEARS, "-f", "port eleventy"], "expected a pcap-filter(7) expression"),
        ([wire.HEARS, "-w", "NOWHERE/x"], "expected a file to write, in a directory that is there"),
        ([wire.HEARS, wire.HEARS], "expected 1 to 8 different interfaces"),
        ([wire.HEARS, "--set", "capture.ring_block_kb=65"], "room for its ring, the kernel answered EINVAL"),
    ],
)
def test_what_cannot_begin_says_so_at_once(line, tmp_path, words, said):
    """Exit 2, a sentence that helps, and nothing recorded."""
    status, out, err = run(*words, "-o", tmp_path / "store")

    assert (2, "") == (status, out)
    assert said in err
    assert not (tmp_path / "store" / "segments").exists()


def test_a_recording_that_cannot_begin_keeps_the_former_file(line, tmp_path):
    """`-w` empties nothing before there is something to write."""
    former = tmp_path / "former.pcapng"
    former.write_text("precious")

    assert 2 == run("nosuch0", "-w", former)[0]
    assert "precious" == former.read_text()


def test_an_interface_that_is_waited_for(line, tmp_path):
    """--wait: it begins without, and hears it when it comes."""
    line.set(wire.HEARS_TOO, "down")
    assert 2 == run(wire.HEARS_TOO, "-o", tmp_path)[0]
    with Program(wire.HEARS_TOO, "-o", tmp_path, "--wait") as program:
        program.wait_for(b"1 s  gone")
        line.set(wire.HEARS_TOO, "up")
        program.wait_for(b"s  heard")
        line.send([FRAME] * 10, end=wire.SENDS_TOO)
        program.wait_for(b"frames/s")
        status, out, _ = program.end()

    assert 0 == status
    assert b"hears2: 10 frames, lost 0; away for " in out


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed")
def test_without_the_right_to_listen(line, tmp_path):
    """An ordinary user is told how to get it; and with just that right, given as advised, it records."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent != Path("/") and parent.stat().st_uid == os.getuid() and parent.is_relative_to("/tmp"):
            parent.chmod(0o755)
    # Whom the checkout lets in is not the question here: it may lie where only its owner may look, as a home or a CI's place does.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    plain = [
        *nobody,
        "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    ]
    status, _, err = run(wire.HEARS, "-o", tmp_path / "a", "-t", "1", before=plain)
    given = [*nobody, "--inh-caps=+net_raw,+dac_read_search", "--ambient-caps=+net_raw,+dac_read_search"]
    with Program(wire.HEARS, "-o", tmp_path / "b", before=given) as program:
        program.wait_for(b"1 s  heard")
        line.send([FRAME] * 10)
        ended, out, _ = program.end()

    assert 2 == status
    assert "expected the right to listen (CAP_NET_RAW), the kernel answered EPERM" in err
    assert "sudo setpriv --reuid=$USER" in err and "sudo setcap cap_net_raw=ep" in err
    assert 0 == ended
    assert b"10 frames" in out


def test_list(line):
    """What there is, for people and for programs."""
    status, out, _ = run("--list")
    rows = json.loads(run("--list", "--json")[1])

    assert 0 == status
    assert {"lo", "hears", "sends", "hears2", "sends2"} == {row.split()[0] for row in out.splitlines()[1:]}
    assert {"up"} == {row["state"] for row in rows if row["name"] != "lo"}
    assert {
        "name",
        "state",
        "mac",
        "mtu",
        "addresses",
        "driver",
        "speed_mbit_per_s",
        "stamps",
        "answers_arp",
        "sends_for",
        "asks_by_ipv6",
        "is_ethernet",
        "is_silent",
    } == set(rows[0])
