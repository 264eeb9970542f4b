"""Frames of a store, by what they are: what the command takes. What it does: searching.py, which is loaded once it is asked for."""

import argparse

from firmware.cli.commands import Commands, frames_arguments
from firmware.cli.start import started


def register(commands: Commands) -> None:
    """Put these commands on the command line."""
    sub = commands.add("find", _find, "frames of a store by time, host, port, …; fields together narrow, several of one widen")
    sub.add_argument("directory")
    frames_arguments(sub)
    sub.add_argument("--message", metavar="IDENTITY", help="the frame that carried this published message")
    sub.add_argument("-w", "--write", metavar="FILE", help="the frames, as pcapng, while it searches; - for standard output")
    sub.add_argument("--count", action="store_true", help="only how many")
    sub.add_argument(
        "--order", action="store_true", help="the published messages by corrected time, marked ~ where their order is not certain"
    )
    sub.add_argument("--newest-first", action="store_true", help="from the end of the store to its beginning")
    sub.add_argument("--json", action="store_true")
    sub.add_argument("--settings", action="append", default=[], metavar="FILE", help="the box's, for names of devices and ports")
    sub.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")


def _find(a: argparse.Namespace) -> int:
    with started():
        from firmware.cli.searching import search
    return search(a)
