"""Commands from the hub: put where the command station finds them, unread. Size and number are bounded here, all else is its business."""

import hashlib

from drivers.board import Board
from firmware.core.durable import make_directory
from firmware.core.envelope import COMMAND_BYTES_MAX
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.report import Report
from firmware.core.spool import Spool

COMMANDS = "commands/received"
WAITING_MAX = 1000  # A flood of commands must not fill the disk; the hub sends again what it has no answer to.
BYTES_MAX = COMMAND_BYTES_MAX + 256  # the order, its signature and the map around them


class Inward:
    """The spool commands/received/, as one of its writers."""

    def __init__(self, board: Board, report: Report) -> None:
        self._disk = board.disk
        self._spool = Spool(board.disk, COMMANDS)
        self._report = report

    def start(self) -> None:
        """Make the directory; what lies hidden in it is its consumer's."""
        make_directory(self._disk, COMMANDS)

    def take(self, payload: bytes) -> None:
        """Durable on return, or dropped and counted. The same bytes twice are one item, by their name."""
        if len(payload) > BYTES_MAX:
            self._report.drop("command_too_long")
            return
        try:
            if len(self._disk.list(COMMANDS)) >= WAITING_MAX:
                self._report.drop("commands_full")
                return
            self._spool.publish(f"cmd-{hashlib.sha256(payload).hexdigest()[:32]}", payload)
        except DiskFull:
            self._report.drop("command_disk_full")
        except DiskFailed:
            self._report.drop("command_disk_failed")
        else:
            self._report.count("commands")
