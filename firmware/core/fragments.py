"""IP datagrams put together from their fragments, IPv4 and IPv6, with a ceiling on everything a stranger could make grow."""

from collections.abc import Callable
from dataclasses import dataclass, field

from firmware.core.frame import Fragment, Frame

DATAGRAM_BYTES_MAX = 65_535
PARTS_MAX = (
    1_024  # A full datagram over the smallest IPv6 link (1,280) has 52 parts; IPv4's 68-byte links have 1,366 and are history.
)

# A mirror port that copies both directions carries each fragment twice, the second one a queue of the switch later.
COPY_NS = 100_000_000
COPIES_MAX = 64  # of the datagrams that were whole last: 4 MiB at the most

Key = tuple[bytes, bytes, int, int]


@dataclass(slots=True)
class _Partial:
    first_stamp_ns: int
    parts: dict[int, bytes] = field(default_factory=dict)  # offset → bytes
    size: int = 0
    total: int | None = None  # known once the last fragment has come


class Reassembler:
    """Holds incomplete datagrams: at most `count_max` of them, `bytes_max` together, for `age_ns_max` of frame time.

    drop: told the cause of each datagram given up: "fragment_overflow", "fragment_expired", "fragment_overlap", "fragment_too_long".
    passes_over_copies: for who hears each frame when it comes. Who reads the same recording again must find the same again.
    """

    def __init__(
        self,
        drop: Callable[[str], None],
        *,
        count_max: int = 256,
        bytes_max: int = 4 << 20,
        passes_over_copies: bool = False,
        age_ns_max: int = 5_000_000_000,  # RFC 8200 allows 60 s; on one Ethernet what has not come in 5 s was lost.
    ) -> None:
        self._drop = drop
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._age_ns_max = age_ns_max
        self._passes_over_copies = passes_over_copies
        self._partials: dict[Key, _Partial] = {}  # in order of their first fragment
        self._whole: dict[Key, tuple[int, bytes]] = {}  # the last ones, and when they were
        self._size = 0

    def __len__(self) -> int:
        return len(self._partials)

    def add(self, frame: Frame, payload: bytes, stamp_ns: int) -> bytes | None:
        """The whole datagram, as it was before it was cut, once the last missing fragment is in, else None.

        frame: of a fragment (`frame.fragment` is set). payload: its part of the datagram.
        """
        fragment = frame.fragment
        assert fragment is not None, "whole datagrams need no assembling"
        self._expire(stamp_ns)
        key = (frame.source_ip, frame.destination_ip, fragment.following, fragment.identification)
        partial = self._partials.get(key)
        if partial is None and self._is_copy(key, fragment, payload, stamp_ns):
            return None
        if partial is None:
            partial = self._partials[key] = _Partial(stamp_ns)
        cause = _trouble(partial, fragment, payload)
        if cause is not None:
            self._forget(key)
            self._drop(cause)
            return None
        if fragment.offset not in partial.parts:
            partial.parts[fragment.offset] = payload
            partial.size += len(payload)
            self._size += len(payload)
        if not fragment.more:
            partial.total = fragment.offset + len(payload)
        if partial.total is not None and partial.size == partial.total:
            self._forget(key)
            whole = b"".join(partial.parts[offset] for offset in sorted(partial.parts))
            if self._passes_over_copies:
                self._remember(key, stamp_ns, whole)
            return whole
        while len(self._partials) > self._count_max or self._size > self._bytes_max:
            self._forget(next(iter(self._partials)))
            self._drop("fragment_overflow")
        return None

    def _remember(self, key: Key, stamp_ns: int, whole: bytes) -> None:
        self._whole.pop(key, None)
        self._whole[key] = stamp_ns, whole
        if len(self._whole) > COPIES_MAX:
            del self._whole[next(iter(self._whole))]

    def _is_copy(self, key: Key, fragment: Fragment, payload: bytes, stamp_ns: int) -> bool:
        """Whether it is of a datagram that is whole already: taken for the begin of another, it would be waited for, and given up as lost."""
        stamp_whole_ns, whole = self._whole.get(key, (0, b""))
        start, end = fragment.offset, fragment.offset + len(payload)
        return (
            abs(stamp_ns - stamp_whole_ns) <= COPY_NS
            and whole[start:end] == payload
            and (end < len(whole) if fragment.more else end == len(whole) > 0)
        )

    def _expire(self, stamp_ns: int) -> None:
        while self._partials:
            key, partial = next(iter(self._partials.items()))
            # Stamps may jump back (a clock step, a stitched recording): that must not keep a datagram for ever either.
            if abs(stamp_ns - partial.first_stamp_ns) <= self._age_ns_max:
                return
            self._forget(key)
            self._drop("fragment_expired")

    def _forget(self, key: Key) -> None:
        self._size -= self._partials.pop(key).size


def _trouble(partial: _Partial, fragment: Fragment, payload: bytes) -> str | None:
    start, end = fragment.offset, fragment.offset + len(payload)
    if end > DATAGRAM_BYTES_MAX or len(partial.parts) >= PARTS_MAX:
        return "fragment_too_long"
    if fragment.more and (not payload or len(payload) % 8):
        return "fragment_overlap"  # A hole no other fragment could fill: RFC 8200 §4.5 has it discarded as well.
    if partial.total is not None and (end > partial.total or (not fragment.more and end != partial.total)):
        return "fragment_overlap"
    if partial.parts.get(start) == payload:
        return None  # The same fragment again: a mirror port that copies both directions.
    # Overlaps are how fragments lie to one reader and not to another (RFC 5722): the datagram is given up, whichever is right.
    for offset, part in partial.parts.items():
        if start < offset + len(part) and offset < end:
            return "fragment_overlap"
        if not fragment.more and offset >= end:
            return "fragment_overlap"
    return None
