"""One missed stretch being read, a bounded piece at a time: each message of it once, and none that was heard beside it."""

from collections.abc import Callable, Iterator

from drivers.clock import Now
from drivers.disk import Disk
from firmware.core import pcapng
from firmware.core.entrance import COPIES_NS, EVERYBODY, Entry, Rules, entry_of, message_of
from firmware.core.errors import BadItem
from firmware.core.frame import ip_text, parsed
from firmware.core.hearing import Hearing
from firmware.core.missed import Missed
from firmware.core.query import Query
from firmware.core.store import Damage, Hit, Store
from firmware.core.summary import Summary
from firmware.core.timestamp import SECOND

LOOKS_A_PIECE = 8  # Stretches read in vain before the loop gets its turn back: some milliseconds.
FRAMES_A_PIECE = 128  # The same for frames: a fiftieth of a second on a board.
KNOWN_MAX = 65_536  # keys remembered: some seconds of the fastest publishers
FRAGMENTS_NS = 5 * SECOND  # as long as a datagram waits for its parts (core/fragments.py)
HOSTS_A_QUERY = 128
_BLOCKS_OF = pcapng.section_header() + pcapng.interface("segment") * pcapng.DESCRIBED_INTERFACES_MAX


class Reading:
    """`work` until it is `finished`; the entries it gives out are in the order of the recording, fragmented ones last."""

    def __init__(self, missed: Missed, disk: Disk, rules: Rules, *, count: Callable[[str], None]) -> None:
        self.missed = missed
        self.finished = False
        self._store = Store(disk, summary=Summary(disk))
        self._rules = rules
        self._count = count
        self._everybody = rules.subscription.rules == EVERYBODY.rules
        self._hearing = Hearing(rules.ports, drop=_nothing, count=_nothing)
        self._known: dict[bytes, int] = {}  # the stamp of each, the one longest unheard first
        self._after: set[bytes] = set()
        self._pieces: dict[str, tuple[int, int]] = {}  # whose fragments were met, from when to when
        self._frames = self._all_frames()

    def work(self, now: Now) -> list[Entry]:
        """One piece of it."""
        found = []
        looks = 0
        for _ in range(FRAMES_A_PIECE):
            if looks >= LOOKS_A_PIECE:
                break
            try:
                row = next(self._frames)
            except StopIteration:
                self.finished = True
                break
            if row is None:
                looks += 1
                continue
            part, stamp_ns, data = row
            entry = self._entry(part, stamp_ns, data, now)
            if entry is not None:
                found.append(entry)
        return found

    def _all_frames(self) -> Iterator["tuple[str, int, bytes] | None"]:
        """(which part of the work it belongs to, stamp, bytes); None where looking took time and gave nothing."""
        begin, end, ports = self.missed.from_utc_ns, self.missed.until_utc_ns, tuple(self._rules.ports)
        # Copies are looked for beyond both ends.
        yield from self._walk("after", Query(end + 1, end + COPIES_NS, ports=ports, protocols=("udp",)))
        self._known.clear()
        yield from self._walk("missed", Query(max(0, begin - COPIES_NS), end, ports=ports, protocols=("udp",)))
        # A later fragment has no ports: whoever sent a first one is looked at again without asking for any.
        hosts = list(self._pieces)
        for at in range(0, len(hosts), HOSTS_A_QUERY):
            some = tuple(hosts[at : at + HOSTS_A_QUERY])
            first = min(self._pieces[host][0] for host in some) - FRAGMENTS_NS
            last = max(self._pieces[host][1] for host in some) + FRAGMENTS_NS
            yield from self._walk("fragments", Query(max(0, first), last, hosts=some, protocols=("udp",)))

    def _walk(self, part: str, query: Query) -> Iterator["tuple[str, int, bytes] | None"]:
        for step in self._store.walk(query):
            if isinstance(step, Damage):
                self._count("bad_stretch")  # verify and every answer to a search name it
            if not isinstance(step, Hit):
                yield None
                continue
            for packet in self._packets(step):
                if len(packet.data) == packet.wire_bytes:
                    yield part, packet.stamp_ns, packet.data

    def _packets(self, hit: Hit) -> Iterator[pcapng.Packet]:
        try:
            yield from pcapng.packets(_BLOCKS_OF + hit.blocks)
        except BadItem:
            self._count("bad_stretch")  # verify names it

    def _entry(self, part: str, stamp_ns: int, data: bytes, now: Now) -> Entry | None:
        if part != "fragments" and self._is_fragment(data, stamp_ns):
            return None
        if part == "fragments" and not _has_fragment(data):
            return None
        datagram = self._hearing.datagram(data, stamp_ns)
        if datagram is None:
            return None
        message = message_of(
            datagram.payload, source_ip=datagram.source_ip, port=datagram.port, stamp_utc_ns=stamp_ns, now=now, rules=self._rules,
            count=_nothing, is_altered=datagram.is_altered,
        )  # fmt: skip
        if not self._everybody and not self._rules.subscription.wants(message.device, message.process):
            return None
        entry = entry_of(message)
        if part == "after":
            # Only of these can a copy be another message by its identity, and intake has heard the later one.
            if entry.key != entry.identity:
                self._after.add(entry.key)
            return None
        if self._is_copy(entry, stamp_ns) or not self.missed.from_utc_ns <= stamp_ns <= self.missed.until_utc_ns:
            return None
        if entry.key in self._after and stamp_ns > self.missed.until_utc_ns - COPIES_NS:
            return None
        return entry

    def _is_fragment(self, data: bytes, stamp_ns: int) -> bool:
        if not _has_fragment(data):
            return False
        host = ip_text(parsed(data).source_ip)
        first, last = self._pieces.get(host, (stamp_ns, stamp_ns))
        self._pieces[host] = min(first, stamp_ns), max(last, stamp_ns)
        return True

    def _is_copy(self, entry: Entry, stamp_ns: int) -> bool:
        """As intake has it: one known by its count alone is a copy for a while only."""
        since_ns = self._known.pop(entry.key, None)
        is_copy = since_ns is not None and (entry.key == entry.identity or abs(stamp_ns - since_ns) <= COPIES_NS)
        self._known[entry.key] = since_ns if is_copy and since_ns is not None else stamp_ns
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        return is_copy


def _has_fragment(data: bytes) -> bool:
    try:
        return parsed(data).fragment is not None
    except BadItem:
        return False


def _nothing(name: str) -> None:
    """Intake has counted it, or would have: these are not this station's figures."""
