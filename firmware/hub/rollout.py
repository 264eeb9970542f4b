"""A roll-out: whom an edition is offered to next, and when it is halted. Pure.

Boxes have an order. A phase is a share of them, from the beginning: one box, a tenth, half, all. Within a phase each box is offered the
edition at once; the next begins when enough of this one are good: official there, and well for the soak time by their own word. A box that
says nothing counts neither way, until its time is over; then it is an error. Too many errors, or too few good ones left, and it halts.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from firmware.core.errors import BadSettings
from firmware.core.timestamp import SECOND

WAITING, OFFERED, OFFICIAL, GOOD, FAILED = "waiting", "offered", "official", "good", "failed"
STATES = (WAITING, OFFERED, OFFICIAL, GOOD, FAILED)
PHASES_MAX = 20
_SHARE = re.compile(r"(?P<count>[1-9][0-9]{0,5})|(?P<percent>[1-9][0-9]?|100) ?%|all")


@dataclass(frozen=True, slots=True)
class Plan:
    """shares: of all boxes, growing: "1", "10%", "all". soak_s: how long a box has to be well. limit_s: how long it may say nothing of use.

    success_percent of a phase have to be good before the next begins; more than errors_percent of it failed, and it halts.
    """

    shares: tuple[str, ...] = ("1", "10%", "50%", "all")
    soak_s: int = 3600
    limit_s: int = 259_200
    success_percent: int = 90
    errors_percent: int = 5

    def sizes(self, boxes: int) -> list[int]:
        """How many boxes each phase reaches; at least one more than the phase before, the last all of them."""
        found: list[int] = []
        for share in self.shares:
            size = min(boxes, _size(share, boxes))
            if size > (found[-1] if found else 0):
                found.append(size)
        if not found or found[-1] < boxes:
            found.append(boxes)
        return found


@dataclass(frozen=True, slots=True)
class Member:
    """A box in it. since_tai_ns: when it was first offered, or became official. well_tai_ns: since when it says it is; 0: it does not.

    heard_tai_ns: when it last said how it is. cause: why it failed.
    """

    box: str
    state: str = WAITING
    since_tai_ns: int = 0
    well_tai_ns: int = 0
    heard_tai_ns: int = 0
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """phase: which it is in now, from 0. members: as they are now. offer: who is offered it now. halt: why it goes no further."""

    phase: int
    members: tuple[Member, ...]
    offer: tuple[str, ...] = ()
    halt: str = ""
    is_done: bool = False


def shares_of(words: Sequence[str]) -> tuple[str, ...]:
    """Phases as a person writes them. Raises BadSettings."""
    if not 0 < len(words) <= PHASES_MAX or not all(_SHARE.fullmatch(word) for word in words):
        raise BadSettings(f'rollout phases: expected 1 to {PHASES_MAX}, each as "3", "10%" or "all"')
    return tuple(word.replace(" ", "") for word in words)


def decided(plan: Plan, phase: int, members: Sequence[Member], now_tai_ns: int) -> Decision:
    """What is to happen now. The same again, after it has happened, changes nothing."""
    judged = tuple(_judged(plan, member, now_tai_ns) for member in members)
    sizes = plan.sizes(len(judged))
    phase = min(phase, len(sizes) - 1)
    while True:
        inside = judged[: sizes[phase]]
        failed = [member for member in inside if member.state == FAILED]
        good = sum(member.state == GOOD for member in inside)
        if len(failed) * 100 > plan.errors_percent * len(inside):
            return Decision(phase, judged, halt=_too_many(plan, failed, inside))
        if (len(inside) - len(failed)) * 100 < plan.success_percent * len(inside):
            return Decision(phase, judged, halt=_too_few(plan, failed, inside))
        is_last = phase == len(sizes) - 1
        if is_last and all(member.state in (GOOD, FAILED) for member in judged):
            return Decision(phase, judged, is_done=True)
        if is_last or good * 100 < plan.success_percent * len(inside):
            return Decision(phase, judged, offer=tuple(member.box for member in inside if member.state == WAITING))
        phase += 1


def _judged(plan: Plan, member: Member, now_tai_ns: int) -> Member:
    """What time alone makes of it."""
    waited_ns = now_tai_ns - member.since_tai_ns
    if member.state == OFFERED and waited_ns >= plan.limit_s * SECOND:
        return replace(
            member, state=FAILED, since_tai_ns=now_tai_ns, cause=f"nothing of it being official within {plan.limit_s} s"
        )
    if member.state == OFFICIAL:
        if member.well_tai_ns and member.heard_tai_ns - member.well_tai_ns >= plan.soak_s * SECOND:
            return replace(member, state=GOOD, since_tai_ns=now_tai_ns)
        if waited_ns >= (plan.soak_s + plan.limit_s) * SECOND:
            cause = f"official, and not known to be well for {plan.soak_s} s within {plan.limit_s} s more"
            return replace(member, state=FAILED, since_tai_ns=now_tai_ns, cause=cause)
    return member


def _size(share: str, boxes: int) -> int:
    match = _SHARE.fullmatch(share)
    assert match is not None, "shares_of sees to it"
    if match["count"]:
        return int(match["count"])
    return math.ceil(boxes * int(match["percent"]) / 100) if match["percent"] else boxes


def _too_many(plan: Plan, failed: Sequence[Member], inside: Sequence[Member]) -> str:
    return f"{len(failed)} of {len(inside)} boxes failed, at most {plan.errors_percent} % may; {_first(failed)}"


def _too_few(plan: Plan, failed: Sequence[Member], inside: Sequence[Member]) -> str:
    return f"{len(failed)} of {len(inside)} boxes failed, {plan.success_percent} % have to be good; {_first(failed)}"


def _first(failed: Sequence[Member]) -> str:
    return f"{failed[0].box}: {failed[0].cause}"
