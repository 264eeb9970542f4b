"""The receipts of deletions, a chain of files <number>-<segment>, and the order in which a segment goes.

    receipt durable ─▶ segment out of segments/, in one rename to trash/ ─▶ trash/ emptied

Wherever the power goes, there is a segment, or a receipt for it, or both, and never half a segment.
Of the oldest receipts a sum is made, durable before they go: what it accounts for and is still there is removed at the next start.
"""

from collections.abc import Callable

from drivers.board import Board
from drivers.clock import Now
from firmware.core.durable import make_directory, replace
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.layout import COLD_FILES, FILES, sequence_of
from firmware.core.receipt import RUNS_MAX, SUM, UNREAD, Receipt, Sum, packed, sum_packed, sum_unpacked, summed, unpacked
from firmware.core.seal import digest
from firmware.retention.plan import Victim

SEGMENTS, RECEIPTS, TRASH = "segments", "receipts", "trash"
# On a disk that is full to the last block a receipt cannot be written, so nothing could be deleted. Larger than any file system's
# need for one small file, smaller than a stretch (512 KiB), so that the recorder cannot take the room in between.
SUMMED_A_STEP = 256  # A card reads so many small files in a fifth of a second.
RESERVE, RESERVE_BYTES = f"{TRASH}/.reserve", 64 << 10


