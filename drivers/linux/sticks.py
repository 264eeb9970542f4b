"""Sticks, real: file systems that udev has mounted below one directory (rootfs/usr/lib/udev/rules.d/70-scrubjay-stick.rules)."""

import os
from pathlib import Path

from drivers.disk import parts
from drivers.errors import Missing
from drivers.linux.disk import LinuxDisk

MEDIA = Path("/media/scrubjay")


class LinuxSticks:
    """Mount points below `root`. A directory that is none lies on the box's own disk, and is no stick."""

    def __init__(self, root: Path = MEDIA) -> None:
        self._root = root

    def names(self) -> list[str]:
        try:
            found = [entry.name for entry in os.scandir(self._root) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []  # Nobody has ever plugged one in.
        return sorted(name for name in found if self._is_stick(name))

    def open(self, name: str) -> LinuxDisk:
        if len(parts(name)) != 1 or not self._is_stick(name):
            raise Missing("expected a stick that is plugged in and can be written to, there is none of this name")
        return LinuxDisk(self._root / name)

    def _is_stick(self, name: str) -> bool:
        path = self._root / name
        return path.is_mount() and os.access(path, os.W_OK | os.X_OK)
