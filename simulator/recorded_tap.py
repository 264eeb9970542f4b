"""A tap that hears a recording instead of an interface: the same frames, at the recorded pace or as fast as they are taken.

Every process that opens the same recording with the same start hears the same frames with the same stamps, so `capture` and
`intake` agree as they would on one wire; one that comes late catches up.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import CLOCK_REALTIME, clock_gettime_ns
from urllib.parse import quote, unquote_to_bytes

import pcapy

from drivers.errors import BadFilter, TapFailed
from drivers.tap import Block, HeardFrame, Tap, TapCounters, TapRequest, pack_block
from simulator.capture_file import ETHERNET, BadCaptureFile, frames

PREFIX = "recording:"
BLOCK_NS = 5_000_000  # Frames this close together travel in one block, like a ring that retires early.
BLOCKS_MAX = 64  # As many as a ring has; what finds no room is dropped and counted, except at full speed, which waits.
SPEED_MAX = 1e6
LOOK_AGAIN_S = 0.02  # for the file that says when it starts
GAP_NS_MAX = 5_000_000_000  # A recording of several years, or one with a lying clock, is not waited for.


@dataclass(frozen=True, slots=True)
class Recording:
    """Which file, how fast and from when. speed: times the recorded pace; None: as fast as it is taken.

    start: the moment its first frame is heard (at full speed: its last frame was heard), UTC ns; or a file that will say it, for
    whoever wants everybody to listen before the first frame comes.
    """

    path: Path
    speed: float | None
    start: int | Path

    def __str__(self) -> str:
        """As the setting `[board] tap` takes it; bytes that are its own, such as @, and what is no UTF-8 as %40."""
        start = quote(bytes(self.start)) if isinstance(self.start, Path) else self.start
        return f"{PREFIX}{quote(bytes(self.path))}@{'max' if self.speed is None else self.speed}@{start}"


def parsed(text: str, *, now_utc_ns: int) -> Recording:
    """`FILE[@SPEED[@START]]`, as it stands behind `recording:` in `[board] tap`. Raises TapFailed."""
    path, *rest = text.split("@")
    if len(rest) > 2:
        raise TapFailed(f"expected recording:FILE@SPEED@START, with %40 for an @ in a name, got {text!r}")
    speed = speed_of(rest[0]) if rest else 1.0
    start = rest[1] if len(rest) > 1 else str(now_utc_ns)
    if not start.isdecimal() and not start.startswith("/"):
        raise TapFailed("expected START as UTC ns, or as the absolute path of a file that will hold it")
    return Recording(_path(path), speed, int(start) if start.isdecimal() else _path(start))


def speed_of(text: str) -> float | None:
    """Times the recorded pace; None for "max". Raises TapFailed."""
    try:
        speed = None if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if speed is not None and not 0 < speed <= SPEED_MAX:
        raise TapFailed(f'expected a speed above 0 and at most {SPEED_MAX:g}, or "max", got {text!r}')
    return speed


def _path(text: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(text)))


def rebased(heard: Iterator[HeardFrame], *, speed: float | None, start_utc_ns: int) -> Iterator[HeardFrame]:
    """The frames with stamps as if they were heard from `start_utc_ns` on, at this speed; at full speed up to it.

    Stamps that go backwards go backwards by as much; gaps longer than GAP_NS_MAX shrink to it.
    """
    rows = list(heard)
    places = list(_places(rows))
    scale = speed or 1.0
    first = start_utc_ns - (max(places, default=0) if speed is None else 0)
    for frame, place in zip(rows, places, strict=True):
        yield HeardFrame(first + round(place / scale), frame.data, frame.wire_bytes)


def _places(rows: list[HeardFrame]) -> Iterator[int]:
    """ns of each frame after the first."""
    high = rows[0].stamp_ns if rows else 0
    place = 0
    for frame in rows:
        ahead = frame.stamp_ns - high
        if ahead >= 0:
            place += min(ahead, GAP_NS_MAX)
            high = frame.stamp_ns
            yield place
        else:
            yield place - min(-ahead, GAP_NS_MAX)


class RecordingTap:
    """One process's hearing of a recording. Raises TapFailed or BadFilter when it is opened."""

    def __init__(self, recording: Recording, request: TapRequest) -> None:
        self._request = request
        self._recording = recording
        self._program = _compiled(request)
        try:
            self._frames = list(frames(recording.path))
        except BadCaptureFile as problem:
            raise TapFailed(str(problem)) from problem
        self._blocks: deque[Block] = deque()
        self._room = threading.Condition()
        self._closed = False
        self._received = 0
        self._dropped = 0
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A thread, because the file has to be heard while the station does something else, as a wire is.
        self._thread = threading.Thread(target=self._play, name="recording", daemon=True)
        self._thread.start()

    @classmethod
    def opener(cls, text: str) -> Callable[[TapRequest], Tap]:
        """What opens this recording for a board; text: as `parsed` takes it."""
        recording = parsed(text, now_utc_ns=clock_gettime_ns(CLOCK_REALTIME))
        return lambda request: cls(recording, request)

    @property
    def request(self) -> TapRequest:
        return self._request

    @property
    def link_type(self) -> int:
        return ETHERNET

    @property
    def title(self) -> str:
        return ""

    @property
    def is_taken_over(self) -> bool:
        return False

    @property
    def stamps_itself(self) -> bool:
        """Who stamped them when they were recorded is not said again."""
        return False

    def fileno(self) -> int:
        return self._event

    def next(self, most: int = 1) -> Block | None:
        with self._room:
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            if not self._blocks:
                self._quiet()
            self._room.notify()
            return block

    def is_filling(self) -> bool:
        """Never: what is not due yet was not heard."""
        return False

    def ready_count(self) -> int:
        with self._room:
            return len(self._blocks)

    def release(self, block: Block) -> None:
        """Nothing to give back: each block has memory of its own."""

    def counters(self) -> TapCounters:
        with self._room:
            return TapCounters(self._received, {"ring_full": self._dropped})

    def catch_up(self) -> None:
        return

    def finish(self) -> None:
        """Blocks are handed over whole; what is not due yet was not heard."""

    def close(self) -> None:
        if self._closed:
            return
        with self._room:
            self._closed = True
            self._room.notify()
        self._thread.join()
        os.close(self._event)

    def _quiet(self) -> None:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return

    def _play(self) -> None:
        """Hand over block after block, each when its last frame is due."""
        start = self._start()
        if start is None:
            return
        heard = list(rebased(iter(self._frames), speed=self._recording.speed, start_utc_ns=start))
        for sequence, rows in enumerate(_batches(heard)):
            # The filter runs in the kernel of a real tap; what it keeps out is not heard at all.
            kept = [self._snapped(frame) for frame in rows if self._program is None or self._program.filter(frame.data)]
            due = rows[-1].stamp_ns
            with self._room:
                if self._recording.speed is not None:
                    self._room.wait_for(lambda: self._closed, timeout=max(0.0, (due - clock_gettime_ns(CLOCK_REALTIME)) / 1e9))
                else:
                    self._room.wait_for(lambda: self._closed or len(self._blocks) < BLOCKS_MAX)
                if self._closed:
                    return
                if len(self._blocks) >= BLOCKS_MAX:
                    self._dropped += len(kept)
                elif kept:
                    self._received += len(kept)
                    self._blocks.append(Block(memoryview(pack_block(kept, sequence=sequence)), sequence, len(kept)))
                    os.eventfd_write(self._event, 1)

    def _start(self) -> int | None:
        """The moment it starts, when it is known; None when nobody listens any more."""
        if isinstance(self._recording.start, int):
            return self._recording.start
        with self._room:
            while not self._closed:
                try:
                    return int(self._recording.start.read_text())
                except (FileNotFoundError, ValueError):
                    self._room.wait_for(lambda: self._closed, timeout=LOOK_AGAIN_S)
        return None

    def _snapped(self, frame: HeardFrame) -> HeardFrame:
        return HeardFrame(frame.stamp_ns, frame.data[: self._request.snap_bytes], frame.wire_bytes)


def _batches(heard: list[HeardFrame]) -> Iterator[list[HeardFrame]]:
    """Frames near in time, at most a block's worth together."""
    batch: list[HeardFrame] = []
    size = 0
    for frame in heard:
        if batch and (abs(frame.stamp_ns - batch[0].stamp_ns) > BLOCK_NS or size > 500_000):
            yield batch
            batch, size = [], 0
        batch.append(frame)
        size += len(frame.data)
    if batch:
        yield batch


def _compiled(request: TapRequest) -> "pcapy.BPFProgram | None":
    if not request.filter:
        return None
    try:
        return pcapy.compile(ETHERNET, request.snap_bytes, request.filter, 1, 0)
    except pcapy.PcapError as problem:
        raise BadFilter(str(problem)) from problem
