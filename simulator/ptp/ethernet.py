"""PTP over Ethernet on one interface, without IP (ethertype 0x88F7): what a device without an address speaks, and what gPTP is made of.

Stamps are as in sockets.py, taken at the same places. Source: IEEE 1588-2019 Annex E; packet(7).
"""

import select
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

from firmware.core.ptp import HEADER_SIZE, MessageType
from simulator.ptp.line import PEERS, Heard
from simulator.ptp.sockets import (
    DATAGRAM_BYTES_MAX,
    HEARD_AT_ONCE,
    SO_TIMESTAMPING,
    SOL_PACKET,
    STAMPED,
    sent,
    stamp_in,
    stamp_of,
)

ETHERTYPE = 0x88F7
EVERYBODY, PEER = bytes.fromhex("011b19000000"), bytes.fromhex("0180c200000e")
PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST = 1, 0
_MEMBER = struct.Struct("=iHH8s")  # struct packet_mreq


class Ethernet:
    """One interface of this host. Raises OSError where it cannot be had."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._line = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        self._sent = 0
        index = socket.if_nametoindex(interface)
        for group in (EVERYBODY, PEER):
            self._line.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, _MEMBER.pack(index, PACKET_MR_MULTICAST, len(group), group))
        self._line.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, STAMPED)
        self._line.bind((interface, ETHERTYPE))

    def __enter__(self) -> "Ethernet":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._line.close()

    def send(self, data: bytes, *, to: str | None, event: bool) -> int | None:
        """As Line says; hosts are MAC addresses. Event or not, all of it is one socket's, and only stamps of event messages are waited for."""
        address = EVERYBODY if to is None else PEER if to == PEERS else bytes.fromhex(to.replace(":", ""))
        if not sent(self._line, data, (self._interface, ETHERTYPE, 0, 0, address)):
            return None
        self._sent += 1
        return stamp_of(self._line, self._sent - 1) if event else None

    def hear(self, wait_ns: int) -> Iterator[Heard]:
        """What has arrived; waits at most so long for a first one."""
        if not select.select([self._line], [], [], max(0, wait_ns) / 1e9)[0]:
            return
        for _ in range(HEARD_AT_ONCE):
            try:
                data, control, _, source = self._line.recvmsg(DATAGRAM_BYTES_MAX, 512)
            except BlockingIOError:
                return
            is_event = len(data) >= HEADER_SIZE and data[0] & 15 <= MessageType.PDELAY_RESP
            stamp = stamp_in(control)
            if stamp is not None or not is_event:
                yield Heard(data, source[4].hex(":"), stamp if is_event else None)
