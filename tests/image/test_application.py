"""Another version of the application, as systemd itself carries it: descriptors kept, the main process announced, code from the data partition."""

import json
from pathlib import Path

import pytest
from conftest import RECORDER, RECORDING
from machine import Machine, numbers

from drivers.linux.disk import LinuxDisk
from firmware.core.verify import verify

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]
OFFICIAL = "cat /var/lib/scrubjay/versions/official/*"
PROCESSES = 9  # of the role
UNIT = "scrubjay@capture.service"


def shown(machine: Machine, name: str) -> str:
    """A property of the recorder's unit."""
    return machine.run(f"systemctl show --value -p {name} {UNIT}")


def recorder(machine: Machine) -> tuple[str, str]:
    """The process that systemd takes for the recorder, and the version it runs."""
    process = shown(machine, "MainPID")
    said = machine.run(f"tr '\\0' '\\n' </proc/{process}/environ | grep ^SCRUBJAY_VERSION= || echo SCRUBJAY_VERSION=image")
    return process, said.partition("=")[2]


def test_another_version_while_frames_pass_and_it_is_killed(running: Machine, tmp_path: Path) -> None:
    """A bundle made on the box becomes a copy, is tried, and is official for every process but the one that watches, the recorder last.

    Then the recorder is killed. Of the numbered frames that pass all the while none is missing and none is there twice. (S1-07, S1-08,
    S1-12, S1-14, S1-15, S1-16)
    """
    box = running
    box.start()
    vendor = "/tmp/vendor"
    box.run(f"scrubjay identity --root {vendor} --name vendor --json")
    key = json.loads(box.run(f"scrubjay identity --root {vendor} --json"))["public_key"]
    box.run(f"scrubjay identity --trust vendor={key}")
    box.run(f"scrubjay update make 2.0.0 --number 1 --root {vendor} -w /tmp/2.0.0.scrubjay")
    first, version = recorder(box)
    assert "image" == version
    box.run("scrubjay update install /tmp/2.0.0.scrubjay")
    box.pass_until(OFFICIAL, rf"^(2\.0\.0){{{PROCESSES - 1}}}$")
    box.pass_until(RECORDER, r'"version": ?"2\.0\.0"')
    box.pass_until("cat /var/lib/scrubjay/state/update.json", r'"official": ?"2\.0\.0"')
    second, version = recorder(box)
    assert (True, "2.0.0") == (first != second, version)
    assert "0" == shown(box, "NRestarts")  # Nobody was started anew: one followed the other.
    assert int(shown(box, "NFileDescriptorStore")) > 0

    box.send(10, every_s=0)
    box.run(f"kill -9 {second}")
    box.send(10, every_s=0)
    box.pass_until(f"systemctl show --value -p NRestarts,ActiveState {UNIT}", r"(?s)(?=.*\b1\b)(?=.*\bactive\b)")
    box.pass_until(RECORDER, RECORDING)
    third, version = recorder(box)
    assert (True, "2.0.0") == (third != second, version)
    box.await_sealed()
    box.cut_power()
    _all_are_there_once(box, tmp_path / "store")


def test_a_version_that_hangs_comes_back_by_itself(running: Machine, tmp_path: Path) -> None:
    """A recorder that does nothing any more ends no segment and says no word: systemd misses that, and starts it again, on the same ring."""
    box = running
    box.start()
    first, _ = recorder(box)
    box.run(f"kill -STOP {first}")
    box.pass_until(f"systemctl show --value -p NRestarts {UNIT}", r"^1$")
    box.pass_until(RECORDER, RECORDING)
    assert first != recorder(box)[0]
    box.await_sealed()
    box.cut_power()
    _all_are_there_once(box, tmp_path / "store")


def _all_are_there_once(box: Machine, into: Path) -> None:
    store = box.store(into)
    seen = numbers(store)
    assert list(range(box.sent)) == seen
    assert [] == [row for row in verify(LinuxDisk(store)).findings if not row.segment.startswith(".")]
