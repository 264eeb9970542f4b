"""A store on a disk with bad places: whatever the disk does not give back is named with its segment, and the rest is judged all the same."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from drivers.errors import DiskFailed
from drivers.linux.disk import LinuxDisk
from firmware.core import receipt, seal
from firmware.core.certificate import TimeQuality
from firmware.core.noted import note
from firmware.core.receipt import SUM, Receipt, Run, Sum
from firmware.core.seal import Gap
from firmware.core.segment import Segment
from firmware.core.segment_writer import Losses
from firmware.core.timestamp import SECOND, ClockState
from firmware.core.verdict import Verdict, as_json, lines
from firmware.core.verify import verify
from simulator.board import SimulatedBoard
from simulator.meanwhile import Meanwhile
from simulator.written_store import begin_segment, end_segment, frame, write_segment


def stored(segments: int = 3) -> tuple[SimulatedBoard, list[str]]:
    """Segments of four stretches, a frame a second."""
    board = SimulatedBoard()
    start = board.clock.now().utc_ns
    names = []
    for number in range(segments):
        at = start + number * 4 * SECOND
        names.append(write_segment(board, [[frame(at + s * SECOND, payload=b"x" * 400)] for s in range(4)]).name)
    return board, names


def with_bad_places(board: SimulatedBoard, bad: str, *, beyond: int = 0) -> Verdict:
    """bad: the end of the paths the disk does not give back, from this byte on."""
    read = board.disk.read

    def failing(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        if path.endswith(bad) and (size is None or offset + size > beyond):
            raise DiskFailed("expected the disk to obey, the kernel answered EIO")
        return read(path, offset=offset, size=size)

    board.disk.read = failing  # type: ignore[method-assign]
    return verify(board.disk)


@pytest.mark.parametrize(("file", "what"), [("frames.pcapng.lz4", "frames"), ("index", "index"), ("seal", "seal")])
def test_a_file_the_disk_does_not_give_back(file, what):
    """The segment and what of it are named; the others are verified, and so is the chain where its seal can be read. (S2-034)"""
    board, names = stored()
    verdict = with_bad_places(board, f"{names[1]}/{file}")

    assert [(names[1], "unreadable")] == [(row.segment, row.what) for row in verdict.findings]
    assert verdict.findings[0].text.startswith(f"{what}: ") and "EIO" in verdict.findings[0].text
    assert 3 == verdict.segments
    assert any("unreadable" in line and names[1] in line for line in lines(verdict))


def test_the_stretch_is_named():
    """Of frames in part: from which byte on, so that what is before it can still be used."""
    board, names = stored(1)
    record = Segment(board.disk, "segments", names[0]).records()[2]
    verdict = with_bad_places(board, "frames.pcapng.lz4", beyond=record.offset + 10)

    assert f"the stretch at byte {record.offset} " in verdict.findings[0].text


def test_a_segment_still_being_written():
    """One that has no seal yet is named like any other."""
    board, names = stored(1)
    board.disk.rename(f"segments/{names[0]}", f"segments/.{names[0]}")
    verdict = with_bad_places(board, "frames.pcapng.lz4")

    assert [(f".{names[0]}", "unreadable")] == [(row.segment, row.what) for row in verdict.findings]


@pytest.mark.parametrize("place", ["receipts", "exports"])
def test_what_is_kept_beside_the_segments(place):
    """A receipt or the record of an export that cannot be read is named; what follows it is still read."""
    board, _ = stored()
    board.disk.mkdir(place)
    board.disk.write(f"{place}/000001-x", b"x" * 100)
    verdict = with_bad_places(board, f"{place}/000001-x")

    assert ("000001-x", "unreadable") == (verdict.findings[0].segment, verdict.findings[0].what)
    assert 3 == verdict.segments


@pytest.mark.parametrize("place", ["segment", "receipts", "exports"])
def test_a_directory_the_disk_does_not_give_back(place):
    """It is named, and everything else is judged: one bad block of a directory does not hide the rest of a store. (S2-034)"""
    board, names = stored()
    bad = f"segments/{names[1]}" if place == "segment" else place
    board.disk.mkdir(bad)
    whole = board.disk.list

    def failing(path: str) -> list[str]:
        if path == bad:
            raise DiskFailed("expected the disk to obey, the kernel answered EIO")
        return whole(path)

    board.disk.list = failing  # type: ignore[method-assign]
    verdict = verify(board.disk)

    assert [(bad.rpartition("/")[2], "unreadable")] == [(row.segment, row.what) for row in verdict.findings]
    assert (3, 2 if place == "segment" else 3) == (verdict.segments, verdict.frames // 4)


GIANT = 1 << 17_000  # Python divides no number of more than 1,024 bits and prints none of more than 4,300 digits


@pytest.mark.parametrize(
    "change",
    [
        {"frames": GIANT},
        {"drops": {"ring_full": GIANT}},
        {"gaps": (Gap("ring_full", 0, 1, GIANT),)},
        {"time": TimeQuality(GIANT, ClockState.FREE, 0, 0)},
        {"time": TimeQuality(0, ClockState.FREE, 1, -GIANT)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_seal_with_numbers_nobody_can_print(change):
    """Whoever alters a seal gets a finding and not the end of verify. (S2-034)"""
    board, names = stored()
    path = f"segments/{names[1]}/seal"
    board.disk.write(path, seal.packed(replace(seal.unpacked(board.disk.read(path)), **change)))
    verdict = verify(board.disk)

    assert (names[1], "altered") in [(row.segment, row.what) for row in verdict.findings]
    assert any("altered" in line for line in lines(verdict)) and as_json(verdict)


def test_a_sum_of_receipts_with_numbers_nobody_can_print():
    """The same of what stands for receipts."""
    board, _ = stored()
    made = Sum(1, bytes(32), ("a", "b"), (Run(1, GIANT, bytes(32)),), {"age": GIANT}, board.clock.now().timestamp, bytes(64))
    board.disk.write(f"receipts/{SUM}", receipt.sum_packed(made))

    assert ["altered"] == [row.what for row in verify(board.disk).findings]


def test_a_seal_that_refers_to_itself():
    """CBOR can; nobody follows it round and round."""
    board, names = stored(1)
    board.disk.write(f"segments/{names[0]}/seal", bytes.fromhex("a10b d81c 81 d81d00"))

    assert ["altered"] == [row.what for row in verify(board.disk).findings]


@pytest.mark.parametrize("victims", [1, 2])
def test_deleted_while_the_store_is_verified(victims):
    """Retention goes on meanwhile: at whatever moment the oldest go, with their receipts, nothing is found, and nothing is missing. (S2-034)"""
    counts = set()
    for moment in range(100):
        board, names = stored()
        meanwhile = Meanwhile(board.disk, moment, partial(delete, board, names[:victims]))
        verdict = verify(board.disk)
        counts.add(verdict.segments)

        assert [] == verdict.findings, f"deleted before look {moment}"
        if meanwhile.looks <= moment:
            break
    assert 10 < moment < 99
    assert {3 - victims, 3} <= counts


def test_one_that_goes_without_a_receipt_is_missing():
    """Whoever takes a segment out while it is verified is found by the hole he leaves."""
    board, names = stored()
    Meanwhile(board.disk, 1, lambda: board.disk.rename(f"segments/{names[1]}", "elsewhere"))

    assert [(names[2], "missing")] == [(row.segment, row.what) for row in verify(board.disk).findings]


def delete(board: SimulatedBoard, names: list[str]) -> None:
    """As retention does it: the receipt, then one rename."""
    disk, previous = board.disk, None
    disk.mkdir("trash")
    for number, name in enumerate(names, 1):
        sealed = disk.read(f"segments/{name}/seal")
        row = Receipt(name, number, seal.digest(sealed), "age", board.clock.now().timestamp, previous)
        data = receipt.packed(row.signed(board.identity.sign(row.body())))
        disk.write(f"receipts/{number:08d}-{name}", data)
        previous = seal.digest(data)
        disk.rename(f"segments/{name}", f"trash/{name}")


MINUTES = 60 * SECOND
IN_ORDER = "recording had ended in order (stopped, or no session was open) and began again; by a clock known to ±50 µs"


def written(board: SimulatedBoard, cause: str, gaps: tuple[Gap, ...] = ()) -> str:
    """A segment with one frame, heard, sealed and opened now; its name."""
    return end_segment(board, begin_segment(board, [[frame(board.clock.now().utc_ns)]]), cause=cause, gaps=gaps).name


def gaps_said(board: SimulatedBoard) -> list[tuple[str, str]]:
    """(segment, text) of each; nothing is ever found in these stores."""
    verdict = verify(board.disk)
    assert verdict.ok
    return [(row.segment, row.text) for row in verdict.statements if row.what == "gap"]


def test_the_time_between_a_stop_and_the_next_beginning():
    """Nobody was there to note it, so no seal does: from when to when nothing was recorded is said all the same, and why."""
    board = SimulatedBoard()
    written(board, "stop")
    board.clock.advance(40 * MINUTES)
    name = written(board, "time")
    written(board, "stop")
    later = end_segment(board, begin_segment(board, []), drops={"ring_full": 1}).name

    assert [(name, "gap"), (later, "dropped")] == [(row.segment, row.what) for row in verify(board.disk).statements]
    assert [
        (name, f"2026-11-22T10:15:00.000Z to 2026-11-22T10:55:00.000Z: nothing was recorded for 2400 s: {IN_ORDER}")
    ] == gaps_said(board)
    assert any("10:55:00.000Z: nothing was recorded for 2400 s" in line for line in lines(verify(board.disk)))


@pytest.mark.parametrize("cause", ["time", "size", "handover"])
def test_where_recording_went_on_nothing_is_said(cause):
    """However long the wire was silent: another version that goes on with the same ring missed nothing, nor does a cut."""
    board = SimulatedBoard()
    written(board, cause)
    board.clock.advance(40 * MINUTES)
    written(board, "stop")

    assert [] == gaps_said(board)


def test_a_pause_a_seal_tells_of_is_not_said_twice():
    """Outside a session somebody was there and counted; what he does not speak of is said beside it."""
    board = SimulatedBoard()
    began = board.clock.now().utc_ns
    written(board, "stop")
    board.clock.advance(40 * MINUTES)
    written(board, "stop", (Gap("outside_session", began, began + 40 * MINUTES, 7),))
    board.clock.advance(10 * MINUTES)
    name = written(board, "stop", (Gap("gone@eth1", began, began + 50 * MINUTES, None), Gap("x", began, began + 41 * MINUTES, 1)))
    said = [row for row in gaps_said(board) if "nothing was recorded" in row[1]]

    assert [(name, f"2026-11-22T10:56:00.000Z to 2026-11-22T11:05:00.000Z: nothing was recorded for 540 s: {IN_ORDER}")] == said


def test_a_pause_before_the_segment_still_being_written():
    """A store that is copied while it is recorded, half an hour after a stop of forty minutes, says it; and what was noted as lost since."""
    board = SimulatedBoard()
    written(board, "stop")
    board.clock.advance(40 * MINUTES)
    writer = begin_segment(board, [[frame(board.clock.now().utc_ns)]])
    note(board.disk, writer.hidden, Losses({"ring_full": 7}, (Gap("ring_full", 0, 1, 7),)))

    assert [
        (f".{writer.name}", "1970-01-01T00:00:00.000Z to 1970-01-01T00:00:00.000Z: 7 frames lost: ring_full"),
        (f".{writer.name}", f"2026-11-22T10:15:00.000Z to 2026-11-22T10:55:00.000Z: nothing was recorded for 2400 s: {IN_ORDER}"),
    ] == gaps_said(board)
    assert {"ring_full": 7} == verify(board.disk).drops


def test_a_copy_made_while_a_segment_is_written():
    """The frames were copied, then more were written, then the index was copied; a power cut may leave the same. Nothing was altered."""
    board = SimulatedBoard()
    at = board.clock.now().utc_ns
    writer = begin_segment(board, [[frame(at + s, payload=bytes(400))] for s in range(4)])
    records, path = Segment(board.disk, "segments", writer.name).records(), f"{writer.hidden}/frames.pcapng.lz4"
    data = board.disk.read(path)
    for cut in (records[2].offset, records[2].offset + 10):
        board.disk.write(path, data[:cut])
        verdict = verify(board.disk)

        assert verdict.ok
        assert [(f".{writer.name}", "open")] == [(row.segment, row.what) for row in verdict.statements]
        assert "1 frames so far; of 3 frames more that its index names" in verdict.statements[0].text
    board.disk.write(path, data[: records[1].offset + 20] + b"\xff" + data[records[1].offset + 21 :])

    assert ["altered"] == [row.what for row in verify(board.disk).findings]


def test_what_a_ring_kept_meanwhile_was_heard():
    """Who goes on with the ring of the process before opens his segment later than its first frame; none was missed in between."""
    board = SimulatedBoard()
    stopped = board.clock.now().utc_ns
    written(board, "stop")
    board.clock.advance(3 * SECOND)
    write_segment(board, [[frame(stopped + SECOND // 50)]])

    assert [] == gaps_said(board)


@pytest.mark.parametrize("stamp_s", [-3600, -30, 10**6])
def test_a_mad_stamp_makes_no_pause_shorter(stamp_s):
    """A frame stamped before the stop, by a card whose clock is behind, or days after, was not heard in between."""
    board = SimulatedBoard()
    stopped = board.clock.now().utc_ns
    written(board, "stop")
    board.clock.advance(40 * MINUTES)
    write_segment(board, [[frame(stopped + stamp_s * SECOND)]])

    assert ["2026-11-22T10:15:00.000Z to 2026-11-22T10:55:00.000Z"] == [text[:52] for _, text in gaps_said(board)]


def test_a_clock_set_back_in_a_pause():
    """How long it was is not known, but that it was; no interval that ends before it begins."""
    board = SimulatedBoard()
    written(board, "stop")
    board.clock.advance(40 * MINUTES)
    board.clock.step(-60 * MINUTES)
    board.clock.uncertainty_ns = 600 * SECOND
    name = written(board, "stop")

    assert [
        (
            name,
            "from 2026-11-22T10:15:00.000Z on nothing was recorded: recording had ended in order (stopped, or no session was open) and "
            "began again, how much later is not known: the clock was set back meanwhile, to 2026-11-22T09:55:00.000Z; "
            "by a clock known to ±600 s",
        )
    ] == gaps_said(board)


def test_names_that_are_no_text_hide_nothing(tmp_path: Path) -> None:
    """A file whose name is any bytes is named as far as it is text, and the rest is judged; it was the end of what people are told."""
    board = SimulatedBoard()
    name = write_segment(board, [[frame(board.clock.now().utc_ns)]]).name
    disk = LinuxDisk(tmp_path)
    disk.mkdir(f"segments/{name}")
    for file in board.disk.list(f"segments/{name}"):
        disk.write(f"segments/{name}/{file}", board.disk.read(f"segments/{name}/{file}"))
    (tmp_path / "segments" / os.fsdecode(b"\xff\x1b[2J")).mkdir()
    said = lines(verify(disk))

    assert any("foreign" in line and "\N{REPLACEMENT CHARACTER}[2J" in line for line in said)
    assert all(line.isprintable() and line.encode() for line in said)
