"""What the tests of the image stand on: a built image, its signed update, and QEMU to run it. `make image-test` makes all three."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE))  # `machine` is the tests' own; no package is made of them

IMAGE = TOP / "build/image/amd64"
NEXT = TOP / "build/image/next"  # the same source under a later version: what is exchanged is whole, what is different is known


def there(*paths: Path) -> None:
    """Fails the test where something is missing that `make image-test` makes."""
    missing = next((str(path) for path in paths if not path.exists()), None)
    if missing or shutil.which("qemu-system-x86_64") is None:
        pytest.fail(
            f"expected a built image and QEMU (make image-test brings both), {missing or 'qemu-system-x86_64'} is missing"
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator["object"]:
    """A box with a disk of its own, switched off; its power is cut at the end."""
    from machine import FIRMWARE, Machine

    there(IMAGE / "disk.img", FIRMWARE)
    subprocess.run(["cp", "--sparse=always", str(IMAGE / "disk.img"), str(tmp_path / "disk.img")], check=True)
    made = Machine(tmp_path / "disk.img", tmp_path)
    yield made
    made.cut_power()


@pytest.fixture
def stick(tmp_path: Path) -> Iterator["object"]:
    """Makes a USB stick with an update on it: `stick(root.img, boot.img, version)`, signed by the development keys."""

    def made(root: Path, boot: Path, version: str, *, arch: str = "amd64", purpose: str = "") -> Path:
        there(root, boot)
        place = tmp_path / "from"
        place.mkdir()
        (place / "root.img").symlink_to(root)
        (place / "boot.img").symlink_to(boot)
        (place / "version").write_text(version)
        bundle, image = tmp_path / "update.raucb", tmp_path / "stick.img"
        command = [str(TOP / "tools/bundle.sh"), "--arch", arch, "--from", str(place), "--to", str(bundle)]
        subprocess.run([*command, *([f"--{purpose}"] if purpose else [])], check=True, capture_output=True)
        with image.open("wb") as file:
            file.truncate(300 << 20)
        subprocess.run(["mkfs.vfat", "-n", "UPDATE", str(image)], check=True, capture_output=True)
        subprocess.run(["mmd", "-i", str(image), "::/scrubjay"], check=True)
        subprocess.run(["mcopy", "-i", str(image), str(bundle), "::/scrubjay/update-amd64.raucb"], check=True)
        return image

    yield made
