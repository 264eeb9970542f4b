"""Evidence and `find` where the two directions of a tap were recorded: time order, and each frame still knows its direction."""

from typing import Any

from drivers.tap import pack_block
from firmware.core import envelope, pcapng
from firmware.core._kernel import Stretch
from firmware.core.query import Query
from firmware.core.segment_writer import Losses, SegmentWriter, Source
from firmware.core.timestamp import MS
from firmware.deidentify.settings import DeidentifySettings
from firmware.deidentify.station import DeidentifyStation
from firmware.retrieval.find import find
from simulator.written_store import frame, write_segment

Asker = Any  # tests/retrieval/conftest.py


def _two_directions(asker: Asker) -> tuple[int, int]:
    """A segment in which each of ten stretches has what passed there, and behind it what passed back; when, UTC ns."""
    start = int(asker.utc_ns)
    write_segment(asker.board, [[frame(start - MS)]])
    writer = SegmentWriter(
        asker.board.disk,
        "segments",
        sequence=2,
        first_utc_ns=start,
        source=Source("eth1", further=("eth2",)),
        now=asker.board.clock.now(),
    )
    for tenth in range(10):
        stretch = Stretch(1 << 20)
        at = start + tenth * 100 * MS
        there = [frame(at + n * 10 * MS, source="10.77.0.10", destination="10.77.0.11") for n in range(10)]
        back = [frame(at + n * 10 * MS + MS, source="10.77.0.11", destination="10.77.0.10") for n in range(10)]
        for number, rows in enumerate((there, back)):
            stretch.add(pack_block(rows, sequence=0), 0, 0, 0, 0, number)
        writer.write(stretch)
    writer.seal(asker.board.identity, previous=None, losses=Losses({}), cause="time", now=asker.board.clock.now())
    return start, start + 1000 * MS


def test_evidence_of_both_directions(asker: Asker) -> None:
    """In time order, each frame on the interface where it was heard, named in the section; also behind the only door. (S2-107, S2-109)"""
    since, until = _two_directions(asker)
    identity = asker.ask(Query(since - 10 * MS, until))
    asker.work()
    packets = asker.evidence(identity)
    (item,) = asker.released().values()
    door = DeidentifyStation(asker.board, DeidentifySettings())
    door.start(asker.board.clock.now())
    for _ in range(20):
        door.step(asker.board.clock.now())
    kinds = [envelope.unpacked(asker.board.disk.read(f"outbox/{name}")) for name in asker.board.disk.list("outbox")]
    (left,) = [envelope.content_of(row) for row in kinds if row.kind == "evidence"]

    assert 201 == len(packets)
    assert sorted(packet.stamp_ns for packet in packets) == [packet.stamp_ns for packet in packets]
    assert [0] + [1, 2] * 100 == [packet.interface for packet in packets]
    assert [("box-1 mirror", ""), ("box-1 eth1", ""), ("box-1 eth2", "")] == pcapng.interfaces(item.body)
    assert ["box-1 mirror", "box-1 eth1", "box-1 eth2"] == [name for name, _ in pcapng.interfaces(left)]
    assert [packet.interface for packet in packets] == [packet.interface for packet in pcapng.packets(left)]


def test_find_writes_both_directions(asker: Asker) -> None:
    """One section that begins with what it needs to know, in time order. (S2-108)"""
    since, until = _two_directions(asker)
    data = bytearray()
    summary = find(
        asker.board.disk,
        Query(since, until, hosts=("10.77.0.11",)),
        clock=asker.board.clock,
        sink=data.extend,
        progress=lambda line: None,
    )
    packets = list(pcapng.packets(bytes(data)))

    assert (200, len(data)) == (summary.frame_count, summary.size)
    assert [("eth1", ""), ("eth2", "")] == pcapng.interfaces(bytes(data))
    assert sorted(packet.stamp_ns for packet in packets) == [packet.stamp_ns for packet in packets]
    assert [0, 1] * 100 == [packet.interface for packet in packets]
