"""What can be listened to on this machine: rtnetlink(7) for what there is, ethtool for what it can. Asks, changes nothing.

Both answer for the network namespace of the caller; sysfs would answer for the one it was mounted in.
"""

import errno
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drivers.linux.ethtool import TimeStamping, ethtool, time_stamping

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, NLMSG_ERROR, NLMSG_DONE = 16, 18, 20, 22, 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_INFO_KIND = 1, 3, 4, 5, 10, 18, 1
IFLA_LINK_NETNSID = 37  # What is below is in another namespace, under a number that is another's here.
IFLA_AF_SPEC, IFLA_INET6_CONF, IFLA_INET6_ADDR_GEN_MODE, DEVCONF_DISABLE_IPV6, NO_ADDRESS = 26, 2, 8, 26, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
# What sends through the interface it is set up on. A veth names its other end in the same place.
ON_TOP = ("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec")
IFF_UP, IFF_RUNNING, IFF_NOARP = 1, 0x40, 0x80
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
ETHTOOL_GSET, ETHTOOL_GDRVINFO = 0x01, 0x03
SPEED_UNKNOWN = (0, 0xFFFF, 0xFFFFFFFF)
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_DRIVER, _SPEED = struct.Struct("=I32s32s32s32s32s12s5I"), struct.Struct("=IIIHBBBBBBIIHBBI2I")
ANSWER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Interface:
    """state: "up", "no carrier" or "down". addresses: with their prefix lengths. speed_mbit_per_s: None where it does not say.

    stamps: who can stamp a frame it hears: "software", "hardware (PTP only)", "hardware". answers_arp: this machine speaks there
    when asked; a port that is to be passive has no address and no ARP. sends_for: what sends through it: the bridge or bond it is a
    port of, a VLAN on top of it. asks_by_ipv6: as soon as it has a carrier, it gives itself an address and asks for routers.
    is_ethernet: others cannot be recorded.
    """

    name: str
    state: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    driver: str
    speed_mbit_per_s: int | None
    stamps: str
    answers_arp: bool
    sends_for: tuple[str, ...]
    asks_by_ipv6: bool
    is_ethernet: bool

    @property
    def is_silent(self) -> bool:
        """Whether this machine has no reason to send there of its own accord."""
        return not (self.addresses or self.answers_arp or self.sends_for or self.asks_by_ipv6)


def interfaces() -> list[Interface]:
    """All there are, in the kernel's order. Raises OSError where the system answers neither."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as kernel:
        addresses: dict[int, list[str]] = {}
        for index, text in _addresses(kernel):
            addresses.setdefault(index, []).append(text)
        links = list(_links(kernel))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        return [_interface(control, link, tuple(addresses.get(link.index, ())), _senders(link, links)) for link in links]


@dataclass(frozen=True, slots=True)
class _Link:
    index: int
    hardware: int
    flags: int
    name: str
    mac: bytes
    mtu: int
    kind: str
    below: int
    master: int
    has_ipv6: bool


def _senders(link: _Link, links: Sequence[_Link]) -> tuple[str, ...]:
    return tuple(
        other.name for other in links if other.index == link.master or (other.below == link.index and other.kind in ON_TOP)
    )


def _interface(control: socket.socket, link: _Link, addresses: tuple[str, ...], senders: tuple[str, ...]) -> Interface:
    state = "down" if not link.flags & IFF_UP else "up" if link.flags & IFF_RUNNING else "no carrier"
    driver = ethtool(control, link.name, ETHTOOL_GDRVINFO, _DRIVER)
    return Interface(
        name=link.name, state=state, mac=link.mac.hex(":"), mtu=link.mtu, addresses=addresses,
        driver=(driver[1].split(b"\0")[0].decode("ascii", "replace") if driver else "") or link.kind,
        speed_mbit_per_s=_speed(ethtool(control, link.name, ETHTOOL_GSET, _SPEED)),
        stamps=_stamps(time_stamping(control, link.name)),
        answers_arp=link.hardware == ARPHRD_ETHER and not link.flags & IFF_NOARP,
        sends_for=senders,
        asks_by_ipv6=link.hardware == ARPHRD_ETHER and link.has_ipv6,
        is_ethernet=link.hardware in (ARPHRD_ETHER, ARPHRD_LOOPBACK),
    )  # fmt: skip


def _speed(answer: tuple[int, ...] | None) -> int | None:
    if answer is None:
        return None
    speed = answer[12] << 16 | answer[3]  # speed_hi, speed
    return None if speed in SPEED_UNKNOWN else speed


def _stamps(found: TimeStamping) -> str:
    if not found.receives:
        return "software"
    return "hardware" if found.all_frames else "hardware (PTP only)"


def _links(kernel: socket.socket) -> Iterator[_Link]:
    for body in _dump(kernel, RTM_GETLINK, RTM_NEWLINK):
        _, hardware, index, flags, _ = _LINK.unpack_from(body)
        rows = dict(_attributes(body[_LINK.size :]))
        kind = dict(_attributes(rows.get(IFLA_LINKINFO, b""))).get(IFLA_INFO_KIND, b"")
        mtu, below, master = (int.from_bytes(rows.get(row, b"\0"), sys.byteorder) for row in (IFLA_MTU, IFLA_LINK, IFLA_MASTER))
        yield _Link(
            index, hardware, flags, _text(rows.get(IFLA_IFNAME, b"")), rows.get(IFLA_ADDRESS, b""), mtu, _text(kind),
            0 if IFLA_LINK_NETNSID in rows else below, master, _has_ipv6(rows.get(IFLA_AF_SPEC, b"")),
        )  # fmt: skip


def _has_ipv6(families: bytes) -> bool:
    """Whether the kernel gives the interface an IPv6 address of its own accord."""
    rows = dict(_attributes(dict(_attributes(families)).get(socket.AF_INET6, b"")))
    settings = rows.get(IFLA_INET6_CONF, b"")[4 * DEVCONF_DISABLE_IPV6 :][:4]
    return settings == bytes(4) and rows.get(IFLA_INET6_ADDR_GEN_MODE, b"\0")[0] != NO_ADDRESS


def _addresses(kernel: socket.socket) -> Iterator[tuple[int, str]]:
    for body in _dump(kernel, RTM_GETADDR, RTM_NEWADDR):
        _, prefix, _, _, index = _ADDRESS.unpack_from(body)
        rows = dict(_attributes(body[_ADDRESS.size :]))
        value = rows.get(IFA_LOCAL) or rows.get(IFA_ADDRESS) or b""
        if len(value) in (4, 16):
            yield index, f"{ipaddress.ip_address(value)}/{prefix}"


def _dump(kernel: socket.socket, question: int, answer: int) -> Iterator[bytes]:
    kernel.send(_HEADER.pack(_HEADER.size + 16, question, NLM_F_REQUEST | NLM_F_DUMP, question, 0) + bytes(16))
    while True:
        data = kernel.recv(ANSWER_BYTES)
        at = 0
        while len(data) - at >= _HEADER.size:
            size, kind, _, _, _ = _HEADER.unpack_from(data, at)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR or not _HEADER.size <= size <= len(data) - at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if kind == answer:
                yield data[at + _HEADER.size : at + size]
            at += size + -size % 4


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(data) - at >= 4:
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + size]  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
        at += size + -size % 4


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode("utf-8", "replace")
