"""Which samples of one stream stay: every n-th, so many a second, or those that a straight line does not explain. Pure.

A sampler is fed in the order heard and says of each token, at once or later, whether it stays. Tokens are the caller's numbers.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from firmware.core.timestamp import SECOND

LONGEST_NS = SECOND  # A stream that goes on is heard of once a second, however smooth it is; nobody waits longer for a decision.
WINDOW_MAX = 4_096  # undecided samples of one stream: EtherCAT at its fastest, for some hundred milliseconds
# Doubles are good to 1 part in 10^16; some operations later a stated error must still be kept, not almost kept.
_ROUNDING = 1e-12
_TINY = 1e-290  # Below it slopes become zero that are not: whoever states such an error gets none at all.


@dataclass(frozen=True, slots=True)
class Verdict:
    """Tokens that stay, and tokens that may go, decided now."""

    kept: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()


UNDECIDED = Verdict()


class Sampler(Protocol):
    """One stream's."""

    def feed(self, token: int, stamp_ns: int, values: tuple[float, ...], *, stays: bool = False, shared: bool = False) -> Verdict:
        """The next sample. stays: whatever we think. shared: it may stay, now or later, for another stream's sake."""
        ...

    def settle(self) -> Verdict:
        """Decide about all that is undecided."""
        ...


class EveryNth:
    """The first sample, and every n-th after it (S2-098)."""

    def __init__(self, n: int) -> None:
        assert n > 0, "checked where it was read"
        self._n = n
        self._count = 0

    def feed(self, token: int, stamp_ns: int, values: tuple[float, ...], *, stays: bool = False, shared: bool = False) -> Verdict:
        """See Sampler."""
        due = self._count % self._n == 0
        self._count += 1
        return Verdict(kept=(token,)) if due or stays else Verdict(dropped=(token,))

    def settle(self) -> Verdict:
        """Nothing is ever undecided."""
        return UNDECIDED


