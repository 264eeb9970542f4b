"""The table of commands that each module adds its own to, and the options that several of them share."""

import argparse
import os
import sys
from collections.abc import Callable

PROGRAM = "scrubjay"
ROOT_DEFAULT = "/var/lib/scrubjay"


COLUMNS_DEFAULT = 80


class Help(argparse.HelpFormatter):
    """argparse's, told how wide the terminal is: to find out it loads shutil with three compressors, for each command and each option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


class Commands:
    """Where commands are put; each answers with its exit status."""

    def __init__(self, parser: argparse.ArgumentParser, metavar: str) -> None:
        self._table = parser.add_subparsers(dest=metavar.lower(), required=True, metavar=metavar)

    def add(self, name: str, work: Callable[[argparse.Namespace], int], meaning: str) -> argparse.ArgumentParser:
        """A command; what it takes is added to what this returns."""
        sub = self._table.add_parser(name, help=meaning, description=meaning, formatter_class=Help)
        sub.set_defaults(work=work)
        return sub

    def group(self, name: str, meaning: str) -> "Commands":
        """A command that has commands of its own."""
        return Commands(self._table.add_parser(name, help=meaning, description=meaning, formatter_class=Help), "WHAT")


def settings_arguments(sub: argparse.ArgumentParser) -> None:
    """Where a role's store is, and its settings."""
    sub.add_argument("--root", default=ROOT_DEFAULT, help="directory of the store (default %(default)s)")
    sub.add_argument("--settings", action="append", default=[], metavar="FILE", help="TOML file; later ones win")
    sub.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one setting; wins over files")


def frames_arguments(sub: argparse.ArgumentParser) -> None:
    """Which frames: fields together narrow, several of one widen."""
    sub.add_argument("--since", help="UTC, 2026-11-22T10:15:00 or seconds since 1970")
    sub.add_argument("--until")
    sub.add_argument("--host", action="append", default=[], metavar="IP")
    sub.add_argument("--port", action="append", default=[], type=int)
    sub.add_argument("--mac", action="append", default=[])
    sub.add_argument("--proto", action="append", default=[], help="tcp, udp, icmp, arp, ptp, … or a number")
    sub.add_argument("--vlan", action="append", default=[], type=int)
    sub.add_argument(
        "--device", action="append", default=[], metavar="NAME", help="by name, as the box's [intake] devices gives them"
    )
    sub.add_argument(
        "--from", dest="source", action="append", default=[], metavar="WHO", help="sent by: an address, or a device's name"
    )
    sub.add_argument("--to", dest="destination", action="append", default=[], metavar="WHO", help="sent to")
    sub.add_argument(
        "--kind", action="append", default=[], help="message, motion, temperature, stream, time, imaging, service, …"
    )
    sub.add_argument("--event", metavar="KEY", help="the frames that carried messages about this event")
    sub.add_argument("--contains", metavar="TEXT", help="bytes anywhere in the frame: a text, or 0x and hexadecimal digits")
    sub.add_argument("-f", "--filter", help="pcap-filter expression, as tcpdump takes it")


def _columns() -> int:
    """Of the terminal, as shutil.get_terminal_size has it: what COLUMNS says, else the terminal, else the usual."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdigit() and int(said[:9]) > 0:
        return int(said[:9])
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or COLUMNS_DEFAULT
    except (AttributeError, ValueError, OSError):  # It is closed, or no terminal.
        return COLUMNS_DEFAULT
