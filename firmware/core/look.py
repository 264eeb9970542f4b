"""One segment searched: by its index as far as that holds together, by its frames from there on. What cannot be read is named.

The index says which stretches cannot match; only the others are read, one at a time. It is checked before it is believed, and it has
to reach to the end of the frames that were sealed, so that a damaged one costs time and never frames.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from firmware.core import pcapng
from firmware.core._kernel import Stretch, scan
from firmware.core.ahead import Ahead
from firmware.core.errors import BadItem, Corrupt, DiskFailed, Missing
from firmware.core.glance import Glance
from firmware.core.hit import Hit
from firmware.core.index import Record
from firmware.core.merge import LATE_NS, NEVER, Merge, complete_before
from firmware.core.pcapng import SNAP_MAX
from firmware.core.query import Terms
from firmware.core.segment import TITLE_JOINT, Segment

ALTERED = "altered, as its checksum says"
MISSING = "its frames are missing"
CUT_OFF = "its frames end early"
UNREADABLE = "the disk does not read it"
MANY, VARIOUS = "further segments", "for several causes"
DAMAGES_MAX = 256  # said one by one; a store that is damaged further needs `verify` and not a search


@dataclass(frozen=True, slots=True)
class Damage:
    """Frames that might have matched and cannot be read. first_utc_ns, last_utc_ns: when, as far as is known, None where nothing is.

    cause: for people, one of this module's.
    """

    segment: str
    first_utc_ns: int | None
    last_utc_ns: int | None
    cause: str


class Damages:
    """Damage gathered: what follows each other in one segment for one cause is one. More of them than can be said are one as well."""

    def __init__(self) -> None:
        self._rows: list[Damage] = []

    def add(self, damage: Damage) -> None:
        """One more."""
        if self._rows:
            last = self._rows[-1]
            is_more = (last.segment, last.cause) == (damage.segment, damage.cause)
            if is_more or len(self._rows) >= DAMAGES_MAX:
                first_ns = _outer(min, last.first_utc_ns, damage.first_utc_ns)
                last_ns = _outer(max, last.last_utc_ns, damage.last_utc_ns)
                segment = last.segment if is_more else MANY
                self._rows[-1] = Damage(segment, first_ns, last_ns, last.cause if last.cause == damage.cause else VARIOUS)
                return
        self._rows.append(damage)

    def all(self) -> tuple[Damage, ...]:
        """All of it, in the order met."""
        return tuple(self._rows)


Step = Hit | Damage | None  # None: something was read in vain


def looked_into(segment: Segment, terms: Terms, merge: Merge, ahead: Ahead, *, newest_first: bool = False) -> Iterator[Step]:
    """Every frame of a segment that matches, and no other, a stretch a step. A segment that is gone, or goes meanwhile, ends it.

    merge: where it holds several interfaces, of the whole search. ahead: who unpacks and looks. newest_first: stretches from the last to
    the first; the frames in each stay as they were heard.
    """
    seal: Glance | None = None
    is_sealed = True
    try:
        seal = segment.glance()
        is_sealed = seal is not None
    except Missing:
        return
    except (Corrupt, DiskFailed):
        pass  # verify names it; here it only cannot say when the segment was, nor where its frames end.
    if seal is not None and seal.is_outside(terms.since_ns, terms.until_ns):
        return
    records: list[Record] = []
    described, is_whole = 0, False
    try:
        for piece in segment.probed(terms):
            records += piece.records
            described, is_whole = piece.described, piece.is_whole
            yield None
    except (Corrupt, Missing, DiskFailed):
        is_whole = False
    look = _Look(segment, terms, merge, ahead, seal, newest_first=newest_first)
    if not (seal is not None and is_whole and described == seal.frames_bytes):
        # What the index does not describe: of an open segment the newest, of a damaged one whatever is behind the damage.
        rest = look.without_index(described, is_sealed=is_sealed)
    else:
        rest = iter(())
    if newest_first:
        yield from rest
        yield from look.at(records[::-1])
    else:
        yield from look.at(records)
        yield from rest


class _Look:
    """One segment being read."""

    def __init__(
        self, segment: Segment, terms: Terms, merge: Merge, ahead: Ahead, seal: Glance | None, *, newest_first: bool
    ) -> None:
        self._segment = segment
        self._terms = terms
        self._merge = merge
        self._ahead = ahead
        self._seal = seal
        self._newest_first = newest_first
        self._names: tuple[str, ...] | None = None

    def at(self, records: Sequence[Record]) -> Iterator[Step]:
        """These stretches."""
        name = self._segment.name
        all_scanned = self._ahead.each(lambda record: self._segment.scanned(record, self._terms), records)
        for (place, record), scanned in zip(enumerate(records), all_scanned, strict=True):
            try:
                found = scanned()
            except Corrupt:
                yield Damage(name, record.first_ns, record.last_ns, ALTERED)
            except DiskFailed:
                yield Damage(name, record.first_ns, record.last_ns, UNREADABLE)
            except Missing:
                if self._segment.is_there():
                    yield Damage(name, record.first_ns, record.last_ns, MISSING)
            else:
                before_ns = NEVER if self._newest_first else complete_before(records, place)
                yield from self._found(found, (record.first_ns, record.last_ns), before_ns)

    def without_index(self, start: int, *, is_sealed: bool) -> Iterator[Step]:
        """The frames themselves, from a link on. What is altered lies between what was read before it and what is read after it."""
        before = self._seal.first_ns if self._seal is not None else None
        end_ns = self._seal.last_ns if self._seal is not None else None
        stamps = Stretch(SNAP_MAX * 2)
        is_altered = False
        end = start
        try:
            for offset, stored, raw in self._segment.links(start):
                end = offset + stored
                stamps.clear()
                if raw is None or not stamps.survey(raw):
                    is_altered = True
                    continue
                if stamps.frames == 0:
                    continue
                if is_altered:
                    yield self._damage(before, stamps.first_ns, ALTERED)
                    is_altered = False
                before = stamps.last_ns
                if stamps.last_ns >= self._terms.since_ns and stamps.first_ns <= self._terms.until_ns:
                    before_ns = NEVER if self._newest_first else max(0, stamps.last_ns - LATE_NS)
                    found = scan(raw, self._terms.packed, self._terms.since_ns, self._terms.until_ns)
                    yield from self._found(found, (stamps.first_ns, stamps.last_ns), before_ns)
                else:
                    yield None
            if is_altered:
                yield self._damage(before, end_ns, ALTERED)
            # The tail of an open segment may be half written: that is no damage.
            if is_sealed and end != (self._seal.frames_bytes if self._seal is not None else self._segment.frames_size()):
                yield self._damage(before, end_ns, CUT_OFF)
        except Missing:
            if is_sealed and self._segment.is_there():
                yield self._damage(before, end_ns, MISSING)
        except Corrupt:
            yield self._damage(before, end_ns, ALTERED)
        except DiskFailed:
            yield self._damage(before, end_ns, UNREADABLE)

    def _found(
        self, found: tuple[bytes, int, int, int, bool], when: tuple[int | None, int | None], before_ns: int
    ) -> Iterator[Step]:
        name = self._segment.name
        blocks, count, first, last, sound = found
        if count:
            interfaces = self._interfaces()
            hit = Hit(name, blocks, count, first, last, interfaces)
            if len(interfaces) == 1:
                yield from self._merge.end()
                yield hit
            else:
                yield from self._merge.add(hit, before_ns=before_ns)
        if not sound:
            yield Damage(name, *when, ALTERED)
        elif not count:
            yield None

    def _interfaces(self) -> tuple[str, ...]:
        """Their names, by number."""
        if self._names is None:
            title = self._seal.interface if self._seal is not None else ""
            is_plain = title and TITLE_JOINT not in title and self._seal is not None and not self._seal.frames_hardware
            self._names = (title,) if is_plain else self._described()
        return self._names

    def _described(self) -> tuple[str, ...]:
        """The names in its section. Where that cannot be read any more, as many as there may be: a frame keeps its number."""
        try:
            first = next(self._segment.links(0), None)
            rows = pcapng.interfaces(first[2]) if first is not None and first[2] is not None else []
            return tuple(name for name, _ in rows) or ("",) * pcapng.DESCRIBED_INTERFACES_MAX
        except (BadItem, Corrupt, Missing, DiskFailed):
            return ("",) * pcapng.DESCRIBED_INTERFACES_MAX

    def _damage(self, first_ns: int | None, last_ns: int | None, cause: str) -> Damage | None:
        """None where nothing that was asked for can have been in it."""
        if first_ns is not None and last_ns is not None and (last_ns < self._terms.since_ns or first_ns > self._terms.until_ns):
            return None
        return Damage(self._segment.name, first_ns, last_ns, cause)


def _outer(choose: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else choose(one, other)
