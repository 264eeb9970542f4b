"""ptp4l's control socket in virtual time: it answers what the box asks its own grandmaster, and takes what it is told to announce."""

from collections.abc import Sequence

from firmware.core import ptp, ptp_datasets
from firmware.core.ptp import ClockQuality, Management, MessageType, PortIdentity, PtpMessage
from firmware.core.ptp_datasets import (
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    GrandmasterSettingsNP,
    ManagementId,
    ParentDataSet,
    PortDataSet,
    PortState,
    Refusal,
    TimePropertiesDataSet,
)


class Control:
    """Attributes are the world's to change. is_on: whether ptp4l runs; grandmaster: whom it follows, itself at first; offset_ns: to it;
    followed: how good it says it is."""

    def __init__(self, identity: bytes, *, priority1: int = 128) -> None:
        self.is_on = True
        self.state = PortState.MASTER
        self.grandmaster = identity
        self.offset_ns = 0
        self.followed = ClockQuality(248, 0xFE, 0xFFFF)
        self.settings = GrandmasterSettingsNP(ClockQuality(248, 0xFE, 0xFFFF), 37, 0, 0xA0)
        self._port = PortIdentity(identity, 1)
        self._priority1 = priority1

    def answer(self, data: bytes) -> Sequence[bytes]:
        """To one datagram: nothing while it does not run, a refusal of what it does not know."""
        message = ptp.unpacked(data)
        if not self.is_on or message.management is None:
            return []
        about = ptp_datasets.asked(message)
        if message.management.action is ptp.Action.SET:
            told = ptp_datasets.answer(message)
            assert isinstance(told, GrandmasterSettingsNP), "the box tells ptp4l nothing else"
            self.settings = told
        said = self._data_set(about)
        tlv = ptp_datasets.refusal(Refusal(3, about)) if said is None else ptp_datasets.statement(said)
        answer = PtpMessage(
            MessageType.MANAGEMENT, self._port, message.sequenceId, targetPortIdentity=message.sourcePortIdentity,
            management=Management(ptp.Action.RESPONSE), tlvs=(tlv,),
        )  # fmt: skip
        return [ptp.packed(answer)]

    def _data_set(self, about: int) -> DataSet | None:
        identity, quality = self._port.clockIdentity, self.settings.clockQuality
        if about == ManagementId.PORT_DATA_SET:
            return PortDataSet(self._port, self.state)
        if about == ManagementId.PARENT_DATA_SET:
            best = quality if self.grandmaster == identity else self.followed
            return ParentDataSet(PortIdentity(self.grandmaster, 1), self._priority1, best, 128, self.grandmaster)
        if about == ManagementId.CURRENT_DATA_SET:
            return CurrentDataSet(int(self.grandmaster != identity), self.offset_ns << 16, 20_000 << 16)
        if about == ManagementId.TIME_PROPERTIES_DATA_SET:
            return TimePropertiesDataSet(self.settings.currentUtcOffset, self.settings.flags, self.settings.timeSource)
        if about == ManagementId.DEFAULT_DATA_SET:
            return DefaultDataSet(1, 1, self._priority1, quality, 128, identity, 0)
        if about == ManagementId.GRANDMASTER_SETTINGS_NP:
            return self.settings
        return None
