"""What the tests of the image stand on: a built image, its signed update, and QEMU to run it. `make image-test` makes all three.

A start is minutes of emulation. So one box is started once, watched until it has confirmed its system, and put to sleep as it is, memory
and disk; whoever needs no start of its own wakes up from that (`running`), each on a copy-on-write disk of its own. It is kept for the
next call in the directory SCRUBJAY_SLEEPING, if that is set; whoever builds another image empties it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE))  # `machine` is the tests' own; no package is made of them

from machine import BOOT_S, FIRMWARE, FROZEN_DISK, U_BOOT, Machine, sectors  # noqa: E402

IMAGE = TOP / "build/image/amd64"
SCRIPT_HEAD = 64 + 8  # of U-Boot's script image: its header, and the size of the one text in it
ARM64 = TOP / "build/image/arm64"
NEXT = TOP / "build/image/next"  # the same source under a later version: what is exchanged is whole, what is different is known
NEXT_ARM64 = TOP / "build/image/next-arm64"
SYSTEM = "cat /var/lib/scrubjay/state/system"
RECORDER, RECORDING = "cat /var/lib/scrubjay/state/capture.json", '"state": ?"recording"'
# Confirmation waits for a sealed segment. Emulation takes more of a processor than a version may, and longer.
SETTINGS = """
[capture]
interface = "eth1"
segment_s = 60
[console]
device = "/dev/ttyS0"
[update]
trial_s = 30
cpu_percent_max = 400
switch_s_max = 3600
"""
# A site's own, for each port the box has; the one that listens gets nothing of it.
ADDRESS = "192.0.2.7/24"
NETWORK = f"[Match]\nName=eth*\n[Network]\nDHCP=yes\nAddress={ADDRESS}\n"


def there(*paths: Path) -> None:
    """Fails the test where something is missing that `make image-test` makes."""
    missing = next((str(path) for path in paths if not path.exists()), None)
    if missing or shutil.which("qemu-system-x86_64") is None:
        pytest.fail(
            f"expected a built image and QEMU (make image-test brings both), {missing or 'qemu-system-x86_64'} is missing"
        )


def there_for_arm64() -> None:
    """Skips the test where there is no arm64 image, or no QEMU for it."""
    if shutil.which("qemu-system-aarch64") is None or not (ARM64 / "disk.img").exists() or not U_BOOT.exists():
        pytest.skip("needs the arm64 image and qemu-system-aarch64 (./flash.sh --arch arm64 image brings both)")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A box with the image as it is flashed, switched off; its power is cut at the end."""
    there(IMAGE / "disk.img", FIRMWARE)
    made = Machine(IMAGE / "disk.img", tmp_path)
    yield made
    made.cut_power()


