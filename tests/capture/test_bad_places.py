"""A disk with bad places, at the start of a recorder: it records, and says what it could not read."""

import pytest

from firmware.core.store import Store
from firmware.core.verify import verify

from .conftest import Recorder


def findings(recorder: Recorder) -> set[tuple[str, str]]:
    return {
        (row.segment, row.what)
        for row in verify(recorder.disk, public_key=recorder.board.identity.public_key()).findings
    }  # fmt: skip


@pytest.mark.parametrize("file", ["seal", "frames.pcapng.lz4", "index"])
def test_in_the_newest_segment(file: str) -> None:
    """One bad place in the newest seal kept a box from recording for the rest of its life. What is new begins a number further, and
    nothing but that file is wrong. (S2-090)"""
    recorder = Recorder(segment_s=2)
    recorder.run(5)
    recorder.stop()
    newest = recorder.disk.list("segments")[-1]
    recorder.disk.spoil(f"segments/{newest}/{file}")
    before = len(recorder.seals()) if file != "seal" else 0
    recorder.boot()
    recorder.run(5)
    recorder.stop()

    assert {(newest, "unreadable")} == findings(recorder)
    assert "recording" == recorder.state_before_stop
    assert len(recorder.disk.list("segments")) > before
    if file == "seal":
        # Whether it ended in order stands in what cannot be read: the next seal says that nothing is known since it began (storm seed 21).
        following = Store(recorder.disk).segment(next(name for name in recorder.disk.list("segments") if name > newest)).seal()
        assert following is not None
        assert [("interrupted", None)] == [(gap.cause, gap.frames) for gap in following.gaps]


@pytest.mark.parametrize(("file", "at"), [("frames.pcapng.lz4", 0), ("frames.pcapng.lz4", 700), ("index", 0)])
def test_in_a_segment_that_was_being_written(file: str, at: int) -> None:
    """It stays as it is, hidden, counted and named by verify, for what is behind the bad place may be read one day; recording goes on, and the next seal
    says since when nobody knows. (S2-090)"""
    recorder = Recorder(segment_s=60)
    recorder.run(5)
    (hidden,) = recorder.disk.list("segments")
    size = recorder.disk.size(f"segments/{hidden}/{file}")
    recorder.disk.spoil(f"segments/{hidden}/{file}", at=at)
    recorder.boot()
    recorder.run(5)
    recorder.stop()

    assert "recording" == recorder.state_before_stop
    assert 1 == recorder.station.report.drops["segment_unreadable"]
    assert size == recorder.disk.size(f"segments/{hidden}/{file}")
    assert (hidden, "unreadable") in findings(recorder)
    (made,) = recorder.seals()
    assert 50 == made.frames
    assert ["interrupted"] == [gap.cause for gap in made.gaps]


def test_it_is_sealed_when_the_disk_gives_it_back() -> None:
    """The next start tries again: a cable was loose, and what was on the disk is in a sealed segment in the end. (S2-090)"""
    recorder = Recorder(segment_s=60)
    recorder.run(5)
    written = recorder.numbers()
    (hidden,) = recorder.disk.list("segments")
    recorder.disk.spoil(f"segments/{hidden}/frames.pcapng.lz4")
    recorder.boot()
    recorder.run(5)
    recorder.disk._file(f"segments/{hidden}/frames.pcapng.lz4").bad_at = None
    recorder.boot()
    recorder.run(5)
    recorder.stop()

    assert len(written) > 40
    assert set(written) < set(recorder.numbers())
    assert set() == findings(recorder)


def test_in_the_receipt_of_the_newest() -> None:
    """Everything was deleted: how far the chain went stands in the receipt's name. (S2-090)"""
    recorder = Recorder(segment_s=60)
    recorder.run(5)
    recorder.stop()
    (name,) = recorder.disk.list("segments")
    recorder.disk.mkdir("receipts")
    recorder.disk.write(f"receipts/000001-{name}", b"of it")
    recorder.disk.spoil(f"receipts/000001-{name}")
    recorder.disk.remove(f"segments/{name}")
    recorder.boot()
    recorder.run(5)
    recorder.stop()

    assert [2] == [made.sequence for made in recorder.seals()]
