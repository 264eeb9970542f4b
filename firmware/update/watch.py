"""Whether processes hold up: unexpected ends and silences, within a window. Pure.

A process says since when it runs (firmware/core/succession.py), and at an orderly end that it stopped. Another moment without that word
was a crash or its watchdog; no word at all for a while is a process that does not come back.
"""

from drivers.clock import Monotonic
from firmware.core.timestamp import SECOND

STOPPED = "stopped"
SILENT_NS = 30 * SECOND  # A process reports every 2 s; its watchdog takes 10 s, and its restart as long again.


class Watch:
    """The processes of one machine."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._silent: dict[str, Monotonic] = {}
        self._failures: list[tuple[Monotonic, str]] = []

    def saw(self, process: str, since: str | None, now: Monotonic) -> None:
        """What it says of itself now; None: nothing, for SILENT_NS."""
        before = self._known.get(process)
        if since is None:
            last = self._silent.get(process)
            if before not in (None, STOPPED) and (last is None or now.since(last) >= SILENT_NS):
                self._silent[process] = now
                self._failures.append((now, process))
            return
        self._silent.pop(process, None)
        if before not in (None, STOPPED, since) and since != STOPPED:
            self._failures.append((now, process))
        self._known[process] = since

    def expect_end(self, process: str) -> None:
        """It was asked to begin anew."""
        self._known.pop(process, None)
        self._silent.pop(process, None)

    def failures(self, now: Monotonic, *, window_s: int) -> list[str]:
        """Whose, in order; those further back than the window are forgotten."""
        self._failures = [row for row in self._failures if now.since(row[0]) <= window_s * SECOND]
        return [process for _, process in self._failures]

    def clear(self) -> None:
        """Another version: what was is no fault of it."""
        self._failures.clear()
