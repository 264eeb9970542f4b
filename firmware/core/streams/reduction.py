"""Frames in, fewer frames out: filters first, then samplers over what the decoders know. What nobody understands stays.

A frame goes only as a whole, and only where every sample in it may go and there was nothing else in it.

The answer follows from the frames alone, not from how they come: the same frames, read in other pieces, give the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from firmware.core.errors import BadItem
from firmware.core.frame import Frame, parsed
from firmware.core.streams.decoders import Decoders
from firmware.core.streams.sample import NOTHING, Sample
from firmware.core.streams.samplers import LONGEST_NS, Sampler, Verdict
from firmware.core.streams.unrelated import Unrelated
from firmware.core.streams.wish import Wish

STREAMS_MAX = 1_024
# Frames behind one that is undecided wait with it. At a procedure's 7 MB/s this is half a second; then it is decided early.
HELD_BYTES_MAX = 4 << 20
HELD_FRAMES_MAX = 16_384
HOUSEKEEPING, SAMPLED = "housekeeping", "sampled"

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame that stays. block: as it was given."""

    block: memoryview
    stamp_ns: int


@dataclass(slots=True)
class _Held:
    """A frame not yet passed on. undecided: the samplers that have not said."""

    block: memoryview
    stamp_ns: int
    stays: bool
    undecided: dict[Key, None] = field(default_factory=dict)


class Reduction:
    """One answer's. left_out: frames by rule; left_out_bytes: of their blocks."""

    def __init__(self, wish: Wish, unrelated: Unrelated) -> None:
        self.left_out: dict[str, int] = {}
        self.left_out_bytes = 0
        self._wish = wish
        self._unrelated = unrelated
        # To a filter, only what a protocol says for itself is of interest, and only RTPS has frames of nothing else.
        self._decoders = Decoders() if wish.samples else Decoders(("rtps",))
        self._samplers: dict[Key, Sampler] = {}
        self._held: dict[int, _Held] = {}  # by token, in order
        self._held_bytes = 0
        self._token = 0

    def add(self, block: memoryview, stamp_ns: int, data: bytes, wire_bytes: int) -> Iterator[Kept]:
        """The next frame; yields those that are decided now. To be run to its end."""
        frame = _parsed(data)
        if self._wish.mode == "none" or frame is None:
            yield from self._put(block, stamp_ns, None, ())
            return
        rule = self._unrelated.rule(frame, data, wire_bytes)
        decoded = NOTHING if rule else self._decoders.decode(frame, data, wire_bytes, stamp_ns)
        if decoded.housekeeping:
            rule = HOUSEKEEPING
        if rule is not None:
            self._leave_out(rule, block)
            return
        if not self._wish.samples:
            decoded = NOTHING
        yield from self._put(block, stamp_ns, frame, decoded.samples, whole=decoded.whole)

    def finish(self) -> Iterator[Kept]:
        """There are no more frames; yields the rest."""
        for key in self._samplers:
            self._settle(key)
        yield from self._pass_on()

    def _put(
        self, block: memoryview, stamp_ns: int, frame: Frame | None, samples: tuple[Sample, ...], *, whole: bool = False
    ) -> Iterator[Kept]:
        token, self._token = self._token, self._token + 1
        held = self._held[token] = _Held(block, stamp_ns, stays=not whole)
        self._held_bytes += len(block)
        for sample in samples:
            key = _key(sample, frame)
            sampler = self._samplers.get(key)
            if sampler is None:
                if len(self._samplers) >= STREAMS_MAX:
                    held.stays = True
                    continue
                sampler = self._samplers[key] = self._wish.sampler(sample.stream, sample.kind)
            held.undecided[key] = None
            self._apply(key, sampler.feed(token, stamp_ns, sample.values, stays=not whole, shared=len(samples) > 1))
        while self._overdue(stamp_ns):
            for key in list(next(iter(self._held.values())).undecided):
                self._settle(key)
            yield from self._pass_on()
        yield from self._pass_on()

    def _settle(self, key: Key) -> None:
        self._apply(key, self._samplers[key].settle())

    def _apply(self, key: Key, verdict: Verdict) -> None:
        for token in verdict.dropped:
            if (held := self._held.get(token)) is not None:  # passed on already where another stream kept it
                held.undecided.pop(key, None)
        for token in verdict.kept:
            if (held := self._held.get(token)) is not None:
                held.stays = True

    def _overdue(self, stamp_ns: int) -> bool:
        if not self._held:
            return False
        first = next(iter(self._held.values()))
        if first.stays or not first.undecided:
            return False
        # A stream that ended, or a clock that was set, must not hold up what comes behind it.
        too_old = abs(stamp_ns - first.stamp_ns) > 2 * LONGEST_NS
        return too_old or self._held_bytes > HELD_BYTES_MAX or len(self._held) > HELD_FRAMES_MAX

    def _pass_on(self) -> Iterator[Kept]:
        while self._held:
            token, held = next(iter(self._held.items()))
            if held.undecided and not held.stays:
                return
            del self._held[token]
            self._held_bytes -= len(held.block)
            if held.stays:
                yield Kept(held.block, held.stamp_ns)
            else:
                self._leave_out(SAMPLED, held.block)

    def _leave_out(self, rule: str, block: memoryview) -> None:
        self.left_out[rule] = self.left_out.get(rule, 0) + 1
        self.left_out_bytes += len(block)


def _parsed(data: bytes) -> Frame | None:
    try:
        return parsed(data)
    except BadItem:
        return None


def _key(sample: Sample, frame: Frame | None) -> Key:
    """A stream of one sender to one receiver: two robots may call theirs the same, one may send to two, and one may be two that share a port."""
    assert frame is not None, "samples come out of frames"
    return (
        sample.stream, sample.source, frame.vlans, frame.source_ip or frame.source_mac, frame.destination_ip or frame.destination_mac,
        frame.source_port, frame.destination_port,
    )  # fmt: skip
