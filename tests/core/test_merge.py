"""Frames of several interfaces come in time order, all of them, with their interface, and in bounded memory."""

from random import Random

import pytest

from drivers.tap import HeardFrame, pack_block
from firmware.core import pcapng
from firmware.core._kernel import Stretch, ordered
from firmware.core.errors import BadItem
from firmware.core.hit import Hit, Numbering, Section
from firmware.core.index import Record
from firmware.core.merge import CARRIED_BYTES_MAX, LATE_NS, LOOK_AHEAD, Merge, complete_before
from firmware.core.pcapng import Packet
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.sift import Sift, sifted
from firmware.core.store import Query, Store
from firmware.core.verify import verify
from simulator.clock import SimulatedClock
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity

START, SECOND, MS = 1_795_342_500_000_000_000, 1_000_000_000, 1_000_000
FRAME = bytes.fromhex("020000000001 020000000002 88b5") + bytes(50)


def frames(count: int, *, interface: int, every_ns: int, seed: int = 1) -> list[HeardFrame]:
    """On one interface, its number in the last byte."""
    random = Random(seed * 100 + interface)
    data = FRAME[:-1] + bytes([interface])
    return [HeardFrame(START + n * every_ns + random.randrange(every_ns), data, 64) for n in range(count)]


def stored(
    rows: list[list[HeardFrame]], *, names: tuple[str, ...], a_block: int, a_stretch: int, a_segment: int
) -> SimulatedDisk:
    """A store as a recorder makes it that takes blocks of its interfaces in turns; a_…: frames in a block, blocks, stretches."""
    disk, identity = SimulatedDisk(), SimulatedIdentity()
    disk.mkdir("segments")
    now = SimulatedClock().now()
    blocks = sorted(
        (
            (row[at].stamp_ns, number, row[at : at + a_block])
            for number, row in enumerate(rows)
            for at in range(0, len(row), a_block)
        ),
        key=lambda block: block[0],
    )
    stretches = [blocks[at : at + a_stretch] for at in range(0, len(blocks), a_stretch)]
    digest = None
    for sequence, at in enumerate(range(0, len(stretches), a_segment), start=1):
        writer = SegmentWriter(
            disk, "segments", sequence=sequence, first_utc_ns=START, source=Source(names[0], further=names[1:]), now=now
        )
        for group in stretches[at : at + a_segment]:
            stretch = Stretch(1 << 20)
            for _, number, heard in group:
                stretch.add(pack_block(heard, sequence=0), 0, 0, 0, 0, number)
            writer.write(stretch)
        _, digest = writer.seal(identity, previous=digest, losses=Losses({}), cause="time", now=now)
    assert verify(disk).ok
    return disk


def packets(hits: list[Hit]) -> list[Packet]:
    section = Section()
    return list(pcapng.packets(section.head + b"".join(map(section.of, hits)) + section.end()))


@pytest.mark.parametrize("seed", range(5))
def test_two_interfaces_come_in_time_order(seed):
    """Whatever the blocks, stretches and segments they lie in: every frame once, by its stamp, with its interface. (S2-015, S2-107)"""
    random = Random(seed)
    rows = [frames(random.randrange(1, 800), interface=n, every_ns=random.randrange(1, 2 * MS), seed=seed) for n in range(3)]
    disk = stored(
        rows, names=("eth1", "eth2", "eth3"), a_block=random.randrange(1, 40), a_stretch=random.randrange(1, 5), a_segment=5
    )
    found = packets(list(Store(disk).search(Query())))

    assert sorted(frame.stamp_ns for row in rows for frame in row) == [packet.stamp_ns for packet in found]
    assert all(packet.data[-1] == packet.interface for packet in found)


def test_an_interval_of_two_interfaces():
    """A question narrows before it sorts: the frames of the interval, both ends included, and no other."""
    rows = [frames(500, interface=n, every_ns=MS) for n in range(2)]
    disk = stored(rows, names=("eth1", "eth2"), a_block=30, a_stretch=3, a_segment=4)
    since, until = rows[0][100].stamp_ns, rows[1][200].stamp_ns
    found = packets(list(Store(disk).search(Query(since, until))))

    assert sorted(f.stamp_ns for row in rows for f in row if since <= f.stamp_ns <= until) == [p.stamp_ns for p in found]


def test_sifting_keeps_the_interface():
    """What a frame itself must be is asked after the merge and changes neither order nor interface."""
    rows = [frames(50, interface=n, every_ns=MS) for n in range(2)]
    disk = stored(rows, names=("eth1", "eth2"), a_block=7, a_stretch=3, a_segment=9)
    sift = Sift(pattern=bytes(10) + b"\x01")
    found = packets([hit for found in Store(disk).search(Query()) if (hit := sifted(found, sift)) is not None])

    assert [frame.stamp_ns for frame in rows[1]] == [packet.stamp_ns for packet in found]
    assert {1} == {packet.interface for packet in found}


