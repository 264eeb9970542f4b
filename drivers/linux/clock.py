"""The clock, real: the kernel's clocks, and how good they are as the clock process says, or else the kernel itself (adjtimex(2)).

Whoever disciplines the kernel's clock (chronyd, phc2sys, systemd-timesyncd) tells it how far off it may be; we repeat that and
claim nothing better. The clock process asks those programs themselves, and knows a source that has fallen silent; every other
process takes its word from a file, as long as it is fresh.
"""

import ctypes
import time
from pathlib import Path

from drivers.clock import ClockState, Monotonic, Now, Timestamp

STA_UNSYNC = 0x0040  # linux/timex.h
TIME_ERROR = 5  # adjtimex's return value when the clock is not synchronised
DRIFT_PPM = 500  # What the kernel itself adds to maxerror while nobody corrects it (MAXFREQ, kernel/time/ntp.c)
# A crystal of 20 ppm that nobody has set for a year is ten minutes off. A clock that was never set at all is worse, and says 1970.
RTC_UNCERTAINTY_NS = 600 * 1_000_000_000
# TAI minus UTC since 2017-01-01 (IERS Bulletin C 52); no leap second has been announced since. Used while the kernel's own
# offset is 0, which means that nobody told it, not that the two scales agree.
TAI_OFFSET_S = 37
ACCOUNT_AGE_NS = 5_000_000_000  # It is written once a second; beyond this the clock process is gone or hangs.
ACCOUNT_BYTES_MAX = 1 << 18
READ_NS_MAX = 50_000  # Two readings take a microsecond here and some ten on a board; whatever is longer was interrupted.
READS_MAX = 5
QUALITY_EVERY_NS = 250_000_000  # The kernel's view changes once a second; asking at every step would cost more than the step.


JUMP_NS = 100_000_000  # Slewing moves the two apart by this much in minutes; asking once more then costs nothing.


class _Timeval(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("microseconds", ctypes.c_long))


class _Timex(ctypes.Structure):
    """struct timex (adjtimex(2)); `modes` 0 only reads."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("constant", ctypes.c_long), ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long), ("time", _Timeval), ("tick", ctypes.c_long), ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long), ("shift", ctypes.c_int), ("stabil", ctypes.c_long), ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long), ("errcnt", ctypes.c_long), ("stbcnt", ctypes.c_long), ("tai", ctypes.c_int),
        ("padding", ctypes.c_int * 11),
    )  # fmt: skip


class LinuxClock:
    """CLOCK_MONOTONIC and CLOCK_REALTIME. LOCKED while the kernel is synchronised, HOLDOVER when it was, FREE when it never was.

    account: the clock process's file (firmware/clock writes it); None for the clock process itself and for tools.
    """

    def __init__(self, account: Path | None = None) -> None:
        self._account = account
        self._adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
        self._asked_ns = -QUALITY_EVERY_NS
        self._ahead_ns = 0  # how far UTC was ahead of monotonic time when it was last asked because of that
        self._locked_ns: int | None = None  # monotonic, when it was last seen synchronised
        self._locked_error_ns = 0
        self._is_told = False  # by the kernel
        self._state, self._uncertainty_ns, self._source, self._tai_offset_s = (
            ClockState.FREE,
            RTC_UNCERTAINTY_NS,
            "rtc",
            TAI_OFFSET_S,
        )

    def now(self) -> Now:
        monotonic, utc = _both()
        # At a leap second the kernel's TAI offset changes in the same moment: TAI would be a second off until the next time to ask.
        has_jumped = abs(utc - monotonic - self._ahead_ns) > JUMP_NS
        if has_jumped or monotonic - self._asked_ns >= QUALITY_EVERY_NS:
            self._ahead_ns = utc - monotonic
            self._ask(monotonic)
            monotonic, utc = _both()
        stamp = Timestamp(utc + self._tai_offset_s * 1_000_000_000, self._uncertainty_ns, self._source, self._state)
        return Now(Monotonic(monotonic), stamp, self._tai_offset_s)

    def _ask(self, monotonic: int) -> None:
        self._asked_ns = monotonic
        self._ask_kernel(monotonic)
        if self._account is not None and (told := _told(self._account, monotonic)) is not None:
            self._state, self._source, self._uncertainty_ns, tai_offset_s = told
            if not self._is_told:
                self._tai_offset_s = tai_offset_s

    def _ask_kernel(self, monotonic: int) -> None:
        timex = _Timex()
        answer = self._adjtimex(ctypes.byref(timex))
        # systemd's ProtectClock forbids even to ask: all but the clock process go by what that one says.
        self._is_told = answer != -1
        if self._is_told:
            self._tai_offset_s = timex.tai or TAI_OFFSET_S
        if answer not in (-1, TIME_ERROR) and not timex.status & STA_UNSYNC:
            self._state, self._source, self._uncertainty_ns = ClockState.LOCKED, "ntp", timex.maxerror * 1000
            self._locked_ns, self._locked_error_ns = monotonic, self._uncertainty_ns
        elif self._locked_ns is not None:
            self._state = ClockState.HOLDOVER
            self._uncertainty_ns = self._locked_error_ns + (monotonic - self._locked_ns) * DRIFT_PPM // 1_000_000
        else:
            self._state, self._source, self._uncertainty_ns = ClockState.FREE, "rtc", RTC_UNCERTAINTY_NS


def _both() -> tuple[int, int]:
    """CLOCK_MONOTONIC and CLOCK_REALTIME of one moment: whoever is put aside between the two reads another pair, at most READS_MAX times.

    Without that a busy machine looks as if its clock had been set, there and back (two steps of 50 ms in a minute, tests/room).
    """
    best: tuple[int, int, int] | None = None
    for _ in range(READS_MAX):
        monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        utc = time.clock_gettime_ns(time.CLOCK_REALTIME)
        apart = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - monotonic
        if best is None or apart < best[0]:
            best = apart, monotonic, utc
        if apart <= READ_NS_MAX:
            break
    assert best is not None
    return best[1:]


def _told(account: Path, monotonic: int) -> tuple[ClockState, str, int, int] | None:
    """(state, source, uncertainty, TAI minus UTC) as the clock process wrote it last; None when that is old, of another start, or not
    readable."""
    import json  # Here: who only takes its time asks no clock process.

    try:
        with account.open("rb") as file:
            row = json.loads(file.read(ACCOUNT_BYTES_MAX))
        match row:
            case {
                "monotonic_ns": int(then), "state": str(state), "source": str(source), "uncertainty_ns": int(uncertainty_ns),
            } if 0 <= monotonic - then <= ACCOUNT_AGE_NS and uncertainty_ns >= 0:  # fmt: skip
                tai_offset_s = row.get("tai_offset_s")
                return ClockState(state), source[:16], uncertainty_ns, tai_offset_s if type(tai_offset_s) is int else TAI_OFFSET_S
    except (OSError, ValueError, RecursionError):
        pass
    return None
