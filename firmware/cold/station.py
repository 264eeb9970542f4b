"""The cold station: a stretch, or a part of a run, a step; oldest segment first, no more than its share of a core."""

from collections.abc import Generator, Iterator, Sequence

from drivers.board import Board
from drivers.clock import ClockState, Monotonic, Now
from firmware.cold.rewrite import Progress, StaysHot, leftovers, rewriting
from firmware.cold.settings import ColdSettings
from firmware.core.digest import PIECE_BYTES
from firmware.core.durable import make_directory
from firmware.core.errors import Corrupt, DiskFailed, DiskFull, Missing
from firmware.core.layout import FRAMES, SEAL
from firmware.core.report import Report
from firmware.core.segment import Segment
from firmware.core.store import Store
from firmware.core.timestamp import SECOND

SEGMENTS = "segments"
LOOK_EVERY_NS = 60 * SECOND  # A segment gets old by the hour.
AGAIN_NS = 600 * SECOND  # After a full or failed disk: retention may have made room.
LOOKS_A_STEP = 64  # Seals read in one step.


class ColdStation:
    """Makes old segments smaller."""

    name = "cold"

    def __init__(self, board: Board, settings: ColdSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._store = Store(board.disk, SEGMENTS)
        self._work: Iterator[None] | None = None
        self._due: Monotonic | None = None
        self._cold: dict[str, tuple[int, int]] = {}  # by segment: bytes of its frames hot, and cold
        # Of all in it; to add them up anew for each would take longer than a small one's rewriting.
        self._hot_bytes = self._cold_bytes = 0
        # Segments that have no cold form; looked at again after the next start. As many as there may be: one that is forgotten is
        # packed again each minute, and worn into the disk, for nothing.
        self._stayed: set[str] = set()

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, SEGMENTS)
        self._work = None
        self._due = now.monotonic
        self._stayed.clear()

    def step(self, now: Now) -> Monotonic | None:
        assert self._due is not None, "start comes before step"
        if not self._settings.enabled:
            return None
        if now.monotonic < self._due:
            return self._due
        if self._work is None:
            self._work = self._round(now)
        try:
            next(self._work)
            # Its share: what a step took is followed by as much rest as leaves the rest of the core to the others.
            took = self._board.clock.now().monotonic.since(now.monotonic)
            self._due = now.monotonic.after(took * 100 // self._settings.share_percent)
        except StopIteration:
            self._work = None
            self._due = now.monotonic.after(LOOK_EVERY_NS)
        except (DiskFull, DiskFailed) as trouble:
            self.report.drop("disk_full" if isinstance(trouble, DiskFull) else "disk_failed")
            self._work = None
            self._due = now.monotonic.after(AGAIN_NS)
        return self._due

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        self._work = None  # What is hidden is removed at the next start of this segment's rewriting.

    def _round(self, now: Now) -> Iterator[None]:
        names = self._store.names()
        there = set(names)
        self._cold = {name: row for name, row in self._cold.items() if name in there}
        self._hot_bytes, self._cold_bytes = (sum(row[place] for row in self._cold.values()) for place in (0, 1))
        self._stayed &= there
        for count, name in enumerate(names, start=1):
            if count % LOOKS_A_STEP == 0:
                yield
            if name in self._stayed or name in self._cold:
                continue
            try:
                sealed = Segment(self._board.disk, SEGMENTS, name).seal()
                if sealed is None:
                    continue
                if Segment(self._board.disk, SEGMENTS, name).is_cold():
                    self._note_cold(name, sealed.frames_bytes)
                    continue
            except Missing:
                continue
            except Corrupt:
                self._stays(name, "altered")
                continue
            except DiskFailed:
                self._board.disk.list(f"{SEGMENTS}/{name}")  # Raises again where the disk gives nothing at all.
                self._stays(name, "unreadable")
                continue
            if not self._is_old(sealed.made.tai_ns + sealed.made.uncertainty_ns, now):
                if sealed.made.tai_ns - sealed.made.uncertainty_ns > now.timestamp.tai_ns:
                    continue  # Its clock was ahead, and says nothing of those that came after it.
                break  # The later ones are younger.
            if self._board.disk.free_bytes() < 2 * self._reserve():
                self.report.gauge("state", "waiting for room")
                break
            self.report.gauge("state", "rewriting")
            yield from self._rewrite(name, sealed.frames_bytes)
            self._gauge(len(names))
        else:
            self.report.gauge("state", "idle")
        self._gauge(len(names))

    def _rewrite(self, name: str, frames_bytes: int) -> Iterator[None]:
        board, progress = self._board, Progress()
        directory = f"{SEGMENTS}/{name}"
        try:
            for _ in rewriting(
                board.disk, directory, identity=board.identity, made=board.clock.now().timestamp, level=self._settings.level,
                progress=progress,
            ):  # fmt: skip
                yield
                # On a store that is always full retention makes room as this takes it; when it does not, the recorder goes first.
                if board.disk.free_bytes() < self._reserve():
                    raise DiskFull("expected room for the cold form beside the hot one")
        except StaysHot as reason:
            leftovers(board.disk, directory)
            self._stays(name, reason.cause)
        except Missing:
            self.report.count("deleted_meanwhile")
        except (DiskFull, DiskFailed) as trouble:
            # The room it took is the recorder's; a disk that does not let us remove it is cleaned at the next try.
            try:
                leftovers(board.disk, directory)
            except (DiskFailed, Missing):
                self.report.drop("leftovers")
            # Full says nothing about the segment, and is not to be found out by reading all of it.
            if isinstance(trouble, DiskFull) or not (yield from self._has_bad_place(directory)):
                raise
            self._stays(name, "unreadable")  # Or it would be tried for ever, and those after it never.
        else:
            self.report.count("segments_rewritten")
            self.report.count("bytes_saved", frames_bytes - progress.cold_bytes)
            self.report.count("links_kept", progress.kept_links)
            self._became_cold(name, frames_bytes, progress.cold_bytes)

    def _has_bad_place(self, directory: str) -> Generator[None, None, bool]:
        """Whether the disk gives back the seal and not all of the frames: then it is this segment's trouble, and no other's. In pieces."""
        disk, at = self._board.disk, 0
        try:
            disk.read(f"{directory}/{SEAL}")
        except (DiskFailed, Missing):
            return False
        try:
            while piece := disk.read(f"{directory}/{FRAMES}", offset=at, size=PIECE_BYTES):
                at += len(piece)
                yield
        except DiskFailed:
            return True
        except Missing:
            return False
        return False

    def _is_old(self, made_tai_ns: int, now: Now) -> bool:
        if self._settings.cold_after_h == 0:
            return True  # At once is at once, whatever the clock is worth.
        # A clock without a source may be years off, and nothing is lost by waiting until it is set.
        if now.timestamp.state is ClockState.FREE and now.monotonic.ns < self._settings.cold_after_h * 3600 * SECOND:
            return False
        return now.timestamp.tai_ns - made_tai_ns >= self._settings.cold_after_h * 3600 * SECOND

    def _reserve(self) -> int:
        return min(self._settings.keep_free_bytes, self._board.disk.total_bytes() // 50)

    def _note_cold(self, name: str, frames_bytes: int) -> None:
        self._became_cold(name, frames_bytes, Segment(self._board.disk, SEGMENTS, name).cold_bytes())

    def _became_cold(self, name: str, hot_bytes: int, cold_bytes: int) -> None:
        self._cold[name] = hot_bytes, cold_bytes
        self._hot_bytes += hot_bytes
        self._cold_bytes += cold_bytes

    def _stays(self, name: str, cause: str) -> None:
        self.report.count(f"stays_hot_{cause}")
        self._stayed.add(name)

    def _gauge(self, segments: int) -> None:
        self.report.gauge("segments_cold", len(self._cold))
        self.report.gauge("segments_hot", segments - len(self._cold))
        self.report.gauge("bytes_before", self._hot_bytes)
        self.report.gauge("bytes_cold", self._cold_bytes)
        if self._cold_bytes:
            self.report.gauge("ratio", round(self._hot_bytes / self._cold_bytes, 2))
