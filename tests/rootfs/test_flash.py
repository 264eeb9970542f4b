"""flash.sh and the scripts of the image, without an image: what they refuse, what they would do, what they write onto a disk."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SCRIPTS = [
    *(TOP / "tools").glob("*.sh"),
    TOP / "flash.sh",
    TOP / "rootfs/build.sh",
    TOP / "rootfs/usr/lib/scrubjay/slots",
    TOP / "rootfs/usr/lib/scrubjay/initramfs/init",
]
MIB = 1 << 20
NEEDED = [
    name
    for name in ("losetup", "lsblk", "sgdisk", "mkfs.ext4")
    if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
]
needs_disks = pytest.mark.skipif(
    os.geteuid() != 0 or bool(NEEDED) or not Path("/dev/loop-control").exists(),
    reason=f"needs root, loop devices and {', '.join(NEEDED) or 'their tools'} (tools/image-setup.sh)",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """flash.sh beside a small image: 16 MiB, six partitions, noise in each of them."""
    shutil.copy(TOP / "flash.sh", tmp_path / "flash.sh")
    out = tmp_path / "build/image/amd64"
    out.mkdir(parents=True)
    (out / "disk.img").write_bytes(bytes(MIB) + b"".join(hashlib.sha256(bytes([n])).digest() * (MIB // 32) for n in range(15)))
    return tmp_path


def flash(checkout: Path, *words: str, instead: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """instead: a directory with programs that are to be found before this machine's."""
    first = f"{instead}:" if instead is not None else ""
    environment = {**os.environ, "PATH": f"{first}{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C"}
    return subprocess.run(
        ["bash", str(checkout / "flash.sh"), *words], capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL, env=environment,
    )  # fmt: skip


@contextmanager
def disk(path: Path, size: int, *words: str) -> Iterator[Path]:
    """A disk that is a file, filled with what is certainly not the image."""
    path.write_bytes(b"\xa5" * size)
    device = subprocess.run(
        ["losetup", "--find", "--show", *words, str(path)], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_reads(script: Path) -> None:
    """Every script is one to its own shell, and stops at the first failure where that is what it should do."""
    shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"
    found = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)

    assert (0, "") == (found.returncode, found.stderr)
    assert shell == "sh" or "set -euo pipefail" in script.read_text()


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        (("image",), ["tools/image-setup.sh amd64", "rootfs/build.sh --arch amd64", "tools/bundle.sh --arch amd64"]),
        (("qemu",), ["tools/boot.sh --arch amd64"]),
        (
            ("--arch", "arm64", "image"),
            [f"{step} arm64" for step in ("tools/image-setup.sh", "rootfs/build.sh --arch", "tools/bundle.sh --arch")],
        ),
        (("--arch", "arm64", "qemu"), ["tools/boot.sh --arch arm64"]),
        (("card", "/dev/null"), ["dd if=build/image/amd64/disk.img of=/dev/null", "sgdisk --move-second-header /dev/null"]),
        (("board", "root@10.0.0.9:/dev/mmcblk0"), ["ssh root@10.0.0.9", "zstd -q -T0 -c build/image/amd64/disk.img"]),
        (("usb", "."), ["install -D -m 644 build/image/amd64/update.raucb ./scrubjay/update-amd64.raucb"]),
        (("test",), ["make image-test"]),
    ],
)
def test_dry_run_prints_and_does_nothing(checkout: Path, words: tuple[str, ...], commands: list[str]) -> None:
    """Each verb shows the commands it would run, in their order, and runs none: none of the tools it names is even there."""
    before = {path: path.stat().st_mtime_ns for path in checkout.rglob("*")}
    answer = flash(checkout, "--dry-run", *words)

    assert 0 == answer.returncode, answer.stderr
    shown = [line.replace("\\", "") for line in answer.stderr.splitlines() if line.startswith("+ ")]
    assert len(commands) <= len(shown)
    for command, line in zip(commands, shown, strict=False):
        assert command in line
    assert before == {path: path.stat().st_mtime_ns for path in checkout.rglob("*")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "./flash.sh card DEV"),
        (("paint",), "./flash.sh card DEV"),
        (("card",), "expected a disk"),
        (("card", "/dev/null"), "expected a block device such as /dev/sdb, /dev/null is none"),
        (("usb", "/no/stick"), "expected the directory of a mounted stick, got /no/stick"),
        (("board", "root@10.0.0.9"), "expected USER@HOST:DEV"),
    ],
)
def test_refuses_what_is_no_target(checkout: Path, words: tuple[str, ...], said: str) -> None:
    """What was expected is said, and the status is not 0."""
    answer = flash(checkout, *words)

    assert answer.returncode != 0
    assert said in answer.stdout + answer.stderr


