"""The room interface's own clock, which ptp4l serves with hardware stamps: whether phc2sys keeps it beside the system's.

Whoever looks at the system's clock alone would say "locked" while the room is led by a card nobody steers.
"""

from drivers.board import Board
from drivers.clock import Now
from drivers.hardware_clock import Comparison, HardwareClock
from firmware.clock.news import News, notice, warning
from firmware.clock.settings import ClockSettings
from firmware.core.errors import NotConnected
from firmware.core.timestamp import SECOND, span


class HardwareWatch:
    """off_ns: how far the interface's clock is off TAI by the system's, at most; 0 while it cannot be read. words: for people."""

    def __init__(self, board: Board, settings: ClockSettings) -> None:
        self.off_ns = 0
        self.words = "was not looked at yet"
        self._board = board
        self._settings = settings
        self._clock: HardwareClock | None = None
        self._standing = "right"

    def look(self, now: Now) -> list[News]:
        """Once a period; what is new."""
        seen = self._seen()
        if seen is None:
            self.off_ns, self.words = 0, "cannot be read"
            return self._changed("unread", "the room interface's own clock cannot be read, though PTP is to be stamped by it")
        # PTP's scale is TAI, and phc2sys keeps the card on it.
        ahead_ns = seen.ahead_ns - now.tai_offset_s * SECOND
        self.off_ns = abs(ahead_ns) + seen.uncertainty_ns
        self.words = (
            f"is {span(abs(ahead_ns))} {'ahead of' if ahead_ns >= 0 else 'behind'} TAI, seen to ±{span(seen.uncertainty_ns)}"
        )
        if abs(ahead_ns) - seen.uncertainty_ns > self._settings.offset_us * 1000:
            return self._changed(
                "off", f"the room interface's own clock {self.words}; phc2sys does not keep it, and devices follow it"
            )
        if self.off_ns <= self._settings.offset_us * 1000:
            return self._changed("right", f"the room interface's own clock {self.words}")
        return []

    def close(self) -> None:
        """Look no more."""
        if self._clock is not None:
            self._clock.close()
            self._clock = None

    def _seen(self) -> Comparison | None:
        if self._clock is None:
            self._clock = self._board.hardware_clock(self._settings.interface)
        try:
            return None if self._clock is None else self._clock.compare()
        except NotConnected:
            self.close()
            return None

    def _changed(self, standing: str, text: str) -> list[News]:
        before, self._standing = self._standing, standing
        if before == standing:
            return []
        event = f"hardware_clock_{standing}"
        return [notice(event, text) if standing == "right" else warning(event, text)]
