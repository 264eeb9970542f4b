"""The arm64 image on QEMU's board with U-Boot: as it is flashed, from power to recording; and into the other slot."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import NEXT_ARM64, SYSTEM, another_kernel
from machine import BOOT_S, Machine, numbers

from drivers.linux.disk import LinuxDisk
from firmware.core.verify import verify

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]


def test_boots_to_recording(arm64: Machine, tmp_path: Path) -> None:
    """U-Boot counts the try and starts slot A; frames that pass before systemd runs are recorded, none is missing after, and the box says
    nothing on that port. (S1-16)"""
    arm64.start()
    arm64.expect(r"scrubjay: slot A of A \(A left=2, B left=0, uboot.env\)", within_s=BOOT_S)
    arm64.expect("hearing from the first", within_s=BOOT_S)
    arm64.heard()  # U-Boot may have looked for something to start there; Linux does not speak
    arm64.send(50, every_s=0.05)
    arm64.ask("show status", r"state +recording", within_s=BOOT_S)
    arm64.send(200, every_s=0.02)
    arm64.ask("find", r"\b250 frames", within_s=BOOT_S)
    arm64.idle(20.0)  # what is on the disk after half a second there is after some here
    assert [] == arm64.heard()
    arm64.cut_power()
    store = arm64.store(tmp_path / "store")

    assert list(range(250)) == numbers(store)
    assert [] == [row for row in verify(LinuxDisk(store)).findings if not row.segment.startswith(".")]


def test_another_system_and_another_kernel(running_arm64: Machine, stick: Callable[..., Path], tmp_path: Path) -> None:
    """A signed update is written into the other slot, and the box restarts into it by itself: U-Boot starts slot B and counts the try. It is
    confirmed, its tries are whole again, and the copy U-Boot falls back to says the same. What was sealed before the restart, and every
    frame from the new slot's initramfs on, is there once. (S1-07, S1-15, S1-16)"""
    if not (NEXT_ARM64 / "version").exists():
        pytest.skip("needs the arm64 image to update to (tools/next-image.sh arm64 brings it)")
    version = (NEXT_ARM64 / "version").read_text().strip()
    boot = another_kernel(NEXT_ARM64, tmp_path)
    box = running_arm64
    box.start()
    box.send(20, every_s=0.02)
    box.await_sealed()
    box.plug(stick(NEXT_ARM64 / "root.img", boot, version, arch="arm64", purpose="during-session"))
    box.expect(r"scrubjay: slot B of B A \(A left=3, B left=2, uboot.env\)", within_s=2 * BOOT_S)
    box.expect("hearing from the first", within_s=BOOT_S)
    box.send(50, every_s=0.05)
    box.await_shell(version=version)
    box.await_run(SYSTEM, f"slot B runs {re.escape(version)}, confirmed", within_s=BOOT_S)
    assert "" == box.run("cmp /efi/uboot.env /efi/uboot.env.good")
    box.send(20, every_s=0.02)
    box.await_sealed()
    box.cut_power()
    store = box.store(tmp_path / "store")

    assert list(range(90)) == numbers(store)
    assert [] == [row for row in verify(LinuxDisk(store)).findings if not row.segment.startswith(".")]
    assert {"BOOT_ORDER": "B A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3"} == box.slots()
