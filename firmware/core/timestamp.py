"""Moments: writing them, reading them, and moving between TAI (recorded), UTC (shown, and stamped on frames) and text."""

import re
from datetime import UTC, datetime, timedelta

from drivers.clock import Clock, ClockState, Monotonic, Now, Timestamp

__all__ = [
    "MS",
    "SECOND",
    "Clock",
    "ClockState",
    "Monotonic",
    "Now",
    "Timestamp",
    "compact",
    "iso",
    "parse_utc",
    "parse_utc_us",
    "span",
]

SECOND = 1_000_000_000  # ns
MS = 1_000_000  # ns

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_DIGITS_MAX = 11  # up to the year 5138: milliseconds since 1970 have 13 digits from 2001 on
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", re.ASCII)  # in seconds, a day of summer 1970
_BEYOND_US = re.compile(r"[.,]\d{6}(\d{1,3})", re.ASCII)  # what datetime does not keep of a second


def compact(utc_ns: int) -> str:
    """UTC as in file names: 20261122T101500Z. Years outside 1..9999 are clamped, so that no stamp can prevent a name."""
    return _moment(utc_ns).strftime("%Y%m%dT%H%M%SZ").rjust(16, "0")


def iso(utc_ns: int) -> str:
    """UTC for people, to the millisecond: 2026-11-22T10:15:00.000Z."""
    moment = _moment(utc_ns)
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S').rjust(19, '0')}.{utc_ns // MS % 1000:03d}Z"


def span(ns: int) -> str:
    """A length of time for people, to three figures: 600 s, 12.5 ms, 9 µs, 40 ns."""
    for unit, size in (("s", SECOND), ("ms", MS), ("µs", 1000)):
        if abs(ns) >= size:
            # From here on three figures are a thousand, which `g` writes as 1e+03.
            return f"{ns / size:.3g} {unit}" if abs(ns) < 999.5 * size else f"{round(ns / size)} {unit}"
    return f"{ns} ns"


def parse_utc(text: str) -> int:
    """A moment as a person writes it, UTC ns: ISO 8601 ("2026-11-22T10:15", offset allowed, UTC assumed) or seconds since 1970.

    Nine digits of a second count, as Wireshark shows them. Raises ValueError saying what was expected: also of digits that would be
    seconds of a moment nobody means, for what is found from 1970 on, or not found in the year 58000, passes for an answer.
    """
    if text.isdigit() and (len(text) > _SECONDS_DIGITS_MAX or _DATE.fullmatch(text)):
        what = "a date is written 2026-11-22" if _DATE.fullmatch(text) else "seconds have ten digits, milliseconds thirteen"
        raise ValueError(f"expected a time such as 2026-11-22T10:15:00 or seconds since 1970, got {text!r}: {what}")
    beyond = None if _is_seconds(text) else _BEYOND_US.search(text)
    return parse_utc_us(text) + (int(beyond[1].ljust(3, "0")) if beyond is not None else 0)


def parse_utc_us(text: str) -> int:
    """As `parse_utc`, but of ISO 8601 whole microseconds: of messages, whose identity follows from it."""
    try:
        if _is_seconds(text):
            whole, _, fraction = text.partition(".")
            return int(whole) * SECOND + int((fraction + "000000000")[:9])
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(f"expected a time such as 2026-11-22T10:15:00 or seconds since 1970, got {text!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds * 1000


def _is_seconds(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _moment(utc_ns: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=utc_ns // SECOND)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if utc_ns > 0 else datetime.min.replace(tzinfo=UTC)