@needs_disks
def test_writes_a_free_disk_and_reads_it_back(checkout: Path) -> None:
    """What is on the disk is the image; the data partition takes the rest of the disk and begins where it began."""
    image = checkout / "build/image/amd64/disk.img"
    rows = [f"-n{n}:0:+1M" for n in range(1, 6)]
    subprocess.run(["sgdisk", "--clear", *rows, "-n6:0:0", "-c6:data", str(image)], capture_output=True, check=True)
    with disk(checkout / "card", 32 * MIB) as device:
        answer = flash(checkout, "card", str(device))
        table = subprocess.run(["sgdisk", "-v", "-i", "6", str(device)], capture_output=True, text=True, check=True).stdout

    assert 0 == answer.returncode, answer.stderr
    assert f"verified: {device} holds build/image/amd64/disk.img" in answer.stderr
    assert "No problems found" in table
    assert "First sector: 12288 " in table and "Partition name: 'data'" in table
    assert "Last sector: 65502 " in table  # 32 MiB, less the table at the end
    written, made = (checkout / "card").read_bytes(), image.read_bytes()
    assert made[MIB : 16 * MIB - 17_408] == written[MIB : 16 * MIB - 17_408]


@needs_disks
def test_refuses_a_disk_that_is_used(checkout: Path) -> None:
    """Mounted, read-only or too small: not one byte of it is touched, and the reason is said."""
    place = checkout / "mounted"
    place.mkdir()
    with disk(checkout / "used", 20 * MIB) as device:
        subprocess.run(["mkfs.ext4", "-q", "-F", str(device)], check=True)
        subprocess.run(["mount", str(device), str(place)], check=True)
        try:
            (place / "precious").write_text("data")
            answer = flash(checkout, "card", str(device))
            assert answer.returncode != 0
            assert f"{device} is mounted: {place}" in answer.stderr
            assert "data" == (place / "precious").read_text()
        finally:
            subprocess.run(["umount", str(place)], check=True)
    for size, words, said in (
        (20 * MIB, ("--read-only",), "is read-only"),
        (8 * MIB, (), "expected at least 16 MiB"),
    ):
        with disk(checkout / "other", size, *words) as device:
            answer = flash(checkout, "card", str(device))
        assert answer.returncode != 0
        assert said in answer.stderr
        assert b"\xa5" * size == (checkout / "other").read_bytes()


def program(place: Path, name: str, *lines: str) -> Path:
    """A program of this name."""
    place.mkdir(exist_ok=True)
    (place / name).write_text("\n".join(("#!/bin/sh", *lines, "")))
    (place / name).chmod(0o755)
    return place


AT_HAND = ('shift; exec sh -c "$*"',)  # ssh to a board that is this machine
OLD = (  # lsblk of util-linux 2.36, of a disk with a partition that is mounted
    'case "$*" in *MOUNTPOINTS*) echo "lsblk: unknown column: MOUNTPOINTS" >&2; exit 1 ;;',
    "*MOUNTPOINT*) printf '\\n/precious\\n' ;;",
    f'*) exec {shutil.which("lsblk")} "$@" ;; esac',
)
DUMB = ("exit 1",)  # none at all, or one that knows no columns


@needs_disks
@pytest.mark.parametrize("lsblk", [OLD, DUMB], ids=["old", "dumb"])
@pytest.mark.parametrize("verb", ["card", "board"])
def test_refuses_a_disk_of_which_it_is_not_told_that_it_is_free(checkout: Path, verb: str, lsblk: tuple[str, ...]) -> None:
    """An lsblk that knows no MOUNTPOINTS, here or on the board: the disk is as it was."""
    program(checkout / "bin", "lsblk", *lsblk)
    program(checkout / "bin", "ssh", *AT_HAND)
    with disk(checkout / "used", 20 * MIB) as device:
        answer = flash(checkout, verb, f"root@board:{device}" if verb == "board" else str(device), instead=checkout / "bin")

    assert answer.returncode != 0
    assert "nobody uses" in answer.stderr or "expected lsblk to say" in answer.stderr or "whole disk" in answer.stderr
    assert b"\xa5" * 20 * MIB == (checkout / "used").read_bytes()


