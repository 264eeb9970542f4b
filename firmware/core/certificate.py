"""How good time was over a stretch: the box's own, and how far each device's clock was from it, with how that is known.

    certified      somebody measured it: the truth lies in the interval, whatever the device believes
    self-reported  the device says so; it cannot see the asymmetry of its path, so this is a claim
    bounded        its stamps against their arrival: it cannot be further behind than this, ahead is open
    present        it takes part in PTP, and that is all that is known
An offset is the device's clock minus the box's. An interval ages: a crystal drifts, so it grows on both sides with time (DRIFT_PPM).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from firmware.core.errors import BadItem
from firmware.core.timestamp import MS, SECOND, ClockState, Monotonic, Now, Timestamp, span

DEVICES_MAX = 256  # in one seal, 60 bytes each: it stays within its 64 KiB
DEVICE_LENGTH_MAX = 64
# Two crystals of 50 ppm that have drifted apart for all they may; a device that follows a master is far better, and an
# interval is claimed for its worst moment.
DRIFT_PPM = 100
# NTP and PTP servos slew by at most 500 ppm, 0.5 ms in a second: a jump beyond this between two looks is a step.
STEP_NS = 50 * MS
# The account is written at least every four seconds. An older one is of a clock station that is gone, or of the start before this one, and
# nobody has looked since whether the box's clock was set.
ACCOUNT_AGE_NS = 10 * SECOND
_INT64 = 1 << 63


class Method(Enum):
    """How an offset is known, strongest first. Values are those stored in seals."""

    MONITORED = "netsync"  # four stamps of a NetSync Monitor probe
    QUERIED = "ntp"  # four stamps of an NTP exchange with the device
    REPORTED = "reported"  # PTP management: its own word
    BOUNDED = "bounded"  # application stamps against arrival
    PRESENT = "present"  # seen in PTP exchanges

    @property
    def is_measured(self) -> bool:
        """Whether the interval is guaranteed by stamps of both sides."""
        return self in (Method.MONITORED, Method.QUERIED)


_STRENGTH = {method: rank for rank, method in enumerate(Method)}


@dataclass(frozen=True, slots=True)
class DeviceOffset:
    """One device's clock against the box's.

    device: its address on the room network. low_ns, high_ns: the offset lies between them; None where that side is open.
    at_tai_ns: the box's time it holds for: when it was measured, claimed or heard.
    """

    device: str
    method: Method
    low_ns: int | None
    high_ns: int | None
    at_tai_ns: int

    def at(self, tai_ns: int) -> "DeviceOffset":
        """The same for another moment: wider by what the clocks may have drifted apart meanwhile, in either direction of time."""
        slack = abs(tai_ns - self.at_tai_ns) * DRIFT_PPM // 1_000_000
        low = None if self.low_ns is None else self.low_ns - slack
        high = None if self.high_ns is None else self.high_ns + slack
        return DeviceOffset(self.device, self.method, low, high, tai_ns)

    @property
    def middle_ns(self) -> int | None:
        """The best single number, None while a side is open."""
        return None if self.low_ns is None or self.high_ns is None else (self.low_ns + self.high_ns) // 2

    @property
    def furthest_ns(self) -> int | None:
        """How far it may be off at most, None while a side is open: "certified ±x"."""
        return None if self.low_ns is None or self.high_ns is None else max(abs(self.low_ns), abs(self.high_ns))

    def words(self) -> str:
        """For people: certified ±12.4 µs, self-reported ±3 µs, unknown, at most 2 ms behind."""
        furthest = self.furthest_ns
        if self.method.is_measured and furthest is not None:
            return f"certified ±{span(furthest)}"
        if self.method is Method.REPORTED and furthest is not None:
            return f"self-reported ±{span(furthest)}"
        if self.method is Method.BOUNDED and self.low_ns is not None:
            edge = f"at most {span(-self.low_ns)} behind" if self.low_ns <= 0 else f"at least {span(self.low_ns)} ahead"
            return f"unknown, {edge}"
        return "unknown"


@dataclass(frozen=True, slots=True)
class TimeQuality:
    """Of a stretch of time. uncertainty_ns, state: the worst seen in it. steps, stepped_ns: jumps of the box's clock and their sum.

    grandmaster: clockIdentity as hexadecimal text, empty when none is known. devices: offsets known at its end.
    """

    uncertainty_ns: int
    state: ClockState
    steps: int
    stepped_ns: int
    grandmaster: str = ""
    devices: tuple[DeviceOffset, ...] = ()

    def as_list(self) -> list[object]:
        """As in a seal."""
        rows = [[row.device, row.method.value, row.low_ns, row.high_ns, row.at_tai_ns] for row in self.devices]
        return [self.uncertainty_ns, self.state.value, self.steps, self.stepped_ns, self.grandmaster, rows]


def from_list(row: object) -> TimeQuality:
    """The reverse of `as_list`. Raises BadItem."""
    match row:
        case [int(uncertainty), str(state), int(steps), int(stepped), str(grandmaster), list(devices)] if (
            uncertainty >= 0 and steps >= 0 and len(devices) <= DEVICES_MAX and len(grandmaster) <= DEVICE_LENGTH_MAX
        ):
            try:
                return TimeQuality(
                    uncertainty,
                    ClockState(state),
                    steps,
                    stepped,
                    grandmaster,
                    tuple(device_from_list(entry) for entry in devices),
                )
            except ValueError:
                pass
    raise BadItem("expected time quality [uncertainty, state, steps, stepped, grandmaster, devices]")


def device_from_list(row: object) -> DeviceOffset:
    """One device's offset, as in a seal and in the clock's state. Raises BadItem."""
    match row:
        case [str(device), str(method), (int() | None) as low, (int() | None) as high, int(at)] if 0 < len(
            device
        ) <= DEVICE_LENGTH_MAX and all(abs(value or 0) < _INT64 for value in (low, high, at)):
            if low is None or high is None or low <= high:
                try:
                    return DeviceOffset(device, Method(method), low, high, at)
                except ValueError:
                    pass
    raise BadItem("expected an offset [device, method, low or null, high or null, at]")


@dataclass(frozen=True, slots=True)
class Account:
    """What the clock station publishes about now, as far as a seal and a message need it."""

    grandmaster: str = ""
    devices: tuple[DeviceOffset, ...] = ()

    def of(self, device: str) -> DeviceOffset | None:
        """The offset of one device, None when nothing is known of it."""
        return next((row for row in self.devices if row.device == device), None)


def account_from(data: bytes, *, now: Monotonic | None = None) -> Account:
    """The account in the clock's state file. A file of another form, or none of it, is an empty account: nothing is certified by it.

    now: for who needs what is so now; an account that is not of the last ACCOUNT_AGE_NS is empty then. None: of whenever it is.
    """
    import json  # Here: seals need none of it.

    try:
        state = json.loads(data)
        if isinstance(state, Mapping):
            then = state.get("monotonic_ns")
            if now is not None and not (type(then) is int and 0 <= now.ns - then <= ACCOUNT_AGE_NS):
                return Account()
            master, rows = state.get("grandmaster", ""), state.get("offsets", [])
            if isinstance(master, str) and isinstance(rows, list):
                return Account(master[:DEVICE_LENGTH_MAX], tuple(device_from_list(row) for row in rows[:DEVICES_MAX]))
    except (ValueError, RecursionError, BadItem):
        pass
    return Account()


def strongest(offsets: Iterable[DeviceOffset]) -> DeviceOffset | None:
    """Of several about one device: a measurement before a claim before a bound; within one method the newest."""
    return min(offsets, key=lambda row: (_STRENGTH[row.method], -row.at_tai_ns), default=None)


class TimeWatch:
    """Looks at the time again and again, and can say how good it was in between."""

    def __init__(self) -> None:
        self._before: Now | None = None
        self.clear()

    def clear(self) -> None:
        """A new stretch begins; it begins where the last one ended, so that no step falls between them."""
        self._steps = self._stepped_ns = self._uncertainty_ns = 0
        self._worst: ClockState | None = None

    def look(self, now: Now) -> None:
        """Once more. Cheap: called at every step of the recorder."""
        stamp, before = now.timestamp, self._before
        if stamp.uncertainty_ns > self._uncertainty_ns:
            self._uncertainty_ns = stamp.uncertainty_ns
        if stamp.state is not self._worst and (self._worst is None or _BADNESS[stamp.state] > _BADNESS[self._worst]):
            self._worst = stamp.state
        if before is not None:
            jump = stamp.tai_ns - before.timestamp.tai_ns - now.monotonic.since(before.monotonic)
            if abs(jump) > STEP_NS:
                self._steps += 1
                self._stepped_ns += jump
        self._before = now

    def quality(self, account: Account) -> TimeQuality:
        """Of what was seen since `clear`."""
        return TimeQuality(
            self._uncertainty_ns,
            self._worst or ClockState.FREE,
            self._steps,
            self._stepped_ns,
            account.grandmaster,
            account.devices,
        )


_BADNESS = {ClockState.LOCKED: 0, ClockState.HOLDOVER: 1, ClockState.FREE: 2}


def corrected(stamp: Timestamp, offset: DeviceOffset | None, *, near_tai_ns: int) -> tuple[int, int] | None:
    """The earliest and latest moment, in the box's TAI ns, a device's own stamp may mean; None when its clock is not certified.

    near_tai_ns: the box's time about then, for how much the interval has aged: the stamp itself may be of another decade.
    """
    if offset is None or not offset.method.is_measured:
        return None
    then = offset.at(near_tai_ns)
    if then.low_ns is None or then.high_ns is None:
        return None
    return stamp.tai_ns - then.high_ns, stamp.tai_ns - then.low_ns
