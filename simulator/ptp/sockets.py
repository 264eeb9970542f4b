"""PTP over UDP/IPv4 on one interface: event port with the kernel's software stamps in both directions, general port without.

Stamps are CLOCK_REALTIME as the kernel took them: on receiving, when the stack first saw the frame; on sending, when the driver
was given it. So between two hosts of one machine a frame has always left before it arrived, as it should.
Source: Documentation/networking/timestamping.rst; IEEE 1588-2019 Annex C (UDP over IPv4).
"""

import errno
import select
import socket
import struct
from collections.abc import Iterator
from time import monotonic_ns
from types import TracebackType

from firmware.core.ptp import EVENT_PORT, GENERAL_PORT
from simulator.ptp.line import GROUP, PEERS, Heard

SO_TIMESTAMPING = 37  # asm-generic/socket.h; also the type of its control message
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY = 1 << 1, 1 << 3, 1 << 4, 1 << 7, 1 << 11  # linux/net_tstamp.h
IP_RECVERR, SO_EE_ORIGIN_TIMESTAMPING = 11, 4
SOL_PACKET, PACKET_TX_TIMESTAMP = 263, 16  # linux/if_packet.h
STAMPED = TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY
PEER_GROUP = "224.0.0.107"  # Annex C.3
DATAGRAM_BYTES_MAX = 1500
STAMP_WAIT_NS = (
    20_000_000  # A veth stamps within the send; only a machine that is stopped takes longer, and then the stamp is given up.
)
HEARD_AT_ONCE = 64  # of one socket, before the other one has its turn
DSCP_EXPEDITED = 0xB8  # as ptp4l sends in a network that keeps queues apart


class Sockets:
    """Both ports on one interface of this host. Raises OSError when they cannot be had."""

    def __init__(self, interface: str) -> None:
        self._event = _open(interface, EVENT_PORT, stamped=True)
        self._general = _open(interface, GENERAL_PORT, stamped=False)
        self._sent = 0

    def __enter__(self) -> "Sockets":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._event.close()
        self._general.close()

    def send(self, data: bytes, *, to: str | None, event: bool) -> int | None:
        """To one host, or with None to everybody. When it left, UTC ns, for an event message; None when the kernel did not say."""
        host = PEER_GROUP if to == PEERS else to or GROUP
        if not event:
            sent(self._general, data, (host, GENERAL_PORT))
            return None
        if not sent(self._event, data, (host, EVENT_PORT)):
            return None
        self._sent += 1
        return stamp_of(self._event, self._sent - 1)

    def hear(self, wait_ns: int) -> Iterator[Heard]:
        """What has arrived; waits at most so long for a first one. Without a stamp an event message is not handed on."""
        ready = select.select([self._event, self._general], [], [], max(0, wait_ns) / 1e9)[0]
        for line in ready:
            for _ in range(HEARD_AT_ONCE):
                try:
                    data, control, _, source = line.recvmsg(DATAGRAM_BYTES_MAX, 512)
                except (BlockingIOError, ConnectionRefusedError):
                    break
                stamp = stamp_in(control)
                if stamp is not None or line is self._general:
                    yield Heard(data, source[0], stamp)


def stamp_of(line: socket.socket, number: int) -> int | None:
    """When the so manyth datagram left; stamps of earlier ones that were given up are passed over."""
    until = monotonic_ns() + STAMP_WAIT_NS
    poll = select.poll()
    poll.register(line, 0)  # POLLERR is always told: there is something in the error queue
    while True:
        try:
            _, control, _, _ = line.recvmsg(0, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            left_ns = until - monotonic_ns()
            if left_ns <= 0:
                return None
            poll.poll(max(1, left_ns // 1_000_000))
            continue
        if _number(control) == number:
            return stamp_in(control)


def _open(interface: str, port: int, *, stamped: bool) -> socket.socket:
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    line.bind(("", port))
    for group in (PEER_GROUP, GROUP):
        everybody = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex(interface))
        line.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, everybody)
    line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, everybody)
    line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    line.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_EXPEDITED)
    if stamped:
        line.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, STAMPED)
    return line


def sent(line: socket.socket, data: bytes, address: tuple[str, int] | tuple[str, int, int, int, bytes]) -> bool:
    """Whether it could be."""
    try:
        line.sendto(data, address)
    except OSError as problem:
        if problem.errno not in (
            errno.ENETUNREACH,
            errno.EHOSTUNREACH,
            errno.ECONNREFUSED,
            errno.EAGAIN,
            errno.ENOBUFS,
            errno.ENETDOWN,
        ):
            raise
        return False  # nobody there, or the queue is full: a clock says it again soon
    return True


def stamp_in(control: list[tuple[int, int, bytes]]) -> int | None:
    """The kernel's stamp beside a datagram, UTC ns."""
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
            seconds, nanoseconds = struct.unpack_from("=qq", data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return None


def _number(control: list[tuple[int, int, bytes]]) -> int | None:
    """Which datagram a stamp is of (OPT_ID): struct sock_extended_err, linux/errqueue.h."""
    for level, kind, data in control:
        if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (SOL_PACKET, PACKET_TX_TIMESTAMP)):
            _, origin, _, _, _, _, number = struct.unpack_from("=IBBBBII", data)
            if origin == SO_EE_ORIGIN_TIMESTAMPING:
                return int(number)
    return None
