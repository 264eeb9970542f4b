"""The directory a demo or a replay leaves its results in, and how either ends when it is told to."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RESULTS = ("box", "hub", "broker", "logs", "room", "segments", "evidence", "report.json", "go", "box.toml", "hub.toml")


def clear(into: Path) -> None:
    """Former results, by name: a directory given by mistake loses nothing else."""
    for name in RESULTS:
        path = into / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)


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
