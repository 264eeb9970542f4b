"""What was lost since the last seal: counted by cause, and when. Pure."""

from dataclasses import dataclass, field

from drivers.clock import Now
from firmware.core.seal import GAPS_MAX, Gap
from firmware.core.segment_writer import Losses
from firmware.core.timestamp import SECOND

SET_NS = SECOND  # Apart by less, it was steered or only read: one gap begins exactly where the one before it ended.
JOIN_NS = 2 * SECOND  # Losses of one cause this close together are one gap: a full ring drops a little in every poll.


@dataclass(slots=True)
class Ledger:
    """Grows until `closed`; bounded by GAPS_MAX gaps and the few causes there are. has_grown: since `so_far` last said all of it."""

    drops: dict[str, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    has_grown: bool = False

    def lost(self, cause: str, frames: int | None, *, first_ns: int, last_ns: int) -> None:
        """These frames, or an unknown number (None), between two moments of the box's clock, UTC ns."""
        if frames == 0:
            return
        self.has_grown = True
        if frames is not None:
            self.drops[cause] = self.drops.get(cause, 0) + frames
        self._note(Gap(cause, min(first_ns, last_ns), max(first_ns, last_ns), frames))

    def again(self, losses: Losses) -> None:
        """These were closed, before what is here now, and no seal says them."""
        self.has_grown = True
        later, self.gaps = self.gaps, list(losses.gaps)
        for cause, frames in losses.drops.items():
            self.drops[cause] = self.drops.get(cause, 0) + frames
        for gap in later:
            self._note(gap)

    def closed(self) -> Losses:
        """All of it, for a seal; the ledger begins anew."""
        losses = self.so_far()
        self.drops.clear()
        self.gaps.clear()
        return losses

    def so_far(self) -> Losses:
        """All of it, to be noted until a seal says it."""
        self.has_grown = False
        return Losses(dict(self.drops), tuple(self.gaps))

    def _note(self, gap: Gap) -> None:
        # The last of this cause, not the last of all: two interfaces, or an interface and the disk, may lose in turns.
        place = next((at for at in reversed(range(len(self.gaps))) if _adjoins(self.gaps[at], gap)), None)
        if place is None and len(self.gaps) == GAPS_MAX:
            place = GAPS_MAX - 1
        if place is None:
            self.gaps.append(gap)
        else:
            self.gaps[place] = _joined(self.gaps[place], gap)


def then_ns(then: Now, now: Now) -> int:
    """When that was, UTC ns, as the clock shows it now: set in between, it would make hours of a second, or years after 1970."""
    shown_ns = now.utc_ns - now.monotonic.since(then.monotonic)
    return shown_ns if abs(shown_ns - then.utc_ns) > SET_NS else then.utc_ns


def unsaid(losses: Losses, said: Losses) -> Losses:
    """What has come to these since they were said: a seal may have been written with fewer, and published later as it was."""
    drops = {cause: frames - said.drops.get(cause, 0) for cause, frames in losses.drops.items()}
    before = {(gap.cause, gap.first_ns): gap for gap in said.gaps}
    gaps = [
        gap if former is None else Gap(gap.cause, former.last_ns, gap.last_ns, _difference(gap.frames, former.frames))
        for gap in losses.gaps
        if (former := before.get((gap.cause, gap.first_ns))) != gap
    ]
    return Losses({cause: frames for cause, frames in drops.items() if frames > 0}, tuple(gaps))


def _adjoins(before: Gap, gap: Gap) -> bool:
    return before.cause == gap.cause and before.first_ns <= gap.first_ns <= before.last_ns + JOIN_NS


def _joined(before: Gap, gap: Gap) -> Gap:
    known = None if gap.frames is None or before.frames is None else before.frames + gap.frames
    name = gap.cause if gap.cause == before.cause else "several"
    return Gap(name, min(before.first_ns, gap.first_ns), max(before.last_ns, gap.last_ns), known)


def _difference(frames: int | None, less: int | None) -> int | None:
    return None if frames is None or less is None else frames - less
