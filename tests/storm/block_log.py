"""A real disk whose every write is on record, and whose power can be cut afterwards between any two of them.

    ext4 ─▶ loop device ─▶ FUSE export ─▶ qemu-storage-daemon: blklogwrites ─▶ image
                                                                         └──▶ log, in the format of the kernel's dm-log-writes

dm-log-writes itself needs device mapper, which many virtual machines' kernels lack; this needs loop devices, FUSE and ext4.
A cut is an image: every write up to the last flush before it, and of those after that flush all, some, or one of them torn in the
middle, as a disk with a volatile cache may leave them. Source: Documentation/admin-guide/device-mapper/log-writes.rst.
"""

import os
import select
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

IMAGE_BYTES, LOG_BYTES = 32 << 20, 1 << 30  # both sparse
_MAGIC, _SUPER, _ENTRY = 0x6A736677736872, struct.Struct("<QQQI"), struct.Struct("<QQQQ")
_FLUSH, _DISCARD = 1, 4
START_S_MAX = 10.0
_PROGRAMS = ("qemu-storage-daemon", "losetup", "mkfs.ext4", "mount", "umount")


def why_not() -> str | None:
    """What is missing for it, or None."""
    for program in _PROGRAMS:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"no recorded disk: the program {program} is not installed"
    if os.geteuid() != 0:
        return "no recorded disk: the privilege to mount is missing"
    if not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        return "no recorded disk: this kernel has no FUSE or no loop devices"
    return None


@dataclass(frozen=True, slots=True)
class Write:
    """One entry of the log. data: None for a flush."""

    offset: int
    data: bytes | None


class BlockLog:
    """Reads the log, also while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def position(self) -> int:
        """Entries written so far, as the last flush left the super block: whatever was synced lies before it."""
        with self._path.open("rb") as file:
            magic, _, count, _ = _SUPER.unpack(file.read(_SUPER.size))
        return int(count) if magic == _MAGIC else 0

    def entries(self) -> list[Write]:
        """All of it."""
        rows: list[Write] = []
        with self._path.open("rb") as file:
            _, _, count, sector = _SUPER.unpack(file.read(_SUPER.size))
            at = sector
            for _ in range(count):
                file.seek(at)
                first, sectors, flags, _ = _ENTRY.unpack(file.read(_ENTRY.size))
                at += sector
                size = sectors * sector
                if size and not flags & _DISCARD:
                    file.seek(at)
                    rows.append(Write(first * sector, file.read(size)))
                    at += size
                elif size:
                    rows.append(Write(first * sector, bytes(size)))  # a discard: reads as zeros here
                if flags & _FLUSH or not size:
                    rows.append(Write(0, None))
        return rows


class RecordedDisk:
    """An ext4 file system at `place`/disk, on record in `log`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root = place / "disk"
        self.log = BlockLog(place / "log")
        self._daemon: subprocess.Popen[bytes] | None = None
        self._loop = ""

    def __enter__(self) -> "RecordedDisk":
        self.root.mkdir()
        for name, size in (("image", IMAGE_BYTES), ("log", LOG_BYTES), ("export", 0)):
            with (self.place / name).open("wb") as file:
                file.truncate(size)
        export = self.place / "export"
        self._daemon = subprocess.Popen(
            [
                "qemu-storage-daemon", "--blockdev", f"driver=file,node-name=image,filename={self.place / 'image'}",
                "--blockdev", f"driver=file,node-name=log,filename={self.place / 'log'}",
                "--blockdev", "driver=blklogwrites,node-name=disk,file=image,log=log",
                "--export", f"type=fuse,id=export,node-name=disk,mountpoint={export},writable=on",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            for _ in range(int(START_S_MAX * 20)):
                if export.stat().st_size == IMAGE_BYTES:
                    break
                select.select([], [], [], 0.05)
            else:
                raise OSError(f"the disk was not exported within {START_S_MAX:g} s")
            _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(export))
            self._loop = _run("losetup", "--find", "--show", str(export)).strip()
            _run("mount", "-o", "noatime", self._loop, str(self.root))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if os.path.ismount(self.root):
            _unmount(self.root)
        if self._loop:
            _run("losetup", "--detach", self._loop)
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.communicate(timeout=20)


def image_at(entries: list[Write], cut: int, into: Path, random: Random | None) -> str:
    """Write the image a cut before entry `cut` may leave. random: None for every write up to there. Returns how it was cut, for people."""
    flushed = max((place for place in range(cut) if entries[place].data is None), default=0)
    loose = [place for place in range(flushed, cut) if entries[place].data is not None]
    kept, torn, how = set(loose), -1, "all"
    if random is not None and loose:
        if random.random() < 0.3:
            torn, how = loose[-1], "the last one torn"
        else:
            chance = random.choice((0.1, 0.5, 0.9))
            kept, how = {place for place in loose if random.random() < chance}, f"each kept with {chance:g}"
    with into.open("wb") as file:
        file.truncate(IMAGE_BYTES)
        for place, entry in enumerate(entries[:cut]):
            if entry.data is None or (place >= flushed and place not in kept):
                continue
            data = entry.data
            if place == torn and random is not None:
                data = data[: random.randrange(0, len(data), 512)]
            file.seek(entry.offset)
            file.write(data)
    return f"cut before entry {cut} of {len(entries)}, of {len(loose)} writes since the last flush: {how}"


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """The image's file system, its journal replayed, as at the next start of the machine."""
    at.mkdir(exist_ok=True)
    _run("mount", "-o", "loop,noatime", str(image), str(at))
    try:
        yield at
    finally:
        _unmount(at)


def _unmount(place: Path) -> None:
    try:
        _run("umount", str(place))
    except OSError:
        _run("umount", "--lazy", str(place))  # Whoever failed in there still holds a file; nothing stays behind all the same.


def _run(*words: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": path}, check=False)
    if done.returncode:
        raise OSError(f"{words[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
