"""Supervision's contract: what a process says (real and simulated), and what the keeper makes of it (real children)."""

import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from drivers.linux.supervisor import LinuxKeeper, LinuxSupervisor
from drivers.supervisor import Ended, Keeper, Ready, Standing, Supervisor
from simulator.supervisor import SimulatedKeeper, SimulatedSupervisor

# A child in plain Python: the protocol is sd_notify's, and needs nothing of ours at its other end.
SAY = "import os,socket,signal; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); say=lambda t: s.sendto(t,os.environ['NOTIFY_SOCKET']);"


def child(code: str) -> list[str]:
    return [sys.executable, "-S", "-E", "-c", SAY + code]


@pytest.fixture(params=["path", "abstract"])
def notify(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.settimeout(5)
    if request.param == "path":
        server.bind(str(tmp_path / "notify"))
        yield server, str(tmp_path / "notify")
    else:
        name = f"scrubjay-test-{os.getpid()}"
        server.bind("\0" + name)
        yield server, "@" + name
    server.close()


def test_a_process_speaks_sd_notify(notify: tuple[socket.socket, str]) -> None:
    """Ready with its status, alive and stopping arrive as systemd expects them, on a path and on an abstract socket."""
    server, address = notify
    supervisor = LinuxSupervisor({"NOTIFY_SOCKET": address})
    supervisor.ready("capture")
    supervisor.alive()
    supervisor.stopping()

    assert [b"READY=1\nSTATUS=capture", b"WATCHDOG=1", b"STOPPING=1"] == [server.recv(4096) for _ in range(3)]
    supervisor.close()


@pytest.mark.parametrize("make", [lambda: LinuxSupervisor({}), SimulatedSupervisor], ids=["linux", "simulated"])
def test_nobody_listening_is_fine(make: Callable[[], Supervisor]) -> None:
    """A process started by hand says the same things to nobody, and is not asked to stop."""
    supervisor = make()
    supervisor.ready("x")
    supervisor.alive()
    supervisor.stopping()

    assert not supervisor.stop_requested()


def test_a_watcher_that_is_gone_ends_nobody(tmp_path: Path) -> None:
    """A notify socket nobody reads any more is no reason to end."""
    supervisor = LinuxSupervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    supervisor.alive()
    supervisor.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_wishes(number: signal.Signals) -> None:
    """SIGTERM and SIGINT ask the process to stop and ring; nothing is interrupted in the middle."""
    rings: list[str] = []
    supervisor = LinuxSupervisor({})
    supervisor.listen(lambda: rings.append("ring"))
    try:
        os.kill(os.getpid(), number)
        assert (True, ["ring"]) == (supervisor.stop_requested(), rings)
    finally:
        supervisor.close()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[LinuxKeeper]:
    keeper = LinuxKeeper(tmp_path / "logs", watchdog_s=0.4, start_s=20, stop_s=0.4)
    yield keeper
    keeper.close()


def happened(keeper: Keeper, count: int) -> list[Ended | Ready]:
    """The next so many events; waits on the keeper's descriptor only."""
    events: list[Ended | Ready] = []
    while len(events) < count:
        ready, _, _ = select.select([keeper.fileno()], [], [], 20)
        assert ready, "the keeper should have become readable"
        events += keeper.events()
    return events


def started(keeper: Keeper, code: str) -> None:
    keeper.start("one", child(code), dict(os.environ))


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(3)", 3), ("os.kill(os.getpid(),9)", -9)])
def test_an_end_is_told_with_its_cause(keeper: LinuxKeeper, code: str, expected: int) -> None:
    """Exit status, or minus the number of the signal."""
    started(keeper, code)

    assert [Ended("one", expected)] == happened(keeper, 1)


def test_ready_is_told_once_and_stop_is_asked_for(keeper: LinuxKeeper) -> None:
    """READY=1 comes as Ready; stop sends SIGTERM, which a process may answer by ending well."""
    started(keeper, "signal.signal(15,lambda *a: os._exit(0)); say(b'READY=1'); say(b'READY=1'); signal.pause()")

    assert [Ready("one")] == happened(keeper, 1)
    keeper.stop("one")
    assert [Ended("one", 0)] == happened(keeper, 1)


@pytest.mark.parametrize(
    "code",
    [
        "say(b'READY=1'); signal.pause()",
        "signal.signal(15, signal.SIG_IGN); say(b'READY=1\\nSTOPPING=1')\nwhile 1: signal.pause()",
    ],
    ids=["silent", "stopping for ever"],
)
def test_silence_is_death(keeper: LinuxKeeper, code: str) -> None:
    """A process that says it is ready and then nothing is killed after the watchdog's time; so is one that does not get stopped."""
    started(keeper, code)

    assert [Ready("one"), Ended("one", -9)] == happened(keeper, 2)


def test_nothing_is_left_behind(keeper: LinuxKeeper, tmp_path: Path) -> None:
    """What a process started goes with it, also when it ended by itself."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    started(keeper, f"f=os.open({str(fifo)!r},1); os.write(f,b'1'); os.fork() and os._exit(0); signal.pause()")

    assert [Ended("one", 0)] == happened(keeper, 1)
    assert b"1" == os.read(reader, 10)
    assert select.select([reader], [], [], 20)[0]
    assert b"" == os.read(reader, 10)
    os.close(reader)


def test_output_is_kept_by_name(keeper: LinuxKeeper, tmp_path: Path) -> None:
    """Standard output and error go to the log of that name; a name is free again after its process ended."""
    started(keeper, "os.write(1,b'out '); os.write(2,b'error ')")
    happened(keeper, 1)
    started(keeper, "os.write(1,b'again')")
    happened(keeper, 1)

    assert b"out error again" == (tmp_path / "logs" / "one.log").read_bytes()


def test_a_child_follows_its_keeper(tmp_path: Path) -> None:
    """A process whose keeper is already gone when it starts is asked to stop at once."""
    supervisor = LinuxSupervisor({"SCRUBJAY_KEEPER": "1" if os.getppid() != 1 else "2"})
    supervisor.listen(lambda: None)
    try:
        assert supervisor.stop_requested()
    finally:
        supervisor.close()


def test_the_simulated_keeper_keeps_the_same_promises() -> None:
    """Started is Ready, stopped and killed are Ended once, and a name is free again afterwards."""
    keeper: Keeper = SimulatedKeeper()
    command: Sequence[str] = ["scrubjay"]
    keeper.start("one", command, {})
    keeper.stop("one")
    keeper.stop("one")
    keeper.start("one", command, {})
    keeper.kill("one")

    assert [Ready("one"), Ended("one", 0), Ready("one"), Ended("one", -9)] == keeper.events()


KEEP = "keep=lambda t,f: s.sendmsg([t],[(socket.SOL_SOCKET,socket.SCM_RIGHTS,f.to_bytes(4,'little'))],0,os.environ['NOTIFY_SOCKET']);"


def test_what_a_process_leaves_its_next_life_gets(keeper: LinuxKeeper, tmp_path: Path) -> None:
    """A descriptor kept under a title survives kill -9; one forgotten, or kept again under the title, does not. (S1-08)"""
    code = (
        KEEP + f"a=os.open({str(tmp_path / 'a')!r},66); b=os.open({str(tmp_path / 'b')!r},66); os.write(a,b'first');"
        "[keep(b'FDSTORE=1\\nFDNAME='+n,d) for n,d in ((b'ring/a',a),(b'ring/b',b))]; say(b'FDSTOREREMOVE=1\\nFDNAME=ring/b');"
        "os.kill(os.getpid(),9)"
    )
    started(keeper, code)
    assert [Ended("one", -9)] == happened(keeper, 1)
    started(
        keeper,
        "from drivers.linux.supervisor import LinuxSupervisor as L; k=L(os.environ).kept();"
        "[os.write(d,('+'+n).encode()) for n,d in k.items()]; os.write(1,repr((sorted(k),os.environ.get('LISTEN_FDS'))).encode())",
    )
    assert [Ended("one", 0)] == happened(keeper, 1)

    assert "first+ring/a" == (tmp_path / "a").read_text()
    assert "" == (tmp_path / "b").read_text()
    assert "(['ring/a'], '1')" == (tmp_path / "logs" / "one.log").read_text()


def test_descriptors_come_as_systemd_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN_FDS counts from 3 and is for the process it names; descriptors meant for another are nobody's here."""
    inheritable: list[int] = []
    monkeypatch.setattr("drivers.linux.supervisor.os.set_inheritable", lambda fd, on: inheritable.append(fd))
    given = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "ring/eth1:ring/eth2"}

    assert {"ring/eth1": 3, "ring/eth2": 4} == LinuxSupervisor(given | {"LISTEN_PID": str(os.getpid())}).kept()
    assert [3, 4] == inheritable
    assert {} == LinuxSupervisor(given | {"LISTEN_PID": "1"}).kept()
    assert {} == LinuxSupervisor(given | {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}).kept()


