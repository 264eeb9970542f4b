"""Versions on Linux: the image's files are those this program runs from or came from, a trial is processes of their own."""

import errno
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from drivers.disk import parts
from drivers.errors import DiskFailed, DiskFull, Missing
from drivers.linux.supervisor import LinuxKeeper
from drivers.slots import Usage
from drivers.supervisor import Ended, Ready

IMAGE_VARIABLE = "SCRUBJAY_IMAGE"
PACKAGES = ("firmware", "drivers", "simulator")
_PASSED_OVER = frozenset({".pyc", ".c", ".pcapng"})  # made anew, or not needed where it runs
_TICKS = os.sysconf("SC_CLK_TCK")


class LinuxSlots:
    """command: the command line of one process in the store shadow/; environment: what makes it run in a version."""

    def __init__(
        self, root: Path, command: Callable[[str], Sequence[str]], environment: Callable[[str], Mapping[str, str]]
    ) -> None:
        self._root = root
        self._command = command
        self._environment = environment

    @property
    def board(self) -> str:
        return board()

    @property
    def ground(self) -> str:
        return ground()

    def image_file(self, path: str) -> bytes:
        package, *rest = parts(path)
        place = _image().get(package)
        try:
            if place is not None:
                return place.joinpath(*rest).read_bytes()
        except OSError:
            pass
        raise Missing(f"expected {path} in the image, it is not there")

    def image_paths(self) -> Sequence[str]:
        return sorted(
            f"{package}/{path.relative_to(place).as_posix()}"
            for package, place in _image().items()
            for path in place.rglob("*")
            if path.is_file() and path.suffix not in _PASSED_OVER and "__pycache__" not in path.parts
        )

    def begin_trial(self, version: str, processes: Sequence[str]) -> "LinuxTrial":
        environment = {**os.environ, **self._environment(version)}
        try:
            keeper = LinuxKeeper(self._root / "shadow" / "logs")
            try:
                return LinuxTrial(keeper, {name: self._command(name) for name in processes}, environment)
            except OSError:
                keeper.close()
                raise
        except OSError as problem:
            # No room for a log or a socket, no process to be had (TasksMax, memory).
            kind = DiskFull if problem.errno in (errno.ENOSPC, errno.EDQUOT) else DiskFailed
            raise kind(f"expected a trial to be started, the kernel answered {type(problem).__name__}") from None


class LinuxTrial:
    """Processes under a keeper of their own, which ends them when it is closed or its process ends."""

    def __init__(self, keeper: LinuxKeeper, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> None:
        self._keeper: LinuxKeeper | None = keeper
        self._usage = {name: Usage(0, 0) for name in commands}
        for name, command in commands.items():
            keeper.start(name, command, environment)

    def look(self) -> Mapping[str, Usage]:
        if self._keeper is None:
            return self._usage
        for name, process in self._keeper.processes().items():
            before = self._usage[name]
            self._usage[name] = Usage(*_used(process, before), is_ready=before.is_ready)
        for event in self._keeper.events():
            before = self._usage[event.name]
            match event:
                case Ready():
                    self._usage[event.name] = Usage(before.cpu_ns, before.memory_bytes, True)
                case Ended(_, code):
                    self._usage[event.name] = Usage(before.cpu_ns, before.memory_bytes, before.is_ready, code)
        return dict(self._usage)

    def stop(self) -> None:
        for name in self._usage if self._keeper is not None else ():
            assert self._keeper is not None
            self._keeper.stop(name)

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None


def board() -> str:
    """As wheels name it, and the Python whose compiled code is loaded."""
    return f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"


def ground() -> str:
    """The board, and what os-release(5) says of the image; a machine without images has one for ever."""
    try:
        rows = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        rows = []
    return "\n".join([board(), *sorted(row for row in rows if row.startswith(("ID=", "VERSION_ID=")))])


def _used(process: int, before: Usage) -> tuple[int, int]:
    """(ns on a processor, most bytes ever held), from proc(5); as before where it has just ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        rows = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return before.cpu_ns, before.memory_bytes
    held_kb = next((int(row.split()[1]) for row in rows if row.startswith("VmHWM")), 0)
    # Its ring is the kernel's memory, and counted into what the process holds.
    return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // _TICKS, max(before.memory_bytes, held_kb << 10)


def _image() -> Mapping[str, Path]:
    """Where the image's own packages lie. A process of a copy was told (firmware/cli/versions.py); any other is of the image."""
    root = Path(os.environ.get(IMAGE_VARIABLE) or Path(__file__).parents[2])
    return {package: root / package for package in PACKAGES if (root / package).is_dir()}
