"""The directory a demo or a replay leaves its results in, and how either ends when it is told to."""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
MARK = ".made-by-scrubjay"  # in a directory whose results are ours to replace
RESULTS = ("box", "hub", "broker", "logs", "room", "segments", "evidence", "report.json", "go", "box.toml", "hub.toml")


@contextmanager
def results_in(into: Path) -> Iterator[None]:
    """The directory for results, made or cleared, and nobody else's meanwhile: a demo kept up would lose its box, hub and broker's files.

    Raises ValueError. The lock is the kernel's, on the directory itself: it is gone with its holder, however he ended.
    """
    into.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{into}: expected a directory in which no demo or replay is at work, there is one; end it, or name another by --into"
            ) from None
        except OSError:
            pass  # A file system without locks: no reason to show nothing.
        clear(into)
        yield
    finally:
        os.close(descriptor)


def clear(into: Path) -> None:
    """Former results, by name: a directory given by mistake loses nothing.

    Raises ValueError, and removes nothing, where what has these names is not ours: somebody's recordings lie in segments/, too.
    """
    if not _is_ours(into) and (others := [name for name in RESULTS if os.path.lexists(into / name)]):
        raise ValueError(
            f"{into}: expected a new or empty directory, or one of former results; {', '.join(others)} in it are of no demo or replay,"
            " nothing was removed"
        )
    (into / MARK).touch()
    for name in RESULTS:
        path = into / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)


def _is_ours(into: Path) -> bool:
    """By the mark, or, before there was one, by both roles' settings; and never where segments/ or evidence/ are no links."""
    if any((into / name).is_dir() and not (into / name).is_symlink() for name in ("segments", "evidence")):
        return False
    return (into / MARK).is_file() or all((into / f"{role}.toml").is_file() for role in ("box", "hub"))


def leave_results(into: Path) -> None:
    """segments/ and evidence/ where the README says they are."""
    for name, target in (("segments", "box/segments"), ("evidence", "hub/evidence")):
        if not (into / name).is_symlink():
            (into / name).symlink_to(target)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that everything is taken down; and only the first of them counts.

    Whoever is impatient presses Ctrl-C again, and would end the taking down half-way: a broker that knows no keeper then stays for good.
    """

    def end(number: int, frame: FrameType | None) -> None:
        undisturbed()
        raise KeyboardInterrupt

    # What is ignored from the start, as SIGINT by what a shell runs in the background, stays so.
    former = {number: now for number in ENDING if (now := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in former:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def undisturbed() -> None:
    """From now on, until `ending_on_signals` is left, nothing ends this: it is being taken down, and that has limits of its own."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
