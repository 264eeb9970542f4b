"""When this machine may be connected at all (S2-066): so many minutes of every so many, anchored to the clock.

Anchored to UTC, not to when the box was switched on: whoever watches the hospital's firewall has to know when to expect it.
"""

from dataclasses import dataclass

from drivers.clock import Now

MINUTE_NS = 60 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Open:
    """The connection may be used. closes_in_ns: until it must be closed; None: it need not be."""

    closes_in_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing may be connected. opens_in_ns: until it may; None: the clock is too uncertain to say that it ever is."""

    opens_in_ns: int | None


@dataclass(frozen=True, slots=True)
class Opening:
    """every_min: from one opening to the next, 0: always open. open_min: how long. offset_min: when the first of the day begins, UTC."""

    every_min: int
    open_min: int
    offset_min: int = 0

    def at(self, now: Now) -> Open | Closed:
        """Where in it we are. The clock's uncertainty is taken from both ends: never early, never late, as far as the clock can know."""
        if self.every_min == 0 or self.open_min >= self.every_min:
            return Open()
        period, length = self.every_min * MINUTE_NS, self.open_min * MINUTE_NS
        doubt = now.timestamp.uncertainty_ns
        if 2 * doubt >= length:
            return Closed(None)
        since = (now.utc_ns - self.offset_min * MINUTE_NS) % period
        if since < doubt:
            return Closed(doubt - since)
        if since < length - doubt:
            return Open(length - doubt - since)
        return Closed(period + doubt - since)

    def opens_in_ns(self, now: Now) -> int | None:
        """From now, which is in a window or after it, to the next window's beginning; None when it is always open or never."""
        state = self.at(now)
        if isinstance(state, Closed):
            return state.opens_in_ns
        if state.closes_in_ns is None:
            return None
        doubt = now.timestamp.uncertainty_ns
        return state.closes_in_ns + 2 * doubt + (self.every_min - self.open_min) * MINUTE_NS
