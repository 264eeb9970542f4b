"""Somebody on the room's network who means the clocks ill, or whose software is broken, which looks the same.

    python -m simulator.ptp.hostile malformed --seed 7 --count 4000     messages of every type that are none
    python -m simulator.ptp.hostile flood --per-s 2000 --seconds 5      Delay_Reqs of devices that do not exist
    python -m simulator.ptp.hostile replay --seconds 10                 old Follow_Ups again, some under the newest number

The rogue grandmaster is `simulator.ptp.grandmaster`. How many datagrams were sent is printed at the end, as JSON.
"""

import argparse
import json
import select
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from time import monotonic_ns

from firmware.core.errors import BadItem
from firmware.core.frame import PTP, parsed
from firmware.core.ptp import (
    ALL_PORTS,
    EVENT_PORT,
    GENERAL_PORT,
    HEADER_SIZE,
    NO_FLAGS,
    Action,
    Announce,
    ClockQuality,
    Flags,
    Management,
    MessageType,
    PortIdentity,
    PtpMessage,
    packed,
    unpacked,
)
from firmware.core.ptp_datasets import ManagementId, monitor_request, question
from simulator.capture_file import frames
from simulator.ptp.character import SECOND
from simulator.ptp.line import GROUP
from simulator.ptp.sockets import Sockets

NUMBERS_REMEMBERED = 16  # Follow_Ups kept to be said again
ETHERTYPE = b"\x88\xf7"
PTP_MAC = bytes.fromhex("011b19000000")
NOBODY = bytes.fromhex("02534afffe0000fe")


def good(random: Random) -> Iterator[bytes]:
    """A well-formed message of every type, for ever, from somebody who claims much."""
    number = 0
    while True:
        for kind in MessageType:
            number = (number + 1) & 0xFFFF
            yield packed(_message(kind, number, random))


def malformed(seed: int, recorded: Sequence[bytes] = ()) -> Iterator[bytes]:
    """Messages of every type, each wrong in one of the ways a length, a number or a bit can be. For ever.

    recorded: messages others have sent, every third of which is taken instead of one of ours.
    """
    random = Random(seed)
    for number, data in enumerate(good(random)):
        chosen = random.choice(recorded) if recorded and number % 3 == 0 else data
        yield bytes(random.choice(_WAYS)(bytearray(chosen), random))


def messages_in(path: Path) -> Iterator[bytes]:
    """Whatever a capture file has in PTP's own frames and on PTP's ports; whether it is PTP is not asked. Raises BadCaptureFile."""
    for row in frames(path):
        try:
            head = parsed(row.data)
        except BadItem:
            continue
        if head.ethertype == PTP or head.destination_port in (EVENT_PORT, GENERAL_PORT):
            data = row.data[head.payload_start : head.payload_end]
            if len(data) >= HEADER_SIZE:
                yield data


def delay_requests(seed: int) -> Iterator[bytes]:
    """Delay_Reqs, each from a clock nobody has heard of; every tenth wants to measure whoever hears it."""
    random = Random(seed)
    number = 0
    while True:
        number = (number + 1) & 0xFFFF
        tlvs = (monitor_request(),) if number % 10 == 0 else ()
        flags = Flags.UNICAST if tlvs else NO_FLAGS
        yield packed(PtpMessage(MessageType.DELAY_REQ, PortIdentity(random.randbytes(8), 1), number, flags=flags, tlvs=tlvs))


