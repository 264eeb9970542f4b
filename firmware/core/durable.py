"""What a station keeps beside its spools: a directory that is really there, a small file replaced whole.

A directory made is a name in its parent, and a name lasts only when the parent was synced: everything published into a
directory whose own name was lost with the power is lost with it.
"""

from drivers.disk import Buffer, Disk
from firmware.core.errors import DiskFailed, Missing


def make_directory(disk: Disk, path: str) -> None:
    """The directory with its parents, lasting on return.

    One that is there is synced into its place too: who made it may have ended before the sync. Where that is not allowed, as on
    the box, whose image made the directories and keeps their parents to itself, it lasts without us.
    """
    names = path.split("/")
    steps = ["/".join(names[:depth]) for depth in range(len(names) + 1)]
    was_there = [disk.exists(step) for step in steps[1:]]
    disk.mkdir(path)
    for parent, was in zip(steps, was_there, strict=False):
        try:
            disk.sync_dir(parent)
        except DiskFailed:
            if not was:
                raise


def replace(disk: Disk, directory: str, name: str, data: Buffer, *, own: str = "") -> None:
    """The file holds exactly these bytes, whatever happens, when this returns; until then exactly the former ones.

    own: where several processes may replace it at the same time, what tells this one from the others; the last one's bytes stay.
    """
    hidden = f"{directory}/.{name}{own}"
    disk.write(hidden, data)
    disk.sync(hidden)
    disk.rename(hidden, f"{directory}/{name}")
    disk.sync_dir(directory)


def move(disk: Disk, old: str, new: str) -> None:
    """A file from one directory to another. Raises Missing when it is not there.

    A power cut may have left both names on one file, and renaming a file onto itself does nothing: then the old name is removed.
    """
    disk.rename(old, new)
    try:
        disk.remove(old)
    except Missing:
        return


def read_or_none(disk: Disk, path: str, *, size: int) -> bytes | None:
    """At most `size` bytes of a file, or None when there is none."""
    try:
        return disk.read(path, size=size)
    except Missing:
        return None
