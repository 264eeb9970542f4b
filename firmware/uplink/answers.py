"""What the hub and the relay say of what was sent: it is done, it is kept, so much of it is there; and what follows on our disk."""

from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import Monotonic
from firmware.core.durable import make_directory, move
from firmware.core.envelope import Ack
from firmware.core.errors import DiskFailed, DiskFull, Missing
from firmware.core.report import Report
from firmware.core.timestamp import SECOND
from firmware.uplink.looking import OUTBOX, Looking
from firmware.uplink.standing import Standing

SENT = "sent"
# The move to sent/ need not outlive a power cut at once: what comes back is sent again, and the hub absorbs it. An alarm that arrives
# meanwhile must not wait for two syncs.
SETTLE_NS = SECOND
AGAIN_NS = 5 * SECOND  # After a full or failed disk.
HELLO_NS = SECOND  # A hub that has just come back missed what was sent before; what is younger may still be on its way to it.


class Answers:
    """outbox/ to sent/, by acknowledgement."""

    def __init__(self, board: Board, report: Report, standing: Standing, looking: Looking) -> None:
        self._disk = board.disk
        self._report = report
        self._standing = standing
        self._looking = looking
        self._settle_by: Monotonic | None = None

    def start(self) -> None:
        """Make the directory."""
        make_directory(self._disk, SENT)

    def hear(self, ack: Ack, now: Monotonic) -> None:
        """All of one acknowledgement but what is committed, which `move_to_sent` takes for all of a wake."""
        self._standing.hear_offsets(ack.partial, now)
        for identity in ack.custody:
            if self._standing.keep(identity, now):
                self._report.count("in_custody")
        if not ack.committed and not ack.partial and not ack.custody:
            self._hub_is_back(now)

    def move_to_sent(self, identities: Sequence[bytes], now: Monotonic) -> bool:
        """The hub has committed these. False: the disk takes nothing now, and they wait again."""
        is_well = True
        for identity in identities:
            names = self._standing.acknowledged(identity)
            if not names:
                self._report.count("acknowledged_again")
                continue
            for name in names:
                try:
                    move(self._disk, f"{OUTBOX}/{name}", f"{SENT}/{name}")
                except Missing:
                    self._report.drop("vanished")
                except (DiskFull, DiskFailed):
                    # It waits again, the hub absorbs it and acknowledges it again; by then the disk may be well.
                    self._report.drop("not_moved_to_sent")
                    self._looking.soon()
                    is_well = False
                else:
                    self._report.count("acknowledged")
                    self._settle_by = self._settle_by or now.after(SETTLE_NS)
        return is_well

    def settle_moves(self, now: Monotonic, *, is_last: bool = False) -> None:
        """Make what was moved last, when it is time. is_last: whether it is time or not."""
        if self._settle_by is None or (now < self._settle_by and not is_last):
            return
        try:
            # The arrival first: the departure alone, made lasting, would be an item lost.
            self._disk.sync_dir(SENT)
            self._disk.sync_dir(OUTBOX)
        except (DiskFull, DiskFailed):
            self._report.drop("sync_failed")
            self._settle_by = now.after(AGAIN_NS)
            return
        self._settle_by = None

    def next_wish(self) -> Monotonic | None:
        """When moves have to be made to last."""
        return self._settle_by

    def _hub_is_back(self, now: Monotonic) -> None:
        """The hub has just subscribed: what was sent before was thrown away by the broker, or died with the former hub."""
        for identity in self._standing.flights.sent_before(now.after(-HELLO_NS)):
            self._standing.wait_again(identity)
            self._report.count("resent")
        self._standing.ask_all_again()
        self._standing.hub_is_back()
