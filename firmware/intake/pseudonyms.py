"""What stands for the numbers of visits, orders, appointments and studies: pseudonyms by a key of this box's own, which intake/ keeps."""

from drivers.board import Board
from firmware.core.context import KEY_BYTES, Kind, pseudonym
from firmware.core.durable import read_or_none, replace
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.report import Report

KEY = "key"


class Pseudonyms:
    """directory: intake's own, which nobody else may read."""

    def __init__(self, board: Board, directory: str, report: Report) -> None:
        self._board = board
        self._directory = directory
        self._report = report
        self._key = bytes(KEY_BYTES)

    def start(self) -> None:
        """The key, made at the very first start. Where it can be neither read nor kept, one for this life alone: then what was said before
        and after it cannot be told to belong together, and the rest goes on."""
        disk = self._board.disk
        try:
            known = read_or_none(disk, f"{self._directory}/{KEY}", size=KEY_BYTES + 1)
            if known is None or len(known) != KEY_BYTES:
                known = self._board.identity.entropy(KEY_BYTES)
                replace(disk, self._directory, KEY, known)
            self._key = known
        except (DiskFull, DiskFailed):
            self._key = self._board.identity.entropy(KEY_BYTES)
            self._report.drop("pseudonym_key_not_kept")

    def of(self, kind: Kind, value: str) -> str:
        """The same for the same number."""
        return pseudonym(self._key, kind, value)
