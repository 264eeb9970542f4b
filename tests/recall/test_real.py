"""The box's own processes, a real ring and a real disk: intake is killed under load and every message is kept, once."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from drivers.linux.clock import LinuxClock
from firmware.core import release
from firmware.core.message import unpacked
from firmware.intake.publisher import Publisher

ROOT = Path(__file__).parents[2]
READY_S, DONE_S = 60.0, 90.0
NUMBER = f"{os.getpid()} number"  # Loopback is everybody's: another test, or another run of this one, may publish on it as well.
SETTINGS = (
    "capture.interface=lo", "intake.interface=lo", "group.p1_interval_s=1", "group.p2_interval_s=1", "group.p3_interval_s=1", "group.p4_interval_s=1",
)  # fmt: skip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to hear an interface (root)")


class Box:
    """capture, roomside and gate, each a process that can be killed and started."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        self._stack = stack
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """And wait until it says how it is."""
        state = self.root / "state" / f"{name}.json"
        state.unlink(missing_ok=True)
        command = [sys.executable, "-m", "firmware.cli", "run", "box", "--process", name, f"--root={self.root}"]
        process = subprocess.Popen([*command, *(f"--set={row}" for row in SETTINGS)], cwd=ROOT, stdout=subprocess.DEVNULL)
        self.processes[name] = self._stack.enter_context(process)
        self._stack.callback(process.kill)
        until(lambda: state.exists(), READY_S, f"{name} to be ready")

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def kept(self) -> Counter[str]:
        """How often each text is in a group, copies of one message counted once: that is how the hub counts."""
        found = {}
        for path in (self.root / "groups").glob("p?/p*"):
            for message in unpacked(release.unpacked(path.read_bytes()).body):
                found[message.identity] = message.text or ""
        return Counter(text for text in found.values() if text.startswith(NUMBER))


def until(done: object, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end, f"expected {what} within {seconds:.0f} s"
        select.select([], [], [], 0.1)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with ExitStack() as stack:
        made = Box(tmp_path, stack)
        for name in ("capture", "gate", "roomside"):
            made.start(name)
        yield made


@pytest.mark.timeout(400)
def test_killed_under_load(box: Box) -> None:
    """While intake is dead the room goes on; then every message is there, those with a time of their own and those without. (S2-034, S2-035)"""
    clock = LinuxClock()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        timed = Publisher(wire.sendto, host="127.0.0.1", process="timed", clock_utc_ns=lambda: clock.now().utc_ns)
        timeless = Publisher(wire.sendto, host="127.0.0.1", process="timeless")
        number = 0

        def talk(count: int) -> None:
            nonlocal number
            for _ in range(count):
                (timed if number % 2 else timeless).publish(number // 2 % 4 + 1, f"{NUMBER} {number}")
                number += 1
                select.select([], [], [], 0.005)

        talk(200)
        box.kill("roomside")
        talk(400)
        box.start("roomside")
        talk(200)
        box.kill("roomside")
        box.start("roomside")
        talk(100)
    until(lambda: len(box.kept()) == number, DONE_S, f"{number} messages in the groups")

    assert Counter({f"{NUMBER} {n}": 1 for n in range(900)}) == box.kept()
