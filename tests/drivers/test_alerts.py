"""The contract of SDC alerts, on the simulated consumer and on the real one with the library's own provider on loopback."""

import json
import select
import subprocess
import sys
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from drivers.alerts import Alert, AlertEvent, AlertRequest, Ended, Joined, Left
from drivers.linux import alerts as real
from drivers.linux.alerts import LinuxAlerts
from simulator.alerts import SimulatedAlerts

LOOPBACK = "127.0.0.1"
WAIT_S = 60.0


class Simulated:
    """A device and a simulated consumer."""

    def __init__(self) -> None:
        self.device = "urn:uuid:pump"
        self.alerts = SimulatedAlerts(AlertRequest(LOOPBACK))
        self.alerts.join(self.device, LOOPBACK)

    def alert(self, priority: str, present: bool) -> None:
        self.alerts.alert(self.device, "low-pressure", priority=priority, present=present, since_utc_ns=1_795_342_500_500_000_000)

    def bye(self) -> None:
        self.alerts.leave(self.device)

    def gather(self, count: int) -> list[AlertEvent]:
        return self.alerts.events()

    def close(self) -> None:
        self.alerts.close()


def pems(authority: Path, name: str, ca: str = "ca") -> list[str]:
    """Key, certificate, and whom it believes."""
    return [str(authority / f"{name}.key"), str(authority / f"{name}.pem"), str(authority / f"{ca}.pem")]


class Device:
    """sdc11073's own device in a process, ready."""

    def __init__(self, tls: list[str]) -> None:
        identifier = uuid.uuid4()
        self.name = identifier.urn
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("sdc_device.py")), LOOPBACK, str(identifier), *tls],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert "ready" == self.process.stdout.readline().strip()

    def alert(self, priority: str, present: bool) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"alert {priority} {int(present)}\n")
        assert "done" == self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def gathered(alerts: LinuxAlerts, count: int) -> list[AlertEvent]:
    """So many events of the real consumer, or what came of them."""
    found: list[AlertEvent] = []
    while len(found) < count and select.select([alerts.fileno()], [], [], WAIT_S)[0]:
        found += alerts.events()
    return found


class Real:
    """sdc11073's provider in one process, our consumer in another."""

    def __init__(self) -> None:
        self.provider = Device([])
        self.device, self.alert, self.bye = self.provider.name, self.provider.alert, self.provider.kill
        self.alerts = LinuxAlerts(AlertRequest(LOOPBACK, (self.device,)))

    def gather(self, count: int) -> list[AlertEvent]:
        return gathered(self.alerts, count)

    def close(self) -> None:
        self.alerts.close()
        self.provider.kill()


has_library = pytest.mark.skipif(find_spec("sdc11073") is None, reason="sdc11073 is not installed")


@pytest.fixture(params=[Simulated, pytest.param(Real, marks=has_library)])
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = request.param()
    yield made
    made.close()


def test_an_alert_begins_escalates_and_ends(world: Any) -> None:
    """Found, heard, each change once; a device that dies is told. (S2-033)"""
    assert [Joined(world.device, LOOPBACK)] == world.gather(1)
    found = []
    for priority, present in (("Me", True), ("Hi", True), ("Hi", False)):
        world.alert(priority, present)
        found += world.gather(1)

    assert [("Me", True), ("Hi", True), ("Hi", False)] == [(event.priority, event.present) for event in found]
    first = found[0]
    assert ("196670", "airway pressure low", "Phy", "low-pressure", True) == (
        first.code, first.text, first.kind, first.handle, first.is_on,
    )  # fmt: skip
    assert first.since_utc_ns is not None and first.since_utc_ns > 1_700_000_000 * 10**9
    world.bye()
    (left,) = world.gather(1)
    assert (Left, world.device) == (type(left), left.device)


def test_closing_twice(world: Any) -> None:
    """Is as good as once; nothing is heard after."""
    world.alerts.close()
    world.alerts.close()

    assert [] == world.alerts.events()


# The real one alone.


@has_library
def test_over_tls_with_certificates_of_both_sides(authority: Path) -> None:
    """A certified device is heard, escalation and all; one certified by a stranger and one without TLS are told, and never heard. (S2-033)"""
    certified, stranger, bare = Device(pems(authority, "device")), Device(pems(authority, "stranger", ca="stranger")), Device([])
    key, certificate, ca = pems(authority, "box")
    wanted = (certified.name, stranger.name, bare.name)
    alerts = LinuxAlerts(AlertRequest(LOOPBACK, wanted, certificate, key, ca))
    met: dict[str, set[type]] = {name: set() for name in wanted}
    while not all(met.values()):
        for event in gathered(alerts, 1):
            assert isinstance(event, Joined | Left)
            met[event.device].add(type(event))
    priorities = []
    for priority, present in (("Me", True), ("Hi", True), ("Hi", False)):
        for device in (stranger, bare, certified):
            device.alert(priority, present)
        said: list[Alert] = []
        while not said:
            said = [event for event in gathered(alerts, 1) if isinstance(event, Alert)]
        priorities += said
    alerts.close()
    for device in (certified, stranger, bare):
        device.kill()

    assert {certified.name: {Joined}, stranger.name: {Left}, bare.name: {Left}} == met
    assert [(certified.name, "Me", True), (certified.name, "Hi", True), (certified.name, "Hi", False)] == [
        (event.device, event.priority, event.present) for event in priorities
    ]


@pytest.mark.parametrize(
    "said",
    [
        b"", b"no JSON\n", b"[]\n", b'{"event": "alert"}\n', b'{"event": "joined", "device": 5, "address": "1.2.3.4"}\n',
        b'{"event": "joined", "device": "x", "address": "nowhere"}\n', b"x" * 200_000,
    ],
)  # fmt: skip
def test_a_consumer_that_ends_or_raves(said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is told, its lines are not believed, and what it holds is bounded."""
    script = tmp_path / "child.py"
    script.write_text(
        f"import sys\nsys.stdout.buffer.write({said!r})\nsys.stdout.flush()\n{'sys.stdin.read()' if said else ''}\n"
    )
    monkeypatch.setattr(real, "CHILD", [str(script)])
    alerts = LinuxAlerts(AlertRequest(LOOPBACK))
    found: list[AlertEvent] = []
    while not found and select.select([alerts.fileno()], [], [], 20)[0]:
        found += alerts.events()

    assert [Ended] == [type(event) for event in found]
    assert (-1, []) == (alerts.fileno(), alerts.events())


def test_texts_are_cut() -> None:
    """Whatever length a device gives them."""
    row = {
        "event": "alert", "device": "d" * 9_000, "address": LOOPBACK, "handle": "h", "code": "1" * 99, "text": "t" * 9_000,
        "priority": "Hi", "kind": "Phy", "present": True, "is_on": True, "since_utc_ns": None,
    }  # fmt: skip
    event = real._event(json.dumps(row).encode())
    assert isinstance(event, Alert)

    assert (4_096, 64, 4_096) == (len(event.device), len(event.code), len(event.text))
