"""The directory a demo or a replay leaves its results in, and how either ends when it is told to."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = ".made-by-scrubjay"  # in a directory whose results are ours to replace
RESULTS = ("box", "hub", "broker", "logs", "room", "segments", "evidence", "report.json", "go", "box.toml", "hub.toml")


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
    """SIGTERM ends the demo as Ctrl-C does, so that everything is taken down."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
