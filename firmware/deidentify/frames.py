"""How much of a recorded frame may leave. Pure; an allow-list: what is not understood to be harmless stays.

Headers say who spoke to whom, when and how much, and may leave where checksums say that headers they are: a wrong bit or some bytes
lost on the way make headers of payload. Payload stays, but for: time (PTP), what the site has listed, and messages to the message
ports in which nothing sensitive is found. What stays is cut off: the packet block keeps the original length and shows the shorter
captured one, and Wireshark says so.

What cannot be checked stays with the payload: a fragment's transport header; IPv6's own header, which has no checksum, in a frame
whose transport is none of TCP, UDP and ICMPv6, or is not whole; a message without a checksum, which has left as a message already.
"""

from dataclasses import dataclass

from firmware.core import frame as headers
from firmware.core.checksum import ipv4_header_holds, transport_holds
from firmware.core.datagram import decoded, says_each_once
from firmware.core.errors import BadItem
from firmware.core.frame import Frame, parsed
from firmware.core.sensitive import find_tags, find_tags_below, holds_marker
from firmware.core.sensitive_names import NAMES, SensitiveNames

PTP_PORTS = frozenset({319, 320})
# Fixed parts by messageType (IEEE 1588-2019 §13); TLVs behind them may hold names people gave to clocks, and stay.
_PTP_SIZES = {0: 44, 1: 44, 2: 54, 3: 54, 8: 44, 9: 54, 10: 54, 11: 64, 12: 44, 13: 48}
# ICMP quotes what it complains about, and an echo carries what the sender likes: its own header only (RFC 792).
_ICMP_SIZE = 8
# Neighbour discovery (RFC 4861) up to its options: router and neighbour solicitation and advertisement, redirect.
_ICMP6_SIZES = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}
_BEHIND_TAGS = frozenset({headers.ARP, headers.PTP, headers.LLDP})  # besides IP
_IGMP_SIZE = 8  # of version 3 the kind and the number of groups, of 1 and 2 the whole message
_TCP_SIZE = 20  # without options
# Maximum segment size, window scale, selective acknowledgement permitted and given, time stamps (RFC 9293, 7323, 2018).
_TCP_OPTION_SIZES = {2: (4,), 3: (3,), 4: (2,), 5: (10, 18, 26, 34), 8: (10,)}
_ARP_HEADER = b"\x00\x01\x08\x00\x06\x04"  # Ethernet addresses for IPv4 addresses
_ARP_SIZE = 28
_SPANNING_TREE = b"\x42\x42\x03\x00\x00"  # LLC and protocol identifier of IEEE 802.1D
_SPANNING_TREE_SIZE = 3 + 36


@dataclass(frozen=True, slots=True)
class FrameRules:
    """message_ports: UDP. payload_ports: UDP and TCP. payload_ethertypes: behind VLAN tags. names: as for messages."""

    message_ports: frozenset[int] = frozenset()
    payload_ports: frozenset[int] = frozenset()
    payload_ethertypes: frozenset[int] = frozenset()
    names: SensitiveNames = NAMES


def kept_size(data: bytes, wire_bytes: int, rules: FrameRules) -> int:
    """How many of the frame's first bytes may leave; all of them when nothing had to be cut.

    wire_bytes: its length before snapping. A frame too short for Ethernet leaves nothing but its time and length.
    """
    try:
        frame = parsed(data)
    except BadItem:
        return 0
    headers_end, are_sound = _headers(frame, data, wire_bytes)
    if frame.trouble is not None or not are_sound:
        return headers_end
    end = frame.payload_start + _payload_size(frame, data, wire_bytes, rules)
    # Short frames are padded, by some cards with what was in memory: only zeros count as nothing.
    if end == frame.payload_end and not any(data[end:]):
        return len(data)
    return end


def _headers(frame: Frame, data: bytes, wire_bytes: int) -> tuple[int, bool]:
    """Where the headers end that say who, when and how much and are what their sender wrote, and whether more may be looked at.

    Options may say anything: one wrong bit in a header's length makes options of the payload (storm seed 710). IP's stay, TCP's
    leave where every one of them is what it should be.
    """
    link_end = headers.ETHERNET_SIZE + 4 * len(frame.vlans)
    fixed = {headers.IPV4: 20, headers.IPV6: 40}.get(frame.ethertype)
    if fixed is None:
        # A tag before something unknown may be the beginning of that.
        is_known = frame.ethertype in _BEHIND_TAGS or not frame.vlans
        return (link_end if is_known else headers.ETHERNET_SIZE), is_known
    ip_end = link_end + fixed
    if frame.payload_start < ip_end:
        return link_end, False
    holds = _transport_holds(frame, data, wire_bytes, link_end)
    if frame.ethertype == headers.IPV6 and not holds:
        return link_end, False  # Its header has no checksum of its own, and is only as good as that of what it carries.
    if frame.ethertype == headers.IPV4 and not ipv4_header_holds(data, link_end):
        return link_end, False
    if holds is False or frame.fragment is not None or frame.transport_start > ip_end:
        return ip_end, False
    if frame.protocol == headers.TCP and frame.source_port is not None:
        options = data[frame.transport_start + _TCP_SIZE : frame.payload_start]
        if not _are_tcp_options(options):
            return frame.transport_start + _TCP_SIZE, False
    # Clocks that stamp while they send leave the checksum out; a time message is known by its form as well.
    is_time = frame.protocol == headers.UDP and bool({frame.source_port, frame.destination_port} & PTP_PORTS)
    return frame.payload_start, holds is True or is_time


