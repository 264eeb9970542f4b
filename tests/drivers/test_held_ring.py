"""A real ring that outlives who reads it: whoever adopts its descriptor reads on from the oldest block nobody released."""

import os
import select
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from drivers.linux.held_ring import held_ring, title_of
from drivers.linux.tap import RingTap, oldest, ring_tap
from drivers.tap import Block, TapRequest
from firmware.core import pcapng
from firmware.core._kernel import Stretch

from . import wire

REASON = wire.why_not()


def lab(test: Callable[[], None]) -> Callable[[], None]:
    return pytest.mark.lab(pytest.mark.skipif(REASON is not None, reason=REASON or "")(test))


REQUEST = TapRequest(wire.HEARS, block_bytes=1 << 16, block_count=128, retire_ms=20, lasting=True)
USER = 1


def frames(first: int, count: int) -> list[bytes]:
    return [
        bytes.fromhex("020000000001 020000000002 88b5") + n.to_bytes(8, "big") + bytes(200) for n in range(first, first + count)
    ]


def numbers(block: Block) -> list[int]:
    stretch = Stretch(1 << 20)
    stretch.add(block.data, 0, 0, 0, 0)
    section = pcapng.section_header() + pcapng.interface("x") + bytes(stretch)
    return [int.from_bytes(packet.data[14:22], "big") for packet in pcapng.packets(section)]


def read(tap: RingTap, count: int, *, release: bool = True) -> tuple[list[int], list[Block]]:
    """At least so many frames."""
    seen: list[int] = []
    blocks: list[Block] = []
    while len(seen) < count:
        block = tap.next()
        if block is None:
            assert select.select([tap.fileno()], [], [], 10)[0], f"expected {count} frames, got {len(seen)}"
            continue
        seen += numbers(block)
        blocks.append(block)
        if release:
            tap.release(block)
    return seen, blocks


@pytest.mark.parametrize(
    ("blocks", "place"),
    [
        ([(0, 1, 48), (0, 0, 0), (0, 0, 0)], 0),  # just opened
        ([(USER, 1, 900), (USER, 2, 900), (0, 3, 48)], 0),  # nothing read yet
        ([(USER, 4, 900), (USER, 2, 900), (USER, 3, 900)], 1),  # full, and round already
        ([(0, 1, 0), (USER, 2, 900), (0, 3, 300)], 1),  # read in part
        ([(0, 4, 48), (0, 2, 0), (0, 3, 0)], 0),  # all read, the next one open and empty
        ([(0, 4, 0), (0, 5, 0), (0, 3, 0)], 2),  # all read, and the kernel has not looked again since it was full
        ([(0, 1, 0), (0, 2, 0), (0, 3, 0)], 0),
    ],
)  # fmt: skip
def test_the_oldest_block_is_found(blocks, place):
    """By status, sequence and use alone: a new owner has no other knowledge."""
    assert place == oldest(blocks)


