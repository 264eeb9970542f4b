"""Who stamped a frame, from the card to the file somebody opens: each frame says it, the seal counts it, and all of them are UTC."""

import shutil
import subprocess
from random import Random

import pytest

from firmware.core import pcapng
from firmware.core.hit import Section
from firmware.core.recovery import recover
from firmware.core.segment import by_hardware, is_by_hardware
from firmware.core.store import Query, Store
from firmware.core.verdict import lines
from simulator.hardware_clock import SimulatedHardwareClock

MS, SECOND = 1_000_000, 1_000_000_000
CARD = by_hardware("eth1")
CENTURY_NS = -1_700_000_000 * SECOND  # a card that nobody set counts from when it was switched on


@pytest.fixture
def recorder(make_recorder):
    """Whose interface has a clock of its own: half a century off, and 30 ppm fast."""
    made = make_recorder(card_ahead_ns=CENTURY_NS)
    made.began_ns = made.clock.now().utc_ns
    return made


def found(recorder) -> list[tuple[str, int]]:
    """(interface, stamp) of every frame, as `find -w` writes them."""
    section, data = Section(), b""
    for hit in Store(recorder.disk).search(Query()):
        data += section.of(hit)
    names = [name for name, _ in pcapng.interfaces(section.head + data)]
    return [(names[packet.interface], packet.stamp_ns) for packet in pcapng.packets(section.head + data)]


def came(recorder) -> list[int]:
    """When the frames of `run` came, by the machine's clock."""
    return [recorder.began_ns + tick * 100 * MS for tick in range(recorder.sent)]


def test_every_frame_says_who_stamped_it(recorder):
    """A card that misses every third frame: mixed stretches, each frame with the interface of its stamp, in order, all UTC to a
    microsecond; the seal and verify count them. (S2-011, S2-091)"""
    recorder.tap.missed = 3
    recorder.run(30)
    recorder.stop()
    rows, (made,) = found(recorder), recorder.seals()
    verdict = recorder.verify()

    assert {"eth1": 100, CARD: 200} == {name: sum(row[0] == name for row in rows) for name in ("eth1", CARD)}
    assert max(abs(stamp - true) for (_, stamp), true in zip(rows, came(recorder), strict=True)) < 1_000 * (1 + 3)
    assert (300, 200, "eth1") == (made.frames, made.frames_hardware, made.interface)
    assert verdict.ok and (300, 200) == (verdict.frames, verdict.frames_hardware)
    assert "300 frames (200 stamped by hardware)" in lines(verdict)[0]
    assert any("100 frames were stamped by software" in row.text for row in verdict.statements)
    assert "hardware" == recorder.station.report.gauges["stamps"]


def test_a_card_that_is_set_moves_no_frame(recorder):
    """Set to TAI in the middle, as phc2sys does: what it stamped is where it came; what its clock no longer explains is software's. (S2-011)"""
    recorder.run(5)
    recorder.hear()  # stamped, and not handed out yet
    recorder.card.shown.step(recorder.clock.timeline.tai_ns, -CENTURY_NS)
    recorder.step()
    recorder.clock.advance(100 * MS)
    recorder.run(5)
    recorder.stop()
    rows = found(recorder)

    assert 101 == len(rows)
    assert max(abs(stamp - true) for (_, stamp), true in zip(rows, came(recorder), strict=True)) <= 200 * MS
    assert {"stamps_refused": 1} == {key: count for key, count in recorder.station.report.counts.items() if "refused" in key}
    assert recorder.verify().ok


def test_recovery_counts_again_who_stamped(recorder):
    """The power goes: the seal that recovery makes counts the frames of the card from the frames themselves. (S2-011)"""
    recorder.tap.missed = 4
    recorder.run(20)
    recorder.disk.power_cut(Random(1))
    recover(recorder.disk, "segments", "receipts", identity=recorder.board.identity, now=recorder.clock.now())
    (made,) = recorder.seals()
    rows = found(recorder)

    assert 0 < made.frames_hardware < made.frames
    assert (made.frames, made.frames_hardware) == (len(rows), sum(name == CARD for name, _ in rows))
    assert "eth1" == made.interface
    assert recorder.verify().ok


def test_a_card_that_comes_later_begins_a_segment(make_recorder):
    """The interface comes back as one that stamps frames itself, from another driver: the segment of the others ends, for it has no
    place to say who stamped a frame; one that goes away again needs no new one. (S2-011)"""
    recorder = make_recorder()
    recorder.run(3)
    recorder.card = SimulatedHardwareClock(recorder.clock)
    recorder.tap.break_off()
    recorder.run(2, rate=0)
    recorder.run(5)
    recorder.card = None
    recorder.tap.break_off()
    recorder.run(2, rate=0)
    recorder.run(4)
    recorder.stop()
    seals = [made for made in recorder.seals() if made.frames]

    assert [(30, 0), (90, 50)] == [(made.frames, made.frames_hardware) for made in seals]
    assert recorder.verify().ok
    assert 50 == sum(name == CARD for name, _ in found(recorder))


def test_hardware_stamps_may_be_refused_by_settings(make_recorder):
    """With `hardware_stamps = false` nobody asks the card, and a segment describes each interface once. (S2-011)"""
    recorder = make_recorder(card_ahead_ns=0, hardware_stamps=0)
    recorder.run(2)
    recorder.stop()

    assert {"eth1"} == {name for name, _ in found(recorder)}
    assert not recorder.tap.stamps_itself


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed: not read by it")
def test_wireshark_shows_it(recorder, tmp_path):
    """tshark names the interface of each frame with the words of who stamped it, and finds nothing wrong with the file. (S2-011)"""
    recorder.tap.missed = 2
    recorder.run(2)
    recorder.stop()
    section, data = Section(), b""
    for hit in Store(recorder.disk).search(Query()):
        data += section.of(hit)
    file = tmp_path / "found.pcapng"
    file.write_bytes(section.head + data)
    told = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.interface_name"], capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip

    assert {"eth1": 10, CARD: 10} == {name: told.stdout.splitlines().count(name) for name in ("eth1", CARD)}
    assert is_by_hardware(CARD)
