"""What a frame itself must be, beyond what the index can answer: direction, contents, a compiled filter. Slow and exact.

The index narrows first (firmware/core/query.py); only frames it lets through are taken apart here.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace

from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.core.frame import parsed
from firmware.core.pcapng import Packet
from firmware.core.store import Hit


@dataclass(frozen=True, slots=True)
class Sift:
    """An empty field asks nothing; all that ask must agree.

    sources, destinations: IP addresses as in a frame (`address`), one of them. pattern: bytes anywhere in the frame.
    accept: any further question.
    """

    sources: tuple[bytes, ...] = ()
    destinations: tuple[bytes, ...] = ()
    pattern: bytes = b""
    accept: Callable[[bytes], bool] | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether every frame is welcome."""
        return not (self.sources or self.destinations or self.pattern or self.accept)

    def takes(self, data: bytes) -> bool:
        """Whether this frame is wanted."""
        if self.pattern and self.pattern not in data:
            return False
        if self.accept is not None and not self.accept(data):
            return False
        if not (self.sources or self.destinations):
            return True
        try:
            frame = parsed(data)
        except BadItem:
            return False
        return (not self.sources or frame.source_ip in self.sources) and (
            not self.destinations or frame.destination_ip in self.destinations
        )


def address(text: str) -> bytes:
    """An IPv4 or IPv6 address, 4 or 16 bytes; raises BadItem."""
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise BadItem("expected a host as an IPv4 or IPv6 address") from None


def pattern(text: str) -> bytes:
    """Bytes to look for: a text in UTF-8, or 0x and hexadecimal digits. Raises BadItem."""
    if not text.startswith("0x"):
        return text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise BadItem("expected a text, or 0x and an even number of hexadecimal digits") from None


def sifted(hit: Hit, sift: Sift) -> Hit | None:
    """The frames of a hit that are wanted; None when none is."""
    if sift.asks_nothing:
        return hit
    wanted = [
        packet
        for packet in pcapng.packets(pcapng.section_header() + pcapng.interface("") * len(hit.interfaces) + hit.blocks)
        if sift.takes(packet.data)
    ]
    if not wanted:
        return None
    return replace(
        hit,
        blocks=b"".join(map(_block, wanted)),
        frame_count=len(wanted),
        first_utc_ns=min(packet.stamp_ns for packet in wanted),
        last_utc_ns=max(packet.stamp_ns for packet in wanted),
    )


def _block(packet: Packet) -> bytes:
    return pcapng.enhanced_packet(packet.stamp_ns, packet.data, packet.wire_bytes, interface=packet.interface)
