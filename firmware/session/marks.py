"""Which messages have been acted upon: group hands the same ones on again when its process has died. In session/marks, as JSON."""

import json

from drivers.disk import Disk
from firmware.core.durable import read_or_none, replace

DIRECTORY, NAME = "session", "marks"
MARKS_MAX = 256  # of messages that say anything about sessions; a day has a dozen
_BYTES_MAX = 1 << 16


class Marks:
    """Durable when `add` returns. A file that makes no sense is none."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._marks: list[str] = []

    def start(self) -> None:
        """Remember."""
        try:
            rows = json.loads(read_or_none(self._disk, f"{DIRECTORY}/{NAME}", size=_BYTES_MAX) or b"[]")
        except (ValueError, RecursionError):
            rows = []
        self._marks = [row for row in rows if isinstance(row, str)] if isinstance(rows, list) else []

    def __contains__(self, identity: bytes) -> bool:
        return identity.hex() in self._marks

    def add(self, identity: bytes) -> None:
        """This one has been."""
        self._marks = [*self._marks, identity.hex()][-MARKS_MAX:]
        replace(self._disk, DIRECTORY, NAME, json.dumps(self._marks).encode())
