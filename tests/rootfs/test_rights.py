"""Users, directories and unit rights on the box are exactly what the front pages declare and roles.py runs."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from firmware.cli import parser
from firmware.clock.configuration import PROGRAMS
from firmware.clock.settings import ClockSettings
from firmware.core.settings import Settings
from firmware.roles import BOX, SECTIONS
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock
from simulator.link import SimulatedLink

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "rootfs/usr/lib/systemd/system"
STORE = "/var/lib/scrubjay/"
_DIRECTORY = re.compile(r"\b[a-z]+(?:/[a-z0-9.]+)*/(?![a-z0-9])")
RUNNER = {"state"}  # written by the loop around the stations, of every process (firmware/core/report.py)
ADVERTISED = {process.name: process for process in BOX}


def stations_of(process: str) -> list[str]:
    build = ADVERTISED[process].build
    assert build is not None
    board = SimulatedBoard(make_link=lambda: SimulatedLink({}, SimulatedClock()))
    return [station.name for station in build(board, Settings(SECTIONS["box"], []))]


def declared(station: str, label: str) -> set[str]:
    """Directories after a label ("Reads", "Writes") of a front page."""
    page = ast.get_docstring(ast.parse((ROOT / "firmware" / station / "__init__.py").read_text())) or ""
    block = re.search(rf"^{label}\s+(.*?)(?=^\S|\Z)", page, re.MULTILINE | re.DOTALL)
    assert block is not None, f"firmware/{station}/__init__.py has no {label!r}"
    return {name.rstrip("/").replace("groups/p1..p4", "groups") for name in _DIRECTORY.findall(block[1])}


def unit(process: str) -> dict[str, str]:
    text = (UNITS / f"scrubjay@{process}.service.d/rights.conf").read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def directories() -> dict[str, tuple[str, str, str]]:
    """Directory below the store: (mode, owner, group)."""
    rows = [line.split() for line in (ROOT / "rootfs/usr/lib/tmpfiles.d/scrubjay.conf").read_text().splitlines()]
    return {row[1].removeprefix(STORE): (row[2], row[3], row[4]) for row in rows if row and row[0] == "d"}


def may_write(process: str, directory: str) -> bool:
    mode, owner, group = directories()[directory]
    rights = unit(process)
    groups = {rights["Group"], *rights.get("SupplementaryGroups", "").split()}
    return owner == rights["User"] or (group in groups and int(mode[-2]) & 2 != 0)


def may_read(process: str, directory: str) -> bool:
    mode, owner, group = directories().get(directory, ("0", "", ""))
    rights = unit(process)
    groups = {rights["Group"], *rights.get("SupplementaryGroups", "").split()}
    return owner == rights["User"] or (group in groups and int(mode[-2]) & 4 != 0) or int(mode[-1]) & 1 != 0


PROCESSES = list(ADVERTISED)


def test_every_process_has_a_unit():
    """The target wants exactly the processes of the role, each with its rights."""
    wanted = re.findall(r"scrubjay@([a-z]+)\.service", (UNITS / "scrubjay.target").read_text())

    assert PROCESSES == wanted
    assert set(PROCESSES) == {path.name.split("@")[1].split(".")[0] for path in UNITS.glob("scrubjay@*.service.d")}


@pytest.mark.parametrize("process", PROCESSES)
def test_process_may_touch_what_it_declares_and_nothing_else(process):
    """A process's groups open exactly the directories its stations' front pages name; taking from a spool is a rename, so reading it is writing."""
    expected = {
        directory for station in stations_of(process) for label in ("Reads", "Writes") for directory in declared(station, label)
    }
    allowed = {name for name in directories() if may_write(process, name) and not name.startswith("quarantine")}
    leaves = {name for name in allowed if name not in RUNNER}

    unreadable = {name for name in expected if not may_read(process, name) and name != "quarantine"}
    undeclared = {
        name for name in leaves if not any(name == e or name.startswith(f"{e}/") or e.startswith(f"{name}/") for e in expected)
    }

    assert set() == unreadable
    assert set() == undeclared


@pytest.mark.parametrize("process", PROCESSES)
def test_process_may_write_what_it_declares(process):
    """Every directory that a front page says is written can be written by the process the station runs in."""
    written = {directory for station in stations_of(process) for directory in declared(station, "Writes")} - {"quarantine"}

    assert set() == {
        name for name in written if not may_write(process, name) and not any(d.startswith(f"{name}/") for d in directories())
    }


def test_what_sees_identities_has_no_way_out():
    """gate has no network; uplink opens outbox, sent, received commands and files that come down only; the recorder speaks no IP. Intake is kept off the uplink's
    interface. The clock asks devices over IP, and opens nothing but state and its own way into inbox. (S2-085, S2-087)"""
    assert "yes" == unit("gate")["PrivateNetwork"]
    assert {"outbox", "sent", "commands/received", "wanted", "downloads", "state", "quarantine/outbox", "quarantine/wanted"} == {
        d for d in directories() if may_write("uplink", d)
    }
    for process in PROCESSES:
        families = unit(process)["RestrictAddressFamilies"].split()
        assert ("AF_INET" in families) == (process in ("uplink", "clock", "roomside", "feedback"))
    assert "~eth0" == unit("roomside")["RestrictNetworkInterfaces"] == unit("feedback")["RestrictNetworkInterfaces"]
    assert {"inbox", "state"} == {d for d in directories() if may_write("clock", d)}
    assert {"segments", "groups", "outbox"} & {d for d in directories() if may_read("feedback", d)} == set()


def test_time_keepers_are_told_by_one_place():
    """ptp4l, phc2sys and chronyd run unmodified, from what `scrubjay clock --configuration` prints of each. (S2-012, S2-013)"""
    for program in PROGRAMS:
        text = (UNITS / f"scrubjay-{program}.service").read_text()
        assert re.search(rf"(/usr/sbin/{program}) ", text)
        assert f"--configuration {program}" in text or f'--configuration"; $$s {program}' in text
        assert f"scrubjay-{program}.service" in (UNITS / "scrubjay.target").read_text()
    assert ClockSettings().ptp4l.startswith("/run/scrubjay-ptp/")
    assert "scrubjay-ptp" in unit("clock")["SupplementaryGroups"].split()


def test_what_is_to_be_started_is():
    """A unit that says by whom it is wanted is enabled in the image or named by the target; only the relay's is for another machine."""
    build = (ROOT / "rootfs/build.sh").read_text()
    enabled = set(
        re.findall(
            r"scrubjay[a-z-]*\.(?:service|path|target)",
            " ".join(re.findall(r"systemctl --quiet enable (.*?)(?<!\\)\n", build, re.DOTALL)),
        )
    )
    wanted = set(re.findall(r"^Wants=(.*)$", (UNITS / "scrubjay.target").read_text(), re.MULTILINE))
    named = enabled | {name for row in wanted for name in row.split()}
    installed = {
        path.name for path in UNITS.iterdir() if path.is_file() and "[Install]" in path.read_text() and "@" not in path.name
    }

    assert {"scrubjay-relay.service"} == installed - named


