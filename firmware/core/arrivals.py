"""How far behind a sender's clock can be at most, by the stamps in its messages against their arrival; intake writes, clock reads.

A message was stamped before it arrived. So sender's clock minus ours was at least stamp minus arrival, and the quickest of many
messages says it best. Nothing bounds it from above: a slow network and a clock that is ahead look the same.

    state/arrivals   JSON {"since_monotonic_ns", "monotonic_ns", "lower": [[address, ns, at TAI ns], …]}
"""

import json
from collections.abc import Mapping

from drivers.clock import Monotonic, Now
from firmware.core.certificate import DEVICE_LENGTH_MAX, DEVICES_MAX, DeviceOffset, Method
from firmware.core.timestamp import SECOND

STATE, STATE_HIDDEN = "state/arrivals", "state/.arrivals"
STATE_BYTES_MAX = 1 << 16
WINDOW_NS = 600 * SECOND  # Older ones say little: at 100 ppm two clocks part by 60 ms in ten minutes.
STALE_NS = 60 * SECOND
_INT64 = 1 << 63


class Arrivals:
    """The best bound of each sender, of this window and the one before."""

    def __init__(self) -> None:
        self._since: Monotonic | None = None
        self._now: dict[str, tuple[int, int]] = {}
        self._before: dict[str, tuple[int, int]] = {}
        self._since_before: Monotonic | None = None
        self.has_news = False

    def note(self, address: str, *, stamp_tai_ns: int, arrived_tai_ns: int, now: Monotonic) -> None:
        """One message with a stamp of its sender's own. Beyond DEVICES_MAX senders, further ones are not kept."""
        if self._since is None or now.since(self._since) > WINDOW_NS:
            self._before, self._since_before = self._now, self._since
            self._now, self._since = {}, now
        ahead_ns = stamp_tai_ns - arrived_tai_ns
        known = self._now.get(address)
        if known is None and len(self._now) >= DEVICES_MAX:
            return
        if known is None or ahead_ns > known[0]:
            self._now[address] = ahead_ns, arrived_tai_ns
            self.has_news = True

    def packed(self, now: Now) -> bytes:
        """As stored."""
        self.has_news = False
        best = dict(self._before)
        for address, row in self._now.items():
            if address not in best or row[0] > best[address][0]:
                best[address] = row
        since = self._since_before or self._since or now.monotonic
        rows = [[address, ahead_ns, at_ns] for address, (ahead_ns, at_ns) in list(best.items())[-DEVICES_MAX:]]
        return json.dumps({"since_monotonic_ns": since.ns, "monotonic_ns": now.monotonic.ns, "lower": rows}).encode()


def bounds_from(data: bytes, *, now: Now, not_before: Monotonic) -> list[DeviceOffset]:
    """What is stored, as offsets; nothing of a file that is stale, of another start, or began before `not_before` (when the box's own
    clock was stepped). Never raises: a file of another form bounds nothing."""
    try:
        state = json.loads(data)
        if not isinstance(state, Mapping):
            return []
        age_ns = now.monotonic.ns - int(state["monotonic_ns"])
        if not 0 <= age_ns <= STALE_NS or int(state["since_monotonic_ns"]) < not_before.ns:
            return []
        rows = state["lower"][:DEVICES_MAX]
        return [
            DeviceOffset(address, Method.BOUNDED, low_ns, None, at_ns)
            for address, low_ns, at_ns in rows
            if isinstance(address, str) and 0 < len(address) <= DEVICE_LENGTH_MAX and _is_ns(low_ns) and _is_ns(at_ns)
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _is_ns(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64
