"""What the box's networkd is given: the silent ports, and the site's own files."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from firmware.cli.commands import Commands
from firmware.core.network import SITE, SITE_BYTES_MAX, given

SHIPPED = "/usr/lib/systemd/network/10-scrubjay-capture.network"
FILES_MAX = 100
_FILE_MODE, _STATE_MODE = 0o644, 0o640


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    sub = commands.add("network", _network, "the site's files for systemd-networkd: which are used, and which ports stay silent")
    sub.add_argument("--settings", metavar="FILE", help="scrubjay.toml, for the ports that listen")
    sub.add_argument("--site", required=True, metavar="DIR", help="the site's *.network files")
    sub.add_argument(
        "--shipped", default=SHIPPED, metavar="FILE", help="the image's file for ports that listen (default %(default)s)"
    )
    sub.add_argument("--into", metavar="DIR", help="give them to networkd there; without it nothing is written")
    sub.add_argument("--say", metavar="FILE", help="write what is said there, too")


def _network(a: argparse.Namespace) -> int:
    made = given(Path(a.shipped).read_text(), _settings(a.settings), _site(Path(a.site)))
    if a.into:
        _replace(Path(a.into), made.files)
    text = "\n".join(made.said) + "\n"
    print(text, end="")
    if a.say:
        try:
            _write(Path(a.say), text, mode=_STATE_MODE)
        except OSError as problem:  # A full disk: what is used is used all the same.
            print(f"network: {a.say}: expected it to be written, the system says: {problem.strerror}", file=sys.stderr)
    return 0


def _settings(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return "="  # reads as no settings, and is said not to


def _site(directory: Path) -> dict[str, bytes | None]:
    """By name; None of what is no file that can be read. Nothing where there is no directory."""
    found: dict[str, bytes | None] = {}
    for path in sorted(directory.iterdir())[:FILES_MAX] if directory.is_dir() else []:
        if path.name.startswith("."):
            continue  # an editor's, or another system's that had the card
        found[path.name] = None
        if path.is_symlink() or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                found[path.name] = file.read(SITE_BYTES_MAX + 1)
        except OSError:  # A bad block of the card: the other files are good.
            continue
    return found


def _replace(directory: Path, files: Mapping[str, str]) -> None:
    """These and none of the site's of before: a change of all but the kernel keeps /run. The silent one comes first, and never goes."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in sorted(files.items()):
        _write(directory / name, text, mode=_FILE_MODE)
    for path in directory.glob(f"{SITE}*"):
        if path.name not in files:
            path.unlink()


def _write(path: Path, text: str, *, mode: int) -> None:
    hidden = path.with_name(f".{path.name}")
    try:
        hidden.write_text(text)
        hidden.chmod(mode)
        hidden.rename(path)
    finally:
        hidden.unlink(missing_ok=True)
