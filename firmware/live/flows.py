"""The chosen streams, sender by sender: sampled, collected, and given out as a batch. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from firmware.core.errors import BadSettings
from firmware.core.message import is_token
from firmware.core.streams.decoders import DECODERS
from firmware.core.streams.sample import NAME_MAX, Sample
from firmware.core.streams.samplers import LONGEST_NS, Sampler, Verdict
from firmware.core.timestamp import SECOND

FLOWS_MAX = 64  # senders of chosen streams at once; more are a misunderstanding, or a stranger
QUIET_NS = (
    60 * SECOND
)  # A sender that connects anew comes from another port; where room is wanted, the former one is over after this.

Key = tuple[str, bytes, bytes, bytes, int | None, int | None]


@dataclass(slots=True)
class Flow:
    """One stream between one sender and one receiver, of one source there. number: among those of one name. heard_ns: when last, by the frame's stamp."""

    name: str
    number: int
    sampler: Sampler
    undecided: dict[int, Sample] = field(default_factory=dict)
    ready: list[Sample] = field(default_factory=list)
    left_out: int = 0
    heard_ns: int = 0


class Chosen:
    """Everything between two batches."""

    def __init__(self, names: Mapping[str, str], sampler: Callable[[Sample], Sampler], *, values_max: int) -> None:
        """names: the site's, by stream. sampler: makes one for a stream's first sample."""
        self._names = names
        self._sampler = sampler
        self._values_max = values_max
        self._flows: dict[Key, Flow] = {}
        self._token = 0
        self.ready_values = 0

    def add(self, sample: Sample, between: tuple[bytes, bytes, int | None, int | None], *, stays: bool = False) -> str | None:
        """Take a sample in; the cause where one was dropped that should not have been.

        between: source and destination, addresses and ports. stays: it is to be sent, whatever the sampler thinks.
        """
        name = self._names.get(sample.stream)
        if name is None:
            return None
        key = (sample.stream, sample.source, *between)
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= FLOWS_MAX and not self._forget_one(sample.stamp_ns):
                return "too_many_flows"
            taken = {flow.number for flow in self._flows.values() if flow.name == name}
            number = next(number for number in range(FLOWS_MAX) if number not in taken)
            flow = self._flows[key] = Flow(name, number, self._sampler(sample))
        flow.heard_ns = sample.stamp_ns
        self._token += 1
        flow.undecided[self._token] = sample
        return self._apply(flow, flow.sampler.feed(self._token, sample.stamp_ns, sample.values, stays=stays))

    def take(self) -> list[Flow]:
        """The flows with samples to send; `ready` and `left_out` are theirs to hand over, and begin anew."""
        taken = []
        for flow in self._flows.values():
            if flow.ready:
                taken.append(Flow(flow.name, flow.number, flow.sampler, ready=flow.ready, left_out=flow.left_out))
                flow.ready, flow.left_out = [], 0
        self.ready_values = 0
        return taken

    def settle(self, now_ns: int | None = None) -> Iterator[str]:
        """Decide about everything: this is the end. With a time, only about streams that have been quiet for longer than any line may be:
        how something stopped must not wait until it moves again. Yields the cause of each sample dropped that should not have been."""
        for flow in self._flows.values():
            if now_ns is None or (flow.undecided and abs(now_ns - flow.heard_ns) > LONGEST_NS):
                cause = self._apply(flow, flow.sampler.settle())
                if cause is not None:
                    yield cause

    @property
    def has_undecided(self) -> bool:
        """Whether a sampler waits for what comes next."""
        return any(flow.undecided for flow in self._flows.values())

    def _forget_one(self, now_ns: int) -> bool:
        """The flow that was heard of longest ago, where it has been quiet since and has nothing to send; False where there is none."""
        # Either way: a clock that was set back must not keep flows for ever.
        key, flow = max(self._flows.items(), key=lambda row: abs(now_ns - row[1].heard_ns))
        if flow.ready or abs(now_ns - flow.heard_ns) < QUIET_NS:
            return False
        del self._flows[key]
        return True

    def _apply(self, flow: Flow, verdict: Verdict) -> str | None:
        cause = None
        for token in verdict.dropped:
            flow.left_out += flow.undecided.pop(token, None) is not None
        for token in verdict.kept:
            sample = flow.undecided.pop(token, None)
            if sample is None:
                continue
            if self.ready_values + len(sample.values) > self._values_max:
                cause = "batch_full"
                flow.left_out += 1
                continue
            flow.ready.append(sample)
            self.ready_values += len(sample.values)
        return cause


def names_of(entries: tuple[str, ...]) -> dict[str, str]:
    """The site's names by stream, from entries "rtps/rt/joint_states/position=arms". Raises BadSettings."""
    names: dict[str, str] = {}
    for entry in entries:
        stream, _, name = (part.strip() for part in entry.rpartition("="))
        if stream.partition("/")[0] not in DECODERS or "/" not in stream or len(stream) > NAME_MAX or not is_token(name):
            known = ", ".join(DECODERS)
            raise BadSettings(
                f'[live] streams: expected entries such as "rtps/rt/joint_states/position=arms" with a decoder ({known}), got {entry!r}'
            )
        if stream in names or name in names.values():
            # Nobody who watches could tell the one from the other.
            raise BadSettings(f"[live] streams: expected each stream once, and a name of its own for each, got {entry!r}")
        names[stream] = name
    return names
