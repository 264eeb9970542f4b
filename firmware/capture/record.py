"""`scrubjay record`: the capture station alone, in this process, until it is asked to end or has what was wanted."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.outlet import Outlet
from drivers.supervisor import Watched
from drivers.tap import Tap, TapRequest
from firmware.capture.copy import CopyStation
from firmware.capture.ears import requests
from firmware.capture.meter import Meter, Summary, sample_of
from firmware.capture.settings import CaptureSettings
from firmware.capture.station import CaptureStation
from firmware.capture.stops import Stops
from firmware.core.errors import DiskFailed, NotAllowed, TapFailed
from firmware.core.report import Report
from firmware.core.station import Station, run
from firmware.core.timestamp import MS, SECOND

LINE_EVERY_NS = SECOND
ONLY_WHEN_ASKED = Stops()
DELETED = "segments_deleted_"
TRIAL_BLOCKS = 4  # A ring for a moment, to see whether there may be one of such blocks.


def check(tap: Callable[[TapRequest], Tap], settings: CaptureSettings, *, wait: bool = False) -> None:
    """Whether it can begin at all: the filter, the right to listen and, unless they are waited for, the interfaces.

    Raises BadFilter, NotAllowed, TapFailed: a recorder in the room waits for its port, a person at a keyboard wants to know now.
    """
    for request in requests(settings):
        try:
            tap(replace(request, block_count=TRIAL_BLOCKS)).close()
        except NotAllowed:
            raise
        except TapFailed:
            if not wait:
                raise


def record(
    board: Board,
    settings: CaptureSettings,
    *,
    stops: Stops = ONLY_WHEN_ASKED,
    beside: Sequence[Station] = (),
    outlet: Outlet | None = None,
    is_copy_all: bool = False,
    room_bytes: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Record into the board's disk; returns what was recorded and lost.

    beside: further stations of this process. outlet: where a plain pcapng goes as well; a reader that goes away ends the recording,
    a file that fails does so when is_copy_all: nothing else is kept.
    room_bytes: what segments may take, None: as much as the disk has, 0: nothing is said of it. progress: takes a line every second. Raises BadFilter.
    """
    station = CaptureStation(board, settings, says=False)
    start = board.clock.now()
    end = None if stops.duration_s is None else start.monotonic.after(int(stops.duration_s * SECOND))
    late_ns = (2 * settings.ring_retire_ms + settings.stretch_ms) * MS
    copy = None if outlet is None else CopyStation(board, outlet, losses=station.report, late_ns=late_ns)
    timer = _Timer(board, station.report, end, room_bytes, settings.reserve_mb << 20, beside, progress)
    run(
        [station, *beside, *([copy] if copy is not None else []), timer],
        clock=board.clock,
        bell=board.bell(),
        supervisor=_Until(
            board.supervisor,
            lambda: timer.over or stops.are_reached(station.report) or (copy is not None and copy.ends_all(is_copy_all)),
        ),
        publish_reports=lambda reports, now: None,
    )
    duration_s = board.clock.now().monotonic.since(start.monotonic) / SECOND
    if copy is None:
        return Summary(station.report, settings.interfaces, duration_s, deleted=_deleted(beside))
    frames, failed = copy.report.counts.get("frames", 0), copy.ended is not None and not copy.ended.is_reader
    return Summary(station.report, settings.interfaces, duration_s, frames, copy.trouble, failed, _deleted(beside))


def _deleted(beside: Sequence[Station]) -> dict[str, int]:
    """Segments by cause, as the retention station counts them."""
    counts = [row for station in beside for row in station.report.counts.items()]
    return {name.removeprefix(DELETED): count for name, count in counts if name.startswith(DELETED)}


class _Timer:
    """A station that is awake once a second, to say how it goes, and at the end."""

    name = "timer"

    def __init__(
        self,
        board: Board,
        watched: Report,
        end: Monotonic | None,
        room_bytes: int | None,
        reserve_bytes: int,
        beside: Sequence[Station],
        progress: Callable[[str], None],
    ) -> None:
        self.report = Report(self.name)
        self.over = False
        self._board = board
        self._watched = watched
        self._end = end
        self._room_bytes = room_bytes
        self._reserve_bytes = reserve_bytes
        self._beside = beside
        self._progress = progress
        self._meter: Meter | None = None
        self._line_at = Monotonic(0)

    def start(self, now: Now) -> None:
        self._meter = Meter(sample_of(self._watched, now.monotonic))
        self._line_at = now.monotonic.after(LINE_EVERY_NS)

    def step(self, now: Now) -> Monotonic | None:
        assert self._meter is not None, "start comes before step"
        self.over = self._end is not None and now.monotonic >= self._end
        if now.monotonic >= self._line_at:
            self._line_at = now.monotonic.after(LINE_EVERY_NS)
            sample, deleted = sample_of(self._watched, now.monotonic), _deleted(self._beside)
            self._progress(self._meter.line(sample, self._watched, room_bytes=self._room(), deleted=deleted))
        return self._line_at if self._end is None else min(self._line_at, self._end)

    def directories(self) -> Sequence[str]:
        return ()

    def descriptors(self) -> Sequence[int]:
        return ()

    def stop(self, now: Now) -> None:
        return

    def _room(self) -> int | None:
        if self._room_bytes is not None:
            return self._room_bytes
        try:
            return max(0, self._board.disk.free_bytes() - self._reserve_bytes)
        except DiskFailed:
            return None


class _Until:
    """The board's supervisor, which also asks to stop when this is so."""

    def __init__(self, supervisor: Watched, reached: Callable[[], bool]) -> None:
        self._supervisor = supervisor
        self._reached = reached

    def ready(self, status: str) -> None:
        self._supervisor.ready(status)

    def alive(self) -> None:
        self._supervisor.alive()

    def stopping(self) -> None:
        self._supervisor.stopping()

    def await_turn(self) -> bool:
        return self._supervisor.await_turn()

    def stop_requested(self) -> bool:
        return self._reached() or self._supervisor.stop_requested()
