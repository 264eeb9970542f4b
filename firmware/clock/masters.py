"""Other PTP clocks that want to lead the room: who they are, whether they would win, and who only pretends."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from firmware.clock.news import News, notice, warning
from firmware.clock.ptp4l import CLOCK_CLASS, Ptp4l
from firmware.core.message import Priority, Severity
from firmware.core.ptp import Announce, PtpMessage, identity_text
from firmware.core.timestamp import SECOND, Monotonic

MASTERS_MAX = 16  # Announcing under many names is a flood, and counted as one.
# One Announce may be anybody's mistake, and ptp4l itself wants two within four of its intervals (§9.3.2.4.4).
ANNOUNCES_MIN = 2
GONE_NS = 20 * SECOND  # ten intervals of the default two seconds
_SEQUENCES_REMEMBERED = 64


@dataclass(slots=True)
class Master:
    """One that announces. address: where its messages come from. count: Announces heard."""

    name: str
    address: str
    announce: Announce
    heard_at: Monotonic
    count: int = 0
    is_said: bool = False
    sequences: "deque[int]" = field(default_factory=lambda: deque(maxlen=_SEQUENCES_REMEMBERED))


def rank(announce: Announce) -> tuple[int, int, int, int, int, bytes]:
    """What the best master clock algorithm compares, in its order; the lowest wins (§9.3.4)."""
    quality = announce.grandmasterClockQuality
    return (
        announce.grandmasterPriority1, quality.clockClass, quality.clockAccuracy, quality.offsetScaledLogVariance,
        announce.grandmasterPriority2, announce.grandmasterIdentity,
    )  # fmt: skip


class Masters:
    """All that were heard within GONE_NS, and whom the box follows."""

    def __init__(self, *, yields: bool, priority1: int) -> None:
        self._yields = yields
        self._priority1 = priority1
        self._masters: dict[str, Master] = {}
        self._followed: bytes | None = None
        self.overflow = 0  # Announces under further names

    def announced(self, message: PtpMessage, address: str, now: Monotonic) -> None:
        """An Announce of somebody else's."""
        assert message.announce is not None, "an announce message announces"
        name = str(message.sourcePortIdentity)
        master = self._masters.get(name)
        if master is None:
            if len(self._masters) >= MASTERS_MAX and not self._made_room(message.announce):
                self.overflow += 1
                return
            master = self._masters[name] = Master(name, address, message.announce, now)
        master.address, master.announce, master.heard_at = address, message.announce, now
        master.count += 1

    def _made_room(self, better: Announce) -> bool:
        """For one that would win against another in the table: first of those heard once, then of all. Who fills it with clocks that would
        never be chosen hides nobody who would."""
        once = {name: master for name, master in self._masters.items() if master.count < ANNOUNCES_MIN}
        for rows in (once, self._masters):
            worst = max(rows.values(), key=lambda master: rank(master.announce), default=None)
            if worst is not None and rank(worst.announce) > rank(better):
                del self._masters[worst.name]
                self.overflow += 1
                return True
        return False

    def follows_up(self, message: PtpMessage) -> bool:
        """A FOLLOW_UP of a master's; False when one of this number was heard already: somebody plays it again."""
        master = self._masters.get(str(message.sourcePortIdentity))
        if master is None:
            return True
        if message.sequenceId in master.sequences:
            return False
        master.sequences.append(message.sequenceId)
        return True

    def news(self, ours: Ptp4l | None, now: Monotonic) -> list[News]:
        """What has changed since last asked. ours: the box's own clock as ptp4l says, None when it is not known."""
        found = [] if ours is None else self._change_of_grandmaster(ours)
        for name, master in list(self._masters.items()):
            if now.since(master.heard_at) > GONE_NS:
                del self._masters[name]
                if master.is_said:
                    found.append(notice("master_gone", f"PTP clock {name} announces itself no more", master=name))
            elif not master.is_said and master.count >= ANNOUNCES_MIN:
                master.is_said = True
                found.append(self._second(master, ours))
        return found

    def rows(self) -> Sequence[Master]:
        """Those heard, in the order of their rank."""
        return sorted(self._masters.values(), key=lambda master: rank(master.announce))

    def _second(self, master: Master, ours: Ptp4l | None) -> News:
        leads = identity_text(master.announce.grandmasterIdentity)
        text = f"PTP clock {master.name} offers grandmaster {leads}"
        if rank(master.announce) > self._rank(ours):
            return notice("second_master", f"{text}; it would not be chosen", master=master.name, grandmaster=leads)
        if self._yields:
            return warning(
                "better_master", f"{text}; it is better than this box and will be followed", master=master.name, grandmaster=leads
            )
        # Devices choose by themselves: they follow it, whatever this box does. Their offsets will show it.
        text += "; devices will follow it, this box does not"
        return News("rogue_master", Priority.P2, Severity.ERROR, text, {"master": master.name, "grandmaster": leads})

    def _change_of_grandmaster(self, ours: Ptp4l) -> list[News]:
        before, self._followed = self._followed, ours.grandmaster
        if before is None or before == ours.grandmaster:
            return []
        now_text, before_text = identity_text(ours.grandmaster), identity_text(before)
        whom = "this box" if ours.is_grandmaster else now_text
        text = f"the grandmaster is {whom}, was {before_text}"
        return [warning("grandmaster_changed", text, grandmaster=now_text, before=before_text)]

    def _rank(self, ours: Ptp4l | None) -> tuple[int, int, int, int, int, bytes]:
        """The box's own, or of whom it follows; as it is configured while ptp4l does not say."""
        if ours is None:
            return self._priority1, CLOCK_CLASS, 0xFE, 0xFFFF, 255, b"\xff" * 8
        # priority2 is not asked for; where all before it is equal, two clocks are as good, and saying so twice harms nobody.
        quality = ours.quality
        return ours.priority1, quality.clockClass, quality.clockAccuracy, quality.offsetScaledLogVariance, 255, ours.grandmaster
