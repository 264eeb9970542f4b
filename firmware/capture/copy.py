"""`scrubjay record -w`: what is recorded as one plain pcapng file as well, or down a pipe into Wireshark.

Reads along from the disk: a reader that is slow, stands still or goes away costs the recording nothing.
"""

from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.outlet import Outlet
from firmware.core import pcapng
from firmware.core.errors import OutletClosed
from firmware.core.follow import Follow
from firmware.core.hit import Hit, Section
from firmware.core.layout import sequence_of
from firmware.core.merge import Merge
from firmware.core.report import Report
from firmware.core.segment import is_by_hardware
from firmware.core.segment_writer import cause_at
from firmware.core.store import Store
from firmware.core.timestamp import MS

SEGMENTS = "segments"
HITS_A_STEP = 8  # stretches of a MiB: some 10 ms
AGAIN_NS = 20 * MS  # A pipe cannot say that there is room again; with a MiB of it this is 400 Mbit/s.
PATIENCE_S = 5.0  # For a reader that takes nothing at the end. Whoever ends the recorder waits for it.


class CopyStation:
    """losses: the recorder's report, for the statistics at the end. late_ns: how much later than its neighbours a frame may be read."""

    name = "copy"

    def __init__(self, board: Board, outlet: Outlet, *, losses: Report, late_ns: int) -> None:
        self.report = Report(self.name)
        self.ended: OutletClosed | None = None  # why it takes nothing more
        self._board = board
        self._outlet = outlet
        self._losses = losses
        self._late_ns = late_ns
        self._follow: Follow | None = None
        self._merge = Merge()
        self._let_go_at = Monotonic(0)  # What the merge holds waits no longer: what might come before it would have come.
        self._section = Section()
        self._unsent: list[memoryview] = []

    def start(self, now: Now) -> None:
        """Comes after the recorder has started: what was recorded before is not copied."""
        if self._follow is None:
            store = Store(self._board.disk, SEGMENTS)
            opened, sealed = store.open_names(), store.names()
            after = (sequence_of(opened[-1]) or 1) - 1 if opened else sequence_of(sealed[-1]) or 0 if sealed else 0
            self._follow = Follow(self._board.disk, SEGMENTS, after=after)
            self._send(self._section.head)

    def step(self, now: Now) -> Monotonic | None:
        if self.ended is not None:
            return None
        self._send(b"")  # A reader that went away is noticed without anything to tell it.
        for _ in range(HITS_A_STEP):
            if self._unsent or self.ended is not None or not self._copy_on():
                break
            self._let_go_at = now.monotonic.after(self._late_ns)
        if not self._unsent and now.monotonic >= self._let_go_at:
            self._let_go()
        if self._unsent:
            return now.monotonic.after(AGAIN_NS)
        return self._let_go_at if self._merge.holds else None

    @property
    def trouble(self) -> str:
        """Why the copy is not all of the recording; empty when it is."""
        told = [] if self.ended is None else [str(self.ended)]
        told += [f"{count} {cause}" for cause, count in self.report.drops.items()]
        return ", ".join(told)

    def ends_all(self, is_all: bool) -> bool:
        """Whether the recording should end with it: its reader wished so, or it is all there is and takes nothing more."""
        return self.ended is not None and (is_all or self.ended.is_reader)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return (self._outlet.fileno(),) if self.ended is None else ()

    def stop(self, now: Now) -> None:
        """Comes after the recorder has sealed: the rest, and what there is to say about losses."""
        while self.ended is None and self._copy_on():
            self._flush(patience_s=PATIENCE_S)
            if self._unsent:
                break
        if not self._unsent:
            self._let_go()
            self._send(self._section.end())
            self._send(self._statistics(now))
            self._flush(patience_s=PATIENCE_S)
        if self._unsent and self.ended is None:
            self.report.drop("copy_unread_bytes", sum(map(len, self._unsent)))
        if self._follow is not None and self._follow.missed:
            self.report.drop("copy_missed_segments", self._follow.missed)
        self._outlet.close()

    def _copy_on(self) -> bool:
        """One stretch further; whether there was one."""
        assert self._follow is not None, "start comes before step"
        hit = next(self._follow.hits(), None)
        if hit is None:
            return False
        if len(hit.interfaces) == 1:
            self._put(hit)
        else:
            for ready in self._merge.add(hit, before_ns=max(0, hit.last_utc_ns - self._late_ns)):
                self._put(ready)
        return True

    def _let_go(self) -> None:
        for hit in self._merge.end():
            self._put(hit)

    def _put(self, hit: Hit) -> None:
        self.report.count("frames", hit.frame_count)
        self._send(self._section.of(hit))

    def _send(self, data: bytes) -> None:
        self._unsent.append(memoryview(data))
        self._flush()

    def _flush(self, *, patience_s: float = 0.0) -> None:
        while self._unsent and self.ended is None:
            try:
                taken = self._outlet.write(self._unsent[0], patience_s=patience_s)
            except OutletClosed as why:
                self.ended = why
                self._unsent.clear()
                return
            self.report.count("bytes", taken)
            if taken < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][taken:]
                return
            del self._unsent[0]

    def _statistics(self, now: Now) -> bytes:
        """A block for each interface, as the recorder counted; what the disk lost is nobody's where there are several."""
        counts, drops = self._losses.counts, self._losses.drops
        # The second description of an interface, of the frames it stamped itself, has none of its own: they are in the first's.
        heard = [(number, name) for number, name in enumerate(self._section.interfaces) if not is_by_hardware(name)]
        if len(heard) == 1:
            rows = [(heard[0][0], counts.get("frames", 0), sum(drops.values()))]
        else:
            rows = [
                (number, counts.get(cause_at("frames", name), 0), sum(n for cause, n in drops.items() if cause.partition("@")[2] == name))
                for number, name in heard
            ]  # fmt: skip
        return b"".join(
            pcapng.statistics(max(0, now.utc_ns), received=frames + lost, dropped=lost, interface=number)
            for number, frames, lost in rows
        )
