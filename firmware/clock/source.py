"""How good the box's own time is, from those who keep it: chronyd, the kernel, and ptp4l where the box follows somebody.

chronyd is there      its source, when it last heard it, its own bound on the error
else the kernel       adjtimex(2): synchronised or not, and the error its keeper allows
ptp4l is a slave      the box follows a better clock of the room, and says "ptp": right to how near it is to that clock, and to how right
                      that clock says it is itself (clockAccuracy)
"""

from dataclasses import dataclass, replace

from drivers.clock import Now
from firmware.clock.ptp4l import Ptp4l
from firmware.core.chrony import Tracking
from firmware.core.ptp_datasets import PortState
from firmware.core.timestamp import SECOND, ClockState

# A source is lost when three of its updates are overdue; chronyd polls every 64 s at least by default, or every second a refclock.
MISSED_UPDATES = 3
OVERDUE_NS_MIN = 30 * SECOND
# An uncompensated crystal whose rate was known drifts by some tenths of a ppm a kelvin; a rack warms up by ten.
HOLDOVER_PPM = 10
PTP_REFERENCE = "PTP"  # as chrony.conf calls what ptp4l hands it


@dataclass(frozen=True, slots=True)
class Quality:
    """source, state, uncertainty_ns: as in a Timestamp. reference: whom the box follows, for people; leap: seconds announced."""

    source: str
    state: ClockState
    uncertainty_ns: int
    reference: str = ""
    leap: int = 0


class Keeper:
    """Remembers what it takes to tell holdover from never, and how far the clock was set since its source was heard."""

    def __init__(self) -> None:
        self._good: tuple[Now, int, str] | None = None  # when last locked, how well, by what
        self._updated_ns: int | None = None  # when chronyd had last heard its source, as it said at the last look
        self._stepped_ns = 0

    def stepped(self, jumped_ns: int) -> None:
        """Somebody set the clock. Whoever keeps it may not have noticed, and goes on saying how good it was before."""
        self._stepped_ns += abs(jumped_ns)

    def quality(self, now: Now, tracking: Tracking | None, ptp4l: Ptp4l | None) -> Quality:
        """tracking, ptp4l: what they said within the last seconds, None when they said nothing."""
        found = _from_chrony(now, tracking, ptp4l) if tracking is not None else _from_kernel(now, ptp4l)
        updated_ns = tracking.updated_utc_ns if tracking is not None and tracking.is_synchronised else None
        if found.state is ClockState.LOCKED:
            if updated_ns is None or updated_ns != self._updated_ns:
                self._stepped_ns = 0  # It was looked at since.
            self._updated_ns = updated_ns
            self._good = now, found.uncertainty_ns, found.source
            return replace(found, uncertainty_ns=found.uncertainty_ns + self._stepped_ns)
        if self._good is None:
            return found
        then, uncertainty_ns, source = self._good
        grown = uncertainty_ns + now.monotonic.since(then.monotonic) * HOLDOVER_PPM // 1_000_000
        # Whoever keeps the clock may know that it is worse; never that it is better than what an unattended crystal is.
        known = found.uncertainty_ns if found.state is ClockState.HOLDOVER or tracking is not None else 0
        return Quality(source, ClockState.HOLDOVER, max(grown, known) + self._stepped_ns, found.reference, found.leap)


def _from_chrony(now: Now, tracking: Tracking, ptp4l: Ptp4l | None) -> Quality:
    if not tracking.is_synchronised:
        if ptp4l is not None and ptp4l.state is PortState.SLAVE:
            return _from_ptp(ptp4l, tracking)  # phc2sys keeps the clock, chronyd only watches
        return Quality("rtc", ClockState.FREE, now.timestamp.uncertainty_ns, "", tracking.leap)
    source = "ptp" if tracking.reference == PTP_REFERENCE else "ntp"
    overdue_ns = max(OVERDUE_NS_MIN, int(MISSED_UPDATES * max(tracking.interval_s, 0.0) * SECOND))
    is_heard = abs(now.utc_ns - tracking.updated_utc_ns) <= overdue_ns  # What lies ahead was heard before the clock was set back.
    state = ClockState.LOCKED if is_heard else ClockState.HOLDOVER
    masters_ns = ptp4l.master_error_ns if source == "ptp" and ptp4l is not None else 0
    return Quality(source, state, tracking.error_ns + masters_ns, tracking.reference, tracking.leap)


def _from_kernel(now: Now, ptp4l: Ptp4l | None) -> Quality:
    if ptp4l is not None and ptp4l.state is PortState.SLAVE:
        return _from_ptp(ptp4l, None)
    stamp = now.timestamp
    return Quality(stamp.source, stamp.state, stamp.uncertainty_ns)


def _from_ptp(ptp4l: Ptp4l, tracking: Tracking | None) -> Quality:
    # The two ways of a path may be as uneven as the whole of it is long; nobody here can see how uneven.
    leap = tracking.leap if tracking is not None else 0
    near_ns = abs(ptp4l.offset_ns) + max(0, ptp4l.delay_ns)
    return Quality("ptp", ClockState.LOCKED, near_ns + ptp4l.master_error_ns, ptp4l.grandmaster.hex(), leap)