class Rate:
    """So many a second at most (S2-099): the first sample in each slot of the clock.

    Slots are the clock's and not the first sample's, so that two answers about overlapping times agree on what stays.
    """

    def __init__(self, rate_mhz: int) -> None:
        """rate_mhz: in thousandths of a hertz, above 0."""
        assert rate_mhz > 0, "checked where it was read"
        self._rate_mhz = rate_mhz
        self._slot: int | None = None

    def feed(self, token: int, stamp_ns: int, values: tuple[float, ...], *, stays: bool = False, shared: bool = False) -> Verdict:
        """See Sampler."""
        slot = stamp_ns * self._rate_mhz // (1000 * SECOND)
        if slot == self._slot and not stays:
            return Verdict(dropped=(token,))
        self._slot = slot
        return Verdict(kept=(token,))

    def settle(self) -> Verdict:
        """Nothing is ever undecided."""
        return UNDECIDED


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A stated error: a share of the value's range, as far as it is known by then, and so much in the value's unit on top.

    A share alone keeps every flicker of a value that hardly moves: its range is the flicker. That is what `plus` is for.
    """

    share: float = 0.0
    plus: float = 0.0


@dataclass(slots=True)
class _Point:
    """values: 0 where there is no number. odd: what is there instead, by index."""

    token: int
    stamp_ns: int
    values: tuple[float, ...]
    odd: dict[int, str]


def _point(token: int, stamp_ns: int, values: tuple[float, ...]) -> _Point:
    if all(map(math.isfinite, values)):
        return _Point(token, stamp_ns, values, {})
    odd = {index: repr(value) for index, value in enumerate(values) if not math.isfinite(value)}
    return _Point(token, stamp_ns, tuple(0.0 if index in odd else value for index, value in enumerate(values)), odd)


class Change:
    """Samples that a straight line between those that stay does not explain (S2-101).

    The law: between two samples that stay, a straight line is never further from any sample left out than the stated error, for every
    value. What cannot be joined by a line stays on both sides: a stamp that does not grow, a value that becomes a number or ceases to be
    one, another count of values. What is no number for as long as the sender runs, as an effort nobody measures, is no change. A sudden change keeps its last sample before and its first after; smooth motion keeps few, at least one in LONGEST_NS.

    The swinging door (Bristol 1990), made exact: a sample is only ever the end of a line if that line was tried against all between.
    A shared sample that stays for another's sake bends our line by as much as it is off it; so lines past shared samples may only use
    half of the error, and the other half is for the bend.
    """

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self._share = 1.0
        self._anchor: _Point | None = None
        self._window: list[_Point] = []
        self._lowest: list[float] = []  # slopes, in units a ns, within which a line from the anchor passes all in the window
        self._highest: list[float] = []
        self._least: list[float] = []  # values ever met
        self._most: list[float] = []

    def feed(self, token: int, stamp_ns: int, values: tuple[float, ...], *, stays: bool = False, shared: bool = False) -> Verdict:
        """See Sampler."""
        point = _point(token, stamp_ns, values)
        kept: tuple[int, ...] = ()
        dropped: tuple[int, ...] = ()
        if shared and self._share == 1.0:
            self._share = 0.5
            kept, dropped = self._cut()
        if not self._joins(point):
            more, gone = self._cut()
            self._begin(point)
            return Verdict((*kept, *more, token), (*dropped, *gone))
        self._widen(point)
        if self._window and not self._passes(point):
            kept, dropped = self._cut()
        if stays or not self._takes(point):
            dropped = (*dropped, *(row.token for row in self._window))
            self._begin(point)
            kept = (*kept, token)
        return Verdict(kept, dropped)

    def settle(self) -> Verdict:
        """See Sampler. The last sample stays, as the end of its line."""
        return Verdict(*self._cut())

    def _joins(self, point: _Point) -> bool:
        """Whether a line from the sample before leads to this one."""
        before = self._window[-1] if self._window else self._anchor
        return (
            before is not None
            and point.stamp_ns > before.stamp_ns
            and len(point.values) == len(before.values)
            and point.odd == before.odd
        )

    def _passes(self, point: _Point) -> bool:
        """Whether the line from the anchor to this point is near enough to all between."""
        anchor = self._anchor
        assert anchor is not None
        span = point.stamp_ns - anchor.stamp_ns
        if span > LONGEST_NS or len(self._window) >= WINDOW_MAX:
            return False
        for value, start, low, high in zip(point.values, anchor.values, self._lowest, self._highest, strict=True):
            slope = (value - start) / span
            if not low <= slope <= high or (slope == 0 and value != start):
                return False
        return True

    def _takes(self, point: _Point) -> bool:
        """Take the point into the window, where lines to later points must pass it; False where it is too far for a line already."""
        anchor = self._anchor
        assert anchor is not None
        span = point.stamp_ns - anchor.stamp_ns
        if span > LONGEST_NS:
            return False
        share, plus = self._tolerance.share * self._share, self._tolerance.plus * self._share
        lowest, highest = self._lowest, self._highest
        for index, (value, start) in enumerate(zip(point.values, anchor.values, strict=True)):
            off = value - start
            # Each by itself: where somebody says "unknown" with the largest of all numbers, a range of both signs is above it.
            room = share * self._most[index] - share * self._least[index] + plus - _ROUNDING * (abs(value) + abs(start)) - _TINY
            if room > 0 and math.isfinite(off):
                low, high = (off - room) / span, (off + room) / span
            elif off == 0:
                low = high = 0.0
            else:
                low, high = math.inf, -math.inf  # A slope is never exact: the next sample begins a new line.
            if low > lowest[index]:
                lowest[index] = low
            if high < highest[index]:
                highest[index] = high
        self._window.append(point)
        return True

    def _widen(self, point: _Point) -> None:
        if not self._tolerance.share:
            return
        for index, value in enumerate(point.values):
            if index in point.odd:
                continue
            if value < self._least[index]:
                self._least[index] = value
            if value > self._most[index]:
                self._most[index] = value

    def _cut(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The last of the window stays and is the anchor; returns what stays and what goes."""
        if not self._window:
            return (), ()
        *between, last = self._window
        self._begin(last)
        return (last.token,), tuple(point.token for point in between)

    def _begin(self, anchor: _Point) -> None:
        self._window = []
        self._anchor = anchor
        count = len(anchor.values)
        self._lowest, self._highest = [-math.inf] * count, [math.inf] * count
        if len(self._least) != count:
            # Without a share nothing is ever met; a value that never was a number has a range below zero, and no error.
            met = math.inf if self._tolerance.share else 0.0
            self._least, self._most = [met] * count, [-met] * count
        self._widen(anchor)
