"""Which slot U-Boot starts, by the script and the environment of the built arm64 image. Its boot slots are emptied, so that each start
ends at once where Linux would begin: what is seen is the boot loader alone, as the board has it."""

import re
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ARM64

UBOOT_BYTES = 0x4000
pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("qemu-system-aarch64") is None or not (ARM64 / "disk.img").exists(),
        reason="needs the arm64 image and qemu-system-aarch64 (./flash.sh --arch arm64 image brings both)",
    ),
]
ESP_BYTE, BOOT_A_MIB, BOOTS_MIB = 1 << 20, 33, 128  # rootfs/build.sh: esp from 1 MiB, then the two boot slots


def environment(**values: str) -> bytes:
    """As U-Boot and libubootenv read it: CRC-32 of what follows, little-endian, then name=value, each ended by a zero byte."""
    data = b"".join(f"{name}={value}".encode() + b"\0" for name, value in values.items()).ljust(UBOOT_BYTES - 4, b"\0")
    return zlib.crc32(data).to_bytes(4, "little") + data


DAMAGED = b"\1" + environment(BOOT_ORDER="B A", BOOT_A_LEFT="3", BOOT_B_LEFT="3")[1:]


@dataclass(frozen=True)
class Board:
    """A board with the image's disk, whose boot slots hold nothing."""

    disk: Path
    place: Path

    def lay(self, name: str, data: bytes) -> None:
        """A file onto the partition of the boot loader."""
        file = self.place / "file"
        file.write_bytes(data)
        subprocess.run(["mcopy", "-o", "-i", f"{self.disk}@@{ESP_BYTE}", str(file), f"::/{name}"], check=True)

    def laid(self, name: str) -> dict[str, str]:
        """An environment on it, which is whole."""
        words = ["mcopy", "-i", f"{self.disk}@@{ESP_BYTE}", f"::/{name}", "-"]
        data = subprocess.run(words, check=True, capture_output=True).stdout
        assert UBOOT_BYTES == len(data)
        assert zlib.crc32(data[4:]) == int.from_bytes(data[:4], "little")
        return dict(line.decode().split("=", 1) for line in data[4:].split(b"\0\0")[0].split(b"\0"))

    def start(self) -> tuple[str, str, str, str, str]:
        """Power on, until it restarts itself: slot, order, tries left of A and of B, and the file this came from."""
        said = subprocess.run(
            [
                "qemu-system-aarch64", "-accel", "tcg", "-cpu", "cortex-a76", "-M", "virt", "-m", "512", "-bios", str(ARM64 / "u-boot.bin"),
                "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-drive", f"file={self.disk},if=virtio,format=raw",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=600,
        ).stdout.decode(errors="replace")  # fmt: skip
        found = re.search(r"scrubjay: slot (\w) of ([AB ]+) \(A left=(\d+), B left=(\d+), ([a-z.]*)\)", said)
        assert found is not None, said
        assert f"scrubjay: slot {found[1]} has no kernel that starts" in said
        return found[1], found[2], found[3], found[4], found[5]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    disk = tmp_path / "disk.img"
    subprocess.run(["cp", "--sparse=always", str(ARM64 / "disk.img"), str(disk)], check=True)
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={disk}", "bs=1M", f"seek={BOOT_A_MIB}", f"count={BOOTS_MIB}", "conv=notrunc", "status=none"], check=True
    )  # fmt: skip
    return Board(disk, tmp_path)


def test_three_tries_then_the_other_slot_and_never_dark(board: Board) -> None:
    """As RAUC leaves it after an update: the new slot has its tries, then the former system starts; with no try left anywhere counting
    begins again. What is counted is on the disk before Linux starts, with its checksum. (S1-16)"""
    board.lay("uboot.env", environment(BOOT_ORDER="B A", BOOT_A_LEFT="1", BOOT_B_LEFT="2", other="kept by nobody"))
    seen = [board.start() for _ in range(4)]

    assert [("B", "1", "1"), ("B", "1", "0"), ("A", "0", "0"), ("B", "3", "2")] == [(row[0], row[2], row[3]) for row in seen]
    assert {("B A", "uboot.env")} == {(row[1], row[4]) for row in seen}
    assert {"BOOT_ORDER": "B A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "2"} == board.laid("uboot.env")


def test_a_slot_that_was_marked_bad_is_not_started(board: Board) -> None:
    """It is not in the order any more, and is not tried when counting begins again; so is the slot that a new disk has nothing in."""
    assert {"BOOT_ORDER": "A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "0"} == board.laid("uboot.env")
    board.lay("uboot.env", environment(BOOT_ORDER="A", BOOT_A_LEFT="0", BOOT_B_LEFT="3"))

    assert ("A", "A", "2", "3", "uboot.env") == board.start()


@pytest.mark.parametrize("damaged", [DAMAGED, DAMAGED[:100], b""], ids=["other bit", "cut", "empty"])
def test_a_damaged_environment(board: Board, damaged: bytes) -> None:
    """The power went while it was written: the copy of the last confirmation counts, and from the next start on a whole one is there again.
    With no copy either, both slots are tried in their turn."""
    board.lay("uboot.env", damaged)
    board.lay("uboot.env.good", environment(BOOT_ORDER="B A", BOOT_A_LEFT="3", BOOT_B_LEFT="3"))
    assert ("B", "B A", "3", "2", "uboot.env.good") == board.start()
    assert {"BOOT_ORDER": "B A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "2"} == board.laid("uboot.env")

    board.lay("uboot.env", damaged)
    board.lay("uboot.env.good", damaged)
    assert ("A", "A B", "2", "3", "") == board.start()
