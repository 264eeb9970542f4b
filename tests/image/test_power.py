"""The power goes at seeded instants of an update and of a start: the box always comes back recording, in one of its two systems."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from conftest import NEXT, there
from machine import BOOT_S, Machine, numbers

from drivers.linux.disk import LinuxDisk
from firmware.core.verify import verify

# A release is asked for twenty; six are what the hour of all these tests has room for. Each box loses its power twice, which takes four
# minutes, emulated on two cores that have as much other work.
CUTS = int(os.environ.get("SCRUBJAY_POWER_CUTS", "6"))
pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]
ESP, BOOT_B, ROOT_B, DATA = 1, 3, 5, 6
MIB = 1 << 20
FRAMES = 50
REWRITE = 7  # of the environment, as FAT does it: the name emptied, both tables twice, the data, the name again
FLUSHED = 20  # What was written before so many writes to the data partition lasts; a disk may forget later ones, and QEMU's does.
LAST = "lost its power, hung, or was ended before it was confirmed"
Stick = Callable[..., Path]


def while_it_is_written(box: Machine, random: Random) -> str:
    """Anywhere in the new root, or in its boot slot behind it."""
    root, boot = ((NEXT / name).stat().st_size for name in ("root.img", "vmlinuz"))
    at = random.randrange(root + boot)
    box.await_write(ROOT_B if at < root else BOOT_B, from_byte=at if at < root else at - root)
    return "was cut off while it was written into slot B"


def while_the_boot_loader_is_told(box: Machine, random: Random) -> str:
    """At any write of its environment: when RAUC passes the other slot over, and when that slot is what starts from then on."""
    box.await_write(ESP, count=random.randint(1, 2 * REWRITE))
    return ""


UPDATE = [while_it_is_written, while_the_boot_loader_is_told]


def in_grub(box: Machine, random: Random) -> str:
    """While the try is counted."""
    box.await_write(ESP, count=random.randint(1, 2))
    return ""


def in_the_kernel(box: Machine, random: Random) -> str:
    """And in the initramfs."""
    box.expect("scrubjay: slot", within_s=BOOT_S)
    box.idle(random.random() * 10)
    return ""


def in_the_root(box: Machine, random: Random) -> str:
    """Before and after systemd runs."""
    box.expect("hearing from the first", within_s=BOOT_S)
    box.idle(random.random() * 20)
    return ""


def in_userspace(box: Machine, random: Random) -> str:
    """From the first write of its data partition on, until everything runs."""
    count = random.randint(1, 300)
    box.await_write(DATA, count=count)
    return LAST if count >= FLUSHED else ""


START = [in_userspace, in_grub, in_the_kernel, in_the_root]


def comes_back(box: Machine, into: Path, causes: list[str], *, starts: int) -> None:
    """It is started once more, and left alone: it records, what it had recorded is there, its seals verify, the boot loader's environment
    is whole and names the system that runs, and the history says what has happened. starts: since it was confirmed, this one among them;
    a disk may have forgotten that one was counted, and none is counted twice."""
    box.start()
    slot = box.expect(r"scrubjay: slot ([AB]) of", within_s=BOOT_S)[1]
    box.expect("hearing from the first", within_s=BOOT_S)
    box.send(FRAMES, every_s=0.02)
    box.ask("find", rf"\b{box.sent} frames", within_s=BOOT_S)
    for cause in filter(None, [f"slot {slot} runs", *causes]):
        box.ask("show system", cause, within_s=BOOT_S)
    box.idle(20.0)  # what is on the disk after half a second there is after some here
    box.cut_power()
    slots, store = box.slots(), box.store(into)

    assert ("1", "1") == (slots["WHOLE"], slots[f"{slot}_OK"])
    assert int(slots[f"{slot}_TRY"]) <= starts
    assert list(range(box.sent)) == numbers(store)
    assert [] == [row for row in verify(LinuxDisk(store)).findings if not row.segment.startswith(".")]


@pytest.mark.parametrize("seed", range(-(-CUTS // 2)))
def test_power_cuts(opened: Path, frozen: Path, stick: Stick, tmp_path: Path, seed: int) -> None:
    """Once while an update is written, or in a box's very first start; once more in the start that follows, the stick still in it.
    (S1-16, S1-17)"""
    there(NEXT / "version")
    random = Random(seed)
    plugged = stick(NEXT / "root.img", NEXT / "boot.img", (NEXT / "version").read_text().strip())
    kind, causes = seed % 3, []
    box = Machine(opened, tmp_path, frozen if kind < 2 else None)
    try:
        box.start()
        if kind < 2:
            box.send(FRAMES, every_s=0.02)
            box.ask("find", rf"\b{FRAMES} frames", within_s=BOOT_S)
            box.run("sync")
            box.plug(plugged)
            causes.append(UPDATE[kind](box, random))
        else:
            in_userspace(box, random)
        box.cut_power()
        box.start(stick=plugged)
        causes.append(START[seed % len(START)](box, random))
        box.cut_power()
        comes_back(box, tmp_path / "store", causes, starts=2 if kind < 2 else 3)
    finally:
        box.cut_power()