class Replayer:
    """What it heard of a master, said again: each Follow_Up as it was, and its time under the number of the newest Sync."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._heard: deque[PtpMessage] = deque(maxlen=NUMBERS_REMEMBERED)

    def heard(self, data: bytes) -> list[bytes]:
        """What to say now."""
        try:
            message = unpacked(data)
        except BadItem:
            return []
        if message.messageType is MessageType.FOLLOW_UP:
            self._heard.append(message)
            return []
        if message.messageType is not MessageType.SYNC or not self._heard:
            return []
        old = self._random.choice(self._heard)
        forged = PtpMessage(
            MessageType.FOLLOW_UP, old.sourcePortIdentity, message.sequenceId, domainNumber=old.domainNumber,
            timestamp=old.timestamp, logMessageInterval=old.logMessageInterval,
        )  # fmt: skip
        return [packed(old), packed(forged)]


def _message(kind: MessageType, number: int, random: Random) -> PtpMessage:
    somebody = PortIdentity(NOBODY, random.choice((0, 1, 2, 0xFFFF)))
    quality = ClockQuality(6, 0x20, 0)
    return PtpMessage(
        kind, somebody, number, flags=Flags(random.getrandbits(16)), correctionField=random.choice((0, 1 << 62, -(1 << 63))),
        logMessageInterval=random.choice((-128, -3, 0, 127)), timestamp=random.choice((0, SECOND, (1 << 48) * SECOND - 1)),
        requestingPortIdentity=ALL_PORTS if kind in _WITH_REQUESTING else None,
        targetPortIdentity=ALL_PORTS if kind in _WITH_TARGET else None,
        announce=Announce(NOBODY, quality, grandmasterPriority1=0, grandmasterPriority2=0) if kind is MessageType.ANNOUNCE else None,
        management=Management(random.choice(list(Action))) if kind is MessageType.MANAGEMENT else None,
        tlvs=(question(random.choice(list(ManagementId))), monitor_request()),
    )  # fmt: skip


_WITH_REQUESTING = (MessageType.DELAY_RESP, MessageType.PDELAY_RESP, MessageType.PDELAY_RESP_FOLLOW_UP)
_WITH_TARGET = (MessageType.SIGNALING, MessageType.MANAGEMENT)


def _cut(data: bytearray, random: Random) -> bytearray:
    return data[: random.randrange(len(data))]


def _longer_than_it_is(data: bytearray, random: Random) -> bytearray:
    data[2:4] = random.choice((len(data) + 1, 0x7FFF, 0xFFFF)).to_bytes(2, "big")
    return data


def _shorter_than_a_header(data: bytearray, random: Random) -> bytearray:
    data[2:4] = random.randrange(HEADER_SIZE).to_bytes(2, "big")
    return data


def _another_version(data: bytearray, random: Random) -> bytearray:
    data[1] = random.choice((0x00, 0x01, 0x03, 0xF2, 0xFF))
    return data


def _no_such_type(data: bytearray, random: Random) -> bytearray:
    data[0] = data[0] & 0xF0 | random.choice((4, 5, 6, 7, 14, 15))
    return data


def _more_than_a_second(data: bytearray, random: Random) -> bytearray:
    data[HEADER_SIZE + 6 : HEADER_SIZE + 10] = random.choice((1_000_000_000, 0xFFFF_FFFF)).to_bytes(4, "big")
    return data


def _tlvs_that_lie(data: bytearray, random: Random) -> bytearray:
    """A TLV longer than the message, of an odd length, or so many empty ones that a careless reader is busy with them."""
    tail = random.choice((b"\x00\x01\xff\xff", b"\x21\xfe\x00\x03abc", b"\x00\x00\x00\x00" * 300, b"\x80\x04\x00\x02"))
    data += tail
    data[2:4] = len(data).to_bytes(2, "big")
    return data


def _flipped(data: bytearray, random: Random) -> bytearray:
    for _ in range(random.randrange(1, 8)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return data


_WAYS = (
    _cut, _longer_than_it_is, _shorter_than_a_header, _another_version, _no_such_type, _more_than_a_second, _tlvs_that_lie, _flipped,
)  # fmt: skip


def _send_malformed(interface: str, *, seed: int, count: int, per_s: float, recorded: Sequence[bytes]) -> int:
    """Three ways: to the event port, to the general port, and as Ethernet frames of PTP's own type."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire,
    ):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        line.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + socket.if_nametoindex(interface).to_bytes(4, "little")
        )
        wire.bind((interface, 0))
        source = wire.getsockname()[4]
        rows = malformed(seed, recorded)
        for number in range(count):
            data = next(rows)
            if number % 3 == 2:
                wire.send(PTP_MAC + source + ETHERTYPE + data)
            else:
                line.sendto(data, (GROUP, (EVENT_PORT, GENERAL_PORT)[number % 3]))
            _pace(number, per_s)
    return count


def _flood(interface: str, *, seed: int, seconds: float, per_s: float) -> int:
    count, until_ns = 0, monotonic_ns() + round(seconds * SECOND)
    with Sockets(interface) as line:
        for data in delay_requests(seed):
            if monotonic_ns() > until_ns:
                break
            line.send(data, to=None, event=True)
            count += 1
            _pace(count, per_s)
    return count


def _replay(interface: str, *, seed: int, seconds: float) -> int:
    count, until_ns, replayer = 0, monotonic_ns() + round(seconds * SECOND), Replayer(seed)
    with Sockets(interface) as line:
        while (left_ns := until_ns - monotonic_ns()) > 0:
            for heard in line.hear(left_ns):
                for data in replayer.heard(heard.data):
                    line.send(data, to=None, event=False)
                    count += 1
    return count


def _pace(number: int, per_s: float) -> None:
    """Now and then a pause, so that on the average there are not more than that in a second."""
    if number % 20 == 0:
        select.select([], [], [], 20 / per_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """One of the three, to its end."""
    parser = argparse.ArgumentParser(prog="simulator.ptp.hostile", description="Means the clocks ill.")
    parser.add_argument("deed", choices=("malformed", "flood", "replay"))
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--per-s", type=float, default=2000)
    parser.add_argument(
        "--pcap", type=Path, action="append", default=[], help="a capture whose PTP messages are made wrong as well"
    )
    a = parser.parse_args(arguments)
    try:
        if a.deed == "malformed":
            recorded = [data for path in a.pcap for data in messages_in(path)]
            sent = _send_malformed(a.interface, seed=a.seed, count=a.count, per_s=a.per_s, recorded=recorded)
        elif a.deed == "flood":
            sent = _flood(a.interface, seed=a.seed, seconds=a.seconds, per_s=a.per_s)
        else:
            sent = _replay(a.interface, seed=a.seed, seconds=a.seconds)
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(json.dumps({"sent": sent}) + "\n")  # what a test reads
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
