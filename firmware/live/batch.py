"""Samples of one stream as messages: numbers only, in columns of fields. Pure.

    stream   the site's name for it          kind       motion, temperature or other
    flow     0 for the first sender and receiver of a stream of this name, 1 for the second, …; two that share an address and a port, or
             one that speaks of two arms in turns, are two
    count    samples in this message         left_out   samples since the message before that were not sent
    <i>/us   when sample i was heard, µs after the message's origin time          <i>/<k>   its k-th value

What the values are called stays in the house: joints and tools have names that people gave them. Their order is the decoder's.
"""

import math
from collections.abc import Iterator, Sequence

from drivers.clock import Timestamp
from firmware.core.message import FIELDS_MAX, Field, Message, Priority, Severity
from firmware.core.streams.sample import Kind, Sample

KIND = "live"
_HEAD_COUNT = 5


def messages(
    samples: Sequence[Sample], *, device: str, name: str, flow: int, left_out: int, received: Timestamp, tai_offset_ns: int
) -> Iterator[Message]:
    """As many messages as these samples of one stream need, in order; samples of one count of values and one kind each."""
    start = 0
    while start < len(samples):
        first = samples[start]
        room = (FIELDS_MAX - _HEAD_COUNT) // (1 + max(1, len(first.values)))
        end = start + 1
        while end < len(samples) and end - start < room and _alike(samples[end], first):
            end += 1
        yield Message(
            device=device, process="live", kind=KIND, priority=Priority.P4, severity=Severity.DEBUG,
            origin_time=Timestamp(
                first.stamp_ns + tai_offset_ns, received.uncertainty_ns, received.source, received.state
            ),
            received_time=received,
            fields=_fields(samples[start:end], name=name, kind=first.kind, flow=flow, left_out=left_out if start == 0 else 0),
        )  # fmt: skip
        start = end


def _alike(sample: Sample, first: Sample) -> bool:
    # A clock that was set back begins a new message: fields say how long after the first.
    return (
        sample.kind == first.kind and len(sample.values) == len(first.values) and 0 <= sample.stamp_ns - first.stamp_ns < 1 << 62
    )


def _fields(samples: Sequence[Sample], *, name: str, kind: Kind, flow: int, left_out: int) -> dict[str, Field]:
    fields: dict[str, Field] = {"stream": name, "kind": kind, "flow": flow, "count": len(samples), "left_out": left_out}
    for index, sample in enumerate(samples):
        fields[f"{index}/us"] = (sample.stamp_ns - samples[0].stamp_ns) // 1000
        for number, value in enumerate(sample.values):
            # What is not a number is no value; a field says so with null.
            fields[f"{index}/{number}"] = value if math.isfinite(value) else None
    return fields
