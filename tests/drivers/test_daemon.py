"""The contract of a daemon's control socket, on real ones (a file, UDP) and the simulated one."""

import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.daemon import Daemon
from drivers.errors import NotConnected
from drivers.linux.daemon import LinuxDaemon
from simulator.daemon import SimulatedDaemon


@dataclass(frozen=True, slots=True)
class Pair:
    """A control socket, and what makes the daemon behind it answer all that waits."""

    daemon: Daemon
    serve: Callable[[], None]


@pytest.fixture(params=["file", "udp", "simulated"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    if request.param == "simulated":
        yield Pair(SimulatedDaemon(lambda data: [data[::-1]]), lambda: None)
        return
    family = socket.AF_UNIX if request.param == "file" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as far:
        far.bind(str(tmp_path / "control") if request.param == "file" else ("127.0.0.1", 0))
        address = str(tmp_path / "control") if request.param == "file" else f"127.0.0.1:{far.getsockname()[1]}"
        daemon = LinuxDaemon(address)

        def serve() -> None:
            data, sender = far.recvfrom(4096)
            far.sendto(data[::-1], sender)
            select.select([daemon.fileno()], [], [], 5)

        yield Pair(daemon, serve)
        daemon.close()


def test_question_and_answer(pair: Pair) -> None:
    """One datagram there, one back; nothing heard is nothing, and never waited for."""
    assert [] == list(pair.daemon.heard())
    pair.daemon.say(b"abc")
    pair.serve()

    assert [b"cba"] == list(pair.daemon.heard())
    assert [] == list(pair.daemon.heard())
    pair.daemon.close()
    pair.daemon.close()


def test_nobody_there(tmp_path: Path) -> None:
    """A socket nobody listens on is NotConnected; as soon as somebody does, the same object goes on."""
    daemon, simulated = LinuxDaemon(str(tmp_path / "control")), SimulatedDaemon()
    for nobody in (daemon, simulated):
        with pytest.raises(NotConnected):
            nobody.say(b"x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        far.bind(str(tmp_path / "control"))
        daemon.say(b"y")
        assert b"y" == far.recv(16)
    with pytest.raises(NotConnected):
        daemon.say(b"z")  # it was restarted, and is not back yet
    (tmp_path / "control").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        far.bind(str(tmp_path / "control"))
        daemon.say(b"z")
        assert b"z" == far.recv(16)
    daemon.close()
