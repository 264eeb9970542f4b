"""An update as it comes to a box without a network: on a stick, into the other slot, while frames pass; and those that should not come."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ADDRESS, IMAGE, NEXT, RECORDER, RECORDING, SYSTEM, another_kernel, there
from machine import BOOT_S, Machine, numbers

from drivers.linux.disk import LinuxDisk
from firmware.core.verify import verify

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]
Stick = Callable[..., Path]


def next_version() -> str:
    there(NEXT / "version")
    return (NEXT / "version").read_text().strip()


def test_another_system_while_frames_pass(running: Machine, stick: Stick, tmp_path: Path) -> None:
    """A signed update is written into the other slot, and changed to with the kernel's ring kept: no numbered frame is missing, and none
    is there twice. The new system is confirmed, is what starts next, and says how it came. (S1-07, S1-08, S1-15, S1-16, S1-17)"""
    version = next_version()
    box = running
    box.start(stick=stick(NEXT / "root.img", NEXT / "boot.img", version, purpose="during-session"))
    box.pass_until(SYSTEM, "changing to slot B while the kernel goes on")
    box.await_shell(version=version, passing=30)
    box.await_run(RECORDER, RECORDING, within_s=BOOT_S)
    box.pass_until(SYSTEM, f"slot B runs {re.escape(version)}, on trial")
    changed = box.sent
    box.pass_until(SYSTEM, f"slot B runs {re.escape(version)}, confirmed")
    box.await_run(
        "ip -color=never -brief address show dev eth0", re.escape(ADDRESS), within_s=BOOT_S
    )  # the site's own file, here too
    assert "inet" not in box.run("ip -color=never address show dev eth1")
    box.await_sealed()
    box.cut_power()
    store = box.store(tmp_path / "store")
    seen = numbers(store)

    assert list(range(box.sent)) == seen
    assert changed < box.sent
    assert [] == [row for row in verify(LinuxDisk(store)).findings if not row.segment.startswith(".")]
    assert ("B A", "1", "0") == tuple(box.slots()[name] for name in ("ORDER", "B_OK", "B_TRY"))


def test_another_kernel_waits_for_the_end_of_the_session(running: Machine, stick: Stick, tmp_path: Path) -> None:
    """While somebody is operated on, an update is written and waits, says for what, and not even a power cut starts it. When the session
    has ended the box restarts into it by itself. (S1-16)"""
    version = next_version()
    boot = another_kernel(NEXT, tmp_path)
    box = running
    box.start()
    box.ask("session start procedure", r"(?i)procedure|asked|session", within_s=120)
    box.await_run("ls /var/lib/scrubjay/session", "current", within_s=BOOT_S)
    box.plug(stick(NEXT / "root.img", boot, version))
    box.await_run(SYSTEM, f"slot B holds {re.escape(version)}, and waits for the end of the session", within_s=BOOT_S)
    box.ask("show system", "waits for the end of the session", within_s=120)
    box.cut_power()
    assert ("A B", "0") == tuple(box.slots()[name] for name in ("ORDER", "B_OK"))

    box.start()
    box.expect("scrubjay: slot A of A B", within_s=BOOT_S)
    box.await_shell()
    box.await_run(SYSTEM, f"slot B holds {re.escape(version)}, and waits for the end of the session", within_s=BOOT_S)
    box.ask("session close", r"(?i)clos|asked|session", within_s=BOOT_S)
    box.expect("scrubjay: slot B of B A", within_s=BOOT_S)
    box.await_shell()
    box.await_run(SYSTEM, f"slot B runs {re.escape(version)}, on trial", within_s=BOOT_S)


def test_a_system_that_does_not_start_is_left_by_itself(running: Machine, stick: Stick) -> None:
    """Its root is not the one its kernel proves: three starts end in the initramfs, the fourth is the former system's, which says so and
    does not take that version again. (S1-16)"""
    there(NEXT / "version")
    bad = stick(IMAGE / "root.img", NEXT / "boot.img", "9.9")
    box = running
    box.start(stick=bad)
    box.await_run(SYSTEM, "9.9 was written into slot B", within_s=BOOT_S)
    box.await_run("cat /var/lib/rauc/expected", "^B$", within_s=BOOT_S)
    box.cut_power()
    assert ("B A", "1", "0") == tuple(box.slots()[name] for name in ("ORDER", "B_OK", "B_TRY"))

    box.start(stick=bad)
    for _ in range(3):
        box.expect("scrubjay: slot B of B A", within_s=BOOT_S)
    box.expect("scrubjay: slot A of B A", within_s=BOOT_S)
    box.await_shell()
    box.await_run(SYSTEM, "9.9 is given up: slot B was to start", within_s=BOOT_S)
    box.await_run(SYSTEM, "9.9 is refused: update from stick sd[a-z]+: it was tried here", within_s=BOOT_S)


def test_one_that_is_encrypted(running: Machine, stick: Stick, tmp_path: Path) -> None:
    """Made for the certificate of this box and nobody else's: it is read, proved and written like any other. (S1-03)"""
    version = next_version()
    box = running
    box.start()
    recipient = tmp_path / "recipient.pem"
    recipient.write_text(box.run("cat /var/lib/rauc/recipient.pem") + "\n")
    plugged = stick(NEXT / "root.img", NEXT / "boot.img", version, recipients=recipient)
    box.plug(plugged)
    box.await_run(SYSTEM, f"{re.escape(version)} was written into slot B", within_s=BOOT_S)
    box.await_run("cat /var/lib/rauc/expected", "^B$", within_s=BOOT_S)
    box.cut_power()

    assert version.encode() not in plugged.read_bytes()
    assert ("B A", "1", "0") == tuple(box.slots()[name] for name in ("ORDER", "B_OK", "B_TRY"))


def test_an_update_with_another_bit(running: Machine, stick: Stick) -> None:
    """Signed and of this board, but one block of its payload is not what was signed: it is not switched to, and the box goes on."""
    plugged = stick(IMAGE / "root.img", IMAGE / "boot.img", "9.9")
    with plugged.open("r+b") as file:
        file.seek(40 << 20)  # in the middle of the root, as vfat lays one large file down
        data = file.read(4096)
        file.seek(40 << 20)
        file.write(bytes(byte ^ 1 for byte in data))
    box = running
    box.start(stick=plugged)
    box.await_run(SYSTEM, "9.9 is refused: update from stick sd[a-z]+: .*", within_s=BOOT_S)
    box.ask("show status", r"state +recording", within_s=120)
    box.cut_power()

    assert ("A B", "0") == tuple(box.slots()[name] for name in ("ORDER", "B_OK"))