def test_what_a_unit_tells_to_read_is_in_the_image(tmp_path: Path):
    """`systemctl status` of a unit names a page; that page is on the box, and so is every page it refers to."""
    pages = re.search(r"^pages\(\) \{.*?^\}", (ROOT / "rootfs/build.sh").read_text(), re.MULTILINE | re.DOTALL)
    assert pages is not None
    subprocess.run(
        ["bash", "-euc", f"{pages[0]}\npages"], env=os.environ | {"top": str(ROOT), "stage": str(tmp_path)}, check=True
    )
    named = {path for unit in UNITS.glob("*.service") for path in re.findall(r"file:///(\S+\.md)", unit.read_text())}
    read = list((tmp_path / "usr/share/doc/scrubjay").rglob("*.md"))
    referred = {page.parent / link for page in read for link in re.findall(r"\]\(([^):#]+\.(?:md|png))\)", page.read_text())}

    assert len(named) >= 3
    assert [] == [path for path in sorted(named) if not (tmp_path / path).is_file()]
    assert [] == [path for path in sorted(referred) if not path.is_file()]


def test_one_station_fills_the_outbox():
    """No front page but deidentify's declares that it writes outbox/. (S2-085)"""
    writers = [station for process in PROCESSES for station in stations_of(process) if "outbox" in declared(station, "Writes")]

    assert ["deidentify"] == writers


def test_users_and_groups_exist():
    """Every user and group that a unit or a directory names is made by sysusers."""
    made = {
        row.split()[1]
        for row in (ROOT / "rootfs/usr/lib/sysusers.d/scrubjay.conf").read_text().splitlines()
        if row[:2] in ("u ", "g ")
    }
    named = {word for mode, owner, group in directories().values() for word in (owner, group)}
    named |= {w for p in PROCESSES for key in ("User", "Group", "SupplementaryGroups") for w in unit(p).get(key, "").split()}

    assert set() == named - made - {"root", "dialout"}


