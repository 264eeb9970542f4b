"""The tap, with its comings and goings: opened when it can be, its counters turned into what was lost since last asked."""

from collections import deque
from enum import Enum

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.tap import Block, Tap, TapRequest
from firmware.capture.ledger import Ledger, then_ns
from firmware.core.errors import TapFailed
from firmware.core.report import Report
from firmware.core.timestamp import MS, SECOND

RETRY_NS_MIN = 100 * MS  # A cable put back is heard within this time,
RETRY_NS_MAX = 5 * SECOND  # and one that is gone for the night costs nothing.
POLL_NS = SECOND


class Standing(Enum):
    """What can be heard of an interface. NO_CARRIER: it is open and silent, for there is no cable or nobody at its other end."""

    HEARD = "heard"
    NO_CARRIER = "no carrier"
    GONE = "gone"


class Ear:
    """Hands out blocks, holds those not yet on the disk, and notes what the kernel lost.

    suffix: behind every cause of its losses, where there are several interfaces.
    """

    def __init__(self, board: Board, request: TapRequest, ledger: Ledger, report: Report, *, suffix: str = "") -> None:
        self.interface = request.interface
        self.suffix = suffix
        self.received = 0  # frames the kernel handed over, since this process began
        self._board = board
        self._request = request
        self._ledger = ledger
        self._report = report
        self._tap: Tap | None = None
        self._is_kept = False  # its ring, by the keeper
        self._held: deque[Block] = deque()
        self._held_count = 0
        self._counted: dict[str, int] = {}
        self._received_counted = self._refused_counted = 0
        self._handed = 0  # frames, since the tap was opened
        self._polled_at: Now | None = None
        self._deaf_since: Now | None = None
        self._dark_since: Now | None = None
        self._retry_ns = RETRY_NS_MIN
        self._retry_at: Monotonic | None = None
        self.trouble = ""  # why it does not hear, as the driver said it; never foreign bytes

    @property
    def hears(self) -> bool:
        """Whether the interface is there."""
        return self._tap is not None

    @property
    def standing(self) -> Standing:
        """How it stands, as far as was last asked."""
        if self._tap is None:
            return Standing.GONE
        return Standing.HEARD if self._dark_since is None else Standing.NO_CARRIER

    @property
    def stamps_itself(self) -> bool:
        """Whether the interface stamps frames by its own clock."""
        return self._tap is not None and self._tap.stamps_itself

    @property
    def link_type(self) -> int:
        return self._tap.link_type if self._tap is not None else 1

    @property
    def title(self) -> str:
        """Under which its ring is kept; "" where it cannot be."""
        return self._tap.title if self._tap is not None else ""

    @property
    def is_taken_over(self) -> bool:
        """Whether it hears through the ring of an earlier life: then nothing passed unheard in between."""
        return self._tap is not None and self._tap.is_taken_over

    @property
    def held_count(self) -> int:
        """Blocks handed out and not released."""
        return self._held_count

    def fileno(self) -> int:
        return self._tap.fileno() if self._tap is not None else -1

    def open(self, now: Now) -> bool:
        """Try, when it is time to; whether it has just begun to hear. Raises BadFilter: no later attempt would do better."""
        if self._tap is not None or (self._retry_at is not None and now.monotonic < self._retry_at):
            return False
        try:
            self._tap = self._board.tap(self._request)
        except TapFailed as trouble:
            self._gone(trouble, now)
            return False
        self.trouble = ""
        self._retry_ns, self._retry_at = RETRY_NS_MIN, None
        self._counted, self._received_counted, self._refused_counted, self._handed, self._polled_at = {}, 0, 0, 0, now
        self._report.gauge(f"stamps{self.suffix}", "hardware" if self._tap.stamps_itself else "software")
        self._note_deaf(now)
        self._deaf_since = self._dark_since = None
        self._is_kept = self._tap.is_taken_over
        return True

    def keep(self) -> None:
        """Its ring is left with the keeper, however this process ends.

        Not before there is an open segment to go on from, in which all that was lost is noted: who takes a ring over says that nothing
        else is missing.
        """
        if self._tap is None or self._is_kept or not self._tap.title:
            return
        self._is_kept = True
        keeper = self._board.supervisor
        for title in keeper.kept():
            if title.split("/")[:2] == self._tap.title.split("/")[:2] and title != self._tap.title:
                keeper.forget(title)  # Under other rules, or of an interface that went: it will never be read again.
        keeper.keep(self._tap.title, self._tap.fileno())

    def let_go(self) -> None:
        """Until `keep` its ring ends with this process. It hears on."""
        if self._tap is not None and self._is_kept:
            self._board.supervisor.forget(self._tap.title)
            self._is_kept = False

    def next(self, now: Now, most: int = 1) -> Block | None:
        """The next block, up to `most` as one, or None. When the interface has gone, `hears` says so from now on."""
        if self._tap is None:
            return None
        try:
            block = self._tap.next(most)
        except TapFailed as trouble:
            # The frames of the held blocks are in the stretch; it is written when it is due, as if nothing had happened.
            self.note_left(now)
            self._board.supervisor.forget(self._tap.title)
            self.close()
            self._gone(trouble, now)
            return None
        if block is not None:
            self._handed += block.frame_count
        return block

    def is_filling(self) -> bool:
        """Whether something was heard that `next` cannot hand out yet."""
        return self._tap is not None and self._tap.is_filling()

    def ready_count(self) -> int:
        """Blocks that `next` would hand out now."""
        return self._tap.ready_count() if self._tap is not None else 0

    def hold(self, block: Block) -> None:
        """Its frames are in memory, not on the disk."""
        self._held.append(block)
        self._held_count += block.count

    def release(self, block: Block | None = None) -> None:
        """What is held, then this block, are on the disk or given up."""
        if self._tap is not None:
            while self._held:
                self._tap.release(self._held.popleft())
            self._held_count = 0
            if block is not None:
                self._tap.release(block)

    def poll(self, now: Now, *, at_once: bool = False) -> None:
        """Ask the kernel what it lost, at most once a second; note how long the interface has been away."""
        if not at_once and self._polled_at is not None and now.monotonic.since(self._polled_at.monotonic) < POLL_NS:
            return
        self._poll(now)
        self._note_deaf(now)

    def catch_up(self) -> None:
        """`next` hands out what was heard until now; what comes after is for the next life."""
        if self._tap is not None:
            self._tap.catch_up()

    def finish(self) -> None:
        """Hear nothing more; `next` hands out the rest."""
        if self._tap is not None:
            self._tap.finish()

    def note_left(self, now: Now) -> None:
        """After the last `next`: what the kernel heard and nobody was handed is lost with the ring."""
        self._poll(now)
        left = self._received_counted - self._handed
        if left > 0:
            self._ledger.lost(f"left_in_ring{self.suffix}", left, first_ns=now.utc_ns, last_ns=now.utc_ns)
            self._report.drop(f"left_in_ring{self.suffix}", left)

    def wake(self) -> Monotonic | None:
        """When `open` should be tried again."""
        return self._retry_at

    def close(self) -> None:
        """Stop listening."""
        self._held.clear()
        self._held_count = 0
        if self._tap is not None:
            self._tap.close()
            self._tap = None

    def _gone(self, trouble: TapFailed, now: Now) -> None:
        self.trouble = str(trouble)
        self._dark_since = None
        if self._deaf_since is None:
            self._deaf_since = now
        self._retry_at = now.monotonic.after(self._retry_ns)
        self._retry_ns = min(RETRY_NS_MAX, self._retry_ns * 2)

    def _note_deaf(self, now: Now) -> None:
        if self._deaf_since is not None:
            self._unheard("interface_gone", self._deaf_since, now)
            self._deaf_since = now

    def _poll(self, now: Now) -> None:
        if self._tap is None:
            return
        # The kernel counts on while a step of a busy wire takes its tenths of a second: what it tells was lost until now, not until then.
        now = self._board.clock.now()
        since = self._polled_at if self._polled_at is not None else now
        counters = self._tap.counters()
        self.received += counters.received - self._received_counted
        self._received_counted = counters.received
        if counters.stamps_refused > self._refused_counted:
            self._report.count(f"stamps_refused{self.suffix}", counters.stamps_refused - self._refused_counted)
            self._refused_counted = counters.stamps_refused
        for cause, count in counters.dropped.items():
            grown = count - self._counted.get(cause, 0)
            self._counted[cause] = count
            if grown > 0:
                self._ledger.lost(cause + self.suffix, grown, first_ns=then_ns(since, now), last_ns=now.utc_ns)
                self._report.drop(cause + self.suffix, grown)
        self._note_dark(counters.has_carrier, since, now)
        self._polled_at = now

    def _note_dark(self, has_carrier: bool, since: Now, now: Now) -> None:
        """A pulled cable leaves an interface that is open and silent; what passed meanwhile nobody knows."""
        if has_carrier:
            self._dark_since = None
            return
        self._unheard("no_carrier", since if self._dark_since is None else self._dark_since, now)
        self._dark_since = now

    def _unheard(self, cause: str, since: Now, now: Now) -> None:
        """Nobody knows how many frames; the seal says when, the report how long."""
        self._ledger.lost(cause + self.suffix, None, first_ns=then_ns(since, now), last_ns=now.utc_ns)
        self._report.count(f"{cause}_ms{self.suffix}", now.monotonic.since(since.monotonic) // MS)