def _transport_holds(frame: Frame, data: bytes, wire_bytes: int, start: int) -> bool | None:
    """Whether what follows the IP header at `start` is what the sender put there; None where that cannot be seen."""
    if frame.ethertype == headers.IPV4:
        end = start + int.from_bytes(data[start + 2 : start + 4], "big")
    else:
        end = start + 40 + int.from_bytes(data[start + 4 : start + 6], "big")
    if end > wire_bytes or frame.trouble is not None:
        return False  # Shorter than it says: something is missing, and who knows where.
    if end > len(data) or frame.fragment is not None:
        return None
    return transport_holds(frame, data[frame.transport_start : frame.payload_end])


def _are_tcp_options(options: bytes) -> bool:
    """Whether these are options of the usual kinds and sizes, and behind their end nothing but zeros."""
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            return not any(options[at:])
        if kind == 1:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size not in _TCP_OPTION_SIZES.get(kind, ()) or at + size > len(options):
            return False
        at += size
    return True


def _payload_size(frame: Frame, data: bytes, wire_bytes: int, rules: FrameRules) -> int:
    payload = data[frame.payload_start : frame.payload_end]
    if frame.fragment is not None:
        return 0  # A part of a datagram cannot be judged by itself.
    if frame.protocol is None:
        return _link_size(frame, payload, rules)
    if frame.protocol in (headers.UDP, headers.TCP):
        ports = {frame.source_port, frame.destination_port}
        if ports & rules.payload_ports and not holds_marker(payload):
            return len(payload)
        if frame.protocol == headers.UDP and ports & PTP_PORTS:
            return _ptp_size(payload)
        whole = wire_bytes <= len(data)
        if (
            frame.protocol == headers.UDP
            and frame.destination_port in rules.message_ports
            and whole
            and _is_clean(payload, rules)
        ):
            return len(payload)
        return 0
    if frame.protocol == headers.ICMP and frame.ethertype == headers.IPV4:
        return _up_to(_ICMP_SIZE, payload)
    if frame.protocol == headers.ICMP6 and frame.ethertype == headers.IPV6:
        return _up_to(_ICMP6_SIZES.get(payload[0], _ICMP_SIZE) if payload else 0, payload)
    if frame.protocol == headers.IGMP and frame.ethertype == headers.IPV4:
        return _up_to(_IGMP_SIZE, payload)
    return 0


def _link_size(frame: Frame, payload: bytes, rules: FrameRules) -> int:
    """What may leave of a frame that is not IP."""
    if frame.ethertype in rules.payload_ethertypes and not holds_marker(payload):
        return len(payload)
    if frame.ethertype == headers.PTP:
        return _ptp_size(payload)
    if frame.ethertype == headers.ARP and payload.startswith(_ARP_HEADER):
        return _up_to(_ARP_SIZE, payload)
    if frame.ethertype < 0x600 and payload.startswith(_SPANNING_TREE):
        return _up_to(_SPANNING_TREE_SIZE, payload)
    return 0


def _ptp_size(payload: bytes) -> int:
    said = int.from_bytes(payload[2:4], "big")
    if not 34 <= said <= len(payload) or payload[1] & 15 != 2:
        return 0
    return _up_to(min(_PTP_SIZES.get(payload[0] & 15, 0), said), payload)


def _up_to(size: int, payload: bytes) -> int:
    """The first `size` bytes, or all where only zeros follow: padding, for these protocols have no length of their own."""
    return min(size, len(payload)) if any(payload[size:]) else len(payload)


def _is_clean(payload: bytes, rules: FrameRules) -> bool:
    """Whether a published message has nothing in it that could be sensitive, seen as bytes and seen as what it says."""
    said = decoded(payload)
    if said.undecodable or said.attachment is not None or holds_marker(payload) or not says_each_once(payload):
        return False
    words = "\n".join(filter(None, (said.device, said.process, said.kind, said.event)))
    return not (
        find_tags(said.text, said.fields, names=rules.names)
        or find_tags_below(said.heading, said.text, names=rules.names)
        or find_tags(words, {}, names=rules.names)
    )
