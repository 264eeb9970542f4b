"""A version over a real broker, from a real hub to a real box that records: as what differs, the broker killed in the middle of it."""

import hashlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity, introduce, trust
from drivers.linux.slots import LinuxSlots
from firmware.core.versions import IMAGE
from firmware.update.bundle import made, opened
from firmware.update.page import page, program_files
from simulator.broker import RealBroker, free_port

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
PROGRAM = Path(__file__).parents[2]
WAIT_S_MAX = 100
BALLAST_BYTES = 6 << 20  # Long enough on the way that it can be cut; stretches are short (chunk_bytes).
SITE, BOX, HUB, VENDOR = "lab", "box-1", "hub-1", "vendor"
BOX_SETTINGS = (
    f"board.name={BOX!r}", f"board.site={SITE!r}", f"capture.interface={wire.HEARS!r}", "capture.stretch_ms=50", "capture.ring_block_kb=64",
    "uplink.chunk_bytes=1024", "uplink.backoff_s_max=1", "update.trial_s=2", "update.guard_s=0", "health.health_s=2",
    "group.p3_interval_s=1", "group.p4_interval_s=1", "group.lateness_ms=300",
)  # fmt: skip
HUB_SETTINGS = (
    f"board.name={HUB!r}", f"board.site={SITE!r}", "hub.backoff_s_max=1", "hub.rollout_soak_s=1", "hub.resend_s=2",
)  # fmt: skip


