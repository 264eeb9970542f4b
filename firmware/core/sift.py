"""What a frame itself must be, beyond what the index can answer: direction, contents, a compiled filter. Slow and exact.

The index narrows first (firmware/core/query.py); only frames it lets through are taken apart here.
"""

import ipaddress
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from firmware.core import pcapng
from firmware.core.devices import is_mac
from firmware.core.errors import BadItem
from firmware.core.hit import Hit
from firmware.core.pcapng import Packet
from firmware.core.store import Store

if TYPE_CHECKING:
    from firmware.core.frame import Frame

Question = Callable[[Packet], bool]
Accept = Callable[[bytes, int], bool]  # (what was kept of a frame, its bytes on the wire)
_ARP, _FOR_IPV4 = 0x0806, b"\x08\x00\x06\x04"  # RFC 826: of IPv4 over Ethernet
_HEAD = struct.Struct("<IIIII")  # kind, size, interface, stamp high, low: pcapng's Enhanced Packet Block


@dataclass(frozen=True, slots=True)
class Sift:
    """An empty field asks nothing; all that ask must agree.

    sources, destinations: IP and MAC addresses as in a frame (`address`), one of them. pattern: bytes anywhere in the frame.
    accept: a compiled filter. questions: any further ones; each is asked of every frame in the order heard, for some remember.
    complete: adds to a hit, before it is sifted, what is of it and cannot be found by the query.
    """

    sources: tuple[bytes, ...] = ()
    destinations: tuple[bytes, ...] = ()
    pattern: bytes = b""
    accept: Accept | None = None
    questions: tuple[Question, ...] = ()
    complete: Callable[[Hit, Store], Hit] | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether every frame is welcome."""
        return not (self.sources or self.destinations or self.pattern or self.accept or self.questions)

    def completed(self, hit: Hit, store: Store) -> Hit:
        """The hit, with what is of it elsewhere in the store."""
        return hit if self.complete is None else self.complete(hit, store)

    def takes(self, packet: Packet) -> bool:
        """Whether this frame is wanted."""
        answers = [question(packet) for question in self.questions]
        return all(answers) and self._has(packet) and self._went_right(packet.data)

    def _has(self, packet: Packet) -> bool:
        return (not self.pattern or self.pattern in packet.data) and (
            self.accept is None or self.accept(packet.data, packet.wire_bytes)
        )

    def _went_right(self, data: bytes) -> bool:
        if not (self.sources or self.destinations):
            return True
        from firmware.core.frame import parsed  # Here: most searches are the index's and the kernel's alone.

        try:
            frame = parsed(data)
        except BadItem:
            return False
        source, destination = _hosts(frame, data)
        return (not self.sources or source in self.sources or frame.source_mac in self.sources) and (
            not self.destinations or destination in self.destinations or frame.destination_mac in self.destinations
        )


def _hosts(frame: "Frame", data: bytes) -> tuple[bytes, bytes]:
    """Who sent it to whom: of ARP who asks or answers, and whom, as the index has it (kernel.c) and tcpdump's `src host`."""
    start = frame.payload_start
    if frame.ethertype == _ARP and len(data) >= start + 28 and data[start + 2 : start + 6] == _FOR_IPV4:
        return data[start + 14 : start + 18], data[start + 24 : start + 28]
    return frame.source_ip, frame.destination_ip


def address(text: str) -> bytes:
    """An IPv4, IPv6 or MAC address, 4, 16 or 6 bytes; raises BadItem."""
    if is_mac(text):
        return bytes.fromhex(text.replace(":", "").replace("-", ""))
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise BadItem("expected an IPv4, IPv6 or MAC address") from None


def pattern(text: str) -> bytes:
    """Bytes to look for: a text in UTF-8, or 0x and hexadecimal digits. Raises BadItem."""
    if not text.startswith("0x"):
        return text.encode()
    try:
        digits = bytes.fromhex(text[2:])
    except ValueError:
        digits = b""
    if not digits:  # No bytes would be in every frame: more than anybody asked for.
        raise BadItem("expected a text, or 0x and an even number of hexadecimal digits")
    return digits


def split(hit: Hit, frames: int) -> Iterator[Hit]:
    """The same frames, at most so many at a time: for who may look into some, and then gives others their turn."""
    view, at, begin, stamps = memoryview(hit.blocks), 0, 0, list[int]()
    while at < len(view):
        _, size, _, high, low = _HEAD.unpack_from(view, at)
        stamps.append(high << 32 | low)
        at += size
        if len(stamps) == frames or at == len(view):
            yield replace(
                hit, blocks=bytes(view[begin:at]), frame_count=len(stamps), first_utc_ns=min(stamps), last_utc_ns=max(stamps)
            )
            begin, stamps = at, []


def sifted(hit: Hit, sift: Sift) -> Hit | None:
    """The frames of a hit that are wanted; None when none is."""
    if sift.asks_nothing:
        return hit
    if sift.pattern and not sift.questions and sift.pattern not in hit.blocks:
        return None  # A thousand times quicker than frame by frame, and mostly so.
    wanted = [
        packet
        for packet in pcapng.packets(pcapng.section_header() + pcapng.interface("") * len(hit.interfaces) + hit.blocks)
        if sift.takes(packet)
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
