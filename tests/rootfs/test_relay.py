"""The relay's unit: one process of the role as roles.py has it, a user and a store of its own, and nothing else of the machine."""

import subprocess
from pathlib import Path
from shutil import which

import pytest

from firmware.cli import parser
from firmware.core.settings import Settings
from firmware.roles import RELAY, SECTIONS, BoardSettings
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock
from simulator.link import SimulatedLink

ROOT = Path(__file__).parents[2] / "rootfs"
UNIT = ROOT / "usr/lib/systemd/system/scrubjay-relay.service"
PROGRAM = "/usr/lib/scrubjay/venv/bin/scrubjay"


def said(key: str) -> list[str]:
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]


def test_it_runs_the_role_and_its_commands_are_ours() -> None:
    """Every process of the role, by commands there are, in the one directory it may write. (S2-067)"""
    (before,), (command,) = said("ExecStartPre"), said("ExecStart")
    made, run = (parser().parse_args(line.removeprefix(PROGRAM).split()) for line in (before, command))

    assert [process.name for process in RELAY] == [run.process] and "relay" == run.role
    assert {f"/var/lib/{said('StateDirectory')[0]}"} == {made.root, run.root}
    assert [] == said("ReadWritePaths") and ["strict"] == said("ProtectSystem") and ["0700"] == said("StateDirectoryMode")


def test_it_may_not_be_a_box_too() -> None:
    """Its user is none of a box's, it is kept off a machine that records, and it hears no interface. (S2-068)"""
    users = [
        row.split()[1] for row in (ROOT / "usr/lib/sysusers.d/scrubjay.conf").read_text().splitlines() if row.startswith("u ")
    ]

    assert said("User") == said("Group") == ["scrubjay-relay"] and "scrubjay-relay" in users
    assert ["scrubjay.target"] == said("Conflicts")
    assert [""] == said("CapabilityBoundingSet") and "AF_PACKET" not in said("RestrictAddressFamilies")[0]


def test_its_settings_are_those_of_its_role() -> None:
    """The file that comes with it is read without complaint, and stations can be made of it."""
    file = ROOT / "etc/scrubjay/relay.toml"
    board = SimulatedBoard(make_link=lambda: SimulatedLink({}, SimulatedClock()))
    (process,) = RELAY
    assert process.build is not None
    settings = Settings(SECTIONS["relay"], [(str(file), file.read_text())])

    assert ["relay", "uplink"] == [station.name for station in process.build(board, settings)]
    assert f"--settings /etc/scrubjay/{file.name}" in said("ExecStart")[0]
    assert "" == settings.of(BoardSettings).name


@pytest.mark.skipif(which("systemd-analyze") is None, reason="systemd is not installed: the unit is not parsed by it")
def test_systemd_knows_every_line_of_it() -> None:
    """No key is misspelled, by systemd's own reading."""
    read = subprocess.run(["systemd-analyze", "verify", "--man=no", str(UNIT)], capture_output=True, text=True, check=False)

    newer = ("RestartSteps", "RestartMaxDelaySec")  # systemd 254; the image has it, a developer's machine may not
    wrong = [line for line in read.stderr.splitlines() if UNIT.name in line and ("Unknown" in line or "Failed to parse" in line)]

    assert [] == [line for line in wrong if not any(key in line for key in newer)]
