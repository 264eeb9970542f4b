"""Pcapng that was altered or is something else: an error that says what was expected, or frames; never anything else."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.core import pcapng
from firmware.core._kernel import Stretch, ordered, probe, scan
from firmware.core.errors import BadItem

blocks = st.one_of(
    st.builds(lambda stamp, data, wire: pcapng.enhanced_packet(stamp, data, wire), st.integers(0, 2**64 - 1), st.binary(max_size=100), st.integers(0, 2**32 - 1)),
    st.just(pcapng.interface("x")),
    st.just(pcapng.section_header()),
    st.just(pcapng.statistics(5, received=1, dropped=1)),
)  # fmt: skip
damage = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), max_size=4)


def damaged(rows: list[bytes], changes: list[tuple[int, int]]) -> bytes:
    data = bytearray(pcapng.section_header() + pcapng.interface("x") + b"".join(rows))
    for at, change in changes:
        data[at % len(data)] ^= change
    return bytes(data)


def outcome(data: bytes) -> int | None:
    """Frames, or None for a BadItem; anything else fails the test."""
    try:
        pcapng.interfaces(data)
        return sum(1 for _ in pcapng.packets(data))
    except BadItem:
        return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1000))
def test_any_bytes(data):
    """Bytes that are no pcapng at all, in Python and in C."""
    outcome(data)
    scan(data, b"", 0, 2**64 - 1)
    Stretch(1 << 19).survey(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(blocks, max_size=8), damage)
def test_altered_section(rows, changes):
    """A section with some bytes changed: Python and C agree on where it stops being one."""
    data = damaged(rows, changes)
    count = outcome(data)
    hits, frames, _, _, sound = scan(data, b"", 0, 2**64 - 1)

    assert len(hits) <= len(data)
    assert sound is Stretch(1 << 19).survey(data)
    if count is not None:
        assert (count, True) == (frames, sound)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=1000), st.binary(max_size=700))
def test_any_query(data, terms):
    """Terms that nobody packed are refused or used, never followed outside."""
    for ask in (lambda: scan(data, terms, 0, 2**64 - 1), lambda: probe(data, terms, 0, 2**64 - 1)):
        try:
            ask()
        except ValueError:
            assert (
                len(terms) % 28
                or len(terms) > 256 * 28
                or any(struct.unpack_from("<I", terms, at)[0] >= 8 for at in range(0, len(terms), 28))
            )


@pytest.mark.parametrize("count", [0, 1, 64, 65])
def test_interfaces_are_bounded(count):
    """A section may not describe interfaces for ever."""
    data = pcapng.section_header() + pcapng.interface("x") * count

    assert (None if count > 64 else 0) == outcome(data)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=40), st.integers(0, 2**32 - 1)), max_size=30),
    st.integers(0, 2**64 - 1),
    damage,
)
def test_sorting_keeps_every_block(rows, before_ns, changes):
    """Whatever the stamps: nothing lost, nothing twice, equal stamps as they came; of damaged blocks, a refusal at the most."""
    made = [pcapng.enhanced_packet(stamp, data, len(data), interface=number) for stamp, data, number in rows]
    ready, count, first, last, rest = ordered(b"".join(made), before_ns)
    expected = [block for _, block in sorted(zip([row[0] for row in rows], made, strict=True), key=lambda pair: pair[0])]

    assert (b"".join(expected[:count]), b"".join(expected[count:])) == (ready, rest)
    assert count == sum(stamp < before_ns for stamp, _, _ in rows)
    assert (min(early), max(early)) == (first, last) if (early := [row[0] for row in rows if row[0] < before_ns]) else True
    data = bytearray(b"".join(made))
    for at, change in changes if data else []:
        data[at % len(data)] ^= change
    try:
        ready, _, _, _, rest = ordered(bytes(data), before_ns)
        assert len(data) == len(ready) + len(rest)
    except ValueError:
        pass
    try:
        assert len(data) == len(pcapng.renumbered(bytes(data), [0, 1, 2]))
    except BadItem:
        pass
