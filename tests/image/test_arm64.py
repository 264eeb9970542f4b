"""The arm64 image as it is flashed, on QEMU's board with U-Boot: from power to recording."""

from pathlib import Path

import pytest
from machine import BOOT_S, Machine, Missing, numbers

from drivers.linux.disk import LinuxDisk
from firmware.core.verify import verify

SLOW_S = 3000.0  # 22 minutes were seen, with four others at work on two cores
pytestmark = [pytest.mark.image, pytest.mark.timeout(4800)]


def test_boots_to_recording(arm64: Machine, tmp_path: Path) -> None:
    """U-Boot counts the try and starts slot A; frames that pass before systemd runs are recorded, none is missing after, and the box says
    nothing on that port. (S1-16)"""
    arm64.start()
    arm64.expect(r"scrubjay: slot A of A \(A left=2, B left=0, uboot.env\)", within_s=BOOT_S)
    arm64.expect("hearing from the first", within_s=BOOT_S)
    arm64.heard()  # U-Boot may have looked for something to start there; Linux does not speak
    arm64.send(50, every_s=0.05)
    arm64.ask("show status", r"state +recording", within_s=SLOW_S)
    arm64.send(200, every_s=0.02)
    with pytest.raises(Missing):
        arm64.expect("this is never said", within_s=60)  # what is on the disk after half a second there is after some here
    assert [] == arm64.heard()
    arm64.cut_power()
    store = arm64.store(tmp_path / "store")

    assert list(range(250)) == numbers(store)
    assert [] == [row for row in verify(LinuxDisk(store)).findings if not row.segment.startswith(".")]
