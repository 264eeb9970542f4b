"""A store on two disks that mirror each other: a real file system over two loop devices, the real recorder on it, and one disk that fails.

Redundancy is the file system's (btrfs here; a board may have md or its controller do it): the store is files, and asks for nothing else.
"""

import importlib.util
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "drivers" / "wire.py")
assert _spec is not None and _spec.loader is not None
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
SCRUBJAY = [sys.executable, "-m", "firmware.cli"]
DISK_BYTES = 128 << 20  # about the least that btrfs mirrors
PAGE = 4096
FRAMES = 600
WAIT_S = 90.0


def why_not() -> str | None:
    """What is missing, or None."""
    if shutil.which("mkfs.btrfs", path=PATH) is None:
        return "mkfs.btrfs (btrfs-progs) is not installed; tools/setup.sh does it"
    if "btrfs" not in Path("/proc/filesystems").read_text():
        return "this kernel has no btrfs"
    if os.geteuid() or not Path("/dev/loop-control").exists():
        return "loop devices need root"
    return wire.why_not()


REASON = why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]


def tried(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": PATH}, check=False)


def run(*words: str) -> str:
    done = tried(*words)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


class Mirror:
    """Two images, their devices, and the place where the file system over both is mounted."""

    def __init__(self, place: Path) -> None:
        self.images = [place / "one.img", place / "two.img"]
        self.at = place / "store"
        self.devices: list[str] = []
        self.at.mkdir()
        for image in self.images:
            with image.open("wb") as file:
                file.truncate(DISK_BYTES)
        self._attach()
        run("mkfs.btrfs", "-q", "-m", "raid1", "-d", "raid1", *self.devices)
        self.mount()

    def _attach(self) -> None:
        self.devices = [run("losetup", "--find", "--show", str(image)) for image in self.images if image.exists()]

    def mount(self, *options: str) -> None:
        words = ",".join([*(f"device={device}" for device in self.devices), *options])
        command, end = ("mount", "-t", "btrfs", "-o", words, self.devices[0], str(self.at)), time.monotonic() + WAIT_S
        # Whoever made itself a namespace of mounts meanwhile, a browser of another test, has a copy of ours in it until it ends: so long
        # the file system is in use, and the kernel does not take its disks once more.
        while "File exists" in (done := tried(*command)).stderr and time.monotonic() < end:
            select.select([], [], [], 0.1)
        assert done.returncode == 0, (command, done.stderr)

    def off(self) -> None:
        """Nothing of it is in memory any more."""
        if os.path.ismount(self.at):
            run("umount", str(self.at))
        for device in self.devices:
            run("losetup", "--detach", device)
        self.devices = []

    def on(self, *options: str) -> None:
        self._attach()
        self.mount(*options)

    def damage(self, number: int, payloads: list[bytes]) -> int:
        """Zero every page of this disk in which one of these begins; how many pages. It is off."""
        data, found = self.images[number].read_bytes(), set()
        for payload in payloads:
            at = data.find(payload)
            while at >= 0:
                found.add(at // PAGE)
                at = data.find(payload, at + 1)
        with self.images[number].open("r+b") as file:
            for page in found:
                file.seek(page * PAGE)
                file.write(bytes(PAGE))
        return len(found)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    made = Mirror(tmp_path)
    try:
        yield made
    finally:
        made.off()


def recorded(line: "wire.Wire", place: Path, frames: list[bytes]) -> None:  # type: ignore[name-defined]
    """By the program, from the wire."""
    command = [*SCRUBJAY, "record", wire.HEARS, "-o", str(place), "--frames", str(len(frames))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as program:
        assert program.stderr is not None
        said, end = b"", time.monotonic() + WAIT_S
        while b"1 s  heard" not in said:
            assert time.monotonic() < end, said
            said += program.stderr.read1(65_536)  # type: ignore[attr-defined]
        line.send(frames)
        assert 0 == program.wait(WAIT_S), program.stderr.read()


def asked(*words: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run([*SCRUBJAY, *words, "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.returncode, dict(json.loads(done.stdout))


def test_one_disk_of_two_fails(mirror: Mirror) -> None:
    """What was recorded verifies and is found though one disk lost it; on what is left of the mirror recording goes on; where both have lost
    it, the segment is named. (S2-093)"""
    random = Random(93)
    payloads = [random.randbytes(900) for _ in range(FRAMES)]
    head = bytes.fromhex("020000000001 020000000002 88b5")
    store = mirror.at / "box"
    with wire.Wire() as line:
        recorded(line, store, [head + payload for payload in payloads])
    mirror.off()
    assert mirror.damage(0, [payload[100:200] for payload in payloads[::30]]) > 10
    mirror.on()
    status, verdict = asked("verify", str(store))
    assert (0, [], FRAMES) == (status, verdict["findings"], verdict["frames"])
    status, found = asked("find", str(store), "--count")
    assert (0, FRAMES) == (status, found["frames"])
    mirror.off()

    mirror.images.pop(0).unlink()
    mirror.on("degraded")
    with wire.Wire() as line:
        recorded(line, store, [head + payload for payload in payloads[:100]])
    status, verdict = asked("verify", str(store))
    assert (0, [], FRAMES + 100) == (status, verdict["findings"], verdict["frames"])
    mirror.off()

    assert mirror.damage(0, [payload[100:200] for payload in payloads[100::100]]) >= 5
    mirror.on("degraded")
    status, verdict = asked("verify", str(store))
    assert (1, "unreadable") == (status, verdict["findings"][0][1])  # type: ignore[index]
    status, found = asked("find", str(store), "--count")
    assert 2 == status
    assert 100 <= int(str(found["frames"])) < FRAMES + 100