def test_a_ring_is_known_by_interface_and_rules():
    """Another geometry is the same ring, another filter or snap length is another; a title that is none is nobody's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_descriptor:
        kept = {title_of(REQUEST): any_descriptor.fileno()}
        other_size = TapRequest(wire.HEARS, block_count=64)
        found = held_ring(other_size, kept)
        assert found is not None
        os.close(found.descriptor)

        assert (1 << 16, 128, 20) == (found.block_bytes, found.block_count, found.retire_ms)
        assert held_ring(TapRequest(wire.HEARS, filter="udp"), kept) is None
        assert held_ring(TapRequest(wire.HEARS, snap_bytes=96), kept) is None
        assert held_ring(TapRequest("other"), kept) is None
        for title in ("ring", "ring/hears", title_of(REQUEST).replace("/128/", "/many/"), "/////"):
            assert held_ring(REQUEST, {title: any_descriptor.fileno()}) is None
        assert held_ring(REQUEST, {title_of(REQUEST): 1 << 20}) is None


@lab
def test_owner_after_owner_reads_on():
    """Twelve owners of one ring, each leaving after some blocks, some with blocks in hand: every frame once more or once. (S1-08)"""
    with wire.Wire() as line:
        tap = RingTap(REQUEST)
        kept = {tap.title: os.dup(tap.fileno())}
        recorded: list[int] = []
        sent = 0
        for owner in range(12):
            line.send(frames(sent, 300))
            sent += 300
            # Every third has read everything when it leaves; the others die with blocks in hand, which the next one gets.
            recorded += read(tap, 1 if owner % 3 else sent - len(recorded))[0]
            if owner % 3:
                read(tap, 1, release=False)
            tap.close()
            tap = ring_tap(REQUEST, kept)
            assert tap.is_taken_over
        recorded += read(tap, sent - len(recorded))[0]
        counters = tap.counters()
        tap.close()
        for descriptor in kept.values():
            os.close(descriptor)

        assert list(range(sent)) == recorded
        assert 0 == counters.dropped["ring_full"]


@lab
def test_an_owner_counts_what_it_hands_out():
    """Not what the one before recorded and ended without asking for: that would be said to be left in the ring, and lost. (S2-092)"""
    with wire.Wire() as line:
        tap = RingTap(REQUEST)
        line.send(frames(0, 300))
        read(tap, 300)
        line.send(frames(300, 40))
        kept = {tap.title: os.dup(tap.fileno())}
        tap.close()
        tap = ring_tap(REQUEST, kept)
        line.send(frames(340, 20))
        seen, _ = read(tap, 60)
        counters = tap.counters()
        tap.close()
        for descriptor in kept.values():
            os.close(descriptor)

        assert (list(range(300, 360)), 60, 0) == (seen, counters.received, counters.dropped["ring_full"])


@lab
def test_what_was_lost_between_two_owners_is_counted():
    """Dropped since the one before last asked: it comes to the next."""
    request = replace(REQUEST, block_count=4)
    with wire.Wire() as line:
        tap = RingTap(request)
        kept = {tap.title: os.dup(tap.fileno())}
        line.send(frames(0, 2_000))
        tap.close()
        tap = ring_tap(request, kept)
        handed = len(read(tap, 1)[0])
        while (block := tap.next()) is not None:
            handed += len(numbers(block))
        counters = tap.counters()
        tap.close()
        for descriptor in kept.values():
            os.close(descriptor)

        assert counters.dropped["ring_full"] > 0
        assert (handed, 2_000 - handed) == (counters.received, counters.dropped["ring_full"])


@lab
def test_what_cannot_be_adopted_is_opened_anew():
    """A descriptor that is no ring, one whose geometry is not as its title says, one of a renamed interface: a ring of our own."""
    with wire.Wire() as line:
        former = RingTap(REQUEST)
        lying = title_of(TapRequest(wire.HEARS, block_bytes=1 << 20, block_count=64))
        for kept in ({title_of(REQUEST): 0}, {lying: former.fileno()}):
            tap = ring_tap(REQUEST, kept)
            line.send(frames(0, 5))

            assert (False, REQUEST) == (tap.is_taken_over, tap.request)
            assert list(range(5)) == read(tap, 5)[0]
            tap.close()
        line.set(wire.HEARS, "down", "name", "renamed")
        line.set("renamed", "up")
        with pytest.raises(Exception, match="none of this name"):
            ring_tap(REQUEST, {title_of(REQUEST): former.fileno()})
        former.close()


@lab
def test_catching_up_hears_on():
    """When it returns, what was heard before is handed out, and what comes after is heard as well."""
    with wire.Wire() as line:
        tap = RingTap(REQUEST)
        line.send(frames(0, 20))
        tap.catch_up()
        block = tap.next()
        assert block is not None
        first = numbers(block)
        tap.release(block)
        line.send(frames(20, 20))
        seen, _ = read(tap, 20)
        tap.close()

        assert list(range(20)) == first
        assert list(range(20, 40)) == seen


def test_an_empty_descriptor_list_is_none():
    """Nothing kept, nothing adopted; the title has no colon, which sd_notify(3) forbids."""
    assert held_ring(REQUEST, {}) is None
    assert ":" not in title_of(REQUEST)
