"""What intake has heard and written, and what it owes: the difference is read back from the segments by recall. Pure.

Everything stamped up to the mark is in the inbox or owed. The mark is kept on the disk some seconds late; what that costs is a
second copy of some messages, which has the same identity and is dropped where they arrive.
"""

from dataclasses import dataclass

import cbor2

from drivers.clock import Monotonic, Now
from firmware.core.cbor import decoded_cbor
from firmware.core.errors import BadItem
from firmware.core.missed import Missed
from firmware.core.timestamp import SECOND

HANDED_OVER_NS = SECOND  # A ring hands over after 10 ms; what is older than this and was not seen will not come.
AROUND_NS = SECOND  # Added at both ends of what is owed: between telling the time and opening a tap some of it passes.
# After a restart of the machine nobody knows how long it was down: a clock behind the mark was never set, so all that follows the
# mark is asked for, and what was recorded since the boot (a box is up within two minutes).
UNKNOWN_NS, BOOT_NS = 86_400 * SECOND, 120 * SECOND
# Until it was set, a moment before we began, it may have run ahead, and frames be stamped so. Further ahead than this it is no clock.
AHEAD_NS = 3600 * SECOND
FIRST_NS = 3600 * SECOND  # A box without a mark may have a recorder that began before: an hour of its segments is looked at.
NEAR_NS = 10 * SECOND  # Debts that lie closer together are one: each costs a search.
DEBTS_MAX = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where, by the frames' stamps, and when that was true."""

    utc_ns: int
    monotonic: Monotonic


class Coverage:
    """The mark and the debts of one intake. mark: as the last life left it, None at the first start or when it cannot be read."""

    def __init__(self, mark: Mark | None) -> None:
        self.mark = mark
        self._debts: list[Missed] = []

    @property
    def debts(self) -> tuple[Missed, ...]:
        return tuple(self._debts)

    def owe_since_mark(self, cause: str, now: Now) -> None:
        """Nothing was heard between the mark and now, or some of it was lost."""
        begin, end = silence(self.mark, now) if self.mark is not None else (now.utc_ns - FIRST_NS, now.utc_ns)
        self.owe(begin, end, cause)
        if self.mark is not None and now.monotonic < self.mark.monotonic:
            # A board without a battery began in 1970, and so did the stamps; systemd sets it to its own date at the latest.
            self.owe(0, BOOT_NS, cause)

    def owe(self, from_utc_ns: int, until_utc_ns: int, cause: str) -> None:
        """These were heard and could not be kept. Debts that touch become one."""
        begin, end = max(0, from_utc_ns - AROUND_NS), max(0, until_utc_ns + AROUND_NS)
        apart = []
        for debt in self._debts:
            if debt.from_utc_ns - NEAR_NS <= end and begin <= debt.until_utc_ns + NEAR_NS:
                begin, end, cause = min(begin, debt.from_utc_ns), max(end, debt.until_utc_ns), debt.cause
            else:
                apart.append(debt)
        self._debts = [*apart, Missed(begin, end, cause)]
        if len(self._debts) > DEBTS_MAX:
            first, second, *rest = sorted(self._debts, key=lambda debt: debt.from_utc_ns)
            self._debts = [Missed(first.from_utc_ns, max(first.until_utc_ns, second.until_utc_ns), first.cause), *rest]

    def paid(self, debt: Missed) -> None:
        """It is in missed/ now, and recall's to settle."""
        self._debts.remove(debt)

    def advance(self, now: Now, *, pending_utc_ns: int | None) -> Mark:
        """Move the mark on: everything handed over so far was heard. pending_utc_ns: the earliest stamp of what waits to be written."""
        behind = [now.utc_ns - HANDED_OVER_NS, *(debt.from_utc_ns - 1 for debt in self._debts)]
        if pending_utc_ns is not None:
            behind.append(pending_utc_ns - 1)
        self.mark = Mark(max(0, min(behind)), now.monotonic)
        return self.mark


def silence(mark: Mark, now: Now) -> tuple[int, int]:
    """From when to when frames of the time since the mark may be stamped, whatever was done to the clock meanwhile. UTC ns."""
    if now.monotonic >= mark.monotonic:
        passed = now.monotonic.since(mark.monotonic)
        return min(mark.utc_ns, now.utc_ns - passed), max(now.utc_ns, mark.utc_ns + passed)
    if now.utc_ns >= mark.utc_ns:
        return mark.utc_ns, now.utc_ns + AHEAD_NS
    return min(mark.utc_ns, now.utc_ns - BOOT_NS), mark.utc_ns + UNKNOWN_NS


def packed(mark: Mark) -> bytes:
    """The mark as kept on the disk."""
    return cbor2.dumps({0: 1, 1: mark.utc_ns, 2: mark.monotonic.ns}, canonical=True)


def unpacked(data: bytes) -> Mark:
    """Raises BadItem."""
    match decoded_cbor(data):
        case {0: 1, 1: int(utc_ns), 2: int(monotonic_ns)} if 0 <= utc_ns < 1 << 63 and 0 <= monotonic_ns < 1 << 63:
            return Mark(utc_ns, Monotonic(monotonic_ns))
    raise BadItem("expected a mark of version 1 with a stamp and a moment")
