"""Sessions by hand, at the box."""

import argparse
from pathlib import Path

from firmware.cli.commands import ROOT_DEFAULT, Commands, settings_arguments
from firmware.cli.given import board_of, settings_of, store_at
from firmware.core.session import KINDS


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    session = commands.group(
        "session", "a procedure, an exercise or a test run: which is open, and by hand when one begins or ends"
    )

    sub = session.add("show", _show, "the session that is open, and the last one")
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument("--json", action="store_true")

    sub = session.add("start", _start, "one begins now; one that is open ends")
    sub.add_argument("kind", choices=tuple(KINDS))
    settings_arguments(sub)

    sub = session.add("close", _close, "the one that is open ends now: everything said during it is sent")
    settings_arguments(sub)


def _show(a: argparse.Namespace) -> int:
    from drivers.linux.clock import LinuxClock
    from drivers.linux.disk import LinuxDisk
    from firmware.session.page import shown

    disk = LinuxDisk(store_at(a.root, holds="session"))
    status, text = shown(disk, tai_offset_s=LinuxClock().now().tai_offset_s, as_json=a.json)
    print(text)
    return status


def _start(a: argparse.Namespace) -> int:
    return _say(a, a.kind)


def _close(a: argparse.Namespace) -> int:
    return _say(a, None)


def _say(a: argparse.Namespace, kind: str | None) -> int:
    from firmware.session.page import said

    a.role = "box"
    store_at(Path(a.root), holds="session")
    status, text = said(board_of(a, settings_of(a)), KINDS[kind] if kind is not None else None)
    print(text)
    return status
