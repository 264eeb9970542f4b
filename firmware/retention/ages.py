"""How old a thing is, when clocks cannot always be believed. Errors here are made on the side of keeping.

Two clocks enter an age: the one the segment was sealed by and the one that reads now.
The first was free when the box had just started without a source: such a segment counts as made no earlier than the next one after
it that has a date, because it was made before that one, and maybe just before.
The second is in doubt after it stepped and when it began without a source: then no ages are judged at all for some time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.clock import ClockState, Monotonic, Now, Timestamp


class Believer:
    """Whether the present clock may be used for ages."""

    def __init__(self, *, step_ns: int, doubt_ns: int) -> None:
        self._step_ns = step_ns
        self._doubt_ns = doubt_ns
        self._before: Now | None = None
        self._doubted: Monotonic | None = None
        self._stepped = False

    def tai_ns(self, now: Now) -> int | None:
        """The time to judge ages by, or None while the clock is in doubt. To be asked often: a step is seen between two calls."""
        before, self._before = self._before, now
        if before is None:
            if now.timestamp.state is ClockState.FREE:
                self._doubted = now.monotonic
        else:
            jump_ns = (now.timestamp.tai_ns - before.timestamp.tai_ns) - now.monotonic.since(before.monotonic)
            if abs(jump_ns) > self._step_ns:
                self._doubted, self._stepped = now.monotonic, True
        if self._doubted is not None:
            has_source_now = now.timestamp.state is ClockState.LOCKED and not self._stepped
            if has_source_now or now.monotonic.since(self._doubted) >= self._doubt_ns:
                self._doubted, self._stepped = None, False
        # As early as it may be: what is not certainly old is not old.
        return None if self._doubted is not None else now.timestamp.tai_ns - now.timestamp.uncertainty_ns


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sealed segment. size: bytes. made: when its seal was, None when that cannot be read.

    No more than a deletion needs: a hundred thousand seals would be a hundred MiB.
    """

    name: str
    sequence: int
    size: int
    made: Timestamp | None
    seal_digest: bytes


def dates(candidates: Sequence[Candidate]) -> list[int | None]:
    """When each was made at the latest, ns TAI, for candidates in the order of their sequences; None when nobody can say."""
    found: list[int | None] = []
    later: int | None = None
    for candidate in reversed(candidates):
        made = candidate.made
        if made is not None:
            latest = made.tai_ns + made.uncertainty_ns
            if made.state is not ClockState.FREE:
                later = latest
            elif later is None or latest > later:
                later = latest  # Free, and nothing better after it: the same clock reads now, in doubt until it has run a day.
        found.append(later)
    return found[::-1]
