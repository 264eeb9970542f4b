"""Which version of the application this process is of, and how another is started in its place."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from firmware.core.succession import Launch
from firmware.core.versions import IMAGE, VERSIONS, official

VARIABLE = "SCRUBJAY_VERSION"  # of the copy this process runs from; the image's own does without
_HEIR = "SCRUBJAY_HEIR"  # as drivers/linux/supervisor.py; read here before anything of it is loaded


def running() -> str:
    """The version this process is of."""
    return os.environ.get(VARIABLE, IMAGE)


def become_official(root: str, process: str) -> None:
    """Where another version is official for this process, become that one, as the same process under the same keeper.

    This is how a start finds its version: the keeper always starts the image's own, which is never changed and always there.
    """
    from drivers.linux.disk import LinuxDisk

    if _HEIR in os.environ:
        return  # An heir was started as what it is to be.
    disk = LinuxDisk(Path(root))
    wanted = official(disk, process)
    disk.close()
    if wanted != running():
        command, environment = launch_in(root)(wanted)
        sys.stdout.flush()
        os.execve(command[0], list(command), {**os.environ, **environment})


def launch_in(root: str) -> Launch:
    """Command and environment of this very process in another version."""
    arguments = sys.argv[1:]

    def launch(version: str) -> tuple[Sequence[str], Mapping[str, str]]:
        # -P: the directory somebody happened to start it in is no place for code.
        command = [sys.executable, "-P", "-m", "firmware.cli", *arguments]
        path = "" if version == IMAGE else str(Path(root).resolve() / VERSIONS / version)
        return command, {VARIABLE: version, "PYTHONPATH": path}

    return launch
