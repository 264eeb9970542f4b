"""Network namespaces as this program makes them: run commands about them, ask whether they can be had, remove what was left.

Names: `sj<process id, hexadecimal><letter>-<host>`, so that whose they are can be read back.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from drivers.errors import Trouble

NETNS = Path("/run/netns")  # ip-netns(8)
CONTROL = (
    NETNS.parent
)  # A socket's path has 107 bytes at most, and ptp4l's file takes none with a blank in it: not where results lie.
COMMAND_S_MAX = 20  # One ip, tc or ethtool call; they take milliseconds.
_OURS = re.compile(r"sj(?P<process>[0-9a-f]{1,6})(?P<letter>[g-z])-[a-z0-9]+")


class NoRoom(Trouble):
    """No namespaces can be made here. Replay a recording through the simulated tap instead, and say so."""


def what_is_missing() -> str | None:
    """Why no room can be made here, as a sentence; None when one can."""
    for command in ("ip", "tc"):
        if shutil.which(command, path=search_path()) is None:
            return f"the command {command} (package iproute2) is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root, and this is an ordinary user: as root there is a real room"
    trial = f"sj{os.getpid() & 0xFFFFFF:x}t-trial"
    try:
        run_command(["ip", "netns", "add", trial])
        run_command(["ip", "link", "add", "trial", "netns", trial, "type", "veth", "peer", "name", "other", "netns", trial])
    except NoRoom as problem:
        return f"the kernel or the container does not allow network namespaces with veth ({problem})"
    finally:
        if (NETNS / trial).exists():
            run_command(["ip", "netns", "del", trial])
    return None


def leftovers() -> list[str]:
    """Namespaces and mirror ports of rooms whose process is gone."""
    names = [entry.name for entry in NETNS.iterdir()] if NETNS.is_dir() else []
    return sorted(name for name in names if (match := _OURS.fullmatch(name)) and not _alive(int(match["process"], 16)))


def sweep() -> None:
    """Remove what killed runs left. Rooms of running processes are not touched."""
    for tag in {name.partition("-")[0] for name in leftovers()}:
        remove(tag)


def remove(tag: str) -> None:
    """End what still runs in these namespaces, by id, then remove them, the mirror port and the control sockets."""
    namespaces = [entry.name for entry in NETNS.glob(f"{tag}-*")]
    for namespace in namespaces:
        for process in run_command(["ip", "netns", "pids", namespace]).split():
            try:
                os.kill(int(process), signal.SIGKILL)
            except ProcessLookupError:
                continue
    if Path(f"/sys/class/net/{tag}m").exists():
        run_command(["ip", "link", "del", f"{tag}m"])
    # Before the namespaces, by which the next run knows that something was left.
    shutil.rmtree(CONTROL / tag, ignore_errors=True)
    for namespace in namespaces:
        run_command(["ip", "netns", "del", namespace])


def free_tag() -> str:
    """A name for one room of this process: short, because an interface's name has 15 characters at most."""
    for letter in "ghijklmnopqrs":  # "t" is the trial's; no hexadecimal digit, so that the id can be read back
        tag = f"sj{os.getpid() & 0xFFFFFF:x}{letter}"
        if not (NETNS / f"{tag}-switch").exists():
            return tag
    raise NoRoom("this process has a dozen rooms already")


def _alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def search_path() -> str:
    """Where commands are looked for; an ordinary user's PATH has no sbin."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def run_command(command: Sequence[str], *, timeout_s: float = COMMAND_S_MAX, text: str = "", where: Path | None = None) -> str:
    """A command's output. where: the directory it runs in. Raises NoRoom with what it said."""
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",  # Somebody else's program says names as it pleases.
            timeout=timeout_s,
            cwd=where,
            env={**os.environ, "PATH": search_path()},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NoRoom(f"{command[0]} could not be run: {type(problem).__name__}") from problem
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise NoRoom(f"{' '.join(command)} ended with {done.returncode}: {said[0] if said else 'no word'}")
    return done.stdout


def batch(namespace: str, lines: Sequence[str]) -> None:
    """Several ip commands in one namespace, for the cost of one process."""
    run_command(["ip", "-n", namespace, "-batch", "-"], text="\n".join(lines) + "\n")


def write_if_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)
