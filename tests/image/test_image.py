"""The image as it is flashed, under QEMU: proved root, ring from the first second, recording, a console, and silence on the mirror port."""

import re
import subprocess
from pathlib import Path

import pytest
from conftest import ADDRESS, IMAGE, there
from machine import BOOT_S, Machine, numbers, sectors

from drivers.linux.disk import LinuxDisk
from firmware.core.verify import verify

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(1800),
]  # emulated instruction by instruction, on whatever else the machine does

DRIFT = "12.345"  # ppm


def test_records_from_the_first_second(machine: Machine, tmp_path: Path) -> None:
    """Frames that pass before systemd runs are in the first segment, none is missing after, and the box says nothing on that port.

    The power is cut in the end: what had a second to reach the disk is there, the seals verify, and the next start records again.
    """
    machine.start()
    machine.expect("hearing from the first", within_s=BOOT_S)
    machine.heard()  # the emulated firmware's own network stack spoke before Linux did; a board's is off
    machine.send(50, every_s=0.05)
    machine.ask("show status", r"state +recording", within_s=BOOT_S)
    machine.send(200, every_s=0.02)
    machine.ask("find", r"\b250 frames", within_s=300)
    machine.idle(20.0)  # what is on the disk after half a second there is after some here
    assert [] == machine.heard()
    machine.cut_power()
    seen = numbers(machine.store(tmp_path / "store"))
    assert list(range(250)) == seen

    machine.start()
    machine.ask("verify", "lost: interrupted", within_s=BOOT_S)
    machine.ask("show status", r"state +recording", within_s=120)
    machine.cut_power()
    store = machine.store(tmp_path / "store")
    assert [] == [row for row in verify(LinuxDisk(store)).findings if not row.segment.startswith(".")]
    assert seen == numbers(store)


def test_a_sites_addresses_last(running: Machine) -> None:
    """A site's own file, laid beside the settings, is in force, and again after a power cut; the port that listens gets nothing of it and
    stays silent, and the console says both. The box knows its leap seconds, and after the cut what it had learnt of its crystal. (S2-008)"""
    box = running
    box.start()
    for start in ("woken", "after a power cut"):
        box.await_shell()
        box.await_run("ip -color=never -brief address show dev eth0", re.escape(ADDRESS), within_s=BOOT_S)
        assert "inet" not in box.run("ip -color=never address show dev eth1"), start
        box.await_run("cat /var/lib/scrubjay/state/addresses", rf"eth0 .*{re.escape(ADDRESS)}", within_s=120)
        said = box.await_run("journalctl -b -u scrubjay-chronyd", "right/UTC", within_s=BOOT_S)
        assert "Using right/UTC timezone to obtain leap second data" in said
        box.ask("show network", r"(?s)eth0 .*192\.0\.2\.7/24.*site\.network: used, but not for eth1", within_s=BOOT_S)
        if start == "woken":
            box.run(f"echo '{DRIFT} 0.1' > /var/lib/scrubjay/drift/drift && sync")
            box.cut_power()
            box.start()
            box.expect("hearing from the first", within_s=BOOT_S)
            box.heard()  # the emulated firmware's own, before Linux; and QEMU's, which announces a machine that wakes up
    box.await_run("journalctl -b -u scrubjay-chronyd", rf"Frequency {re.escape(DRIFT)}\S* .*read from", within_s=BOOT_S)
    assert [] == box.heard()


def test_a_data_partition_that_is_damaged_is_repaired(tmp_path: Path) -> None:
    """Damage that asks for a person (a directory is lost, with what was in it) asks for nobody here: nobody stands beside the box, and one that
    starts for ever records nothing. What was lost is for the seals to say."""
    there(IMAGE / "disk.img")
    disk = tmp_path / "damaged.img"
    subprocess.run(["cp", "--sparse=always", str(IMAGE / "disk.img"), str(disk)], check=True)
    data = f"{disk}?offset={sectors(disk, 6)[0] * 512}"
    for request in ("mkdir lost", "mkdir lost/by", "mkdir lost/by/chance", "clri lost/by", "set_super_value state 2"):
        subprocess.run(["debugfs", "-w", "-R", request, data], check=True, capture_output=True)
    machine = Machine(disk, tmp_path)
    try:
        machine.start()
        machine.expect("hearing from the first", within_s=BOOT_S)
        machine.ask("show status", r"state +recording|the start failed", within_s=BOOT_S)
    finally:
        machine.cut_power()

    assert b"the start failed" not in machine.console.log


def test_a_root_with_another_bit_does_not_start(tmp_path: Path) -> None:
    """The root is proved block by block: what was altered on the card is never run; the machine restarts, and the boot loader counts."""
    there(IMAGE / "disk.img")
    disk = tmp_path / "altered.img"
    subprocess.run(["cp", "--sparse=always", str(IMAGE / "disk.img"), str(disk)], check=True)
    with disk.open("r+b") as file:
        file.seek(sectors(disk, 4)[0] * 512 + 100)  # in the first block, behind what mount(8) looks at
        data = file.read(1)
        file.seek(-1, 1)
        file.write(bytes((data[0] ^ 1,)))
    machine = Machine(disk, tmp_path)
    try:
        machine.start()
        machine.expect("scrubjay: slot A", within_s=BOOT_S)
        machine.expect("dm-verity device corrupted", within_s=BOOT_S)
        machine.expect(r"scrubjay: slot A .*try=2", within_s=BOOT_S)
    finally:
        machine.cut_power()

    assert b"Hostname set to" not in machine.console.log
