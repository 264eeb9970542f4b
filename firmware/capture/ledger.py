"""What was lost since the last seal: counted by cause, and when. Pure."""

from dataclasses import dataclass, field

from firmware.core.seal import GAPS_MAX, Gap
from firmware.core.segment import Losses
from firmware.core.timestamp import SECOND

JOIN_NS = 2 * SECOND  # Losses of one cause this close together are one gap: a full ring drops a little in every poll.


@dataclass(slots=True)
class Ledger:
    """Grows until `closed`; bounded by GAPS_MAX gaps and the few causes there are."""

    drops: dict[str, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say."""
        return not self.drops and not self.gaps

    def lost(self, cause: str, frames: int | None, *, first_ns: int, last_ns: int) -> None:
        """These frames, or an unknown number (None), between two moments of the box's clock, UTC ns."""
        if frames == 0:
            return
        if frames is not None:
            self.drops[cause] = self.drops.get(cause, 0) + frames
        first_ns, last_ns = min(first_ns, last_ns), max(first_ns, last_ns)
        # The last of this cause, not the last of all: two interfaces, or an interface and the disk, may lose in turns.
        place = next((at for at in reversed(range(len(self.gaps))) if _adjoins(self.gaps[at], cause, first_ns)), None)
        if place is None and len(self.gaps) == GAPS_MAX:
            place = GAPS_MAX - 1
        if place is None:
            self.gaps.append(Gap(cause, first_ns, last_ns, frames))
        else:
            self.gaps[place] = _joined(self.gaps[place], cause, frames, first_ns, last_ns)

    def again(self, losses: Losses) -> None:
        """These were closed, and their seal was never published."""
        for cause, frames in losses.drops.items():
            self.drops[cause] = self.drops.get(cause, 0) + frames
        self.gaps[:0] = losses.gaps[: GAPS_MAX - len(self.gaps)]

    def closed(self) -> Losses:
        """All of it, for a seal; the ledger begins anew."""
        losses = Losses(dict(self.drops), tuple(self.gaps))
        self.drops.clear()
        self.gaps.clear()
        return losses


def _adjoins(before: Gap, cause: str, first_ns: int) -> bool:
    return before.cause == cause and before.first_ns <= first_ns <= before.last_ns + JOIN_NS


def _joined(before: Gap, cause: str, frames: int | None, first_ns: int, last_ns: int) -> Gap:
    known = None if frames is None or before.frames is None else before.frames + frames
    name = cause if cause == before.cause else "several"
    return Gap(name, min(before.first_ns, first_ns), max(before.last_ns, last_ns), known)