class Fleet:
    """Broker, hub and box as processes in a network namespace of their own, and frames on the box's wire."""

    def __init__(self, place: Path, line: "wire.Wire") -> None:  # type: ignore[name-defined]
        self.place, self.line = place, line
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self.box_root, self.hub_root, self.vendor = place / "box", place / "hub", place / "vendor"
        for root, name in ((self.box_root, BOX), (self.hub_root, HUB), (self.vendor, VENDOR)):
            introduce(root / "identity", name=name, site=SITE)
        for root in (self.box_root, self.hub_root):
            trust(root / "identity", VENDOR, LinuxIdentity(self.vendor / "identity").public_key())
        trust(self.box_root / "identity", HUB, LinuxIdentity(self.hub_root / "identity").public_key())
        self.broker = RealBroker(place / "broker")
        self.page = f"http://127.0.0.1:{free_port()}"
        self.log = (place / "roles.log").open("wb")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.broker.start()

    def start(self) -> None:
        brokers = f"brokers=['{self.broker.address}']"
        page = f"hub.page_port={self.page.rpartition(':')[2]}"
        self._run("hub", self.hub_root, f"hub.{brokers}", page, f"hub.database='{self.place}/hub.sqlite'", *HUB_SETTINGS)
        self._run(
            "box",
            self.box_root,
            f"uplink.{brokers}",
            *BOX_SETTINGS,
            without=("clock", "roomside", "console", "feedback"),
        )

    def _run(self, role: str, root: Path, *settings: str, without: tuple[str, ...] = ()) -> None:
        words = [
            *(f"--without={name}" for name in without),
            *(f"--set={row}" for row in settings),
        ]
        self.processes[role] = subprocess.Popen(
            [sys.executable, "-m", "firmware.cli", "run", role, f"--root={root}", *words], stdout=self.log, stderr=self.log, cwd=PROGRAM,
            env={**os.environ, "SCRUBJAY_KEEPER": str(os.getpid())},
        )  # fmt: skip

    def call(self, *words: str) -> dict[str, object]:
        said = subprocess.run(
            [sys.executable, "-m", "firmware.cli", *words, "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=PROGRAM,
        )
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout)
        return found if isinstance(found, dict) else {"rows": found}

    def fleet(self, *words: str) -> dict[str, object]:
        return self.call("fleet", "update", *words, f"--hub={self.page}")

    def until(self, what: str, holds: Callable[[], bool], *, passing: int = 5) -> None:
        """Frames pass until this is so."""
        frame = bytes.fromhex("020000000001 020000000002 88b5") + bytes(80)
        for _ in range(WAIT_S_MAX * 20):
            if holds():
                return
            assert all(process.poll() is None for process in self.processes.values()), self.words()
            self.line.send([frame] * passing)
            select.select([], [], [], 0.05)
        raise AssertionError(f"expected {what} within {WAIT_S_MAX} s\n{self.words()}")

    def words(self) -> str:
        history = self.box_root / "updates/history"
        return (self.place / "roles.log").read_text()[-4000:] + (history.read_text() if history.exists() else "")

    def state(self, root: Path, process: str, station: str) -> dict[str, dict[str, object]]:
        try:
            found: dict[str, dict[str, object]] = json.loads((root / f"state/{process}.json").read_text())["stations"][station]
        except (OSError, ValueError, KeyError):
            return {"gauges": {}, "counts": {}, "drops": {}}
        return found

    def rolled_out(self) -> str:
        return str(self.ask("/api/rollouts/1").get("state"))

    def official(self) -> str:
        return page(LinuxDisk(self.box_root)).official

    def ask(self, path: str) -> dict[str, object]:
        """The hub's page; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(self.page + path, timeout=10) as answer:
                found: dict[str, object] = json.loads(answer.read())
        except (OSError, ValueError):
            return {}
        return found

    def bundles(self) -> tuple[Path, Path]:
        """A version of another line and a file more: whole, and beside what came with the image."""
        slots = LinuxSlots(self.box_root, lambda process: (), lambda version: {})
        image = dict(program_files(slots))
        files = {
            **image,
            "firmware/ballast.bin": os.urandom(BALLAST_BYTES),
            "firmware/roles.py": image["firmware/roles.py"] + b"# another line\n",
        }
        signer, now_ns = LinuxIdentity(self.vendor / "identity"), 1_700_000_000_000_000_000
        paths = []
        for name, base in (("whole", None), ("delta", IMAGE)):
            data = made(
                files, image if base else {}, version="v2", counter=2, board=slots.board, made_tai_ns=now_ns, expires_tai_ns=1 << 62,
                base=base, signer=VENDOR, sign=signer.sign,
            )  # fmt: skip
            assert opened(data, {VENDOR: signer.public_key()}).manifest.base == base
            paths.append(self.place / f"{name}.scrubjay")
            paths[-1].write_bytes(data)
        return paths[0], paths[1]

    def close(self) -> None:
        for role in ("box", "hub"):
            process = self.processes.get(role)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.broker.stop()
        self.log.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with wire.Wire() as line:
        made_here = Fleet(tmp_path, line)
        try:
            yield made_here
        finally:
            made_here.close()


@pytest.mark.timeout(400)
def test_a_version_is_rolled_out_to_a_box_that_records(fleet):
    """Published at the hub, ordered, fetched as a delta with the broker killed in the middle, tried, official; the hub says so.
    (S1-02, S1-03, S1-08, S1-16)"""
    whole, delta = fleet.bundles()
    fleet.start()
    edition = str(fleet.place / "v2.edition")
    fleet.call("update", "edition", str(whole), str(delta), "-w", edition, f"--root={fleet.vendor}")
    fleet.until("the hub to answer and to know what the box runs", lambda: bool(fleet.ask("/api/updates").get("boxes")))
    fleet.fleet("publish", edition, str(whole), str(delta))
    fleet.fleet("start", "v2", "--channel=stable", "--by=ann")

    part = fleet.box_root / "downloads" / f".{hashlib.sha256(delta.read_bytes()).hexdigest()}"
    fleet.until("some of the delta", lambda: part.exists() and part.stat().st_size > 100_000, passing=0)
    fleet.broker.kill()
    had = part.stat().st_size
    fleet.broker.start()
    assert 100_000 < had < delta.stat().st_size < whole.stat().st_size

    fleet.until("the roll-out to end", lambda: fleet.rolled_out() != "running")
    assert "done" == fleet.rolled_out(), fleet.words() + str(fleet.ask("/api/rollouts/1"))
    assert {"good": 1} == fleet.fleet("status", "1")["counts"]
    status = fleet.call("update", "status", f"--root={fleet.box_root}")
    assert ("v2", IMAGE) == (status["official"], status["previous"])
    # It went on at the byte: beyond the delta itself there is at most the stretch that was on its way when the broker died.
    served = fleet.state(fleet.hub_root, "hub", "hub")["counts"]["piece_bytes"]
    assert isinstance(served, int) and delta.stat().st_size <= served <= delta.stat().st_size + 8192
    history = str(fleet.fleet("history", f"--box={BOX}"))
    assert "version v2 is official, image is test and stays ready" in history and "its trial held" in history