def test_a_keeper_that_keeps_nothing_is_asked_nothing(notify: tuple[socket.socket, str]) -> None:
    """Where the unit keeps no descriptors (FileDescriptorStoreMax=0), none is sent; where it does, as sd_notify(3) says."""
    server, address = notify
    without = LinuxSupervisor({"NOTIFY_SOCKET": address})
    without.keep("ring/eth1", server.fileno())
    without.forget("ring/eth1")
    without.alive()
    assert b"WATCHDOG=1" == server.recv(4096)
    keeping = LinuxSupervisor({"NOTIFY_SOCKET": address, "FDSTORE": "8"})
    keeping.keep("ring/eth1", server.fileno())
    said = [socket.recv_fds(server, 4096, 2)[:2] for _ in range(2)]

    assert (False, True) == (without.keeps, keeping.keeps)
    assert [b"FDSTOREREMOVE=1\nFDNAME=ring/eth1", b"FDSTORE=1\nFDPOLL=0\nFDNAME=ring/eth1"] == [text for text, _ in said]
    assert [0, 1] == [len(descriptors) for _, descriptors in said]
    for _, descriptors in said:
        for descriptor in descriptors:
            os.close(descriptor)
    without.close()
    keeping.close()


def test_what_finds_the_keepers_queue_full_is_said_when_there_is_room(notify: tuple[socket.socket, str]) -> None:
    """A ring to be forgotten is not kept because the keeper was busy, nor is another under its title; the last word of each counts."""
    server, address = notify
    server.setblocking(False)
    supervisor = LinuxSupervisor({"NOTIFY_SOCKET": address, "FDSTORE": "8"})
    supervisor.keep("ring/eth1", server.fileno())
    _fill(server)
    for _ in range(3):
        supervisor.keep("ring/eth1", server.fileno())
        supervisor.forget("ring/eth1")
    supervisor.keep("ring/eth2", server.fileno())
    supervisor.alive()
    _drained(server)
    supervisor.alive()
    said = _drained(server)
    supervisor.alive()

    assert [
        ("FDSTOREREMOVE=1\nFDNAME=ring/eth1", 0), ("FDSTOREREMOVE=1\nFDNAME=ring/eth2", 0),
        ("FDSTORE=1\nFDPOLL=0\nFDNAME=ring/eth2", 1), ("WATCHDOG=1", 0),
    ] == said  # fmt: skip
    assert [("WATCHDOG=1", 0)] == _drained(server)
    supervisor.close()


