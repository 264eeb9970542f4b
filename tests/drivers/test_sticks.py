"""The contract of sticks, on the simulated ones and on real mounts."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.errors import Missing
from drivers.linux.sticks import LinuxSticks
from drivers.sticks import Sticks
from simulator.disk import SimulatedDisk
from simulator.sticks import SimulatedSticks


@dataclass(frozen=True, slots=True)
class Port:
    sticks: Sticks
    plug: Callable[[str], object]
    pull: Callable[[str], object]


def _may_mount(place: Path) -> bool:
    """Whether a file system may be mounted here at all."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    probe = place / "probe"
    probe.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(probe)], capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", str(probe)], check=True)
    probe.rmdir()
    return True


@pytest.fixture(params=["linux", "simulated"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Port]:
    if request.param == "simulated":
        simulated = SimulatedSticks()
        yield Port(
            simulated, lambda name: simulated.plugged.update({name: SimulatedDisk()}), lambda name: simulated.plugged.pop(name)
        )
        return
    if not _may_mount(tmp_path):
        pytest.skip("expected the privilege to mount a file system, there is none")

    def plug(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path / name)], check=True)

    def pull(name: str) -> None:
        subprocess.run(["umount", "-l", str(tmp_path / name)], check=True)

    yield Port(LinuxSticks(tmp_path), plug, pull)
    for path in tmp_path.iterdir():
        if path.is_mount():
            pull(path.name)


def test_what_is_plugged_in_is_named_and_takes_files(port: Port) -> None:
    """A stick is a disk while it is there. (S2-108)"""
    assert [] == port.sticks.names()
    port.plug("sdb1")
    port.plug("sda1")
    assert ["sda1", "sdb1"] == port.sticks.names()
    stick = port.sticks.open("sda1")
    stick.write("x", b"evidence")
    stick.sync("x")
    stick.sync_dir("")

    assert (b"evidence", ["x"]) == (stick.read("x"), [name for name in stick.list("") if name == "x"])
    assert stick.free_bytes() > 0
    port.pull("sda1")
    assert ["sdb1"] == port.sticks.names()


def test_a_stick_is_let_go_of(tmp_path: Path) -> None:
    """Looked at and written to it is held by nobody: its file system can be unmounted, and no descriptor is left of it. (S2-108)"""
    if not _may_mount(tmp_path):
        pytest.skip("expected the privilege to mount a file system, there is none")
    (tmp_path / "sda1").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path / "sda1")], check=True)
    before = sorted(Path("/proc/self/fd").iterdir())
    sticks = LinuxSticks(tmp_path)
    stick = sticks.open("sda1")
    file = stick.create("x")
    file.append([b"evidence"])
    file.close()
    del stick, file
    for _ in range(3):
        sticks.open("sda1").free_bytes()

    assert before == sorted(Path("/proc/self/fd").iterdir())
    assert 0 == subprocess.run(["umount", str(tmp_path / "sda1")], check=False).returncode


@pytest.mark.parametrize("name", ["sdc1", "", ".", "..", "a/b", "/etc"])
def test_what_is_not_there_is_missing(port: Port, name: str) -> None:
    """No other place can be meant by a stick's name."""
    with pytest.raises((Missing, ValueError)):
        port.sticks.open(name)


def test_a_directory_is_no_stick(tmp_path: Path) -> None:
    """What is left of a stick that was pulled lies on the box's own disk, and is not written to. (S2-108)"""
    (tmp_path / "sda1").mkdir()

    assert [] == LinuxSticks(tmp_path).names()
    with pytest.raises(Missing):
        LinuxSticks(tmp_path).open("sda1")
    assert [] == LinuxSticks(tmp_path / "nowhere").names()
