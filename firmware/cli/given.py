"""What people name on the command line, made into values: files, directories, keys, settings, the board."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.disk import Buffer
from firmware.cli.commands import PROGRAM
from firmware.core.errors import BadItem, BadSettings, DiskFailed, VaultShut
from firmware.core.timestamp import parse_utc

if TYPE_CHECKING:
    from drivers.linux.board import LinuxBoard
    from drivers.slots import Slots
    from firmware.core.settings import Settings
    from firmware.roles import BoardSettings


def bytes_of(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise ValueError(f"{path}: expected {what}, it cannot be read: {problem.strerror}") from None


@contextmanager
def about(path: str, what: str = "") -> Iterator[None]:
    """Which file it is that makes no sense, and what it should have been; several may have been named."""
    try:
        yield
    except BadItem as problem:
        raise ValueError(f"{path}: expected {what}: {problem}" if what else f"{path}: {problem}") from None


def text_of(path: str, what: str) -> str:
    try:
        return bytes_of(path, what).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected {what}, it is not text (UTF-8)") from None


def key_from(digits: str, where: str) -> bytes:
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise ValueError(f"{where}: expected a public key of 64 hexadecimal digits, as `{PROGRAM} identity` prints it")
    return bytes.fromhex(digits)


def key_of(path: str) -> bytes:
    return key_from(text_of(path, "a public key").strip(), path)


def own_key_of(root: str) -> bytes | None:
    """The public key of the box whose store this is, as it lies there; None where it does not."""
    path = store_at(root) / "identity" / "key.pub"
    return key_of(str(path)) if path.exists() else None


def interval_of(a: argparse.Namespace) -> tuple[int | None, int | None]:
    """--since and --until, UTC ns. Two that were exchanged would ask for nothing, and get it."""
    since = parse_utc(a.since) if a.since is not None else None
    until = parse_utc(a.until) if a.until is not None else None
    if since is not None and until is not None and until < since:
        raise ValueError(f"--until: expected a moment that is not before --since {a.since}, got {a.until}")
    return since, until


def directory_for(path: str) -> Path:
    """Where something will be written; made when it is not there."""
    place = Path(path)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ValueError(f"{path}: expected a directory, or a place for one: {problem.strerror}") from None
    return place


def say(text: str) -> None:
    """An answer whose status says something too: it is the same for a reader who has seen enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Output:
    """A file that is touched at the first byte: what is refused before that leaves the former file as it was."""

    def __init__(self, path: str | None) -> None:
        if path not in (None, "-") and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
            raise ValueError(f"{path}: expected a file to write, in a directory that is there")
        if path == "-" and sys.stdout is None:
            raise ValueError("-w -: expected a pipe or a file at standard output, it is closed")
        self._path = path
        self._file: RawIOBase | None = None

    def write(self, data: Buffer) -> int:
        if self._path is None:
            return len(data)
        try:
            if self._path == "-":
                # Unbuffered: whoever reads it shows the first frames while we search on, and no Ctrl-C finds half of one in a buffer.
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(sys.stdout.fileno(), rest) :]
                return len(data)
            self._file = self._file or Path(self._path).open("wb", buffering=0)  # noqa: SIM115  (closed by `close`)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
            return len(data)
        except OSError as problem:
            problem.filename = problem.filename or ("standard output" if self._path == "-" else self._path)
            raise

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@contextmanager
def recording_into(root: str | Path, *, is_box: bool = False) -> Iterator[None]:
    """Nobody else begins to record into this store meanwhile: he would seal the segment that is being written, and end who writes it.

    root: of a store. is_box: for the box's own recorders, which hand over to each other. Raises ValueError.
    The lock is the kernel's, on the directory itself: it is gone with its holder, however he ended.
    """
    import fcntl

    place, descriptor = Path(root) / "segments", -1
    try:
        place.mkdir(mode=0o770, parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_box else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ValueError(f"{root}: expected a store into which nobody else records, there is a recorder at work on it") from None
    except OSError:
        pass  # A file system without locks: no reason not to record.
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def store_at(directory: str | Path, *, holds: str = "segments") -> Path:
    """The root of a store, given itself, its segments/, or a directory in which that is a link to them. holds: the directory that makes it
    one for this command."""
    path = Path(directory)
    if not path.is_dir():
        raise ValueError(f"expected the directory of a store, there is none at {directory}")
    root = path.resolve().parent if path.resolve().name == "segments" else path
    if not (root / holds).is_dir():
        if _is_locked(root):
            raise ValueError(f"expected an open store at {directory}, it is encrypted and locked: `scrubjay vault open` opens it")
        # A store whose segments are gone must not pass as one in which nothing was altered.
        raise ValueError(f"expected a store with a directory {holds}/ at {directory}, there is none; nothing was looked at")
    if (root / holds).is_symlink():
        # Nothing is read through links below a store, so there would be nothing in it: the store is where the link leads.
        return store_at((root / holds).resolve().parent, holds=holds)
    return root


def _is_locked(root: Path) -> bool:
    """Whether what looks like no store may be one whose names nobody can read."""
    from drivers.linux.vault import LinuxVault
    from drivers.vault import VaultState

    try:
        return LinuxVault(root, root).state() is VaultState.LOCKED
    except (DiskFailed, VaultShut):
        return False


def settings_of(a: argparse.Namespace, *last: tuple[str, str]) -> "Settings":
    """What files and arguments say. last: further layers, which win."""
    from firmware.core.settings import Settings, layer_from_assignments
    from firmware.roles import SECTIONS

    layers = [(str(path), text_of(path, "a settings file (TOML)")) for path in a.settings]
    if a.set:
        layers.append(layer_from_assignments(a.set))
    return Settings(SECTIONS[a.role], [*layers, *last])


def board_of(
    a: argparse.Namespace,
    settings: "Settings | None" = None,
    *,
    keeps_time: bool = False,
    make_slots: "Callable[[], Slots] | None" = None,
) -> "LinuxBoard":
    from drivers.linux.board import LinuxBoard
    from drivers.linux.identity import introduce
    from firmware.roles import BoardSettings

    section = settings.of(BoardSettings) if settings is not None else BoardSettings()
    root = directory_for(a.root)
    identity = Path(section.identity) if section.identity else root / "identity"
    introduce(identity, name=section.name, site=section.site)
    check_tap(section)
    if section.tap.startswith("recording:"):
        from simulator.tap import RecordingTap

        opener = RecordingTap.opener(section.tap.removeprefix("recording:"))
        return LinuxBoard(root, identity, open_tap=opener, keeps_time=keeps_time, make_slots=make_slots)
    return LinuxBoard(root, identity, portable_tap=section.tap == "portable", keeps_time=keeps_time, make_slots=make_slots)


def check_tap(section: "BoardSettings") -> None:
    """Raises BadSettings, TapFailed."""
    if section.tap.startswith("recording:"):
        from simulator.tap import RecordingTap

        RecordingTap.opener(section.tap.removeprefix("recording:"))
    elif section.tap not in ("ring", "portable"):
        raise BadSettings(f"[board] tap: expected ring, portable or recording:FILE@SPEED, got {section.tap!r}")
