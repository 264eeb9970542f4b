"""Messages of several frames: the later fragments of what a search by ports has found the first one of.

A later fragment has no ports, so that the index cannot tell that it is of a message; to ask for all UDP instead would read nearly
everything. Who sent a first fragment to a port of messages is looked at a second time, a second around it, without asking for ports.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from firmware.core import pcapng
from firmware.core.errors import BadItem
from firmware.core.frame import TO_THE_RECEIVER, Frame, ip_text, parsed
from firmware.core.hit import Hit, Numbering
from firmware.core.pcapng import Packet
from firmware.core.query import Query
from firmware.core.store import Store
from firmware.core.timestamp import SECOND

AROUND_NS = SECOND  # Fragments are sent one behind the other: milliseconds.
SOURCES_MAX = 128  # of a query; from more hosts at once everything of that moment is looked at
KNOWN_MAX = 4096  # fragments handed out and datagrams judged that are remembered: copies of them lie beside them

_CARRIERS = ("udp", *map(str, sorted(TO_THE_RECEIVER)))  # as later fragments name what their datagram begins with

_Key = tuple[bytes, bytes, int]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Pieces:
    """Of one search. is_wanted: whether a datagram is, given its frames in the order sent, the last one last."""

    def __init__(self, query: Query, is_wanted: Callable[[list[Packet]], bool]) -> None:
        """query: as it was asked, its ports included; beside them a later fragment has to agree as any frame."""
        self._query = replace(query, ports=(), either_ports=(), either_protocols=(), protocols=_CARRIERS)
        self._is_wanted = is_wanted
        self._wanted: dict[_Key, int] = {}  # and the stamp of the first fragment
        self._given: dict[tuple[_Key, int, int], None] = {}

    def completed(self, hit: Hit, store: Store) -> Hit:
        """The same frames, and behind each first fragment the later ones, each once in a search."""
        packets = _packets(hit)
        firsts = {at: key for at, packet in enumerate(packets) if (key := _key(packet, is_first=True)) is not None}
        if not firsts:
            return hit
        numbering = Numbering()
        packets = _packets(numbering.of(hit))
        later = self._later(packets, firsts, store, numbering)
        rows: list[Packet] = []
        for at, packet in enumerate(packets):
            rows.append(packet)
            key = firsts.get(at)
            if key is None:
                continue
            near = [row for row in later.get(key, ()) if abs(row.stamp_ns - packet.stamp_ns) <= AROUND_NS]
            if self._is_wanted([packet, *near]):
                _remember(self._wanted, key, packet.stamp_ns)
            for row in near:
                place = key, row.stamp_ns, row.interface
                if place not in self._given:
                    _remember(self._given, place, None)
                    rows.append(row)
        stamps = [row.stamp_ns for row in rows]
        blocks = b"".join(pcapng.enhanced_packet(row.stamp_ns, row.data, row.wire_bytes, interface=row.interface) for row in rows)
        return replace(
            hit, blocks=blocks, frame_count=len(rows), first_utc_ns=min(stamps), last_utc_ns=max(stamps),
            interfaces=numbering.interfaces,
        )  # fmt: skip

    def holds(self, packet: Packet) -> bool:
        """Whether this is a fragment, the first or a later one, of a datagram that is wanted."""
        key = _key(packet)
        return key is not None and abs(self._wanted.get(key, -AROUND_NS - 1) - packet.stamp_ns) <= AROUND_NS

    def _later(
        self, packets: list[Packet], firsts: dict[int, _Key], store: Store, numbering: Numbering
    ) -> dict[_Key, list[Packet]]:
        stamps, keys = [packets[at].stamp_ns for at in firsts], set(firsts.values())
        since, until, hosts = self._query.since_utc_ns, self._query.until_utc_ns, self._query.hosts
        sources = tuple(sorted({ip_text(source) for source, _, _ in keys}))
        query = replace(
            self._query,
            since_utc_ns=max(min(stamps) - AROUND_NS, 0 if since is None else since),
            until_utc_ns=min(max(stamps) + AROUND_NS, max(stamps) + AROUND_NS if until is None else until),
            hosts=hosts or (sources if len(sources) <= SOURCES_MAX else ()),
        )
        found: dict[_Key, list[Packet]] = {}
        for hit in store.search(query):
            for packet in _packets(numbering.of(hit)):
                key = _key(packet, is_first=False)
                if key in keys and key is not None:
                    found.setdefault(key, []).append(packet)
        return found


def _key(packet: Packet, *, is_first: bool | None = None) -> _Key | None:
    """What a datagram's fragments share, None for any other frame."""
    frame = _frame(packet)
    if frame is None or frame.fragment is None or (is_first is not None and is_first != (frame.fragment.offset == 0)):
        return None
    return frame.source_ip, frame.destination_ip, frame.fragment.identification


def _frame(packet: Packet) -> Frame | None:
    try:
        return parsed(packet.data)
    except BadItem:
        return None


def _packets(hit: Hit) -> list[Packet]:
    return list(pcapng.packets(pcapng.section_header() + pcapng.interface("") * len(hit.interfaces) + hit.blocks))


def _remember(known: dict[_K, _V], name: _K, value: _V) -> None:
    known.pop(name, None)
    known[name] = value
    if len(known) > KNOWN_MAX:
        del known[next(iter(known))]
