"""Groups too old to be worth sending (S2-053): which they are, and what is said of each. Used by every station a group waits at."""

from collections.abc import Mapping

from drivers.clock import ClockState, Now
from firmware.core.message import Priority, Severity
from firmware.core.notices import Notices
from firmware.core.timestamp import SECOND, iso

FACT = "expires_tai_ns"
KIND = "discarded"


def is_expired(facts: Mapping[str, int | str], now: Now) -> bool:
    """By the fact the group was released with; never by a clock that has not had a source: it may be off by years."""
    expires = facts.get(FACT)
    return isinstance(expires, int) and now.timestamp.state is not ClockState.FREE and now.timestamp.tai_ns > expires


def counted_as(priority: Priority) -> str:
    """The cause a station counts it by."""
    return f"expired_p{int(priority)}"


def expired_priority(cause: str) -> Priority | None:
    """Of what was lost for this cause; None for another cause."""
    return next((priority for priority in Priority if cause == counted_as(priority)), None)


def say_discarded(
    notices: Notices, now: Now, *, name: str, priority: Priority, messages: int, first_tai_ns: int, last_tai_ns: int
) -> None:
    """The audit of one discard. Raises DiskFull or DiskFailed.

    As urgent as what was lost, and at least as maintenance: an audit is not debugging. Its time is the group's, so that saying it
    twice gives one message.
    """
    begin, end = (iso(tai_ns - now.tai_offset_s * SECOND) for tai_ns in (first_tai_ns, last_tai_ns))
    text = f"{messages} messages of priority {int(priority)} from {begin} to {end} were too old to be sent and stay on the box"
    notices.say(
        now, KIND, min(priority, Priority.P3), Severity.NOTICE, text, event="expired", origin_ns=last_tai_ns,
        fields={"group": name, "messages": messages, "priority": int(priority)},
    )  # fmt: skip
