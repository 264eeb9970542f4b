"""How a start finds its version: the command line's part, on a real disk, the exec itself stood in for."""

import argparse
import errno
import json
import os
import select
import shutil
from pathlib import Path

import pytest

from drivers.clock import ClockState, Monotonic, Now, Timestamp
from drivers.errors import DiskFailed, DiskFull, Missing
from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity, trust
from drivers.linux.slots import LinuxSlots
from firmware.cli import main, versions
from firmware.command.settings import CommandSettings
from firmware.command.verify import check_fresh
from firmware.core.envelope import command_unpacked, order_unpacked
from firmware.core.versions import IMAGE, OFFICIAL, STARTS_MAX, official, starts
from firmware.update.bundle import made


class Became(Exception):
    """What os.execve was asked for."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.command, self.environment = command, environment


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LinuxDisk:
    def became(path: str, command: list[str], environment: dict[str, str]) -> None:
        raise Became(command, environment)

    monkeypatch.setattr(versions.os, "execve", became)
    monkeypatch.setattr(versions.sys, "argv", ["scrubjay", "run", "box", "--process", "gate"])
    for name in (versions.VARIABLE, versions.TRIAL, versions.IMAGE_PLACE, "SCRUBJAY_HEIR"):
        monkeypatch.delenv(name, raising=False)
    disk = LinuxDisk(tmp_path)
    disk.mkdir("versions/v2")
    disk.mkdir(OFFICIAL)
    disk.mkdir("updates")
    return disk


def test_a_start_becomes_the_official_version(store, tmp_path):
    """The same command line, in the copy, told where the image lies; started there already, or as an heir or a trial: nothing changes. (S1-14)"""
    versions.become_official(str(tmp_path), "gate")
    store.write(f"{OFFICIAL}/gate", b"v2")
    with pytest.raises(Became) as found:
        versions.become_official(str(tmp_path), "gate")

    assert ["-P", "-m", "firmware.cli", "run", "box", "--process", "gate"] == found.value.command[1:]
    assert ("v2", str(tmp_path / "versions/v2")) == (
        found.value.environment["SCRUBJAY_VERSION"],
        found.value.environment["PYTHONPATH"],
    )
    assert (Path(found.value.environment["SCRUBJAY_IMAGE"]) / "firmware").is_dir()


@pytest.mark.parametrize("variable", ["SCRUBJAY_HEIR", "SCRUBJAY_TRIAL"])
def test_heirs_and_trials_are_what_they_were_started_as(store, tmp_path, monkeypatch, variable):
    """Whatever the mark says. (S1-12)"""
    store.write(f"{OFFICIAL}/gate", b"v2")
    monkeypatch.setenv(variable, "1")
    versions.become_official(str(tmp_path), "gate")

    assert IMAGE == versions.running()
    assert (versions.succession_in(str(tmp_path)) is None) == (variable == "SCRUBJAY_TRIAL")


def test_back_to_the_image(store, tmp_path, monkeypatch):
    """A process of a copy whose mark is gone becomes the image's own, with nothing of the copy on its path."""
    monkeypatch.setenv("SCRUBJAY_VERSION", "v2")
    with pytest.raises(Became) as found:
        versions.become_official(str(tmp_path), "gate")

    assert (IMAGE, "") == (found.value.environment["SCRUBJAY_VERSION"], found.value.environment["PYTHONPATH"])


def test_an_update_process_that_ends_again_and_again_is_the_image_s(store, tmp_path):
    """Each start of a copy's is counted; the sixth is the image's, and the mark says so. Other processes are not counted. (S1-16)"""
    store.write(f"{OFFICIAL}/update", b"v2")
    for _ in range(STARTS_MAX):
        with pytest.raises(Became):
            versions.become_official(str(tmp_path), "update")
    versions.become_official(str(tmp_path), "update")

    assert (IMAGE, STARTS_MAX) == (official(store, "update"), starts(store))


def test_a_disk_that_takes_no_count_keeps_nobody_from_watching(store, tmp_path):
    """The start of the update process cannot be counted: it starts all the same, as a recorder does on a disk that takes nothing."""
    store.write(f"{OFFICIAL}/update", b"v2")
    store.mkdir("updates/starts")  # Nothing can be written there.
    with pytest.raises(Became) as found:
        versions.become_official(str(tmp_path), "update")

    assert "v2" == found.value.environment["SCRUBJAY_VERSION"]


def test_the_image_is_what_this_program_is(tmp_path):
    """Its files by their paths in a version, compiled code included, sources of it not; what is not there is missing."""
    slots = LinuxSlots(tmp_path, lambda process: (), lambda version: {})
    paths = slots.image_paths()

    assert {"firmware/capture/station.py", "drivers/tap.py", "firmware/core/segment.cddl"} <= set(paths)
    assert any(path.startswith("firmware/core/_kernel.") and path.endswith(".so") for path in paths)
    assert not any(path.endswith((".c", ".pyc")) for path in paths)
    assert Path(versions.__file__).read_bytes() == slots.image_file("firmware/cli/versions.py")
    assert "cpython" in slots.board
    for path in ("firmware/none.py", "tests/x.py"):
        with pytest.raises(Missing):
            slots.image_file(path)


