"""Whether headers are what their sender wrote: the Internet checksum (RFC 1071) of IPv4, TCP, UDP, ICMP and IGMP. Pure.

One wrong bit in a type or a length, or some bytes lost, and a parser takes payload for a header (a name for an address), or a
text for one in which nothing is marked. The sender's checksum says whether that has happened. Used by intake, which believes what
a message says of itself, and by deidentify, which lets headers leave.

It says nothing where there is none: UDP over IPv4 may go without (RFC 768), a fragment's and a snapped frame's is over bytes we do
not have. A frame on its way through the sending kernel has only the sum of the pseudo-header yet, and the card would do the rest:
Linux hands such frames to taps on its own virtual interfaces.
"""

import struct

from firmware.core import frame as headers
from firmware.core.frame import Frame

_OFFSETS = {headers.TCP: 16, headers.UDP: 6, headers.ICMP6: 2, headers.ICMP: 2, headers.IGMP: 2}
_WITHOUT_PSEUDO_HEADER = frozenset({headers.ICMP, headers.IGMP})


def ipv4_header_holds(data: bytes, start: int) -> bool:
    """Whether the IPv4 header that begins at `start`, options included, has its right checksum."""
    return _sum(data[start : start + (data[start] & 15) * 4]) == 0


def transport_holds(frame: Frame, segment: bytes) -> bool | None:
    """Whether what lies behind the IP headers of a packet, the whole of it, has its right checksum; None where it has none."""
    offset = _OFFSETS.get(frame.protocol or 0)
    if offset is None:
        return None
    if len(segment) < offset + 2:
        return False
    stored = struct.unpack_from("!H", segment, offset)[0]
    if frame.protocol in _WITHOUT_PSEUDO_HEADER:
        return _sum(segment) == 0
    if frame.protocol == headers.UDP:
        if struct.unpack_from("!H", segment, 4)[0] != len(segment):
            return False
        if stored == 0 and frame.ethertype == headers.IPV4:
            return None
    pseudo = _sum(frame.source_ip + frame.destination_ip + struct.pack("!II", len(segment), frame.protocol or 0))
    return (_sum(segment) + pseudo) % 0xFFFF == 0 or stored % 0xFFFF == pseudo


def _sum(data: bytes) -> int:
    """The sum of its 16-bit words in ones' complement, 0 to 0xFFFE: a number's remainder by 0xFFFF is the sum of its digits."""
    return int.from_bytes(data if len(data) % 2 == 0 else data + b"\0", "big") % 0xFFFF
