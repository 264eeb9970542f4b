"""What a station keeps beside its spools: a directory that is really there, a small file replaced whole.

A directory made is a name in its parent, and a name lasts only when the parent was synced: everything published into a
directory whose own name was lost with the power is lost with it.
"""

from drivers.disk import Buffer, Disk
from firmware.core.errors import Missing


def make_directory(disk: Disk, path: str) -> None:
    """The directory with its parents, lasting on return. One that is there is only synced into place."""
    disk.mkdir(path)
    names = path.split("/")
    for depth in range(len(names)):
        disk.sync_dir("/".join(names[:depth]))


def replace(disk: Disk, directory: str, name: str, data: Buffer) -> None:
    """The file holds exactly these bytes, whatever happens, when this returns; until then exactly the former ones."""
    hidden = f"{directory}/.{name}"
    disk.write(hidden, data)
    disk.sync(hidden)
    disk.rename(hidden, f"{directory}/{name}")
    disk.sync_dir(directory)


def read_or_none(disk: Disk, path: str, *, size: int) -> bytes | None:
    """At most `size` bytes of a file, or None when there is none."""
    try:
        return disk.read(path, size=size)
    except Missing:
        return None
