"""What waits in the outbox: a look at the directory, as often as its length allows."""

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.errors import DiskFailed
from firmware.core.report import Report
from firmware.core.timestamp import SECOND
from firmware.uplink.flight import without
from firmware.uplink.standing import Standing

OUTBOX = "outbox"
# Looking through the outbox may take a tenth of the time: a thousand items are looked at every 10 ms, a hundred thousand every second.
LISTING_SHARE = 10
LISTED_NS_MAX = 10_000  # What a name may cost, on a card.
AGAIN_NS = 5 * SECOND  # After a failed disk.


class Looking:
    """is_blind: the last look failed; what may have become first since is not known (storm seeds 9 and 36)."""

    def __init__(self, board: Board, report: Report, standing: Standing) -> None:
        self._board = board
        self._report = report
        self._standing = standing
        self._due: Monotonic | None = None  # when it may be looked through again; None: at once
        self._is_wanted = False
        self.is_blind = False

    def soon(self) -> None:
        """Whatever has been seen is no longer so."""
        self._due = None

    def look(self, now: Now) -> None:
        """Look, when it is due."""
        self._is_wanted = self._due is not None and now.monotonic < self._due
        if self._is_wanted:
            return
        before = self._board.clock.now().monotonic
        flights = self._standing.flights
        try:
            names = without(self._board.disk.list(OUTBOX), flights)
        except DiskFailed:
            self._report.drop("disk_failed")
            self._due = now.monotonic.after(AGAIN_NS)
            self.is_blind = True
            return
        self.is_blind = False
        tried = [name for name in names if name not in self._standing.aside] if self._standing.aside else names
        self._standing.waiting.fill(tried, count=len(tried))
        # Not longer for a short list: something else held the machine up, and an alarm would wait ten times as long for it.
        took_ns = min(self._board.clock.now().monotonic.since(before), len(names) * LISTED_NS_MAX)
        self._due = now.monotonic.after(took_ns * LISTING_SHARE)
        self._standing.forget_others(names)
        for priority in (1, 2, 3, 4):
            self._report.gauge(f"outbox_p{priority}", sum(name.startswith(f"p{priority}-") for name in names))
        self._report.gauge("outbox_items", len(names) + len(flights) + flights.custody_count)

    def next_wish(self) -> Monotonic | None:
        """What arrived while we were not allowed to look rang already, and will not ring again."""
        return self._due if self._is_wanted or self.is_blind else None
