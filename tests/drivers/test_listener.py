"""The listener's contract, on the simulated and on the real one over loopback."""

import errno
import os
import select
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import ListenFailed
from drivers.linux.listener import SEND_BYTES_MAX, LinuxListener
from drivers.listener import Closed, Heard, ListenEvent, ListenRequest, Opened
from simulator.listener import SimulatedListener

LOOPBACK = "127.0.0.1"


class Simulated:
    """A world that calls a simulated listener."""

    def __init__(self, **changes: Any) -> None:
        self.listener = SimulatedListener(ListenRequest("tcp", 601, **changes))

    def call(self) -> int | None:
        return self.listener.call(LOOPBACK)

    def say(self, caller: int, data: bytes) -> None:
        self.listener.say(caller, data)

    def hear(self, caller: int, size: int) -> bytes:
        return bytes(self.listener.answers[caller][:size])

    def hang_up(self, caller: int) -> None:
        self.listener.hang_up(caller)

    def is_gone(self, caller: int) -> bool:
        return not self.listener.is_connected(caller)

    def events(self, count: int) -> list[ListenEvent]:
        return self.listener.events()

    def close(self) -> None:
        self.listener.close()


class Real:
    """A world that calls a real one."""

    def __init__(self, **changes: Any) -> None:
        self.listener = LinuxListener(ListenRequest("tcp", 0, address=LOOPBACK, **changes))
        self.callers: list[socket.socket] = []

    def call(self) -> int | None:
        self.callers.append(socket.create_connection((LOOPBACK, self.listener.port), timeout=5))
        return len(self.callers) - 1

    def say(self, caller: int, data: bytes) -> None:
        self.callers[caller].sendall(data)

    def hear(self, caller: int, size: int) -> bytes:
        return self.callers[caller].recv(size, socket.MSG_WAITALL)

    def hang_up(self, caller: int) -> None:
        self.callers[caller].close()

    def is_gone(self, caller: int) -> bool:
        try:
            return self.callers[caller].recv(1) == b""
        except OSError:
            return True

    def events(self, count: int) -> list[ListenEvent]:
        return gathered(self.listener, count)

    def close(self) -> None:
        self.listener.close()
        for caller in self.callers:
            caller.close()


def gathered(listener: LinuxListener, count: int) -> list[ListenEvent]:
    """So many events, or what there is when nothing more comes for 5 s."""
    found: list[ListenEvent] = []
    while len(found) < count and select.select([listener.fileno()], [], [], 5)[0]:
        found += listener.events()
    return found


@pytest.fixture(params=[Simulated, Real])
def make_world(request: pytest.FixtureRequest) -> Iterator[Any]:
    worlds: list[Any] = []

    def make(**changes: Any) -> Any:
        worlds.append(request.param(**changes))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def test_a_caller_speaks_is_answered_and_leaves(make_world: Any) -> None:
    """Opened, heard, closed, in this order; an answer reaches him."""
    world = make_world()
    caller = world.call()
    (opened,) = world.events(1)
    world.say(caller, b"one")
    (heard,) = world.events(1)
    world.listener.send(opened.connection, b"two")

    assert (Opened(opened.connection, LOOPBACK), Heard(opened.connection, LOOPBACK, b"one")) == (opened, heard)
    assert b"two" == world.hear(caller, 3)
    world.hang_up(caller)
    assert [Closed(opened.connection, "closed")] == world.events(1)
    world.listener.send(opened.connection, b"too late")
    world.listener.drop(opened.connection)
    assert [] == world.listener.events()


def test_somebody_is_dropped(make_world: Any) -> None:
    """He finds himself disconnected, and the station is told."""
    world = make_world()
    caller = world.call()
    (opened,) = world.events(1)
    world.listener.drop(opened.connection)

    assert [Closed(opened.connection, "closed")] == world.listener.events()
    assert world.is_gone(caller)


def test_more_than_may_connect(make_world: Any) -> None:
    """Turned away at once and counted; a place that becomes free is taken again, under another number."""
    world = make_world(connections_max=2)
    first, _, _ = world.call(), world.call(), world.call()
    opened = world.events(2)
    assert [Opened, Opened] == [type(event) for event in opened]
    assert 1 == world.listener.refused
    world.hang_up(first)
    assert [Closed(opened[0].connection, "closed")] == world.events(1)
    world.call()

    (again,) = world.events(1)
    assert isinstance(again, Opened) and again.connection not in {event.connection for event in opened}


