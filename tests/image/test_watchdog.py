"""What hangs is restarted: by the board's own watchdog, or by the kernel's where the board has none."""

from pathlib import Path

import pytest
from machine import BOOT_S, Machine

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]
# Above everybody, on every processor, for ever: nothing of userspace and no thread of the kernel has its turn any more. Since Linux 6.12 the
# rest is given a twentieth all the same (fair_server), in which systemd may answer in time: that is taken away first.
HOG = (
    "mount -t debugfs none /sys/kernel/debug; for each in /sys/kernel/debug/sched/fair_server/cpu*/runtime; do echo 0 >$each; done; "
    "echo -1 >/proc/sys/kernel/sched_rt_runtime_us; for n in 1 2 3 4; do chrt -f 99 sh -c 'while :; do :; done' & done"
)


def test_a_userspace_that_hangs(running: Machine) -> None:
    """systemd itself is at its end, and stands still: the watchdog of the board starts the box again, and it records."""
    box = running
    box.start()
    assert "Software" not in box.run("cat /sys/class/watchdog/watchdog0/identity")
    box.run("kill -SEGV 1")
    box.expect("scrubjay: slot A of A B", within_s=BOOT_S)
    box.ask("show status", r"state +recording", within_s=BOOT_S)


def test_a_machine_that_hangs_and_has_no_watchdog(opened: Path, tmp_path: Path) -> None:
    """The kernel's own, from the initramfs on: it needs a timer's interrupt and nothing else."""
    box = Machine(opened, tmp_path, has_watchdog=False)
    try:
        box.start()
        box.expect("scrubjay: watchdog: Software Watchdog, active", within_s=BOOT_S)
        box.await_shell()
        box.await_run("cat /sys/class/watchdog/watchdog0/timeout", "^60$", within_s=BOOT_S)  # systemd has come to it
        box.shell.type(HOG)
        box.expect("scrubjay: slot A of A B", within_s=BOOT_S)
    finally:
        box.cut_power()