def test_one_interface_is_left_as_it_was_heard():
    """Frames of one ring keep the order in which they were heard: it says something that their stamps do not."""
    row = [HeardFrame(START + stamp * MS, FRAME, 64) for stamp in (5, 3, 9, 1)]
    disk = stored([row], names=("eth1",), a_block=4, a_stretch=1, a_segment=1)

    assert [5, 3, 9, 1] == [(packet.stamp_ns - START) // MS for packet in packets(list(Store(disk).search(Query())))]


def test_a_search_holds_little():
    """A frame stamped years ago, on one of two interfaces, is not waited for: what is held stays below its ceiling, and comes out."""
    merge = Merge()
    blocks = pcapng.enhanced_packet(START, bytes(1000), 1000) * 1000
    given, held = 0, []
    for _ in range(60):
        given += sum(hit.frame_count for hit in merge.add(Hit("s", blocks, 1000, START, START, ("a", "b")), before_ns=1))
        held.append(0 if merge._carried is None else len(merge._carried.blocks))

    assert CARRIED_BYTES_MAX >= max(held) > CARRIED_BYTES_MAX // 2
    assert 60_000 == given + sum(hit.frame_count for hit in merge.end())


def test_more_than_is_held_comes_in_time_order():
    """At a segment's end half a second is waited for, more of a quick wire than is held: the oldest goes first, the rest waits on."""
    merge = Merge()
    given: list[Hit] = []
    for n in range(40):  # 0.7 MB each, between them a frame that passed in the middle of the one before
        quick = b"".join(pcapng.enhanced_packet(START + n * MS + k, bytes(7000), 7000) for k in range(100))
        late = pcapng.enhanced_packet(START + n * MS - MS + 50, FRAME, 64, interface=1)
        given += merge.add(Hit("s", late + quick, 101, START + n * MS - MS + 50, START + n * MS + 99, ("a", "b")), before_ns=1)
    stamps = [packet.stamp_ns for packet in packets([*given, *merge.end()])]

    assert 40 * 101 == len(stamps)
    assert sorted(stamps) == stamps


def record(first_ns: int, last_ns: int, frames: int = 1) -> Record:
    return Record(0, 0, 0, first_ns, last_ns, 0, 0, frames, False, b"")


def test_how_far_a_stretch_is_complete():
    """Up to where the next ones begin; at a segment's end two seconds less, for what another ring still held."""
    records = [record(n * SECOND, (n + 1) * SECOND) for n in range(20)]

    assert 6 * SECOND == complete_before(records, 5)
    assert 20 * SECOND - LATE_NS == complete_before(records, 19)
    records[5 + LOOK_AHEAD] = record(2 * SECOND, 9 * SECOND)
    assert 2 * SECOND == complete_before(records, 5)
    assert 5 * SECOND == complete_before(records, 4)
    assert 0 == complete_before([record(1, 2)], 0)


def test_a_hit_across_two_segments_names_both():
    """Frames that waited for the next segment are still known to be of theirs."""
    merge = Merge()
    block = pcapng.enhanced_packet(START, bytes(60), 60)
    first = list(merge.add(Hit("one", block, 1, START, START, ("a", "b")), before_ns=START))
    second = list(merge.add(Hit("two", block, 1, START, START, ("a", "b")), before_ns=START + 1))

    assert [] == first
    assert [("one", "two")] == [hit.segments for hit in second]
    assert 2 == second[0].frame_count


def test_other_interfaces_are_not_merged():
    """When the box was given other interfaces in between, the frames of before come first; their numbers mean something else."""
    merge = Merge()
    block = pcapng.enhanced_packet(START, bytes(60), 60)
    assert [] == list(merge.add(Hit("one", block, 1, START, START, ("a", "b")), before_ns=0))
    rows = [*merge.add(Hit("two", block, 1, START - 1, START - 1, ("b", "c")), before_ns=START + 1), *merge.end()]

    assert [("a", "b"), ("b", "c")] == [hit.interfaces for hit in rows]


def test_a_section_names_each_interface_once():
    """Segments of one, two and other interfaces become one section; numbers are given by appearance."""
    rows = [pcapng.enhanced_packet(n, b"x" * 60, 60, interface=i) for n, i in ((1, 0), (2, 1), (3, 0))]
    section = Section()
    data = section.head
    for blocks, names in ((rows[0], ("eth1",)), (rows[1], ("eth2", "eth1")), (rows[2], ("eth3",))):
        data += section.of(Hit("s", blocks, 1, 1, 1, names))
    data += section.end()

    assert [("eth1", ""), ("eth2", ""), ("eth3", "")] == pcapng.interfaces(data)
    assert [(1, 0), (2, 0), (3, 2)] == [(packet.stamp_ns, packet.interface) for packet in pcapng.packets(data)]
    assert [("scrubjay", "")] == pcapng.interfaces(Section().head + Section().end())
    assert ("eth1",) == Numbering().of(Hit("s", b"", 0, 0, 0, ("eth1",))).interfaces


def test_foreign_bytes_are_refused():
    """Neither sorting nor numbering guesses at what is no packet block."""
    block = pcapng.enhanced_packet(1, b"x" * 60, 60, interface=3)
    for bad in (block[:-4], block[:11], pcapng.interface("x"), b"\xff" * 64):
        with pytest.raises(ValueError, match="packet blocks"):
            ordered(bad, 0)
        with pytest.raises(BadItem, match="block"):
            pcapng.renumbered(bad, [0, 1, 2, 3])
    with pytest.raises(BadItem, match="of one of 3 interfaces"):
        pcapng.renumbered(block, [0, 1, 2])
    with pytest.raises(ValueError, match="interface of 0 to 7"):
        Stretch(1 << 20).add(pack_block([HeardFrame(1, FRAME, 64)], sequence=0), 0, 0, 0, 0, 8)
