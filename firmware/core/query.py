"""A query: which frames somebody wants. AND between fields, OR inside one; an empty field asks nothing.

Matches what a frame carries in clear at its outermost IP header (and in ARP for hosts). A later fragment of a datagram has no
ports, so a query by port does not find it; frames inside a tunnel are found by the tunnel's ends.
"""

import ipaddress
import struct
from dataclasses import dataclass

from firmware.core._kernel import ipv6_key
from firmware.core.devices import is_mac, spelled
from firmware.core.errors import BadItem
from firmware.core.index import Kind

UNTIL_MAX = (1 << 64) - 1
TERMS_MAX = 256
_TERM = struct.Struct("<IQ16s")
# IANA assigned internet protocol numbers, and IEEE 802 numbers for ethertypes.
IP_PROTOCOLS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "ospf": 89, "sctp": 132}
ETHERTYPES = {
    "ip": 0x0800, "ipv4": 0x0800, "arp": 0x0806, "ipv6": 0x86DD, "profinet": 0x8892, "ethercat": 0x88A4, "lldp": 0x88CC,
    "ptp": 0x88F7, "llc": 0,
}  # fmt: skip
TAGS = (0x8100, 0x88A8, 0x9100)  # kernel.c looks behind them: only a frame cut within its tag has one of these as ethertype


@dataclass(frozen=True, slots=True)
class Query:
    """since, until: UTC ns by the frames' stamps, both ends included. hosts: IPv4 or IPv6 addresses. macs: aa:bb:cc:dd:ee:ff.

    protocols: a name of IP_PROTOCOLS or ETHERTYPES, a number (of an IP protocol), or 0x and an ethertype.
    parties, senders_or_receivers: IP or MAC addresses, each field for itself. either_ports, either_protocols: one of either.
    """

    since_utc_ns: int | None = None
    until_utc_ns: int | None = None
    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    macs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    vlans: tuple[int, ...] = ()
    parties: tuple[str, ...] = ()
    senders_or_receivers: tuple[str, ...] = ()
    either_ports: tuple[int, ...] = ()
    either_protocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """A query as kernel.c takes it. packed: (group u32, key u64, IPv6 address 16 bytes) each."""

    packed: bytes
    since_ns: int
    until_ns: int


def terms_of(query: Query) -> Terms:
    """Raises BadItem saying what was expected where a field cannot be understood."""
    groups = (
        [_host(each) for text in query.hosts for each in spelled(text)],
        [_number(Kind.PORT, port, 0xFFFF, "a port") for port in query.ports],
        [_mac(text) for text in query.macs],
        [_protocol(text) for text in query.protocols],
        [_number(Kind.VLAN, vlan, 0xFFF, "a VLAN") for vlan in query.vlans],
        [_party(each) for text in query.parties for each in spelled(text)],
        [_party(each) for text in query.senders_or_receivers for each in spelled(text)],
        [_number(Kind.PORT, port, 0xFFFF, "a port") for port in query.either_ports]
        + [_protocol(text) for text in query.either_protocols],
    )
    if sum(map(len, groups)) > TERMS_MAX:
        raise BadItem(f"expected a query of at most {TERMS_MAX} values")
    packed = b"".join(_TERM.pack(number, key, address) for number, group in enumerate(groups) for key, address in group)
    since = 0 if query.since_utc_ns is None else max(0, query.since_utc_ns)
    until = UNTIL_MAX if query.until_utc_ns is None else min(UNTIL_MAX, max(-1, query.until_utc_ns))
    if until < since:
        since, until = UNTIL_MAX, 0  # asks for nothing, and gets it
    return Terms(packed, min(since, UNTIL_MAX), until)


def _host(text: str) -> tuple[int, bytes]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadItem("expected a host as an IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv4Address):
        return _key(Kind.IPV4, int(address)), bytes(16)
    return _key(Kind.IPV6, ipv6_key(address.packed)), address.packed


def _party(text: str) -> tuple[int, bytes]:
    return _mac(text) if is_mac(text) else _host(text)


def _mac(text: str) -> tuple[int, bytes]:
    digits = text.replace(":", "").replace("-", "")
    if len(digits) != 12 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        raise BadItem("expected a MAC address as aa:bb:cc:dd:ee:ff")
    return _key(Kind.MAC, int(digits, 16)), bytes(16)


def _protocol(text: str) -> tuple[int, bytes]:
    word = text.lower()
    if word in IP_PROTOCOLS:
        return _key(Kind.PROTOCOL, IP_PROTOCOLS[word]), bytes(16)
    if word in ETHERTYPES:
        return _key(Kind.ETHERTYPE, ETHERTYPES[word]), bytes(16)
    try:
        number = int(word, 0)
    except ValueError:
        known = ", ".join(sorted(IP_PROTOCOLS | ETHERTYPES))
        raise BadItem(f"expected a protocol, one of {known}, a number, or 0x and an ethertype") from None
    if number in TAGS and word.startswith("0x"):
        raise BadItem("expected an ethertype behind VLAN tags; a tag is asked for as a VLAN, any tag with the filter vlan")
    if word.startswith("0x"):
        return _number(Kind.ETHERTYPE, number, 0xFFFF, "an ethertype")
    return _number(Kind.PROTOCOL, number, 0xFF, "an IP protocol")


def _number(kind: Kind, value: int, high: int, what: str) -> tuple[int, bytes]:
    if not 0 <= value <= high:
        raise BadItem(f"expected {what} of 0 to {high}")
    return _key(kind, value), bytes(16)


def _key(kind: Kind, value: int) -> int:
    return kind << 56 | value