def test_a_trial_that_cannot_be_started_is_the_disk_s_trouble(tmp_path, monkeypatch):
    """No room for its logs, no program: nothing of it runs, and who asked for it tries again later instead of ending."""
    before = set(Path("/proc/self/fd").iterdir())
    slots = LinuxSlots(tmp_path, lambda name: ["sleep", "60"] if name == "capture" else ["/nowhere/python"], lambda version: {})
    with pytest.raises(DiskFailed):
        slots.begin_trial("v2", ["capture", "gate"])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DiskFull):
        slots.begin_trial("v2", ["capture"])
    assert before == set(Path("/proc/self/fd").iterdir())


def test_a_trial_s_command_line(tmp_path):
    """The role's own settings, in the shadow's store, under a name and an identity of its own; said not to follow any mark."""
    a = argparse.Namespace(root=str(tmp_path), role="box", settings=[str(tmp_path / "s.toml")], set=["capture.segment_s=60"])
    slots = versions.slots_in(a)()
    command, environment = slots._command("capture"), slots._environment("v2")

    assert f"--root={tmp_path.resolve() / 'shadow'}" in command
    assert f"--settings={tmp_path / 's.toml'}" in command and "--set=capture.segment_s=60" in command
    assert command[-2:] == ["--set=board.identity=''", "--set=board.name=''"]
    assert "1" == environment["SCRUBJAY_TRIAL"] and environment["PYTHONPATH"].endswith("versions/v2")
    assert os.environ.get("SCRUBJAY_TRIAL") is None


def test_a_trial_runs_the_version_it_is_of(tmp_path):
    """Its processes' code is the copy's, from the first moment to the last: no other version takes over in the shadow. (S1-12, S1-16)"""
    root = tmp_path / "store"
    for part in ("firmware", "drivers", "simulator"):
        source = Path(versions.__file__).parents[2] / part
        shutil.copytree(source, root / "versions/v2" / part, ignore=shutil.ignore_patterns("__pycache__", "*.pcapng", "*.c"))
    with (root / "versions/v2/firmware/health/station.py").open("a") as file:
        file.write("\nraise SystemExit(f'as in {__file__}')\n")
    trial = versions.slots_in(argparse.Namespace(root=str(root), role="box", settings=[], set=[]))().begin_trial(
        "v2", ["steward"]
    )
    for _ in range(1200):
        usage = trial.look()["steward"]
        if usage.code is not None:
            break
        select.select([], [], [], 0.05)
    trial.close()

    assert 1 == usage.code
    assert f"as in {root}/versions/v2/firmware/health/station.py" in (root / "shadow/logs/steward.log").read_text()