def test_closing_twice(make_world: Any) -> None:
    """Is as good as once, and ends everybody."""
    world = make_world()
    caller = world.call()
    world.events(1)
    world.listener.close()
    world.listener.close()

    assert world.is_gone(caller)


# The real one alone.


def test_datagrams_with_who_sent_them() -> None:
    """Over UDP; on a port of both families an IPv4 sender keeps his address."""
    listener = LinuxListener(ListenRequest("udp", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<13>x", (LOOPBACK, listener.port))

        assert [Heard(None, LOOPBACK, b"<13>x")] == gathered(listener, 1)
    listener.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_kernel_without_ipv6(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started with ipv6.disable=1, as some hospitals have it: everywhere is then everywhere of IPv4."""

    class WithoutIPv6(socket.socket):
        def __init__(self, family: int = -1, *further: Any, **named: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, *further, **named)

    monkeypatch.setattr(socket, "socket", WithoutIPv6)
    listener = LinuxListener(ListenRequest(transport, 0))  # type: ignore[arg-type]
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as caller:
        caller.connect((LOOPBACK, listener.port))
        caller.send(b"<13>x")
        found = gathered(listener, 1 if transport == "udp" else 2)

    assert (LOOPBACK, b"<13>x") == next((event.peer, event.data) for event in found if isinstance(event, Heard))
    listener.close()
    with pytest.raises(ListenFailed, match="EAFNOSUPPORT"):
        LinuxListener(ListenRequest(transport, 0, address="::1"))  # type: ignore[arg-type]


def test_a_port_that_is_taken_and_an_interface_that_is_not_there() -> None:
    """Said with the kernel's word."""
    taken = LinuxListener(ListenRequest("tcp", 0, address=LOOPBACK))
    with pytest.raises(ListenFailed, match="EADDRINUSE"):
        LinuxListener(ListenRequest("tcp", taken.port, address=LOOPBACK))
    with pytest.raises(ListenFailed, match=r"ENODEV|EPERM"):
        LinuxListener(ListenRequest("tcp", 0, interface="nothere0"))
    with pytest.raises(ListenFailed, match="PEM"):
        LinuxListener(ListenRequest("tls", 0, certificate="/nonexistent"))
    with pytest.raises(ListenFailed, match="certificate"):
        LinuxListener(ListenRequest("tls", 0))
    taken.close()


def test_somebody_who_does_not_take_his_answers() -> None:
    """Costs a bounded number of bytes, then his connection."""
    listener = LinuxListener(ListenRequest("tcp", 0, address=LOOPBACK))
    with socket.create_connection((LOOPBACK, listener.port)):
        (opened,) = gathered(listener, 1)
        assert isinstance(opened, Opened)
        for _ in range(1_000):
            listener.send(opened.connection, bytes(SEND_BYTES_MAX))

        assert [Closed(opened.connection, "slow")] == listener.events()
    listener.close()


def test_who_leaves_without_his_answers_is_heard_to_the_end() -> None:
    """Closing with an answer unread resets the connection; what he had sent before has arrived, and none of it is thrown away."""
    listener = LinuxListener(ListenRequest("tcp", 0, address=LOOPBACK))
    with socket.create_connection((LOOPBACK, listener.port)) as caller:
        (opened,) = gathered(listener, 1)
        assert isinstance(opened, Opened)
        listener.send(opened.connection, b"answer")
        assert select.select([caller], [], [], 5)[0]
        for _ in range(2):
            caller.sendall(bytes(15_000))
    listener.send(opened.connection, b"another")
    listener.send(opened.connection, b"and one more")
    found: list[ListenEvent] = []
    while not any(isinstance(event, Closed) for event in found) and select.select([listener.fileno()], [], [], 5)[0]:
        found += listener.events()

    assert 30_000 == sum(len(event.data) for event in found if isinstance(event, Heard))
    assert Closed(opened.connection, "failed") == found[-1]
    listener.close()


def test_a_look_is_bounded() -> None:
    """However much somebody has sent, one look takes about 64 KiB of it."""
    listener = LinuxListener(ListenRequest("tcp", 0, address=LOOPBACK))
    with socket.create_connection((LOOPBACK, listener.port)) as caller:
        gathered(listener, 1)
        caller.setblocking(False)
        sent = 0
        try:
            while sent < 4 << 20:
                sent += caller.send(bytes(1 << 20))
        except BlockingIOError:
            pass
        heard = sum(len(event.data) for event in listener.events() if isinstance(event, Heard))

        assert 0 < heard <= 65_536 < sent
    listener.close()


def tls_listener(authority: Path, **changes: Any) -> LinuxListener:
    given = {
        "address": LOOPBACK,
        "certificate": str(authority / "box.pem"),
        "key": str(authority / "box.key"),
        "ca": str(authority / "ca.pem"),
    }
    return LinuxListener(ListenRequest("tls", 0, **(given | changes)))  # type: ignore[arg-type]


def tls_client(authority: Path, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    context.check_hostname = False
    if name is not None:
        context.load_cert_chain(authority / f"{name}.pem", authority / f"{name}.key")
    return context


def shaken(listener: LinuxListener, caller: ssl.SSLSocket) -> list[ListenEvent]:
    """Both sides of a handshake, on one thread."""
    caller.setblocking(False)
    found: list[ListenEvent] = []
    for _ in range(200):
        found += listener.events()
        try:
            caller.do_handshake()
            break
        except ssl.SSLWantReadError:
            select.select([caller, listener.fileno()], [], [], 0.1)
    return found


def test_tls_with_certificates(authority: Path) -> None:
    """More than one record at once is read to its end; what a certified device says comes through. (S2-033)"""
    listener = tls_listener(authority)
    with socket.create_connection((LOOPBACK, listener.port)) as plain:
        caller = tls_client(authority, "device").wrap_socket(plain, do_handshake_on_connect=False)
        found = shaken(listener, caller)
        caller.setblocking(True)
        caller.sendall(b"x" * 40_000)
        while sum(len(event.data) for event in found if isinstance(event, Heard)) < 40_000:
            assert select.select([listener.fileno()], [], [], 5)[0]
            found += listener.events()

    assert LOOPBACK == next(event.peer for event in found if isinstance(event, Opened))
    listener.close()


def test_tls_with_a_key_that_has_a_pass_phrase(authority: Path, tmp_path: Path) -> None:
    """OpenSSL alone would ask whoever has the terminal, and wait: it is said instead."""
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", authority / "box.key", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ListenFailed, match="the key has a pass phrase"):
        tls_listener(authority, key=str(locked))


@pytest.mark.parametrize("name", ["stranger", None])
def test_tls_without_the_right_certificate(authority: Path, name: str | None) -> None:
    """Never opened, counted, gone."""
    listener = tls_listener(authority)
    with socket.create_connection((LOOPBACK, listener.port)) as plain:
        caller = tls_client(authority, name).wrap_socket(plain, do_handshake_on_connect=False)
        found = shaken(listener, caller)
        while listener.refused == 0 and select.select([listener.fileno()], [], [], 5)[0]:
            found += listener.events()

    assert ([], 1) == (found, listener.refused)
    listener.close()


def test_tls_with_somebody_who_speaks_none(authority: Path) -> None:
    """Bytes that are no handshake, and silence that is none: turned away, at most as many as may connect."""
    listener = tls_listener(authority, connections_max=1)
    with socket.create_connection((LOOPBACK, listener.port)), socket.create_connection((LOOPBACK, listener.port)) as second:
        while listener.refused == 0 and select.select([listener.fileno()], [], [], 5)[0]:
            listener.events()
        assert b"" == second.recv(1)
    with socket.create_connection((LOOPBACK, listener.port)) as third:
        third.sendall(b"<13>not TLS at all\n")
        while listener.refused < 3 and select.select([listener.fileno()], [], [], 5)[0]:
            assert [] == listener.events()

    assert 3 == listener.refused
    listener.close()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
def test_tls_with_somebody_who_resets_before_he_is_accepted(authority: Path, said: bytes) -> None:
    """A port scan, or a device whose plug was pulled: counted, and whoever comes next is heard."""
    listener = tls_listener(authority)
    with socket.create_connection((LOOPBACK, listener.port)) as gone:
        gone.sendall(said)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert [] == listener.events()
    assert 1 == listener.refused
    with socket.create_connection((LOOPBACK, listener.port)) as plain:
        caller = tls_client(authority, "device").wrap_socket(plain, do_handshake_on_connect=False)
        found = shaken(listener, caller) or gathered(listener, 1)

        assert [Opened] == [type(event) for event in found]
    listener.close()
