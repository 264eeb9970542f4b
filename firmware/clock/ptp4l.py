"""The box's own PTP clock: what ptp4l is told, what it says of itself, and what its clock announces while it is grandmaster.

ptp4l runs unmodified beside us; its control socket is read, and written for one thing only: how good the time is that it serves.
"""

from dataclasses import dataclass

from firmware.clock.settings import ClockSettings
from firmware.core import ptp, ptp_datasets
from firmware.core.errors import BadItem
from firmware.core.ptp import ALL_PORTS, Action, ClockQuality, Flags, PortIdentity
from firmware.core.ptp_datasets import (
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    GrandmasterSettingsNP,
    ManagementId,
    ParentDataSet,
    PortDataSet,
    PortState,
    TimePropertiesDataSet,
)
from firmware.core.timestamp import ClockState, Monotonic

# Class 6 is for a primary reference (GNSS), and 13 for a timescale of one's own; a box that follows NTP is neither. 248 is "none of
# the others": any real reference in the room wins, and between two boxes the more accurate one.
CLOCK_CLASS = 248
_ACCURACY_FIRST = 0x20
_ACCURACY = (  # clockAccuracy, Table 5: from 0x20, within so many ns
    25, 100, 250, 1_000, 2_500, 10_000, 25_000, 100_000, 250_000, 1_000_000, 2_500_000, 10_000_000, 25_000_000, 100_000_000,
    250_000_000, 1_000_000_000, 10_000_000_000,
)  # fmt: skip
_NTP, _INTERNAL, _PTP = 0x50, 0xA0, 0x40  # timeSource, Table 6
_QUESTIONS = (
    ManagementId.PORT_DATA_SET, ManagementId.PARENT_DATA_SET, ManagementId.CURRENT_DATA_SET, ManagementId.TIME_PROPERTIES_DATA_SET,
    ManagementId.DEFAULT_DATA_SET, ManagementId.GRANDMASTER_SETTINGS_NP,
)  # fmt: skip
FRESH_NS = 5_000_000_000  # Five questions without an answer: it is gone or hangs.


@dataclass(frozen=True, slots=True)
class Ptp4l:
    """What it said of itself last. offset_ns, delay_ns: to its master, 0 while it is master itself."""

    state: PortState
    identity: bytes
    grandmaster: bytes
    parent: PortIdentity
    quality: ClockQuality
    priority1: int
    steps_removed: int
    offset_ns: int
    delay_ns: int
    is_tai: bool

    @property
    def is_grandmaster(self) -> bool:
        """Whether the room follows this box."""
        return self.grandmaster == self.identity

    @property
    def master_error_ns(self) -> int:
        """How far off the grandmaster may be by its own word; 0 where it gives none, and while it is this box."""
        rank = self.quality.clockAccuracy - _ACCURACY_FIRST
        if self.is_grandmaster or not 0 <= rank <= len(_ACCURACY):
            return 0
        return _ACCURACY[min(rank, len(_ACCURACY) - 1)]  # 0x31 is worse than the last; by how much nobody says


class Conversation:
    """Questions to ptp4l and its answers."""

    def __init__(self, settings: ClockSettings) -> None:
        self._settings = settings
        self._number = 0
        self._said: dict[type, DataSet] = {}
        self._heard_at: Monotonic | None = None
        self._told: GrandmasterSettingsNP | None = None

    def questions(self) -> list[bytes]:
        """One round, a handful of datagrams."""
        return [self._request(ptp_datasets.question(about), Action.GET) for about in _QUESTIONS]

    def statement(self, wanted: GrandmasterSettingsNP) -> bytes | None:
        """How good our time is, where ptp4l announces something else."""
        return (
            None if self._said.get(GrandmasterSettingsNP) == wanted else self._request(ptp_datasets.statement(wanted), Action.SET)
        )

    def hear(self, data: bytes, now: Monotonic) -> bool:
        """One datagram of its control socket; whether it was understood."""
        try:
            message = ptp.unpacked(data)
            said = ptp_datasets.answer(message)
        except BadItem:
            return False
        if isinstance(said, ptp_datasets.Refusal) or message.management is None:
            return False
        if isinstance(said, PortDataSet) and said.portIdentity.portNumber == 0:
            return True  # its control socket is a port, too
        self._said[type(said)] = said
        self._heard_at = now
        return True

    def view(self, now: Monotonic) -> Ptp4l | None:
        """All of it together, None while something is missing or it has not spoken for a while."""
        if self._heard_at is None or now.since(self._heard_at) > FRESH_NS:
            self._said.clear()
            return None
        match [
            self._said.get(kind) for kind in (PortDataSet, ParentDataSet, CurrentDataSet, TimePropertiesDataSet, DefaultDataSet)
        ]:
            case [
                PortDataSet() as port,
                ParentDataSet() as parent,
                CurrentDataSet() as current,
                TimePropertiesDataSet() as time,
                DefaultDataSet() as own,
            ]:
                return Ptp4l(
                    port.portState, own.clockIdentity, parent.grandmasterIdentity, parent.parentPortIdentity,
                    parent.grandmasterClockQuality, parent.grandmasterPriority1, current.stepsRemoved,
                    current.offsetFromMaster >> 16, current.meanDelay >> 16, bool(time.flags & Flags.PTP_TIMESCALE),
                )  # fmt: skip
        return None

    def _request(self, tlv: ptp.Tlv, action: Action) -> bytes:
        self._number = (self._number + 1) & 0xFFFF
        # On a control socket the identity is only there to be answered to.
        return ptp.packed(
            ptp_datasets.request(
                tlv, source=PortIdentity(bytes(8), 1), target=ALL_PORTS, sequence=self._number, domain=self._settings.domain,
                action=action, hops=0,
            )
        )  # fmt: skip


def announced(
    *, state: ClockState, uncertainty_ns: int, source: str, tai_offset_s: int, leap: int, is_tai: bool
) -> GrandmasterSettingsNP:
    """What the grandmaster may claim of the time it serves: no more than the box claims of its own clock.

    is_tai: whether ptp4l serves TAI, as it does from a hardware clock; with software stamps it serves the system's UTC and says so by
    a timescale of its own, and what that flag says decides what devices make of the numbers.
    """
    accuracy = next((_ACCURACY_FIRST + rank for rank, within in enumerate(_ACCURACY) if uncertainty_ns <= within), 0x31)
    is_locked = state is ClockState.LOCKED
    flags = Flags.UTC_OFFSET_VALID | (Flags.PTP_TIMESCALE if is_tai else Flags(0))
    if is_locked:
        flags |= Flags.TIME_TRACEABLE | Flags.FREQUENCY_TRACEABLE
    if leap:
        flags |= Flags.LEAP61 if leap > 0 else Flags.LEAP59
    time_source = {"ntp": _NTP, "ptp": _PTP}.get(source, _INTERNAL) if is_locked else _INTERNAL
    quality = ClockQuality(CLOCK_CLASS, 0xFE if state is ClockState.FREE else accuracy, 0xFFFF)
    return GrandmasterSettingsNP(quality, tai_offset_s, int(flags), time_source)
