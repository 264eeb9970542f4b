"""The application's versions on this machine, and which of them is official for each process.

    versions/<version>/            a copy: firmware/ drivers/ simulator/, and the manifest it was made by
    versions/<version>/ground      what it was made on (drivers/slots.py); on another image it is not started
    versions/official/<process>    the name of the version this process is to be of; absent: the image's own

The copies are written by the update station only, and a copy is never changed once it has its name. A mark is replaced whole, so a
process finds the former version or the next one, whatever happens meanwhile.
"""

import re

from drivers.disk import Disk
from firmware.core.errors import DiskFailed, Missing

VERSIONS, OFFICIAL = "versions", "versions/official"
IMAGE = "image"  # what came with the root file system, and is always there
STARTS = "updates/starts"  # how often the update process of a copy was started since it last ran for a while
STARTS_MAX = 5
GROUND = "ground"
_GROUND_BYTES_MAX = 1024
_NAME = re.compile(r"[0-9a-z][0-9a-z.+-]{0,62}")
_NAME_BYTES_MAX = 64


def is_version(name: str) -> bool:
    """Whether a version may be called so: digits, lower case letters, and .+- after the first."""
    return _NAME.fullmatch(name) is not None and name not in (IMAGE, "official")


def official(disk: Disk, process: str, *, ground: str | None = None) -> str:
    """The version this process is to be of. What cannot be read, or whose copy is not there, means the image's own.

    ground: what this machine is now. A copy made on another image gives way: that one came later, and brought its own application.
    """
    try:
        name = disk.read(f"{OFFICIAL}/{process}", size=_NAME_BYTES_MAX).decode("ascii", "replace")
    except (Missing, DiskFailed):
        return IMAGE
    return started(disk, name, ground=ground)


def started(disk: Disk, version: str, *, ground: str | None) -> str:
    """What is started where this version is marked: itself, or the image's own. ground: as of `official`."""
    if not is_version(version) or not disk.exists(f"{VERSIONS}/{version}"):
        return IMAGE
    return version if ground is None or _ground_of(disk, version) in (None, ground) else IMAGE


def _ground_of(disk: Disk, version: str) -> str | None:
    try:
        return disk.read(f"{VERSIONS}/{version}/{GROUND}", size=_GROUND_BYTES_MAX).decode("utf-8", "replace")
    except (Missing, DiskFailed):
        return None  # A copy made by hand.


def starts(disk: Disk) -> int:
    """As counted; whoever runs for a while sets it back."""
    try:
        return len(disk.read(STARTS, size=STARTS_MAX + 1))
    except (Missing, DiskFailed):
        return 0
