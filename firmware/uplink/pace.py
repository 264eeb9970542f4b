"""How much bulk may be on its way at once: as much as fills the link, and no more than an alarm can bear to wait behind.

The delay of the broker's answers says it: what they take beyond the shortest one seen is time spent in somebody's queue, and nearly
all of that queue is ours. LEDBAT (RFC 6817) does the same with one-way delays; here only one side is ours, so it is the round trip.
Nothing needs to be known about the link, and nothing needs a privilege (fleet study §2: p99 of an alarm 65 ms at 2 Mbit/s and a
round trip of 40 ms, with 99 % of the link used; without any such window 1 to 7 s).
"""

from dataclasses import dataclass

from drivers.clock import Monotonic
from firmware.core.timestamp import MS, SECOND

# An alarm waits behind this much of ours, and behind the piece that is on the wire. With 25 ms an alarm's p99 was 70 to 77 ms at 2 Mbit/s
# and 40 ms, where one piece more or less is 17 ms; the link was no busier for it (tests/bench/uplink.py).
TARGET_NS = 15 * MS
PIECE_BYTES_MIN = 1024  # Below it the words around a piece cost more than the piece.
# 4 KiB and what is put around it fill three segments of 1448 bytes. At 2 Mbit/s a piece is 17 ms of the link.
PIECE_BYTES = 4096
WINDOW_BYTES_MIN = 2 * PIECE_BYTES_MIN
WINDOW_BYTES_FIRST = 4 * PIECE_BYTES  # What TCP sends at its own beginning (RFC 6928: ten segments).
WINDOW_BYTES_MAX = 8 << 20  # 1 Gbit/s for 64 ms; beyond it nothing here is the bottleneck.
PIECES_MIN = 3  # In a window at least: with two the link is idle whenever one answer is late.
PIECES_MAX = 16  # Longer pieces on faster links: the work for a piece hardly depends on its length.
BASE_NS = 60 * SECOND  # The shortest round trip is looked for in the last ten of these, for a route may change (RFC 6817 §4.2).
BASES_MAX = 10
# Answers may all be late once for a reason that is no queue of ours (a busy machine at either end): that costs a piece of the window
# and no more. Late by three times the target for as long as this, and two round trips, it is a queue: then half of it.
LATE_NS = 100 * MS
RATE_NS = 10 * SECOND  # What the link carries, as a mean over about this long.


@dataclass(frozen=True, slots=True)
class _Sent:
    size: int
    at: Monotonic
    is_telling: bool  # the window was full with it: how it fares says something about the link


