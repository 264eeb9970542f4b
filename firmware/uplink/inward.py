"""What the hub orders: put where the command station finds it, unread. Size and number are bounded here, all else is its business.

A relay's uplink puts what is for others, just as unread, where the relay station finds it.
"""

import hashlib

from drivers.board import Board
from firmware.core.durable import make_directory
from firmware.core.envelope import COMMAND_BYTES_MAX
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.report import Report
from firmware.core.spool import Spool

COMMANDS = "commands/received"
PASSING = "commands/passing"  # a relay's: <box>.cmd-<digest>
WAITING_MAX = 1000  # A flood of commands must not fill the disk; the hub sends again what it has no answer to.
BYTES_MAX = COMMAND_BYTES_MAX + 256  # the order, its signature and the map around them


class Inward:
    """The spool commands/received/, as one of its writers, and commands/passing/ as its only one."""

    def __init__(self, board: Board, report: Report) -> None:
        self._disk = board.disk
        self._report = report

    def start(self, *, forwards: bool) -> None:
        """Make the directories; what lies hidden in them is their consumers'."""
        make_directory(self._disk, COMMANDS)
        if forwards:
            make_directory(self._disk, PASSING)

    def take(self, payload: bytes, *, box: str | None = None) -> None:
        """Durable on return, or dropped and counted. The same bytes twice are one item, by their name. box: whom it is for; None: us."""
        if len(payload) > BYTES_MAX:
            self._report.drop("command_too_long")
            return
        path, prefix = (COMMANDS, "") if box is None else (PASSING, f"{box}.")
        try:
            if len(self._disk.list(path)) >= WAITING_MAX:
                self._report.drop("commands_full")
                return
            Spool(self._disk, path).publish(f"{prefix}cmd-{hashlib.sha256(payload).hexdigest()[:32]}", payload)
        except DiskFull:
            self._report.drop("command_disk_full")
        except DiskFailed:
            self._report.drop("command_disk_failed")
        else:
            self._report.count("commands")