@needs_disks
@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd")
def test_a_board_gets_what_a_card_gets(checkout: Path) -> None:
    """The image, and a data partition that takes the rest of the disk; one that is too small, or a board without the tools: not one byte."""
    image = checkout / "build/image/amd64/disk.img"
    rows = [f"-n{n}:0:+1M" for n in range(1, 6)]
    subprocess.run(["sgdisk", "--clear", *rows, "-n6:0:0", "-c6:data", str(image)], capture_output=True, check=True)
    program(checkout / "bin", "ssh", *AT_HAND)
    with disk(checkout / "board", 32 * MIB) as device:
        answer = flash(checkout, "board", f"root@board:{device}", instead=checkout / "bin")
        table = subprocess.run(["sgdisk", "-v", "-i", "6", str(device)], capture_output=True, text=True, check=True).stdout
    with disk(checkout / "small", 8 * MIB) as device:
        small = flash(checkout, "board", f"root@board:{device}", instead=checkout / "bin")

    assert 0 == answer.returncode, answer.stderr
    assert "No problems found" in table
    assert "First sector: 12288 " in table and "Last sector: 65502 " in table and "Partition name: 'data'" in table
    assert small.returncode != 0 and "of at least 16 MiB" in small.stderr
    assert b"\xa5" * 8 * MIB == (checkout / "small").read_bytes()


@needs_disks
@pytest.mark.parametrize("kind", ["part", "lvm"])
def test_a_board_keeps_what_is_no_whole_disk_or_is_built_upon(checkout: Path, kind: str) -> None:
    """As `card` does: a partition is named for its disk, or the disk is a volume's, which is mounted nowhere: not one byte, and it is said."""
    shown = "part" if kind == "part" else "disk part lvm"
    program(checkout / "bin", "lsblk", f'case "$*" in *TYPE*) printf "%s\\n" {shown} ;; *) echo ;; esac')
    program(checkout / "bin", "ssh", *AT_HAND)
    with disk(checkout / "used", 20 * MIB) as device:
        answer = flash(checkout, "board", f"root@board:{device}", instead=checkout / "bin")

    assert answer.returncode != 0
    assert "whole disk nobody uses" in answer.stderr
    assert b"\xa5" * 20 * MIB == (checkout / "used").read_bytes()


@needs_disks
def test_refuses_a_part_of_a_disk(checkout: Path) -> None:
    """A partition is not a disk: the boot loader would not be where the firmware looks."""
    found = subprocess.run(["lsblk", "-nrpo", "PATH,TYPE"], capture_output=True, text=True, check=True).stdout.split()
    parts = [path for path, kind in zip(found[::2], found[1::2], strict=False) if kind == "part"]
    with disk(checkout / "card", 20 * MIB) as device:
        subprocess.run(["sgdisk", "-n1:0:0", str(device)], capture_output=True, check=True)
        subprocess.run(["partx", "--add", str(device)], capture_output=True, check=False)
        part = Path(f"{device}p1")
        parts = [str(part)] if part.exists() else parts
        if not parts:
            pytest.skip("this kernel shows no partitions of a loop device, and this machine has none")
        answer = flash(checkout, "card", parts[0])
        subprocess.run(["partx", "--delete", str(device)], capture_output=True, check=False)

    assert answer.returncode != 0
    assert "expected a whole disk" in answer.stderr


def test_a_disk_that_gives_back_something_else(checkout: Path) -> None:
    """A card that claims more than it is loses what was written to it; reading back finds it."""
    script = (
        'set -euo pipefail; out=build/image/amd64; say() { echo "$*" >&2; }; fail() { say "$*"; exit 1; }\n'
        + "same_as_written() {" + (checkout / "flash.sh").read_text().split("same_as_written() {")[1].split("\n}\n")[0] + "\n}\n"
        + 'same_as_written "$1"'
    )  # fmt: skip
    target = checkout / "build/image/other.img"
    target.write_bytes((checkout / "build/image/amd64/disk.img").read_bytes())
    good = subprocess.run(["bash", "-c", script, "x", str(target)], cwd=checkout, capture_output=True, text=True, check=False)
    data = bytearray(target.read_bytes())
    data[9 * MIB] ^= 1
    target.write_bytes(data)
    bad = subprocess.run(["bash", "-c", script, "x", str(target)], cwd=checkout, capture_output=True, text=True, check=False)

    assert (0, True) == (good.returncode, "verified" in good.stderr)
    assert (1, True) == (bad.returncode, "do not use it" in bad.stderr)
