"""Evidence with less in it, where the order wishes so; and all of it where it does not. The record stays whole."""

import struct
from typing import Any

from drivers.tap import HeardFrame
from firmware.core import pcapng
from firmware.core.query import Query
from firmware.core.request import Request, as_parameters
from firmware.core.store import Store
from firmware.core.streams.samplers import Tolerance
from firmware.core.streams.wish import Wish
from firmware.core.timestamp import MS, SECOND
from firmware.retrieval.thinning import FRAMES_A_PIECE
from simulator.written_store import begin_segment, end_segment, frame

Asker = Any  # tests/retrieval/conftest.py


def _robot(stamp_ns: int, sequence: int, force: int) -> HeardFrame:
    return frame(stamp_ns, port=36_000, payload=struct.pack("<4I6iiIi", sequence, sequence, 0, 1, *[force] * 6, 3, 0, 0))


def _operation(asker: Asker) -> tuple[int, list[HeardFrame]]:
    """Four seconds at 1 kHz in two segments, with a jump in the third, a published message each 100 ms, something else each 50 ms."""
    start = int(asker.utc_ns)
    rows = []
    for n in range(4_000):
        stamp = start + n * MS
        rows.append(_robot(stamp, n, 900 if n >= 2_500 else 100))
        if n % 100 == 0:
            rows.append(frame(stamp + 10, port=47_001, payload=b"status"))
        if n % 50 == 0:
            rows.append(frame(stamp + 20, port=9_999, payload=b"who knows"))
    half = len(rows) // 2
    for part in (rows[:half], rows[half:]):
        stretches = [part[at : at + 700] for at in range(0, len(part), 700)]
        end_segment(asker.board, begin_segment(asker.board, stretches))
        asker.board.clock.advance(2 * SECOND)
    return start, rows


def _ask(asker: Asker, start: int, less: Wish) -> bytes:
    identity = asker.ask(parameters=as_parameters(Request(Query(start, start + 4 * SECOND), less=less)))
    asker.work()
    return bytes(identity)


def _forces(packets: Any) -> list[tuple[int, int]]:
    return [
        (packet.stamp_ns, struct.unpack_from("<i", packet.data, 42 + 16)[0])
        for packet in packets
        if packet.data[36:38] == (36_000).to_bytes(2, "big")
    ]


def test_without_a_wish_every_frame_comes(asker: Asker) -> None:
    """The default is what it always was: all of it, and nothing said about reduction."""
    start, rows = _operation(asker)
    identity = _ask(asker, start, Wish())

    assert [row.data for row in rows] == [packet.data for packet in asker.evidence(identity)]
    (release,) = asker.released().values()
    assert "reduce" not in release.facts
    assert "reduce" not in asker.said("evidence-result")[0].fields


def test_by_rate(asker: Asker) -> None:
    """60 of 1,000 motions a second travel, reported messages do not, what nobody understands does; the facts say how many went and why. (S2-097, S2-098, S2-103)"""
    start, rows = _operation(asker)
    identity = _ask(asker, start, Wish("sample"))
    packets = asker.evidence(identity)

    forces = _forces(packets)
    assert 4 * 60 - 1 <= len(forces) <= 4 * 60 + 1
    assert 80 == len(packets) - len(forces)
    (said,) = asker.said("evidence-result")
    assert ("sample", len(rows) - len(packets), 40, 4_000 - len(forces)) == tuple(
        said.fields[name] for name in ("reduce", "left_out", "left_out_reported", "left_out_sampled")
    )
    (release,) = asker.released().values()
    assert ("sample", len(packets), 40) == tuple(release.facts[name] for name in ("reduce", "frames_total", "left_out_reported"))


def test_by_change(asker: Asker) -> None:
    """What stands still travels once a second, the jump with its last frame before and its first after. (S2-101)"""
    start, _ = _operation(asker)
    forces = _forces(asker.evidence(_ask(asker, start, Wish("change", error=Tolerance(plus=10.0)))))

    assert [0, 1_000, 2_000, 2_499, 2_500, 3_500, 3_999] == [(stamp - start) // MS for stamp, _ in forces]
    assert [100] * 4 + [900] * 3 == [force for _, force in forces]


def test_the_record_is_never_reduced(asker: Asker) -> None:
    """After any order every frame is still in the segments, byte for byte."""
    start, rows = _operation(asker)
    before = {name: asker.board.disk.read(f"segments/{name}/frames.pcapng.lz4") for name in Store(asker.board.disk).names()}
    _ask(asker, start, Wish("change"))

    assert before == {name: asker.board.disk.read(f"segments/{name}/frames.pcapng.lz4") for name in before}
    hits = b"".join(hit.blocks for hit in Store(asker.board.disk).search(Query(start, start + 4 * SECOND)))
    assert [row.data for row in rows] == [
        packet.data for packet in pcapng.packets(pcapng.section_header() + pcapng.interface("x") + hits)
    ]


def test_the_answer_does_not_depend_on_how_it_was_read(asker: Asker, make_asker: Any) -> None:
    """The same frames in one segment of large stretches, or cut into many small ones, give the same evidence."""
    answers = []
    for size in (37, 5_000):
        other = make_asker()
        start = int(other.utc_ns)
        rows = [_robot(start + n * MS, n, 100 + n % 37) for n in range(2_000)]
        end_segment(other.board, begin_segment(other.board, [rows[at : at + size] for at in range(0, len(rows), size)]))
        other.board.clock.advance(10 * SECOND)
        answers.append([p.data for p in other.evidence(_ask(other, start, Wish("change", error=Tolerance(plus=5.0))))])

    assert answers[0] == answers[1]
    assert len(answers[0]) < 2_000


def test_a_step_is_bounded(asker: Asker) -> None:
    """However large a stretch is, an alarm in the same process waits for some hundred frames to be looked into, and no more."""
    start = int(asker.utc_ns)
    count = 10 * FRAMES_A_PIECE
    end_segment(asker.board, begin_segment(asker.board, [[_robot(start + n * MS, n, n) for n in range(count)]]))
    asker.board.clock.advance(10 * SECOND)
    asker.ask(parameters=as_parameters(Request(Query(start, start + 10 * SECOND), less=Wish("sample"))))

    assert asker.work() > count // FRAMES_A_PIECE


def test_a_wish_that_means_nothing_is_refused(asker: Asker) -> None:
    """An order that would send something else than was meant is refused, and says so."""
    start, _ = _operation(asker)
    asker.ask(parameters={"since": start, "reduce": "sample", "error": "1%"})
    asker.work()

    assert {} == asker.released()
    assert ["bad_parameters"] == [said.fields["cause"] for said in asker.said("command-result")]