class Pace:
    """The window of bulk, in bytes, and what it has learnt about the link. Begins anew with each connection."""

    def __init__(self) -> None:
        self.rate_bytes_per_s = 0  # kept over reconnects: the link is most likely the same
        self.begin()

    def begin(self) -> None:
        """A new connection: nothing is on its way, and nothing is known of its route."""
        self.window_bytes = float(WINDOW_BYTES_FIRST)
        self.on_way_bytes = 0
        self._sent: dict[object, _Sent] = {}
        self._bases: list[
            dict[int, tuple[int, int]]
        ] = []  # for each minute and order of size: the shortest answer, and its bytes
        self._base_until: Monotonic | None = None
        self._is_opening = True
        self._late_since: Monotonic | None = None
        self._took_ns, self._varies_ns = 0.0, 0.0
        self._answered_at: Monotonic | None = None
        self._bytes, self._ns = 0.0, 0.0

    def piece_bytes(self, longest: int) -> int:
        """How long a piece should be now; at most `longest`."""
        window = int(self.window_bytes)
        if window < PIECES_MIN * PIECE_BYTES:
            return max(1, min(longest, max(PIECE_BYTES_MIN, window // PIECES_MIN)))
        return max(1, min(longest, max(PIECE_BYTES, window // PIECES_MAX)))

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may go. One publication always may: what is longer than the window must get out as well."""
        return not self._sent or self.on_way_bytes + size <= self.window_bytes

    def sending(self, key: object, size: int, now: Monotonic) -> None:
        """These bytes are on the wire."""
        self.on_way_bytes += size
        self._sent[key] = _Sent(size, now, self.on_way_bytes + size > self.window_bytes)

    def answered(self, key: object, now: Monotonic) -> None:
        """The broker has answered for them, one way or the other."""
        sent = self._sent.pop(key, None)
        if sent is None:
            return
        self.on_way_bytes -= sent.size
        self._measure(sent, now)
        took_ns = now.since(sent.at)
        queue_ns = self._queue(sent.size, took_ns, now)
        self._varies_ns += (abs(took_ns - self._took_ns) - self._varies_ns) / 4 if self._took_ns else took_ns / 2
        self._took_ns += (took_ns - self._took_ns) / 8 if self._took_ns else took_ns
        self._is_opening = self._is_opening and queue_ns <= TARGET_NS // 2
        if self._is_opening:
            step = float(sent.size)  # twice the window a round trip, as TCP begins
        elif self._is_late(queue_ns, now):
            step = -self.window_bytes / 2
        else:
            # One piece more or less a window and round trip, the nearer to the target the less.
            step = sent.size * max(-1.0, 1 - queue_ns / TARGET_NS) * sent.size / self.window_bytes
        if step < 0 or sent.is_telling:
            # A window that is not used says nothing about whether a larger one would be too much.
            self.window_bytes = min(WINDOW_BYTES_MAX, max(WINDOW_BYTES_MIN, self.window_bytes + step))

    def round_trip_ns(self) -> int:
        """The shortest round trip known; 0 while none is."""
        return min((took for base in self._bases for took, _ in base.values()), default=0)

    def lasting_ns(self) -> int:
        """How long what is on its way may still take to be answered: as the answers of late took (RFC 6298 §2), and its bytes at the rate."""
        rate = self.rate_bytes_per_s
        bytes_ns = self.on_way_bytes * SECOND // rate if rate else 0
        return max(2 * self.round_trip_ns() + bytes_ns, int(self._took_ns + 4 * self._varies_ns))

    def _queue(self, size: int, took_ns: int, now: Monotonic) -> int:
        """How long this answer's publication stood in queues: beyond the shortest of its size.

        A long piece on a slow link would otherwise find itself in its own way, and be taken for a queue. Of a size not seen in an
        empty link, the shortest is worked out from a smaller one and the rate; where that is known too low, the window grows, and
        with it what is known. (The other way round, taking off each one's own time, a rate once too low stayed so.)
        """
        if self._base_until is None or now >= self._base_until:
            self._base_until = now.after(BASE_NS)
            self._bases = [*self._bases[-(BASES_MAX - 1) :], {}]
        kind, rate = size.bit_length(), self.rate_bytes_per_s
        self._bases[-1][kind] = min(self._bases[-1].get(kind, (took_ns, size)), (took_ns, size))
        shortest = took_ns
        for base in self._bases:
            for other, (took, own) in base.items():
                if other >= kind:
                    shortest = min(shortest, took)
                elif rate:
                    shortest = min(shortest, took + (size - own) * SECOND // rate)
        return took_ns - shortest

    def _is_late(self, queue_ns: int, now: Monotonic) -> bool:
        """Whether answers have been much too late for long enough; then the count begins anew."""
        if queue_ns <= 3 * TARGET_NS:
            self._late_since = None
            return False
        self._late_since = self._late_since or now
        if now.since(self._late_since) < LATE_NS + 2 * self.round_trip_ns():
            return False
        self._late_since = now
        return True

    def _measure(self, sent: _Sent, now: Monotonic) -> None:
        """The rate, from the answers to what was sent with the window full: idle time is no property of the link."""
        since, self._answered_at = self._answered_at, now
        if not sent.is_telling or since is None:
            return
        ns = now.since(max(since, sent.at))
        keep = max(0.0, 1 - ns / RATE_NS)
        self._bytes, self._ns = self._bytes * keep + sent.size, self._ns * keep + ns
        if self._ns > SECOND:
            self.rate_bytes_per_s = int(self._bytes * SECOND / self._ns)
