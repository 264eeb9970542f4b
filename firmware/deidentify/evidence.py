"""A pcapng section of recorded frames as it may leave, made a stretch at a time so that an alarm never waits for it. Pure."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.deidentify.frames import FrameRules, kept_size

_INTERFACE = struct.pack("<I", pcapng.INTERFACE)
FRAMES_A_STRETCH = 1_000  # some 10 ms on a board
_COMMENT = "deidentified: payloads that may not leave are cut off; original lengths are kept"


@dataclass(slots=True)
class Counts:
    """Frames that left as they were, and frames cut."""

    whole: int = 0
    cut: int = 0


def cleaned(section: bytes, rules: FrameRules, counts: Counts, *, note: str = "") -> Iterator[bytes]:
    """The new section in pieces, to be joined. Raises BadItem where the section is not of Ethernet interfaces, described first.

    note: what else whoever opens it should know, in our own words; nothing the section says of itself is taken over.
    """
    names = _interfaces(section)
    yield pcapng.section_header("; ".join(filter(None, (_COMMENT, note)))) + b"".join(map(pcapng.interface, names))
    blocks: list[bytes] = []
    for packet in pcapng.packets(section):
        if packet.interface >= len(names):
            raise BadItem("expected every interface of evidence to be described at its beginning")
        size = kept_size(packet.data, packet.wire_bytes, rules)
        if size < len(packet.data):
            counts.cut += 1
        else:
            counts.whole += 1
        blocks.append(pcapng.enhanced_packet(packet.stamp_ns, packet.data[:size], packet.wire_bytes, interface=packet.interface))
        if len(blocks) == FRAMES_A_STRETCH:
            yield b"".join(blocks)
            blocks.clear()
    yield b"".join(blocks)


def _interfaces(section: bytes) -> list[str]:
    """Their names, by number; raises BadItem unless the section begins with its header and at least one, all of them Ethernet."""
    at = _size(section, 0, pcapng.SECTION_HEADER)
    end = at + _size(section, at, pcapng.INTERFACE)
    while section[end : end + 4] == _INTERFACE:
        end += _size(section, end, pcapng.INTERFACE)
    while at < end:
        if struct.unpack_from("<H", section, at + 8)[0] != pcapng.LINK_ETHERNET:
            raise BadItem("expected Ethernet frames in evidence")
        at += _size(section, at, pcapng.INTERFACE)
    return [name for name, _ in pcapng.interfaces(section[:end])]


def _size(section: bytes, at: int, kind: int) -> int:
    if len(section) < at + 20:
        raise BadItem("expected a section header and an interface at the beginning of evidence")
    found, size = struct.unpack_from("<II", section, at)
    if found != kind or not 20 <= size <= len(section) - at:
        raise BadItem("expected a section header and an interface at the beginning of evidence")
    return int(size)