def _fill(server: socket.socket) -> None:
    """As many have spoken as the kernel keeps for who does not listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
        while True:
            other.sendmsg([b"X=1"], [], socket.MSG_DONTWAIT, server.getsockname())


def _drained(server: socket.socket) -> list[tuple[str, int]]:
    """What was said, and how many descriptors came with it."""
    said = []
    with suppress(BlockingIOError):
        while True:
            text, descriptors, _, _ = socket.recv_fds(server, 4096, 2)
            said.append((text.decode(), len(descriptors)))
            for descriptor in descriptors:
                os.close(descriptor)
    return said


def test_what_is_kept_may_be_forgotten_while_it_is_looked_through(notify: tuple[socket.socket, str]) -> None:
    """Kept under a title is ours too, for an heir, until it is forgotten."""
    server, address = notify
    supervisor = LinuxSupervisor({"NOTIFY_SOCKET": address, "FDSTORE": "8"})
    for title in ("ring/eth1", "ring/eth2"):
        supervisor.keep(title, server.fileno())
    for title in supervisor.kept():
        supervisor.forget(title)

    assert {} == supervisor.kept()
    supervisor.close()


def test_an_heir_that_cannot_be_started_has_failed() -> None:
    """No such program, or no process to be had: who asked for it works on, and may end it as any other."""
    supervisor = LinuxSupervisor({})
    heir = supervisor.bequeath(["/nowhere/python"], {})

    assert Standing.FAILED is heir.standing()
    heir.dismiss()
    assert (Standing.FAILED, -1) == (heir.standing(), heir.fileno())
    supervisor.close()
