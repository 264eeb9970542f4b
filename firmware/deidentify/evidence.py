"""A pcapng section of recorded frames as it may leave, made a stretch at a time so that an alarm never waits for it. Pure."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.deidentify.frames import FrameRules, kept_size

FRAMES_A_STRETCH = 1_000  # some 10 ms on a board
_COMMENT = "deidentified: payloads that may not leave are cut off; original lengths are kept"


@dataclass(slots=True)
class Counts:
    """Frames that left as they were, and frames cut."""

    whole: int = 0
    cut: int = 0


def cleaned(section: bytes, rules: FrameRules, counts: Counts, *, note: str = "") -> Iterator[bytes]:
    """The new section in pieces, to be joined. Raises BadItem where the section is not one Ethernet interface of ours.

    note: what else whoever opens it should know, in our own words; nothing the section says of itself is taken over.
    """
    name = _interface_name(section)
    yield pcapng.section_header("; ".join(filter(None, (_COMMENT, note)))) + pcapng.interface(name)
    blocks: list[bytes] = []
    for packet in pcapng.packets(section):
        if packet.interface != 0:
            raise BadItem("expected one interface in a section of evidence")
        size = kept_size(packet.data, packet.wire_bytes, rules)
        if size < len(packet.data):
            counts.cut += 1
        else:
            counts.whole += 1
        blocks.append(pcapng.enhanced_packet(packet.stamp_ns, packet.data[:size], packet.wire_bytes))
        if len(blocks) == FRAMES_A_STRETCH:
            yield b"".join(blocks)
            blocks.clear()
    yield b"".join(blocks)


def _interface_name(section: bytes) -> str:
    """The interface's name; raises BadItem unless the section begins with its header and one Ethernet interface."""
    at = _size(section, 0, pcapng.SECTION_HEADER)
    end = at + _size(section, at, pcapng.INTERFACE)
    if struct.unpack_from("<H", section, at + 8)[0] != pcapng.LINK_ETHERNET:
        raise BadItem("expected Ethernet frames in evidence")
    return pcapng.described(section[:end])[0]


def _size(section: bytes, at: int, kind: int) -> int:
    if len(section) < at + 20:
        raise BadItem("expected a section header and an interface at the beginning of evidence")
    found, size = struct.unpack_from("<II", section, at)
    if found != kind or not 20 <= size <= len(section) - at:
        raise BadItem("expected a section header and an interface at the beginning of evidence")
    return int(size)