def test_every_process_of_a_box_changes_with_a_version():
    """None is forgotten; the recorder after all others that do something, and last who watches: a process of its own. (S1-04)"""
    from firmware.core.settings import Settings
    from firmware.roles import BOX, SECTIONS, SWITCHED
    from simulator.board import SimulatedBoard

    assert sorted(process.name for process in BOX) == sorted(SWITCHED)
    assert ("capture", "update") == SWITCHED[-2:]
    board = SimulatedBoard()
    builders = {process.name: process.build for process in BOX}
    assert ["update"] == [station.name for station in builders["update"](board, Settings(SECTIONS["box"], []))]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("make", "v9", "--number=9223372036854775808"), "a number of 1 to 2^63 - 1"),
        (("make", "v9", "--number=1", "--expires-h=5000000"), "--expires-h: expected 1 to 878400 hours"),
        (("make", "v9", "--number=1", "--expires-h=0"), "--expires-h: expected 1 to"),
        (("order", "--box=or3-box-1", "--expires-h=-1"), "--expires-h: expected 1 to"),
        (("edition", "x.raucb", "--version=1.0", "--number=9223372036854775808"), "--number (above 0)"),
        (("edition", "x.raucb", "--version=1.0", "--number=1", "--after-h=3000"), "--after-h: expected less than --expires-h"),
    ],
)
def test_nothing_is_signed_that_no_box_could_take(tmp_path, monkeypatch, capsys, words, said):
    """A number or a time beyond what a manifest can say, or one that is over: said at the desk, and no file that every box refuses."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.raucb").write_bytes(b"x")
    LinuxIdentity(tmp_path / "identity")

    assert 2 == main(["update", *words, "-w", "made", "--root", str(tmp_path)])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_an_order_is_taken_as_long_as_is_said(tmp_path, monkeypatch, capsys):
    """To the last minute of it, by a box with settings as they come; where it is to last longer it is said that only some boxes take it."""
    monkeypatch.chdir(tmp_path)
    LinuxIdentity(tmp_path / "identity")
    words = ["update", "order", "--box=or3-box-1", "-w", "made", "--root", str(tmp_path)]
    settings = CommandSettings()
    assert 0 == main(words)
    assert "" == capsys.readouterr().err
    order = order_unpacked(command_unpacked((tmp_path / "made").read_bytes()).order)
    late = Now(Monotonic(0), Timestamp(order.expires_tai_ns, 0, "ptp", ClockState.LOCKED), 37)
    check_fresh(order, late, max_age_s=settings.max_age_s, clock_tolerance_s=settings.clock_tolerance_s)

    assert 0 == main([*words, "--expires-h=72"])
    assert "a box refuses one made more than 24 hours ago" in capsys.readouterr().err


def test_what_does_not_go_together_is_said_at_the_desk(tmp_path, monkeypatch, capsys):
    """The same bundle twice, a base that is itself beside one, a version beside itself: by its file, and nothing is signed."""
    monkeypatch.chdir(tmp_path)
    signer = LinuxIdentity(tmp_path / "identity")

    def refused(*words):
        assert 2 == main(["update", *words, "-w", "made", "--root", str(tmp_path)])
        assert not (tmp_path / "made").exists()
        return capsys.readouterr().err

    def bundle(version, number, base):
        return made(
            {"firmware/__init__.py": b"1"}, {}, version=version, counter=number, board="board", made_tai_ns=1, expires_tai_ns=2,
            base=base, signer=signer.name, sign=signer.sign,
        )  # fmt: skip

    (tmp_path / "v1.scrubjay").write_bytes(bundle("v1", 1, None))
    (tmp_path / "v2.scrubjay").write_bytes(bundle("v2", 2, "v1"))
    (tmp_path / "again.scrubjay").write_bytes((tmp_path / "v1.scrubjay").read_bytes())
    for name in "xy":
        (tmp_path / f"{name}.raucb").write_bytes(name.encode())

    assert "again.scrubjay: expected each bundle once, v1.scrubjay is the same" in refused(
        "edition", "v1.scrubjay", "again.scrubjay"
    )
    assert "expected one system bundle" in refused("edition", "x.raucb", "y.raucb", "--version=1.0", "--number=1")
    assert "v2.scrubjay is one beside v1" in refused("make", "v3", "--number=3", "--base=v2.scrubjay")
    assert "expected a bundle of another version than v1" in refused("make", "v1", "--number=3", "--base=v1.scrubjay")


def test_from_a_stick_the_highest_that_can_be_used(store, tmp_path, monkeypatch, capsys):
    """Of a fleet's files on one stick: not one beside a version that is not here, however high; nor only of the first sixteen names."""
    signer = LinuxIdentity(tmp_path / "vendor" / "identity")
    trust(tmp_path / "identity", signer.name, signer.public_key())
    board = LinuxSlots(tmp_path, lambda process: (), lambda version: {}).board
    stick = tmp_path / "stick"
    stick.mkdir()

    def bundle(name, version, number, base=None, *, size=1):
        data = made(
            {"firmware/__init__.py": os.urandom(size)}, {}, version=version, counter=number, board=board, made_tai_ns=1, expires_tai_ns=2,
            base=base, signer=signer.name, sign=signer.sign,
        )  # fmt: skip
        (stick / f"{name}.scrubjay").write_bytes(data)

    def installed(*, status):
        assert status == main(["update", "install", str(stick), "--root", str(tmp_path), "--json"])
        return capsys.readouterr()

    bundle("0-beside-v7", "v8", 8, "v7")
    assert "0-beside-v7.scrubjay: beside v7, which is not here" in installed(status=2).err
    for number in range(1, 8):
        bundle(f"1-{number}", f"w{number}", number)
        bundle(f"2-{number}", f"x{number}", number)
    bundle("3-whole", "v8", 8, size=4096)
    assert "nobody takes bundles here: the box does not run" in installed(status=2).err

    store.mkdir("updates/received")
    assert ("v8", None) == tuple(json.loads(installed(status=0).out)[name] for name in ("version", "base"))
    bundle("4-beside-v2", "v8", 8, "v2")
    assert ("v8", "v2") == tuple(json.loads(installed(status=0).out)[name] for name in ("version", "base"))


@pytest.mark.parametrize(
    "words",
    [("make", "v9", "--number=1"), ("order", "--box=or3-box-1"), ("edition", "x.raucb", "--version=1.0", "--number=1")],
)
def test_nothing_is_signed_with_a_key_that_was_not_there(tmp_path, monkeypatch, capsys, words):
    """A mistyped --root: said at the desk, and no new identity whose signature every box refuses."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.raucb").write_bytes(b"x")
    LinuxIdentity(tmp_path / "vendor" / "identity")

    assert 2 == main(["update", *words, "-w", "made", "--root", "vendro"])
    assert "--root: expected the signer's store, with its key in vendro/identity, there is none" in capsys.readouterr().err
    assert ["vendor", "x.raucb"] == sorted(path.name for path in tmp_path.iterdir())
