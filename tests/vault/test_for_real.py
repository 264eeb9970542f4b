"""`scrubjay vault` on a real file system that encrypts: opened, recorded into, read as it lies, stolen, erased."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from drivers.linux.disk import LinuxDisk
from drivers.linux.identity import LinuxIdentity, introduce
from drivers.linux.vault import LinuxVault
from drivers.vault import VaultState
from firmware.core import receipt
from simulator.board import SimulatedBoard
from simulator.written_store import frame, write_segment

pytestmark = pytest.mark.lab
SECRET = b"Quillfeather, Alma *1931-02-03"


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return subprocess.run(words, capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": path}, check=False)


def scrubjay(*words: str) -> "subprocess.CompletedProcess[str]":
    return run(sys.executable, "-m", "firmware.cli", *words)


@pytest.fixture
def partition(tmp_path: Path) -> Iterator[Path]:
    """The data partition of a box, mounted; its image is beside it."""
    image, mount = tmp_path / "image", tmp_path / "data"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    for words in (["mkfs.ext4", "-q", "-O", "encrypt", str(image)], ["mount", "-o", "loop", str(image), str(mount)]):
        try:
            done = run(*words)
        except OSError as problem:
            pytest.skip(f"no file system that encrypts can be made here: {problem}")
        if done.returncode:
            pytest.skip(f"no file system that encrypts can be made and mounted here: {done.stderr.strip()}")
    yield mount
    assert 0 == run("umount", str(mount)).returncode


def test_the_life_of_an_encrypted_store(partition: Path, tmp_path: Path) -> None:
    """Readable as it lies while open; nothing plain on the disk; erased with a receipt by a person who types the name. (S2-094)"""
    root, key, kept = partition / "store", tmp_path / "key", tmp_path / "receipt"
    key.write_bytes(os.urandom(64))
    vault = ["--root", str(root), "--key", str(key)]
    root.mkdir()
    assert "plain" == json.loads(scrubjay("vault", "status", *vault, "--json").stdout)["vault"]
    assert 0 == scrubjay("vault", "open", *vault).returncode
    introduce(root / "identity", name="or3-box", site="lab")
    identity = LinuxIdentity(root / "identity")
    disk = LinuxDisk(root)
    board = SimulatedBoard(disk=cast(Any, disk), identity=cast(Any, identity))
    for _ in range(3):
        write_segment(board, [[frame(board.clock.now().utc_ns + n, payload=SECRET) for n in range(50)]])
        board.clock.advance(10**9)
    newest = disk.list("segments")[-1]
    disk.close()
    os.sync()
    verified = scrubjay("verify", str(root))
    assert 0 == verified.returncode, verified.stdout
    if shutil.which("tshark"):
        frames = root / "segments" / newest / "frames.pcapng.lz4"
        assert 50 == len(run("tshark", "-r", str(frames), "-T", "fields", "-e", "udp.port").stdout.splitlines())
    assert SECRET not in (tmp_path / "image").read_bytes()

    refused = scrubjay("vault", "erase", *vault, "--receipt", str(kept), "--confirm", "or4-box")
    inside = scrubjay("vault", "erase", *vault, "--receipt", str(root / "receipt"), "--confirm", "or3-box")
    assert (2, 2) == (refused.returncode, inside.returncode)
    assert "or3-box" in refused.stderr and "outside the store" in inside.stderr
    elsewhere = scrubjay("vault", "erase", *vault, "--destroys", f"{key}.cred", "--receipt", str(kept), "--confirm", "or3-box")
    assert (2, False) == (elsewhere.returncode, kept.exists()), "a key that survives would open the store again"
    assert f"expected in {key}.cred the key that ends" in elsewhere.stderr
    assert 0 == scrubjay("verify", str(root)).returncode
    done = scrubjay("vault", "erase", *vault, "--receipt", str(kept), "--confirm", "or3-box", "--json")
    assert 0 == done.returncode, done.stderr
    row = receipt.unpacked(kept.read_bytes())

    assert (newest, "erased", True) == (row.segment, row.cause, row.signed_by(identity.public_key()))
    assert newest == json.loads(done.stdout)["newest"]
    assert not key.exists()
    assert "locked" == json.loads(scrubjay("vault", "status", *vault, "--json").stdout)["vault"]
    assert 2 == scrubjay("vault", "open", *vault).returncode
    for command in (["verify", str(root)], ["status", "--root", str(root)]):
        closed = scrubjay(*command)
        assert (2, True) == (closed.returncode, "it is encrypted and locked" in closed.stderr), "not: there is no store"


def test_no_receipt_says_erased_of_what_was_not(partition: Path, tmp_path: Path) -> None:
    """A key that cannot be destroyed: the receipt lies there as unfinished, the store is as it was, and the next try needs no other name. (S2-094)"""
    root, key, kept = partition / "store", tmp_path / "key", tmp_path / "receipt"
    unfinished = tmp_path / "receipt.unfinished"
    key.write_bytes(os.urandom(64))
    LinuxVault(root, key).open()
    introduce(root / "identity", name="or3-box", site="lab")
    (root / "segments").mkdir()
    words = ["vault", "erase", "--root", str(root), "--key", str(key), "--receipt", str(kept), "--confirm", "or3-box"]
    assert 0 == run("mount", "--bind", str(key), str(key)).returncode
    try:
        assert 0 == run("mount", "-o", "remount,bind,ro", str(key)).returncode
        refused = scrubjay(*words)
    finally:
        assert 0 == run("umount", str(key)).returncode

    assert (2, False, True) == (refused.returncode, kept.exists(), unfinished.exists())
    assert "not known to be erased" in refused.stderr and str(unfinished) in refused.stderr
    assert (64, VaultState.OPEN) == (key.stat().st_size, LinuxVault(root, key).state())
    done = scrubjay(*words)
    assert 0 == done.returncode, done.stderr
    assert (True, False, False) == (kept.exists(), unfinished.exists(), key.exists())
    assert VaultState.LOCKED == LinuxVault(root, key).state()
