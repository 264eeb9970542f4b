"""The application's versions on this machine, and which of them is official for each process.

    versions/<version>/            a copy: firmware/ drivers/ simulator/, and the manifest it was made by
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
_NAME = re.compile(r"[0-9a-z][0-9a-z.+-]{0,62}")
_NAME_BYTES_MAX = 64


def is_version(name: str) -> bool:
    """Whether a version may be called so: digits, lower case letters, and .+- after the first."""
    return _NAME.fullmatch(name) is not None and name not in (IMAGE, "official")


def official(disk: Disk, process: str) -> str:
    """The version this process is to be of. What cannot be read, or whose copy is not there, means the image's own."""
    try:
        name = disk.read(f"{OFFICIAL}/{process}", size=_NAME_BYTES_MAX).decode("ascii", "replace")
    except (Missing, DiskFailed):
        return IMAGE
    return name if is_version(name) and disk.exists(f"{VERSIONS}/{name}") else IMAGE


def starts(disk: Disk) -> int:
    """As counted; whoever runs for a while sets it back."""
    try:
        return len(disk.read(STARTS, size=STARTS_MAX + 1))
    except (Missing, DiskFailed):
        return 0
