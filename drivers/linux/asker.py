"""The asker, real: UDP sockets bound to the interface, and the kernel's transmit stamps from their error queues (SO_TIMESTAMPING)."""

import errno
import fcntl
import socket
import struct
from collections.abc import Sequence

from drivers.asker import Left
from drivers.errors import NotConnected, Unreachable

SO_TIMESTAMPING = SCM_TIMESTAMPING = 37  # asm-generic/socket.h
# linux/net_tstamp.h: stamps of datagrams sent, by the interface where it can, else by software; each with the number of its
# datagram (OPT_ID) and without a copy of it (OPT_TSONLY).
TX_HARDWARE, TX_SOFTWARE, SOFTWARE, RAW_HARDWARE = 1 << 0, 1 << 1, 1 << 4, 1 << 6
OPT_ID, OPT_TSONLY = 1 << 7, 1 << 11
SO_EE_ORIGIN_TIMESTAMPING = 4  # linux/errqueue.h
SIOCGIFHWADDR = 0x8927
_SOFTWARE_STAMP = struct.Struct("=qq")  # the first of three struct timespec
_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err
_DSCP = 0xB8  # Expedited Forwarding: a question about time waits behind nothing
_TTL = 1  # never beyond the room
# Said of a destination before anything was made of the datagram, so that the kernel has not counted it (OPT_ID): broadcast, another
# network without a way there, a family the interface has no address of, no address at all.
_OF_ADDRESS = frozenset(
    (errno.EACCES, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
)


class LinuxAsker:
    """interface: its name. Raises NotConnected when it is not there."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._count = 0
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self._numbers: dict[tuple[socket.AddressFamily, int], int] = {}  # the kernel counts for each socket by itself
        self._sent: dict[socket.AddressFamily, int] = {}
        try:
            self._index = socket.if_nametoindex(interface)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                row = fcntl.ioctl(asking, SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
        except OSError as problem:
            raise NotConnected(f"expected interface {interface!r}, it cannot be asked on: {errno.errorcode.get(problem.errno or 0)}") from None  # fmt: skip
        self._mac = row[18:24]

    @property
    def mac(self) -> bytes:
        return self._mac

    def ask(self, data: bytes, address: str, port: int) -> int:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            asking = self._sockets.get(family) or self._open(family)
            # A link-local address means nothing without its interface.
            asking.sendto(data, (address, port, 0, self._index) if family == socket.AF_INET6 else (address, port))
        except OSError as problem:
            kind = Unreachable if problem.errno in _OF_ADDRESS or isinstance(problem, socket.gaierror) else NotConnected
            raise kind(f"expected to send on {self._interface!r}, got {errno.errorcode.get(problem.errno or 0)}") from None
        self._count += 1
        self._numbers[family, self._sent.get(family, 0)] = self._count
        self._sent[family] = (self._sent.get(family, 0) + 1) & 0xFFFF_FFFF
        while len(self._numbers) > 1024:  # A driver that never stamps must not cost memory.
            del self._numbers[next(iter(self._numbers))]
        return self._count

    def left(self) -> Sequence[Left]:
        found = []
        for family, asking in self._sockets.items():
            for _ in range(256):
                try:
                    _, notes, _, _ = asking.recvmsg(0, 512, socket.MSG_ERRQUEUE)
                except OSError:
                    break  # nothing there, or somebody's ICMP, which says nothing about the next one
                row = _stamp(notes)
                if row is not None and (number := self._numbers.pop((family, row[0]), None)) is not None:
                    found.append(Left(number, row[1]))
        return sorted(found, key=lambda row: row.number)

    def close(self) -> None:
        for asking in self._sockets.values():
            asking.close()
        self._sockets.clear()

    def _open(self, family: socket.AddressFamily) -> socket.socket:
        asking = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode() + b"\0")
            if family == socket.AF_INET6:
                asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._index)
                asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _TTL)
                asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _TTL)
                asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            else:
                asking.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _DSCP)
                asking.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _TTL)
                asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
                asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
                index = struct.pack("4s4si", bytes(4), bytes(4), self._index)
                asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, index)
            # Software stamps only: frames are heard with software stamps too, and an interval has to be of one clock.
            asking.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY)
        except OSError:
            asking.close()
            raise
        self._sockets[family] = asking
        self._sent[family] = 0
        return asking


def _stamp(notes: list[tuple[int, int, bytes]]) -> tuple[int, int] | None:
    """(the kernel's number of the datagram, UTC ns) of a transmit stamp; None for any other note."""
    stamp = number = None
    for level, kind, data in notes:
        if level == socket.SOL_SOCKET and kind == SCM_TIMESTAMPING and len(data) >= _SOFTWARE_STAMP.size:
            seconds, ns = _SOFTWARE_STAMP.unpack_from(data)
            stamp = seconds * 1_000_000_000 + ns
        elif level in (socket.IPPROTO_IP, socket.IPPROTO_IPV6) and len(data) >= _ERROR.size:
            _, origin, _, _, _, _, value = _ERROR.unpack_from(data)
            number = value if origin == SO_EE_ORIGIN_TIMESTAMPING else None
    return (number, stamp) if stamp and number is not None else None
