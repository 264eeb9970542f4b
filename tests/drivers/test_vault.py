"""The vault's contract, on the real one and the simulated one; and what only a real disk can show: that nothing plain lies on it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from drivers.disk import Disk
from drivers.errors import DiskFailed, VaultShut
from drivers.linux.disk import LinuxDisk
from drivers.linux.vault import KEY_BYTES, LinuxVault
from drivers.vault import Vault, VaultState
from simulator.disk import SimulatedDisk
from simulator.vault import SimulatedVault

SECRET = b"Quillfeather, Alma *1931-02-03"


@dataclass
class Safe:
    """A vault and how to reach what it holds. lock: as after a start of the machine. other: the same store with another key."""

    vault: Vault
    disk: Callable[[], Disk]
    lock: Callable[[], None]
    other: Callable[[], Vault]
    raw: Callable[[], bytes] = bytes


def _simulated() -> Iterator[Safe]:
    disk = SimulatedDisk()
    vault = SimulatedVault(disk)

    def lock() -> None:
        vault.is_open = False

    def other() -> Vault:
        made = SimulatedVault(disk, b"another")
        made.store_key = vault.store_key
        return made

    yield Safe(vault, lambda: disk, lock, other)


def _real(place: Path) -> Iterator[Safe]:
    image, mount, key = place / "image", place / "mnt", place / "key"
    mount.mkdir()
    key.write_bytes(os.urandom(KEY_BYTES))
    with image.open("wb") as file:
        file.truncate(32 << 20)

    def run(*words: str) -> None:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": path}, check=False)
        if done.returncode:
            raise OSError(f"{words[0]}: {done.stderr.strip()}")

    try:
        run("mkfs.ext4", "-q", "-O", "encrypt", str(image))
        run("mount", "-o", "loop", str(image), str(mount))
    except OSError as problem:
        pytest.skip(f"no file system that encrypts can be made and mounted here: {problem}")
    held: list[LinuxDisk] = []

    def disk() -> Disk:
        held.append(LinuxDisk(mount / "store"))
        return held[-1]

    def let_go() -> None:
        while held:
            held.pop().close()

    def lock() -> None:
        let_go()
        run("umount", str(mount))
        run("mount", "-o", "loop", str(image), str(mount))

    def other() -> Vault:
        (place / "other").write_bytes(os.urandom(KEY_BYTES))
        return LinuxVault(mount / "store", place / "other")

    def raw() -> bytes:
        os.sync()
        return image.read_bytes()

    class Careful(LinuxVault):
        """The test's own disks would keep the store open."""

        def destroy(self) -> bool:
            let_go()
            return super().destroy()

    try:
        yield Safe(Careful(mount / "store", key), disk, lock, other, raw)
    finally:
        let_go()
        run("umount", str(mount))


@pytest.fixture(params=["linux", "simulated"])
def safe(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Safe]:
    yield from _real(tmp_path) if request.param == "linux" else _simulated()


def test_an_empty_store_becomes_encrypted(safe: Safe) -> None:
    """Opened once it is encrypted for good; whoever reads it sees plain files; opening again changes nothing."""
    before = safe.vault.state()
    safe.vault.open()
    safe.disk().write("name", SECRET)
    safe.vault.open()

    assert (VaultState.PLAIN, VaultState.OPEN) == (before, safe.vault.state())
    assert SECRET == safe.disk().read("name")


def test_locked_until_opened(safe: Safe) -> None:
    """After a start of the machine it is locked; with its key it opens, with another it does not and stays as it was."""
    safe.vault.open()
    safe.disk().write("name", SECRET)
    safe.lock()
    assert VaultState.LOCKED == safe.vault.state()
    with pytest.raises(VaultShut, match="another's"):
        safe.other().open()
    assert VaultState.LOCKED == safe.vault.state()
    safe.vault.open()

    assert SECRET == safe.disk().read("name")


def test_destroyed_is_destroyed(safe: Safe) -> None:
    """Without the key nothing is read, and it cannot be opened again. (S2-094)"""
    safe.vault.open()
    disk = safe.disk()
    disk.write("name", SECRET)
    disk.sync("name")

    assert safe.vault.destroy()
    assert VaultState.LOCKED == safe.vault.state()
    with pytest.raises(VaultShut, match="there is none"):
        safe.vault.open()
    with pytest.raises(DiskFailed):
        safe.disk().write("another", b"x")
    assert safe.vault.destroy(), "twice is as good as once"


def test_plain_files_stay_plain(safe: Safe) -> None:
    """A store that already holds plain files is refused, not half encrypted."""
    safe.disk().write("name", SECRET)
    with pytest.raises(VaultShut, match="plain files"):
        safe.vault.open()

    assert VaultState.PLAIN == safe.vault.state()
    assert SECRET == safe.disk().read("name")


@pytest.mark.parametrize("safe", ["linux"], indirect=True)
def test_nothing_plain_lies_on_the_disk(safe: Safe) -> None:
    """Neither contents nor names are found in the raw bytes of the file system; before it was encrypted they are."""
    disk = safe.disk()
    disk.write("Quillfeather-plain", SECRET)
    disk.sync("Quillfeather-plain")
    assert SECRET in safe.raw()
    disk.write("Quillfeather-plain", bytes(len(SECRET)))
    disk.remove("Quillfeather-plain")
    before = safe.raw().count(b"Quillfeather")
    safe.vault.open()
    disk = safe.disk()
    disk.mkdir("segments/Quillfeather")
    disk.write("segments/Quillfeather/name", SECRET * 1000)
    disk.sync("segments/Quillfeather/name")
    disk.sync_dir("segments/Quillfeather")

    assert before == safe.raw().count(b"Quillfeather")


def test_a_file_system_that_does_not_encrypt(tmp_path: Path) -> None:
    """It is said what is missing, and the store stays plain."""
    (tmp_path / "key").write_bytes(bytes(KEY_BYTES))
    (tmp_path / "short").write_bytes(bytes(10))
    with pytest.raises(VaultShut, match="64 bytes"):
        LinuxVault(tmp_path / "store", tmp_path / "short").open()
    if not Path("/dev/shm").is_dir():
        pytest.skip("no tmpfs, which does not encrypt")
    with TemporaryDirectory(dir="/dev/shm") as memory:
        vault = LinuxVault(Path(memory) / "store", tmp_path / "key")
        with pytest.raises(VaultShut, match="feature `encrypt`"):
            vault.open()

        assert VaultState.PLAIN == vault.state()
