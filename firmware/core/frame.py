"""What a frame's headers say: Ethernet, VLAN, IPv4, IPv6, UDP, TCP. Bounded, and never believing a length further than the bytes go.

The parser stops at the first header that does not hold together and says which; what came before stays usable. That suits both
readers: a search wants the fields it can have, and deidentify wants to know where understood headers end and payload begins.
"""

import ipaddress
import struct
from dataclasses import dataclass

from drivers.disk import Buffer
from firmware.core.errors import BadItem

ETHERNET_SIZE = 14
VLAN_TYPES = frozenset({0x8100, 0x88A8, 0x9100})  # IEEE 802.1Q, 802.1ad, and the number QinQ had before it was standard
VLANS_MAX = 4  # Two are standard, three are seen in the wild; a frame made of tags only must not cost more.
EXTENSIONS_MAX = 8  # IPv6 extension headers followed (RFC 8200 names six kinds)
_AUTHENTICATION = 51
TO_THE_RECEIVER = frozenset({43, _AUTHENTICATION, 60})  # those that a datagram may begin with before it is cut into fragments
IPV4, ARP, IPV6, PTP, LLDP = 0x0800, 0x0806, 0x86DD, 0x88F7, 0x88CC
ICMP, IGMP, TCP, UDP, ICMP6 = 1, 2, 6, 17, 58

_ETHERNET = struct.Struct("!6s6sH")
_PAIR = struct.Struct("!HH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!HHHH")


@dataclass(frozen=True, slots=True)
class Fragment:
    """An IP fragment. identification: 16 bits (IPv4) or 32 (IPv6); offset: bytes into the datagram; more: others follow.

    start: where its part of the datagram lies in the frame. following: what the datagram begins with, the same in all its fragments: the
    IP protocol, or a header of IPv6 for whoever receives it, which only the first fragment has.
    """

    identification: int
    offset: int
    more: bool
    start: int
    following: int


@dataclass(frozen=True, slots=True)
class Frame:
    """The headers of one frame.

    source_mac, destination_mac: 6 bytes. vlans: VLAN identifiers, outermost first. ethertype: behind all VLAN tags; below 0x600 it is
    IEEE 802.3's length. source_ip, destination_ip: 4 or 16 bytes, empty without IP. protocol: IP protocol behind IPv6's extension
    headers, None without IP. Ports: UDP and TCP only, never of a fragment but the first.
    payload_start, payload_end: what lies behind the last understood header, without Ethernet padding, cut to the bytes captured.
    trouble: which header did not hold together ("ipv4", "udp", …), None when all did.
    transport_start: what lies behind the IP headers, UDP's and TCP's included; what fragments are put together from.
    """

    source_mac: bytes
    destination_mac: bytes
    vlans: tuple[int, ...]
    ethertype: int
    source_ip: bytes = b""
    destination_ip: bytes = b""
    protocol: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    payload_start: int = ETHERNET_SIZE
    payload_end: int = ETHERNET_SIZE
    fragment: Fragment | None = None
    trouble: str | None = None
    transport_start: int = ETHERNET_SIZE

    @property
    def vlan(self) -> int | None:
        """The outermost VLAN identifier."""
        return self.vlans[0] if self.vlans else None


def parsed(data: Buffer) -> Frame:
    """The headers of an Ethernet frame as captured, check sequence not included. Raises BadItem below 14 bytes, else never."""
    size = len(data)
    if size < ETHERNET_SIZE:
        raise BadItem(f"expected an Ethernet frame of at least {ETHERNET_SIZE} bytes, got {size}")
    destination, source, ethertype = _ETHERNET.unpack_from(data)
    start = ETHERNET_SIZE
    vlans: tuple[int, ...] = ()
    while ethertype in VLAN_TYPES and len(vlans) < VLANS_MAX and start + 4 <= size:
        tag, ethertype = _PAIR.unpack_from(data, start)
        vlans += (tag & 0xFFF,)
        start += 4
    if ethertype == IPV4:
        return _ipv4(data, source, destination, vlans, start)
    if ethertype == IPV6:
        return _ipv6(data, source, destination, vlans, start)
    end = min(size, start + ethertype) if ethertype < 0x600 else size
    trouble = "vlan" if ethertype in VLAN_TYPES else None
    return Frame(source, destination, vlans, ethertype, payload_start=start, payload_end=end, trouble=trouble)


def behind_headers(datagram: Buffer, following: int) -> tuple[int, int]:
    """The protocol of a datagram that was put together, and where what it carries begins in it. following: as in Fragment."""
    at = 0
    for _ in range(EXTENSIONS_MAX):
        if following not in TO_THE_RECEIVER or at + 2 > len(datagram):
            break
        size = (datagram[at + 1] + 2) * 4 if following == _AUTHENTICATION else (datagram[at + 1] + 1) * 8
        following, at = datagram[at], at + size
    return following, at


