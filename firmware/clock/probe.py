"""One exchange with one device, and what it guarantees.

    box      t1 │ question ─────▶ t2                offset = device's clock minus the box's
    device      │          t3 ◀───── answer         a question arrives after it left:     offset ≤ t2 - t1
    box      t4 ▼                                   an answer arrives after it left:      offset ≥ t3 - t4

However uneven the two ways are, the truth lies between: this is a guarantee where an average of the two would be a guess. It holds
as long as each stamp is taken on the right side of its event, and software stamps are: before a datagram leaves, after it arrived.
NetSync Monitor: the question is a DELAY_REQ with a TLV, t2 comes in a DELAY_RESP, the answer is a SYNC (stamped t3 in its FOLLOW_UP).
"""

from dataclasses import dataclass

from firmware.core import ptp, ptp_datasets
from firmware.core.ptp import Flags, MessageType, PortIdentity, PtpMessage
from firmware.core.ptp_datasets import NetSyncResponse

# Clocks are read in steps, and a stamp is written some instructions before or after its event.
STAMP_NS = 500


@dataclass(slots=True)
class Exchange:
    """What is known of one exchange so far. left_ns, arrived_ns: t1, t4 by the box; received_ns, sent_ns: t2, t3 by the device.

    scale_s: what the device's scale is ahead of the box's stamps (TAI to UTC: 37), once it is known.
    """

    number: int
    left_ns: int | None = None
    received_ns: int | None = None
    sent_ns: int | None = None
    arrived_ns: int | None = None
    said: NetSyncResponse | None = None

    def bounds(self, *, tai_offset_s: int) -> tuple[int, int] | None:
        """(low, high) of the offset, None while a stamp is missing, or when the two contradict each other: then somebody lies.

        tai_offset_s: TAI minus UTC. A device on PTP's own timescale tells TAI, any other tells what its grandmaster served: UTC.
        """
        if self.left_ns is None or self.received_ns is None or self.sent_ns is None or self.arrived_ns is None:
            return None
        is_tai = self.said is not None and bool(self.said.timeProperties.flags & Flags.PTP_TIMESCALE)
        scale_ns = tai_offset_s * 1_000_000_000 if is_tai else 0
        low = self.sent_ns - scale_ns - self.arrived_ns - STAMP_NS
        high = self.received_ns - scale_ns - self.left_ns + STAMP_NS
        return (low, high) if low <= high else None

    def take(self, message: PtpMessage, *, ours: PortIdentity, stamp_ns: int) -> bool:
        """One message of the device's; whether it belongs to this exchange and was still missing. stamp_ns: its arrival, UTC."""
        if message.sequenceId != self.number & 0xFFFF:
            return False
        if message.messageType is MessageType.DELAY_RESP:
            if message.requestingPortIdentity != ours or self.received_ns is not None:
                return False
            said = ptp_datasets.monitored(message)
            if said is None:
                # Any master answers a DELAY_REQ, and its own Sync of this number comes sooner or later; but it does not say on which
                # timescale it is, and one on PTP's would be certified 37 s off.
                return False
            self.received_ns, self.said = message.timestamp, said
            return True
        if message.messageType is MessageType.SYNC:
            if self.arrived_ns is not None:
                return False
            self.arrived_ns = stamp_ns
            if Flags.TWO_STEP not in message.flags and self.sent_ns is None:
                self.sent_ns = message.timestamp
            return True
        if message.messageType is MessageType.FOLLOW_UP and self.sent_ns is None:
            # It may overtake its SYNC: the two go to different ports, and switches have more than one queue.
            self.sent_ns = message.timestamp
            return True
        return False


def question(number: int, *, ours: PortIdentity, domain: int) -> bytes:
    """A NetSync Monitor probe. Its correctionField and timestamp are nothing: the device's own stamps are what is asked for."""
    return ptp.packed(
        PtpMessage(
            MessageType.DELAY_REQ, ours, number & 0xFFFF, domainNumber=domain, flags=Flags.UNICAST,
            tlvs=(ptp_datasets.monitor_request(),), minorVersionPTP=0,
        )
    )  # fmt: skip
