"""An update as it comes to a box without a network: on a stick, into the other slot, while frames pass; and those that should not come."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import IMAGE, NEXT, there
from machine import BOOT_S, Machine, Missing, numbers

from drivers.linux.disk import LinuxDisk
from firmware.core.store import verify

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]
Stick = Callable[..., Path]
BETWEEN_S = 8.0  # times the ring's 64 blocks: frames are kept for longer than an emulated box has nobody to read them
QUICK = (
    '[capture]\ninterface = "eth1"\nsegment_s = 60\n[console]\ndevice = "/dev/ttyS0"\n'  # confirmation waits for a sealed segment
)


def test_another_system_while_frames_pass(machine: Machine, stick: Stick, tmp_path: Path) -> None:
    """A signed update is written into the other slot, and changed to with the kernel's ring kept: no numbered frame is missing, and none
    is there twice. The new system is confirmed, is what starts next, and says how it came. (S1-07, S1-08, S1-15, S1-16, S1-17)"""
    there(NEXT / "version")
    version = (NEXT / "version").read_text().strip()
    machine.settings(QUICK)
    machine.start(stick=stick(NEXT / "root.img", NEXT / "boot.img", version, purpose="now"))
    machine.expect("hearing from the first", within_s=BOOT_S)
    pass_until(machine, "changing to slot B while the kernel goes on")
    pass_until(machine, f"slot B runs {version}, on trial")
    changed = machine.sent
    pass_until(machine, f"slot B runs {version}, confirmed")
    machine.ask("show status", r"state +recording", within_s=120)
    machine.cut_power()
    store = machine.store(tmp_path / "store")
    seen = numbers(store)

    assert list(range(len(seen))) == seen
    assert (
        changed < len(seen) <= machine.sent
    )  # A confirmed system has sealed; what came in the last second before the cut may be lost.
    assert [] == [row for row in verify(LinuxDisk(store)).findings if not row.segment.startswith(".")]
    assert ("B A", "1", "0") == tuple(machine.slots()[name] for name in ("ORDER", "B_OK", "B_TRY"))

    machine.start()
    machine.expect("scrubjay: slot B of B A", within_s=BOOT_S)
    machine.ask("show system", f"slot B runs {version}, confirmed", within_s=BOOT_S)


def pass_until(machine: Machine, said: str) -> None:
    """Frames pass until the console says this. Ten at a time: at so low a rate each block of the ring is given back for a few frames."""
    for _ in range(int(2 * BOOT_S / BETWEEN_S)):
        machine.send(10, every_s=0)
        machine.type("show system")
        try:
            machine.expect(re.escape(said), within_s=BETWEEN_S)
            return
        except Missing:
            continue
    raise Missing(f"expected {said!r}")


def test_a_system_that_does_not_start_is_left_by_itself(machine: Machine, stick: Stick) -> None:
    """Its root is not the one its kernel proves: three starts end in the initramfs, the fourth is the former system's, which says so and
    does not take that version again. (S1-16)"""
    there(NEXT / "version")
    bad = stick(IMAGE / "root.img", NEXT / "boot.img", "9.9")
    machine.start(stick=bad)
    machine.ask("show system", "9.9 was written into slot B", within_s=BOOT_S)
    machine.cut_power()
    assert ("B A", "1", "0") == tuple(machine.slots()[name] for name in ("ORDER", "B_OK", "B_TRY"))

    machine.start(stick=bad)
    for _ in range(3):
        machine.expect("scrubjay: slot B of B A", within_s=BOOT_S)
    machine.expect("scrubjay: slot A of B A", within_s=BOOT_S)
    machine.ask("show system", r"although slot B \(9.9\) was to start", within_s=BOOT_S)
    machine.ask("show system", "refused: 9.9 was tried here", within_s=120)


def test_an_update_with_another_bit(machine: Machine, stick: Stick) -> None:
    """Signed and of this board, but one block of its payload is not what was signed: it is not switched to, and the box goes on."""
    plugged = stick(IMAGE / "root.img", IMAGE / "boot.img", "9.9")
    with plugged.open("r+b") as file:
        file.seek(40 << 20)  # in the middle of the root, as vfat lays one large file down
        data = file.read(4096)
        file.seek(40 << 20)
        file.write(bytes(byte ^ 1 for byte in data))
    machine.start(stick=plugged)
    machine.ask("show system", "update from stick sda to 9.9 failed: .*", within_s=BOOT_S)
    machine.ask("show status", r"state +recording", within_s=60)
    machine.cut_power()

    assert ("A B", "0") == tuple(machine.slots()[name] for name in ("ORDER", "B_OK"))