class Receipts:
    """Writes receipts and removes segments. The only one who does either."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._number = 0
        self._previous: bytes | None = None
        self._done: set[str] = set()
        self._sum: Sum | None = None

    def start(self, *, is_held: Callable[[str], bool]) -> None:
        """Find the end of the chain, and empty the trash of all but what is held: that was on its way back (`remove`)."""
        disk = self._board.disk
        for directory in (RECEIPTS, TRASH):
            make_directory(disk, directory)
        # A receipt that is seen here may be of one who was killed before it was durable; segments are removed in its name
        # (storm seed 734).
        disk.sync_dir(RECEIPTS)
        self._done.clear()
        self._sum = self._read_sum()
        self._number, self._previous = (self._sum.number, self._sum.digest) if self._sum is not None else (0, None)
        summed_up, newest = self._number, ""
        for name in disk.list(RECEIPTS):
            if name.startswith("."):
                disk.remove(f"{RECEIPTS}/{name}")
                continue
            number, _, segment = name.partition("-")
            if number.isdecimal() and int(number) <= summed_up:
                disk.remove(f"{RECEIPTS}/{name}")  # The power went between the sum and this.
                continue
            if number.isdecimal() and int(number) > self._number:
                self._number, newest = int(number), name
            self._done.add(segment)
        if newest:
            try:
                self._previous = digest(disk.read(f"{RECEIPTS}/{newest}"))
            except DiskFailed:
                self._previous = UNREAD  # verify names both
        thrown = [name for name in disk.list(TRASH) if f"{TRASH}/{name}" != RESERVE]
        if thrown:
            # Likewise its way here: were its files gone for good and that not, a segment would come back without its seal.
            disk.sync_dir(SEGMENTS)
        for name in thrown:
            if is_held(name) and self._is_whole(name):
                self._take_back(name)
            else:
                self._throw_away(name)
        self._fill_reserve()

    def has(self, segment: str) -> bool:
        """Whether there is a receipt for this segment already: the power went before it was removed."""
        return segment in self._done

    def lately(self, cause: str, now: Now, *, within_ns: int, of: int) -> int:
        """How many of the newest receipts, at most `of`, are for this cause and no further from now than this."""
        newest = sorted((name for name in self._board.disk.list(RECEIPTS) if name[:1].isdecimal()), reverse=True)[:of]
        count = 0
        for name in newest:
            try:
                row = unpacked(self._board.disk.read(f"{RECEIPTS}/{name}"))
            except (BadItem, DiskFailed):
                continue
            count += row.cause == cause and abs(now.timestamp.tai_ns - row.made.tai_ns) < within_ns
        return count

    def delete(self, victim: Victim, now: Now, *, is_held: Callable[[str], bool]) -> bool:
        """Receipt, then removal; whether it went. Raises DiskFull or DiskFailed; then the segment is as it was.

        is_held: of a segment; asked once more when the receipt is durable, for that may take as long as a person needs to pin it; then
        there are both, as after a power cut.
        """
        name = victim.candidate.name
        if not self.has(name):
            self._write(victim, now)
        if is_held(name) or not self.remove(name, is_held=is_held):
            return False
        self._fill_reserve()
        return True

    def remove(self, segment: str, *, is_held: Callable[[str], bool]) -> bool:
        """Take a segment that has its receipt out of the store; whether it went.

        Who pins looks for the segment when his pin is there, so we look for the pin when the segment is gone: one of us sees the other.
        """
        disk = self._board.disk
        assert self.has(segment), "the receipt comes before the removal"
        try:
            disk.rename(f"{SEGMENTS}/{segment}", f"{TRASH}/{segment}")
        except Missing:
            return True
        if is_held(segment):
            self._take_back(segment)
            return False
        disk.sync_dir(SEGMENTS)
        self._throw_away(segment)
        return True

    def sum_up(self, now: Now, *, keep: int) -> int:
        """Put some of the oldest receipts into the sum, where there are more than `keep`; how many. Raises DiskFull or DiskFailed.

        Only of segments that are gone, and never the receipt of the newest one: the recorder may have to go on from it.
        """
        disk = self._board.disk
        names = sorted(name for name in disk.list(RECEIPTS) if name[:1].isdecimal())
        # By sequence: a name begins with a date, and one from a clock that was years ahead would be the newest for years.
        newest = max((name.partition("-")[2] for name in names), key=lambda segment: sequence_of(segment) or 0, default="")
        chosen: list[tuple[int, str, bytes, Receipt]] = []
        for name in names[: min(SUMMED_A_STEP, max(0, len(names) - keep))]:
            number, _, segment = name.partition("-")
            try:
                data = disk.read(f"{RECEIPTS}/{name}")
                row = unpacked(data)
            except (BadItem, DiskFailed):
                break  # verify names it, and nobody replaces it by a word of ours
            if segment == newest or disk.exists(f"{SEGMENTS}/{segment}"):
                break
            chosen.append((int(number), name, data, row))
        if not chosen:
            return 0
        if self._sum is None and disk.exists(f"{RECEIPTS}/{SUM}"):
            return 0  # There is one that cannot be read. Another in its place would forget what it accounts for.
        last, _, data, _ = chosen[-1]
        made = summed(self._sum, [row for *_, row in chosen], number=last, digest=digest(data), made=now.timestamp)
        if len(made.runs) > RUNS_MAX:
            return 0
        made = made.signed(self._board.identity.sign(made.body()))
        replace(disk, RECEIPTS, SUM, sum_packed(made))
        self._sum = made
        for _, name, _, row in chosen:
            disk.remove(f"{RECEIPTS}/{name}")
            self._done.discard(row.segment)
        return len(chosen)

    def _is_whole(self, name: str) -> bool:
        """Whether nothing in the trash is missing of this segment: what is left of one that was being thrown away stays there."""
        files = set(self._board.disk.list(f"{TRASH}/{name}"))
        return files.issuperset(FILES) or files.issuperset(COLD_FILES)

    def _take_back(self, name: str) -> None:
        disk = self._board.disk
        if not disk.exists(f"{SEGMENTS}/{name}"):
            disk.rename(f"{TRASH}/{name}", f"{SEGMENTS}/{name}")
        disk.sync_dir(SEGMENTS)

    def _throw_away(self, name: str) -> None:
        try:
            self._board.disk.remove(f"{TRASH}/{name}")
        except DiskFailed:
            return  # What cannot be removed takes its room, and must not keep anybody from starting, or from making more.

    def _read_sum(self) -> Sum | None:
        try:
            return sum_unpacked(self._board.disk.read(f"{RECEIPTS}/{SUM}"))
        except (BadItem, DiskFailed, Missing):
            return None  # verify names what is wrong with it

    def _write(self, victim: Victim, now: Now) -> None:
        candidate = victim.candidate
        receipt = Receipt(
            segment=candidate.name, sequence=candidate.sequence, seal_digest=candidate.seal_digest or UNREAD,
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
