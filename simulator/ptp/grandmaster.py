"""A grandmaster of our own: the box's in virtual time, where no ptp4l can run; and over real sockets the one nobody asked for.

    python -m simulator.ptp.grandmaster --number 30 --priority 1 --offset-us 3600000000

Announce, two-step Sync, Delay_Resp. It serves whatever time it is given, and claims whatever quality it is told to.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import CLOCK_REALTIME, clock_gettime_ns

from firmware.core.errors import BadItem
from firmware.core.ptp import (
    NO_FLAGS,
    Announce,
    ClockQuality,
    Flags,
    MessageType,
    PortIdentity,
    PtpMessage,
    packed,
    unpacked,
)
from simulator.ptp.character import SECOND
from simulator.ptp.line import Heard, Line
from simulator.ptp.sockets import Sockets

DEFAULT_QUALITY = ClockQuality(248, 0xFE, 0xFFFF)  # what ptp4l says of a clock it knows nothing about


@dataclass(frozen=True, slots=True)
class Claim:
    """What it says of itself. flags: of its Announce; interval_log: of Sync, log2 s, and two more of Announce."""

    priority1: int = 128
    quality: ClockQuality = DEFAULT_QUALITY
    flags: Flags = NO_FLAGS
    utc_offset_s: int = 37
    interval_log: int = 0


class Grandmaster:
    """identity: 8 bytes. reads: its time at a true moment, ns. is_on: whether it speaks and answers."""

    def __init__(
        self, *, identity: bytes, line: Line, reads: Callable[[int], int], claim: Claim, true_ns: int, domain: int = 0
    ) -> None:
        self.port = PortIdentity(identity, 1)
        self.claim = claim
        self.is_on = True
        self.answered = 0
        self._line = line
        self._reads = reads
        self._domain = domain
        self._sequence = 0
        self._due_ns = true_ns

    def step(self, true_ns: int) -> int:
        """Speak when it is due; the true time of the next word."""
        if true_ns >= self._due_ns:
            self._due_ns = true_ns + round(2.0**self.claim.interval_log * SECOND)
            if self.is_on:
                self._speak()
        return self._due_ns

    def hear(self, heard: Heard) -> None:
        """A Delay_Req is answered; everything else is not for a master."""
        try:
            message = unpacked(heard.data)
        except BadItem:
            return
        if message.messageType is not MessageType.DELAY_REQ or not self.is_on or heard.stamp_ns is None or message.tlvs:
            return
        if message.domainNumber != self._domain:
            return
        self.answered += 1
        reply = PtpMessage(
            MessageType.DELAY_RESP, self.port, message.sequenceId, domainNumber=self._domain, timestamp=self._reads(heard.stamp_ns),
            requestingPortIdentity=message.sourcePortIdentity, correctionField=message.correctionField,
            logMessageInterval=self.claim.interval_log,
        )  # fmt: skip
        self._line.send(packed(reply), to=None, event=False)

    def _speak(self) -> None:
        claim, sequence = self.claim, self._sequence
        self._sequence = (sequence + 1) & 0xFFFF
        announce = Announce(
            self.port.clockIdentity, claim.quality, grandmasterPriority1=claim.priority1, currentUtcOffset=claim.utc_offset_s
        )
        words = PtpMessage(
            MessageType.ANNOUNCE, self.port, sequence, domainNumber=self._domain, flags=claim.flags, announce=announce,
            logMessageInterval=claim.interval_log,
        )  # fmt: skip
        self._line.send(packed(words), to=None, event=False)
        sync = PtpMessage(
            MessageType.SYNC, self.port, sequence, domainNumber=self._domain, flags=Flags.TWO_STEP,
            logMessageInterval=claim.interval_log,
        )  # fmt: skip
        left_ns = self._line.send(packed(sync), to=None, event=True)
        if left_ns is None:
            return
        follow_up = PtpMessage(
            MessageType.FOLLOW_UP, self.port, sequence, domainNumber=self._domain, timestamp=self._reads(left_ns),
            logMessageInterval=claim.interval_log,
        )  # fmt: skip
        self._line.send(packed(follow_up), to=None, event=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Until ended."""
    parser = argparse.ArgumentParser(prog="simulator.ptp.grandmaster", description="A grandmaster nobody asked for.")
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--number", type=int, required=True, help="the host's: last part of its address")
    parser.add_argument("--priority", type=int, default=1, help="priority1 it claims; the lower the better")
    parser.add_argument("--offset-us", type=float, default=0, help="how far ahead its time is")
    parser.add_argument("--log-interval", type=int, default=-3)
    parser.add_argument("--domain", type=int, default=0)
    a = parser.parse_args(arguments)
    ahead_ns = round(a.offset_us * 1000)
    claim = Claim(priority1=a.priority, quality=ClockQuality(6, 0x20, 0x4E5D), interval_log=a.log_interval)  # as if from GNSS
    try:
        with Sockets(a.interface) as sockets:
            master = Grandmaster(
                identity=bytes((2, 0x53, 0x4A, 0xFF, 0xFE, 0, 0, a.number)), line=sockets, reads=lambda true_ns: true_ns + ahead_ns,
                claim=claim, true_ns=clock_gettime_ns(CLOCK_REALTIME), domain=a.domain,
            )  # fmt: skip
            due_ns = 0
            while True:
                now_ns = clock_gettime_ns(CLOCK_REALTIME)
                if now_ns >= due_ns:
                    due_ns = master.step(now_ns)
                for heard in sockets.hear(due_ns - clock_gettime_ns(CLOCK_REALTIME)):
                    master.hear(heard)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