@pytest.fixture(scope="session")
def sleeping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the box that all wake up from lies."""
    place = Path(os.environ.get("SCRUBJAY_SLEEPING") or tmp_path_factory.mktemp("sleeping"))
    place.mkdir(exist_ok=True)
    return place


def another_kernel(image: Path, into: Path) -> Path:
    """Its boot slot with a kernel that is another one as far as a box can tell, and that starts; made in that directory."""
    boot, kernel = into / "boot.img", into / "vmlinuz"
    _run("cp", "--sparse=always", str(image / "boot.img"), str(boot))
    kernel.write_bytes((image / "vmlinuz").read_bytes() + bytes(512))
    for request in ("rm vmlinuz", f"write {kernel} vmlinuz"):
        _run("debugfs", "-w", "-R", request, str(boot))
    return boot


def _opened(image: Path, place: Path, say: Callable[[str, Path], None], console: str) -> Path:
    """The image with a test's settings, and root's shell on the second serial line: both are what whoever has the card in hand can do.
    say: to the boot loader on that partition, what the kernel is told more; with a directory for files."""
    disk, settings, network = place / "disk.img", place / "scrubjay.toml", place / "site.network"
    if disk.exists():
        return disk
    _run("cp", "--sparse=always", str(image / "disk.img"), str(disk))
    say(f"{disk}@@{sectors(disk, 1)[0] * 512}", place)
    settings.write_text(SETTINGS.replace("ttyS0", console))
    network.write_text(NETWORK)
    data = f"{disk}?offset={sectors(disk, 6)[0] * 512}"
    laid = (f"write {settings} etc/scrubjay.toml", f"write {network} etc/network/site.network")
    for request in ("mkdir etc", "mkdir etc/network", *laid):
        _run("debugfs", "-w", "-R", request, data)
    return disk


def _say_to_grub(esp: str, place: Path) -> None:
    config = place / "grub.cfg"
    _run("mcopy", "-i", esp, "::/scrubjay/grub.cfg", str(config))
    # An emulated processor's counter is as good as its host's; left to doubt it, the kernel asks an emulated chip for each time of day.
    config.write_text(config.read_text().replace(" quiet ", " quiet systemd.debug_shell=ttyS1 tsc=reliable "))
    _run("mcopy", "-o", "-i", esp, str(config), "::/scrubjay/grub.cfg")


def _say_to_u_boot(esp: str, place: Path) -> None:
    script, text = place / "boot.scr", place / "boot.cmd"
    _run("mcopy", "-i", esp, "::/boot.scr", str(script))
    # An emulated processor guesses nothing: what the kernel does at each entry so that a guess betrays nothing is only work.
    text.write_bytes(script.read_bytes()[SCRIPT_HEAD:].replace(b" quiet ", b" quiet systemd.debug_shell=ttyS0 mitigations=off "))
    _run("mkimage", "-A", "arm64", "-T", "script", "-d", str(text), str(script))
    _run("mcopy", "-o", "-i", esp, str(script), "::/boot.scr")


def _frozen(first: Machine, into: Path) -> Path:
    """A box that records and has confirmed its system, asleep."""
    if (into / FROZEN_DISK).exists():
        return into
    try:
        first.start()
        first.await_shell()
        first.await_run(SYSTEM, "slot A runs .*, confirmed", within_s=BOOT_S)
        first.freeze(into)
    finally:
        first.cut_power()
    return into


@pytest.fixture(scope="session")
def opened(sleeping: Path) -> Path:
    """The image with a test's settings and root's shell."""
    there(IMAGE / "disk.img", FIRMWARE)
    return _opened(IMAGE, sleeping, _say_to_grub, "ttyS0")


@pytest.fixture(scope="session")
def frozen(sleeping: Path, opened: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box that records and has confirmed its system, asleep."""
    return _frozen(Machine(opened, tmp_path_factory.mktemp("first")), sleeping)


@pytest.fixture
def running(opened: Path, frozen: Path, tmp_path: Path) -> Iterator[Machine]:
    """A box that records, with root's shell; it wakes up when it is started."""
    made = Machine(opened, tmp_path, frozen)
    yield made
    made.cut_power()


@pytest.fixture
def arm64(tmp_path: Path) -> Iterator[Machine]:
    """The same as `machine` for the arm64 image, which `make image-test` does not make (make image-test-arm64 does)."""
    there_for_arm64()
    made = Machine(ARM64 / "disk.img", tmp_path, arch="arm64")
    yield made
    made.cut_power()


@pytest.fixture(scope="session")
def opened_arm64(sleeping: Path) -> Path:
    """As `opened`, of arm64."""
    there_for_arm64()
    place = sleeping / "arm64"
    place.mkdir(exist_ok=True)
    return _opened(ARM64, place, _say_to_u_boot, "ttyAMA0")


@pytest.fixture
def running_arm64(opened_arm64: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """As `running`, of arm64."""
    first = Machine(opened_arm64, tmp_path_factory.mktemp("first"), arch="arm64")
    made = Machine(opened_arm64, tmp_path, _frozen(first, opened_arm64.parent), arch="arm64")
    yield made
    made.cut_power()


@pytest.fixture
def stick(tmp_path: Path) -> Iterator["object"]:
    """Makes a USB stick with an update on it: `stick(root.img, boot.img, version)`, signed by the development keys.

    purpose: what it is signed as beyond an update. recipients: certificates of the boxes it is encrypted for.
    """

    def made(
        root: Path, boot: Path, version: str, *, arch: str = "amd64", purpose: str = "", recipients: Path | None = None
    ) -> Path:
        there(root, boot)
        place = tmp_path / "from"
        place.mkdir()
        (place / "root.img").symlink_to(root)
        (place / "boot.img").symlink_to(boot)
        (place / "version").write_text(version)
        bundle, image = tmp_path / "update.raucb", tmp_path / "stick.img"
        signed_as = [f"--{purpose}"] if purpose else []
        signed_as += ["--for", str(recipients)] if recipients is not None else []
        _run(str(TOP / "tools/bundle.sh"), "--arch", arch, "--from", str(place), "--to", str(bundle), *signed_as)
        with image.open("wb") as file:
            file.truncate(300 << 20)
        _run("mkfs.vfat", "-n", "UPDATE", str(image))
        _run("mmd", "-i", str(image), "::/scrubjay")
        _run("mcopy", "-i", str(image), str(bundle), f"::/scrubjay/update-{arch}.raucb")
        return image

    yield made


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
