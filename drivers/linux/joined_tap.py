"""Several interfaces heard as one tap, for who wants the frames and not where they passed: a passive tap has a port each way.

One that goes away leaves the others heard, and is tried again. The recorder does not use this: it numbers its interfaces.
"""

import select
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from drivers.errors import TapFailed, Trouble
from drivers.tap import Block, Tap, TapCounters, TapRequest

AGAIN_S = 1.0


@dataclass(slots=True)
class _Member:
    """One interface. tap: None while it is away. before: what its former taps had counted."""

    request: TapRequest
    tap: Tap | None = None
    tried_s: float = float("-inf")
    before: TapCounters = field(default_factory=TapCounters)


class JoinedTap:
    """request.interface: names with commas between them. Raises TapFailed when none can be opened, BadFilter."""

    def __init__(self, request: TapRequest, open_tap: Callable[[TapRequest], Tap]) -> None:
        self._request = request
        self._open_tap = open_tap
        self._members = [_Member(replace(request, interface=name.strip())) for name in request.interface.split(",")]
        self._handed: deque[tuple[_Member, Tap, Block]] = deque()
        self._next = 0
        self._sequence = 0
        self._trouble = ""
        self._returned = 0
        self._epoll = select.epoll()
        try:
            self._open_those_away()
            self._check()
            self._returned = 0
        except Trouble:
            self.close()
            raise

    @property
    def request(self) -> TapRequest:
        return self._request

    @property
    def link_type(self) -> int:
        return next(member.tap.link_type for member in self._members if member.tap is not None)

    @property
    def title(self) -> str:
        return ""

    @property
    def is_taken_over(self) -> bool:
        return False

    @property
    def stamps_itself(self) -> bool:
        return any(member.tap is not None and member.tap.stamps_itself for member in self._members)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def next(self, most: int = 1) -> Block | None:
        self._open_those_away()
        for _ in self._members:
            member = self._members[self._next]
            self._next = (self._next + 1) % len(self._members)
            block = self._from(member, most)
            if block is not None and member.tap is not None:
                self._handed.append((member, member.tap, block))
                self._sequence += 1
                return replace(block, sequence=self._sequence - 1, handle=self._sequence - 1)
        self._check()
        return None

    def is_filling(self) -> bool:
        return any(member.tap is not None and member.tap.is_filling() for member in self._members)

    def ready_count(self) -> int:
        return sum(member.tap.ready_count() for member in self._members if member.tap is not None)

    def release(self, block: Block) -> None:
        member, tap, own = self._handed.popleft()
        if member.tap is tap:
            tap.release(own)

    def counters(self) -> TapCounters:
        """All of them together; a carrier when each that is there has one."""
        total = TapCounters()
        for member in self._members:
            total = _sum(total, member.before)
            if member.tap is not None:
                total = _sum(total, member.tap.counters())
        return replace(total, returned=self._returned)

    def catch_up(self) -> None:
        for member in self._members:
            if member.tap is not None:
                member.tap.catch_up()

    def finish(self) -> None:
        for member in self._members:
            member.tried_s = float("inf")
            if member.tap is not None:
                member.tap.finish()

    def close(self) -> None:
        for member in self._members:
            if member.tap is not None:
                self._lose(member, member.tap)
        self._epoll.close()

    def _from(self, member: _Member, most: int) -> Block | None:
        if member.tap is None:
            return None
        try:
            return member.tap.next(most)
        except TapFailed as trouble:
            self._trouble = str(trouble)
            self._lose(member, member.tap)
            return None

    def _open_those_away(self) -> None:
        now_s = time.monotonic()
        for member in self._members:
            if member.tap is not None or now_s < member.tried_s + AGAIN_S:
                continue
            member.tried_s = now_s
            try:
                member.tap = self._open_tap(member.request)
            except TapFailed as trouble:
                self._trouble = str(trouble)
                continue
            self._returned += 1
            self._epoll.register(member.tap.fileno(), select.EPOLLIN)

    def _lose(self, member: _Member, tap: Tap) -> None:
        member.before = replace(_sum(member.before, tap.counters()), has_carrier=True)
        try:
            self._epoll.unregister(tap.fileno())
        except (OSError, ValueError):
            pass  # closed already
        tap.close()
        member.tap = None

    def _check(self) -> None:
        if all(member.tap is None for member in self._members):
            raise TapFailed(self._trouble)


def _sum(one: TapCounters, other: TapCounters) -> TapCounters:
    causes = {cause: one.dropped.get(cause, 0) + other.dropped.get(cause, 0) for cause in (*one.dropped, *other.dropped)}
    return TapCounters(
        one.received + other.received, causes, one.has_carrier and other.has_carrier, one.stamps_refused + other.stamps_refused
    )
