"""Stamps an interface makes itself: asked for, and turned into UTC block by block, whoever sets or steers its clock or ours meanwhile."""

import socket
import time

from drivers.errors import NotConnected
from drivers.hardware_clock import HardwareClock, HardwareTrack
from drivers.linux._stamps import to_utc
from drivers.linux.ethtool import stamps_all, time_stamping
from drivers.linux.hardware_clock import hardware_clock
from drivers.tap import BLOCK_HEADER, FRAME_HEADER, STATUS_HARDWARE_STAMP, STATUS_STAMP_TRANSLATED

LOOK_EVERY_NS = (
    1_000_000_000  # What an unsteered card drifts in a second, 100 µs at 100 ppm, is known by its rate to a microsecond.
)
SET_NS = 1_000_000  # Slewing moves the system's clock by half of this in a second; setting it is what this is to notice.
# Before its block was opened a frame may have waited in the card, and in a processor that had no time for it.
EARLY_NS, LATE_NS = 200_000_000, 1_000_000


def asked_of(control: socket.socket, interface: str) -> "HardwareStamps | None":
    """The interface stamps every frame from now on; None where it cannot, or where this process may neither ask nor read its clock."""
    if not time_stamping(control, interface).all_frames:
        return None
    clock = hardware_clock(interface)
    if clock is None:
        return None
    try:
        stamps = HardwareStamps(clock)
        if stamps_all(control, interface):
            return stamps
    except (NotConnected, OSError):
        pass  # Not readable, or a driver with an error of its own: software's stamps are better than nothing heard.
    clock.close()
    return None


class HardwareStamps:
    """clock: the interface's, ours from now on. refused: stamps so far that were of no moment at which their frames can have come.

    Raises NotConnected where the clock cannot be read.
    """

    def __init__(self, clock: HardwareClock) -> None:
        self.refused = 0
        self._clock = clock
        self._track = HardwareTrack()
        self._track.take(clock.compare())
        self._note()

    def translate(self, block: memoryview) -> None:
        """The hardware stamps in it into UTC, in place."""
        utc_ns, monotonic_ns = time.clock_gettime_ns(time.CLOCK_REALTIME), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if monotonic_ns - self._looked_ns >= LOOK_EVERY_NS or abs(utc_ns - monotonic_ns - self._system_ns) > SET_NS:
            self._look()
        earliest_ns, latest_ns = _bounds(block, utc_ns)
        if not self._is_likely(block, earliest_ns, latest_ns):
            self._look()  # The card's clock was set since.
        now = self._track.translation
        self.refused += to_utc(block, now.at_ns, now.ahead_ns, now.gain_ppb, earliest_ns, latest_ns)[1]

    def close(self) -> None:
        """Look no more."""
        self._clock.close()

    def _is_likely(self, block: memoryview, earliest_ns: int, latest_ns: int) -> bool:
        """Whether the first frame's stamp is of when it can have come; the others were stamped by the same clock a moment later."""
        first = BLOCK_HEADER.unpack_from(block)[4]
        if first + FRAME_HEADER.size > len(block):
            return True
        _, seconds, ns, _, _, status, *_ = FRAME_HEADER.unpack_from(block, first)
        if not status & STATUS_HARDWARE_STAMP or status & STATUS_STAMP_TRANSLATED:
            return True
        return earliest_ns <= self._track.translation.utc_ns(seconds * 1_000_000_000 + ns) <= latest_ns

    def _look(self) -> None:
        try:
            self._track.take(self._clock.compare())
        except NotConnected:
            pass  # It went with its interface; what came before is still translated by what was known.
        self._note()

    def _note(self) -> None:
        self._looked_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._system_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - self._looked_ns


def refused(block: memoryview) -> int:
    """Hardware stamps in a block of which nobody knows the clock any more, made software's; how many.

    For a ring of an earlier life that could read the clock. Stamps that are near UTC as they are, as of a card kept so, stay.
    """
    earliest_ns, latest_ns = _bounds(block, time.clock_gettime_ns(time.CLOCK_REALTIME))
    return to_utc(block, 0, 0, 0, earliest_ns, latest_ns)[1]


def _bounds(block: memoryview, utc_ns: int) -> tuple[int, int]:
    """Between which its frames arrived. utc_ns: now."""
    header = BLOCK_HEADER.unpack_from(block)
    opened_ns = header[7] * 1_000_000_000 + header[8]
    return max(0, min(opened_ns, utc_ns) - EARLY_NS), max(opened_ns, utc_ns) + LATE_NS
