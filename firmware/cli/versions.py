"""Which version of the application this process is of, and how another is started in its place."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import firmware
from firmware.core.durable import replace
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.succession import Launch
from firmware.core.versions import IMAGE, OFFICIAL, STARTS, STARTS_MAX, VERSIONS, official, starts

if TYPE_CHECKING:
    from drivers.disk import Disk
    from drivers.slots import Slots

OWN = "update"  # the process that watches over versions
VARIABLE = "SCRUBJAY_VERSION"  # of the copy this process runs from; the image's own does without
OWN_IN_TRIAL = ("board.identity", "board.name")  # A trial seals and speaks under a name of its own.
TRIAL = "SCRUBJAY_TRIAL"  # a process of a trial: it is in no succession
IMAGE_PLACE = "SCRUBJAY_IMAGE"  # where the image's own packages lie, for a process of a copy
_HEIR = "SCRUBJAY_HEIR"  # as drivers/linux/supervisor.py; read here before anything of it is loaded


def running() -> str:
    """The version this process is of."""
    return os.environ.get(VARIABLE, IMAGE)


def become_official(root: str, process: str) -> None:
    """Where another version is official for this process, become that one, as the same process under the same keeper.

    This is how a start finds its version: the keeper always starts the image's own, which is never changed and always there.
    """
    from drivers.linux.disk import LinuxDisk
    from drivers.linux.slots import ground

    if _HEIR in os.environ or TRIAL in os.environ:
        return  # An heir was started as what it is to be, and so was a trial.
    disk = LinuxDisk(Path(root))
    wanted = official(disk, process, ground=ground())
    if process == OWN and wanted != IMAGE:
        wanted = _guarded(disk, wanted)
    disk.close()
    if wanted != running():
        command, environment = launch_in(root)(wanted)
        sys.stdout.flush()
        os.execve(command[0], list(command), {**os.environ, **environment})


def _guarded(disk: "Disk", wanted: str) -> str:
    """Who watches over all others has nobody to watch over it: one that ends at once, again and again, gives way to the image's own."""
    count = starts(disk)
    try:
        if count >= STARTS_MAX:
            # The station finds the count, takes the version back everywhere and says why.
            replace(disk, OFFICIAL, OWN, IMAGE.encode())
        else:
            disk.write(STARTS, b"." * (count + 1))
    except (DiskFull, DiskFailed):
        pass  # Not counted, or not said for good: better than nobody who watches for as long as the disk takes nothing.
    return IMAGE if count >= STARTS_MAX else wanted


def succession_in(root: str) -> Launch | None:
    """How this process is followed by another version of itself. None: a trial is not, or it would be the official version's soon."""
    return None if TRIAL in os.environ else launch_in(root)


def launch_in(root: str) -> Launch:
    """Command and environment of this very process in another version."""
    arguments = sys.argv[1:]

    def launch(version: str) -> tuple[Sequence[str], Mapping[str, str]]:
        # -P: the directory somebody happened to start it in is no place for code.
        command = [sys.executable, "-P", "-m", "firmware.cli", *arguments]
        return command, environment_of(root, version)

    return launch


def slots_in(a: argparse.Namespace) -> "Callable[[], Slots]":
    """Trials run what this role runs, with the same settings, in a store of their own and under a name of their own."""

    def command(process: str) -> Sequence[str]:
        shadow = Path(a.root).resolve() / "shadow"
        # Its own in place of the official version's: given twice, no setting is taken at all.
        given = [*(f"--settings={Path(path).resolve()}" for path in a.settings)]
        given += [f"--set={pair}" for pair in a.set if pair.partition("=")[0].strip() not in OWN_IN_TRIAL]
        own = [f"--set={name}=''" for name in OWN_IN_TRIAL]
        return [sys.executable, "-P", "-m", "firmware.cli", "run", a.role, "--process", process, f"--root={shadow}", *given, *own]

    def make() -> "Slots":
        from drivers.linux.slots import LinuxSlots

        return LinuxSlots(Path(a.root).resolve(), command, lambda version: {**environment_of(a.root, version), TRIAL: "1"})

    return make


def environment_of(root: str, version: str) -> Mapping[str, str]:
    """What makes a process run in a version."""
    path = "" if version == IMAGE else str(Path(root).resolve() / VERSIONS / version)
    image = os.environ.get(IMAGE_PLACE) or str(Path(firmware.__file__).parents[1])
    return {VARIABLE: version, "PYTHONPATH": path, IMAGE_PLACE: image}