def ip_text(address: bytes) -> str:
    """An address as people write it; empty for none."""
    return str(ipaddress.ip_address(address)) if address else ""


def mac_text(address: bytes) -> str:
    """A MAC address as people write it: 02:00:00:00:00:01."""
    return address.hex(":")


def _ipv4(data: Buffer, source: bytes, destination: bytes, vlans: tuple[int, ...], start: int) -> Frame:
    size = len(data)
    if start + 20 > size or data[start] >> 4 != 4 or (header := (data[start] & 15) * 4) < 20 or start + header > size:
        return Frame(source, destination, vlans, IPV4, payload_start=start, payload_end=size, trouble="ipv4")
    _, _, total, identification, flags, _, protocol, _, source_ip, destination_ip = _IPV4.unpack_from(data, start)
    # A total length of 0 is a frame the sending kernel left to its card to cut up (TSO): it reaches to the frame's end.
    end = min(size, start + total) if total else size
    trouble = "ipv4" if end < start + header else None
    more, offset = bool(flags & 0x2000), (flags & 0x1FFF) * 8
    fragment = Fragment(identification, offset, more, start + header, protocol) if more or offset else None
    return _transport(
        data, source, destination, vlans, IPV4, source_ip, destination_ip, protocol,
        start=start + header, end=max(end, start + header), fragment=fragment, trouble=trouble,
    )  # fmt: skip


def _ipv6(data: Buffer, source: bytes, destination: bytes, vlans: tuple[int, ...], start: int) -> Frame:
    size = len(data)
    if start + 40 > size or data[start] >> 4 != 6:
        return Frame(source, destination, vlans, IPV6, payload_start=start, payload_end=size, trouble="ipv6")
    _, length, protocol, _, source_ip, destination_ip = _IPV6.unpack_from(data, start)
    start += 40
    # Length 0 with a hop-by-hop header is a jumbogram (RFC 2675), without one it is TSO: either way to the frame's end.
    end = min(size, start + length) if length else size
    fragment: Fragment | None = None
    trouble: str | None = None
    for _ in range(EXTENSIONS_MAX):
        if protocol not in (0, 43, 44, 51, 60) or (fragment is not None and fragment.offset):
            break
        if start + 8 > end:
            trouble = "ipv6_extension"
            break
        following, length8 = data[start], data[start + 1]
        if protocol == 44:
            offset, identification = struct.unpack_from("!HI", data, start + 2)
            fragment = Fragment(identification, offset & 0xFFF8, bool(offset & 1), start + 8, following)
            header = 8
        else:
            header = (length8 + 2) * 4 if protocol == 51 else (length8 + 1) * 8
        if start + header > end:
            trouble = "ipv6_extension"
            break
        start += header
        protocol = following
    else:
        if protocol in (0, 43, 44, 51, 60):
            trouble = "ipv6_extension"
    return _transport(
        data, source, destination, vlans, IPV6, source_ip, destination_ip, protocol,
        start=start, end=end, fragment=fragment, trouble=trouble,
    )  # fmt: skip


def _transport(
    data: Buffer,
    source: bytes,
    destination: bytes,
    vlans: tuple[int, ...],
    ethertype: int,
    source_ip: bytes,
    destination_ip: bytes,
    protocol: int,
    *,
    start: int,
    end: int,
    fragment: Fragment | None,
    trouble: str | None,
) -> Frame:
    transport_start = start
    source_port: int | None = None
    destination_port: int | None = None
    if trouble is None and protocol in (UDP, TCP) and (fragment is None or fragment.offset == 0):
        smallest = 8 if protocol == UDP else 20
        header = smallest if protocol == UDP or start + smallest > end else (data[start + 12] >> 4) * 4
        if start + smallest > end or header < smallest or start + header > end:
            trouble = "udp" if protocol == UDP else "tcp"
        else:
            source_port, destination_port = _PAIR.unpack_from(data, start)
            if protocol == UDP:
                length = _UDP.unpack_from(data, start)[2]
                # A fragment's UDP length speaks of the whole datagram; 0 is a jumbogram or TSO.
                if fragment is None and length:
                    if length < 8:
                        trouble = "udp"
                    end = max(start + 8, min(end, start + length))
            start += header
    return Frame(
        source, destination, vlans, ethertype, source_ip, destination_ip, protocol, source_port, destination_port,
        start, end, fragment, trouble, transport_start,
    )  # fmt: skip
