"""The receipts of deletions, a chain of files <number>-<segment>, and the order in which a segment goes.

    receipt durable ─▶ segment out of segments/, in one rename to trash/ ─▶ trash/ emptied

Wherever the power goes, there is a segment, or a receipt for it, or both, and never half a segment.
"""

from drivers.board import Board
from drivers.clock import Now
from firmware.core.durable import make_directory, replace
from firmware.core.errors import DiskFull, Missing
from firmware.core.receipt import Receipt, packed
from firmware.core.seal import digest
from firmware.retention.plan import Victim

SEGMENTS, RECEIPTS, TRASH = "segments", "receipts", "trash"
# On a disk that is full to the last block a receipt cannot be written, so nothing could be deleted. Larger than any file system's
# need for one small file, smaller than a stretch (512 KiB), so that the recorder cannot take the room in between.
RESERVE, RESERVE_BYTES = f"{TRASH}/.reserve", 64 << 10


class Receipts:
    """Writes receipts and removes segments. The only one who does either."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._number = 0
        self._previous: bytes | None = None
        self._done: set[str] = set()

    def start(self) -> None:
        """Find the end of the chain, and empty the trash."""
        disk = self._board.disk
        for directory in (RECEIPTS, TRASH):
            make_directory(disk, directory)
        # A receipt that is seen here may be of one who was killed before it was durable; segments are removed in its name
        # (storm seed 734).
        disk.sync_dir(RECEIPTS)
        self._done.clear()
        self._number, self._previous = 0, None
        newest = ""
        for name in disk.list(RECEIPTS):
            if name.startswith("."):
                disk.remove(f"{RECEIPTS}/{name}")
                continue
            number, _, segment = name.partition("-")
            if number.isdecimal() and int(number) > self._number:
                self._number, newest = int(number), name
            self._done.add(segment)
        if newest:
            self._previous = digest(disk.read(f"{RECEIPTS}/{newest}"))
        for name in disk.list(TRASH):
            if f"{TRASH}/{name}" != RESERVE:
                disk.remove(f"{TRASH}/{name}")
        self._fill_reserve()

    def has(self, segment: str) -> bool:
        """Whether there is a receipt for this segment already: the power went before it was removed."""
        return segment in self._done

    def delete(self, victim: Victim, now: Now) -> None:
        """Receipt, then removal. Raises DiskFull or DiskFailed; then the segment is as it was."""
        if not self.has(victim.candidate.name):
            self._write(victim, now)
        self.remove(victim.candidate.name)
        self._fill_reserve()

    def remove(self, segment: str) -> None:
        """Take a segment that has its receipt out of the store."""
        disk = self._board.disk
        assert self.has(segment), "the receipt comes before the removal"
        try:
            disk.rename(f"{SEGMENTS}/{segment}", f"{TRASH}/{segment}")
        except Missing:
            return
        disk.sync_dir(SEGMENTS)
        disk.remove(f"{TRASH}/{segment}")

    def _write(self, victim: Victim, now: Now) -> None:
        candidate = victim.candidate
        receipt = Receipt(
            segment=candidate.name, sequence=candidate.sequence, seal_digest=candidate.seal_digest or bytes(32),
            cause=victim.cause, made=now.timestamp, previous=self._previous,
        )  # fmt: skip
        data = packed(receipt.signed(self._board.identity.sign(receipt.body())))
        name = f"{self._number + 1:010d}-{candidate.name}"
        try:
            replace(self._board.disk, RECEIPTS, name, data)
        except DiskFull:
            self._spend_reserve()
            replace(self._board.disk, RECEIPTS, name, data)
        self._number += 1
        self._previous = digest(data)
        self._done.add(candidate.name)

    def _spend_reserve(self) -> None:
        try:
            self._board.disk.remove(RESERVE)
        except Missing:
            return

    def _fill_reserve(self) -> None:
        if not self._board.disk.exists(RESERVE):
            try:
                self._board.disk.write(RESERVE, bytes(RESERVE_BYTES))
            except DiskFull:
                return  # There will be room after a deletion or two.