def test_the_vault_is_opened_before_anything_is_written():
    """Directories and identity are made in the open vault or not at all, and the unit says a command that there is. (S2-094)"""
    text = (UNITS / "scrubjay-vault.service").read_text()
    before = re.search(r"^Before=(.*)$", text, re.MULTILINE)
    command = re.search(r"^ExecStart=\S+/scrubjay (.*)$", text, re.MULTILINE)
    assert before is not None and command is not None
    parsed = parser().parse_args(command[1].split())

    assert {"systemd-tmpfiles-setup.service", "scrubjay-identity.service"} <= set(before[1].split())
    assert re.search(r"^RequiredBy=scrubjay-identity.service$", text, re.MULTILINE)
    assert ("open", STORE.rstrip("/")) == (parsed.deed, parsed.root)


def test_clocks_of_cards_are_read_and_not_set() -> None:
    """Recorder and clock may read them, by their group and as the only devices; nobody else, and nobody to write. (S2-011)"""
    rule = (ROOT / "rootfs/usr/lib/udev/rules.d/71-scrubjay-hardware-clock.rules").read_text()
    readers = {process for process in ADVERTISED if "scrubjay-phc" in unit(process).get("SupplementaryGroups", "").split()}

    assert {"capture", "clock"} == readers
    assert {("closed", "char-ptp r")} == {(unit(process)["DevicePolicy"], unit(process)["DeviceAllow"]) for process in readers}
    assert 'GROUP="scrubjay-phc", MODE="0640"' in rule
    assert "g scrubjay-phc " in (ROOT / "rootfs/usr/lib/sysusers.d/scrubjay.conf").read_text()


def test_the_console_may_open_every_line_the_image_has_a_driver_for() -> None:
    """An adapter whose module is on the image and whose device the unit denies is a console that is "missing" on a box where it is plugged in."""
    lines = {"ftdi_sio": "ttyUSB", "cp210x": "ttyUSB", "pl2303": "ttyUSB", "cdc-acm": "ttyACM"}
    build = (ROOT / "rootfs/build.sh").read_text()
    allowed = re.findall(
        r"^DeviceAllow=char-(\S+) rw$", (UNITS / "scrubjay@console.service.d/rights.conf").read_text(), re.MULTILINE
    )

    assert {"ttyS", "ttyAMA"} | {line for module, line in lines.items() if f" {module} " in build} == set(allowed)


def test_who_keeps_rings_is_heard_while_it_hands_over() -> None:
    """systemd takes a ring out of its store on the word of an elder that is no longer the main process (S1-08, S2-092)."""
    keeps = [process for process in PROCESSES if "FileDescriptorStorePreserve" in unit(process)]

    assert ["capture"] == keeps
    assert {"all"} == {unit(process).get("NotifyAccess") for process in keeps}


def test_copies_can_be_run_by_every_process():
    """The data partition runs nothing, but for the directory of copies; who writes them lets all read them, and nobody else write. (S1-10)"""
    rows = [row.split() for row in (ROOT / "rootfs/etc/fstab").read_text().splitlines() if row and row[0] != "#"]
    options = {row[1]: set(row[3].split(",")) for row in rows}

    assert "noexec" in options["/data"]
    assert {"bind", "exec", "nodev", "nosuid"} <= options["/var/lib/scrubjay/versions"]
    assert "/data/versions" in (UNITS / "scrubjay-first-start.service").read_text()
    assert "0027" == unit("update")["UMask"]  # What it makes is for its directory's group to read.
    assert {("2750", "scrubjay-update", "scrubjay-copies")} == {directories()[name] for name in ("versions", "versions/official")}
    assert all(may_read(process, "versions") and may_read(process, "versions/official") for process in PROCESSES)
    assert ["update"] == [
        process for process in PROCESSES if may_write(process, "versions") or may_write(process, "versions/official")
    ]


def test_every_process_can_be_followed_by_another_version():
    """A process follows the mark of its version only under a keeper that says it keeps descriptors. (S1-08)"""
    assert re.search(r"^FileDescriptorStoreMax=\d+$", (UNITS / "scrubjay@.service").read_text(), re.MULTILINE)


def test_what_root_brings_can_be_read_by_whom_it_is_for():
    """A bundle installed by hand is root's file, and nobody else's to read: the directory's group is its group, and only update is in it.
    (S1-03)"""
    assert {("2770", "scrubjay-update", "scrubjay-update")} == {
        directories()[f"updates/{name}"] for name in ("received", "system")
    }
    assert ["update"] == [process for process in PROCESSES if may_read(process, "updates/received")]
