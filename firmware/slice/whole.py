"""In a room with little traffic the whole record goes as well: ordered stretch by stretch, none left out, none twice. (S2-105)

    slice/whole   {"since_utc_ns", "until_utc_ns", "last"}    the stretch that is ordered next, its end 0 until that is decided;
                                                              the identity of the order before it, hexadecimal

What a day may cost is bounded where all evidence is ([retrieval]).
"""

import hashlib
import json
from dataclasses import dataclass

from drivers.clock import Monotonic, Now
from drivers.disk import Disk
from firmware.core.durable import read_or_none, replace
from firmware.core.errors import BadSettings
from firmware.core.timestamp import SECOND
from firmware.slice.journal import JOURNAL

NAME = "whole"
EVERY_S_MIN = 300  # An order each, of the thousand a day that [retrieval] takes from all who ask.
STRETCH_S_MAX = 86_400  # As much as one order may ask for ([retrieval] span_s_max); a box that was off for long asks day by day.
BACK_NS = SECOND
AGAIN_NS = 10 * SECOND  # While the last one is being sent.
_BYTES_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Stretch:
    """UTC, ns. identity: of its order; for the same stretch the same."""

    since_utc_ns: int
    until_utc_ns: int

    @property
    def identity(self) -> bytes:
        return hashlib.sha256(f"whole {self.since_utc_ns} {self.until_utc_ns}".encode()).digest()[:16]


def check(every_s: int) -> None:
    """The setting. Raises BadSettings."""
    if 0 < every_s < EVERY_S_MIN:
        raise BadSettings(f"[slice] whole_every_s: expected 0 or at least {EVERY_S_MIN}, got {every_s}")


class Whole:
    """Durable when a method returns, which raises DiskFull, DiskFailed. last_order: hexadecimal; empty: none yet."""

    def __init__(self, disk: Disk, *, every_s: int) -> None:
        """every_s: how long a stretch is at least; 0: nothing is ordered. Raises BadSettings."""
        check(every_s)
        self._disk = disk
        self._every_ns = every_s * SECOND
        self._since, self._until = 0, 0
        self.last_order = ""
        self._seen: Now | None = None
        self._before_back = 0  # the clock was set back: up to where it was ordered, by the clock of before
        self._gap: Stretch | None = None  # it was set forward by more than a stretch: when nothing was recorded

    def start(self) -> None:
        """Go on where it was. A file that makes no sense is none: from now on, then."""
        data = read_or_none(self._disk, f"{JOURNAL}/{NAME}", size=_BYTES_MAX)
        self._since, self._until, self.last_order = _read(data or b"")

    def next(self, now: Now) -> Stretch | None:
        """What is to be ordered now; the same again until it is `ordered`, also after a crash."""
        if not self._every_ns:
            return None
        self._look_for_gap(now)
        if not self._since or self._since - now.utc_ns > BACK_NS:
            # Never before; or the clock was set back, and what is recorded now has stamps that were ordered already: those twice, not never.
            before = self._since
            self._keep(now.utc_ns, 0)
            self._before_back = before
        if not self._until and self._gap is not None:
            if self._since < self._gap.since_utc_ns:
                self._keep(self._since, min(self._gap.since_utc_ns, self._since + STRETCH_S_MAX * SECOND))
            else:
                self._keep(self._gap.until_utc_ns, 0)
                self._gap = None
        if not self._until:
            past = (now.utc_ns - self._since) // self._every_ns * self._every_ns
            if past <= 0:
                return None
            self._keep(self._since, self._since + min(past, STRETCH_S_MAX * SECOND))
        return Stretch(self._since, self._until)

    def ordered(self, stretch: Stretch) -> None:
        """It lies among the orders; the next one begins where it ends."""
        self.last_order = stretch.identity.hex()
        self._keep(stretch.until_utc_ns, 0)

    def wish(self, now: Now) -> Monotonic | None:
        """When the next one is due."""
        if not self._every_ns:
            return None
        return now.monotonic.after(max(AGAIN_NS, self._since + self._every_ns - now.utc_ns))

    def _look_for_gap(self, now: Now) -> None:
        """A board that keeps no time while it is off begins with that of its image: day by day from there it would order years, all over
        again after each power cut, and with them use up the orders a day that [retrieval] takes from anybody.

        In memory: a process that begins anew meanwhile asks day by day, and leaves nothing out.
        """
        seen, self._seen = self._seen, now
        if seen is None or self._gap is not None:
            return
        passed_ns = now.monotonic.since(seen.monotonic)
        begin, end = seen.utc_ns + passed_ns, now.utc_ns - passed_ns
        if end - begin > STRETCH_S_MAX * SECOND:
            self._gap = Stretch(begin, max(begin, min(self._before_back or end, end)))
            self._before_back = 0

    def _keep(self, since: int, until: int) -> None:
        row = {"since_utc_ns": since, "until_utc_ns": until, "last": self.last_order}
        replace(self._disk, JOURNAL, NAME, json.dumps(row).encode())
        self._since, self._until = since, until


def _read(data: bytes) -> tuple[int, int, str]:
    try:
        match json.loads(data or b"null"):
            case {"since_utc_ns": int(since), "until_utc_ns": int(until), "last": str(last)} if 0 <= since < 1 << 63:
                return since, until if since < until <= since + STRETCH_S_MAX * SECOND else 0, last
    except (ValueError, RecursionError):
        pass
    return 0, 0, ""
