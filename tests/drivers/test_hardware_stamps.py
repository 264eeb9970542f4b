"""A real ring whose frames carry stamps of a card: no card here makes any, so they are written into the ring as the kernel would."""

import errno
import os
import select
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.errors import NotConnected, TapFailed
from drivers.hardware_clock import Comparison
from drivers.linux import ethtool, hardware_stamps
from drivers.linux import tap as driver
from drivers.linux.ethtool import TimeStamping, stamps_all
from drivers.linux.hardware_stamps import HardwareStamps, asked_of
from drivers.linux.tap import RingTap
from drivers.tap import BLOCK_HEADER, FRAME_HEADER, STATUS_HARDWARE_STAMP, STATUS_USER, TapRequest
from firmware.core.block import frames

from . import wire

REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
SECOND = 1_000_000_000
FRAME = bytes.fromhex("020000000001 020000000002 88b5") + bytes(50)


class Card:
    """A clock beside the kernel's. ahead_ns: of UTC; the test sets it."""

    def __init__(self, ahead_ns: int) -> None:
        self.ahead_ns = ahead_ns
        self.is_there = True
        self.looks = 0

    def compare(self) -> Comparison:
        if not self.is_there:
            raise NotConnected("gone")
        self.looks += 1
        utc_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        return Comparison(utc_ns + self.ahead_ns, utc_ns, 500)

    def close(self) -> None:
        self.is_there = False


@pytest.fixture
def line() -> Iterator[wire.Wire]:
    with wire.Wire() as made:
        yield made


def ring(card: Card, monkeypatch: pytest.MonkeyPatch) -> RingTap:
    """A ring on an interface that stamps by this card, as far as the ring knows."""
    monkeypatch.setattr(driver, "asked_of", lambda control, interface: HardwareStamps(card))
    return RingTap(TapRequest(wire.HEARS, block_bytes=1 << 16, block_count=4, retire_ms=5, hardware_stamps=True))


def heard(tap: RingTap, line: wire.Wire, card: Card, *, count: int = 6) -> tuple[list[int], list[bool], tuple[int, int]]:
    """Stamps as handed out, whether each is called hardware's, and between when and when they came. Every other one is the card's."""
    before_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    line.send([FRAME] * count)
    ready = select.poll()
    ready.register(tap.fileno(), select.POLLIN)
    assert ready.poll(5_000)
    after_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    at = tap._position * tap.request.block_bytes
    assert tap._status[tap._position][0] & STATUS_USER
    # What the kernel would have written, had the card stamped every other frame.
    header = BLOCK_HEADER.unpack_from(tap._view, at)
    offset = at + header[4]
    for place in range(header[3]):
        following, seconds, ns, _, _, status, *_ = FRAME_HEADER.unpack_from(tap._view, offset)
        if place % 2 == 0:
            struct.pack_into("=II", tap._view, offset + 4, *divmod(seconds * SECOND + ns + card.ahead_ns, SECOND))
            struct.pack_into("=I", tap._view, offset + 20, status | STATUS_HARDWARE_STAMP)
        offset += following
    block = tap.next()
    assert block is not None
    stamps = [row.stamp_ns for row in frames(block.data, block.frame_count)]
    called, offset = [], header[4]
    for _ in range(block.frame_count):
        following, _, _, _, _, status, *_ = FRAME_HEADER.unpack_from(block.data, offset)
        called.append(bool(status & STATUS_HARDWARE_STAMP))
        offset += following
    tap.release(block)
    return stamps, called, (before_ns - 1_000_000, after_ns + 1_000_000)


def test_mixed_stamps_of_a_real_ring_are_all_utc(line: wire.Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card on TAI that missed every other frame: all are stamped in UTC when they came, and each says who stamped it. (S2-011)"""
    card = Card(37 * SECOND)
    tap = ring(card, monkeypatch)
    stamps, called, (first_ns, last_ns) = heard(tap, line, card)

    assert all(first_ns <= stamp <= last_ns for stamp in stamps)
    assert [place % 2 == 0 for place in range(len(stamps))] == called
    assert (True, 0) == (tap.stamps_itself, tap.counters().stamps_refused)
    tap.close()
    assert not card.is_there


def test_a_card_that_is_set_costs_no_frame(line: wire.Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set by half a century between two blocks it is looked at again before the next one; pulled out, what it last showed serves. (S2-011)"""
    card = Card(37 * SECOND)
    tap = ring(card, monkeypatch)
    for ahead_ns in (37 * SECOND, 37 * SECOND - 1_500_000_000 * SECOND, 0):
        card.ahead_ns = ahead_ns
        stamps, _, (first_ns, last_ns) = heard(tap, line, card)
        assert all(first_ns <= stamp <= last_ns for stamp in stamps)
    card.is_there = False
    stamps, _, (first_ns, last_ns) = heard(tap, line, card)

    assert all(first_ns <= stamp <= last_ns for stamp in stamps)
    assert 0 == tap.counters().stamps_refused
    tap.close()


def test_stamps_of_no_clock_are_refused(line: wire.Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card whose stamps are not what its clock shows: frames stay where they came, as software's, and are counted. (S2-011)"""
    card = Card(37 * SECOND)
    tap = ring(card, monkeypatch)
    stamper = Card(5_000 * SECOND)
    stamps, called, (first_ns, last_ns) = heard(tap, line, stamper)

    assert all(first_ns - SECOND <= stamp <= last_ns + SECOND for stamp in stamps)
    assert not any(called)
    assert (len(stamps) + 1) // 2 == tap.counters().stamps_refused
    tap.close()


def test_an_interface_that_cannot_is_not_asked(line: wire.Wire) -> None:
    """A veth stamps by software: the ring opens all the same and says so. (S2-011)"""
    tap = RingTap(TapRequest(wire.HEARS, block_bytes=1 << 16, block_count=4, retire_ms=5, hardware_stamps=True))

    assert not tap.stamps_itself
    assert asked_of(tap._socket, wire.HEARS) is None and not stamps_all(tap._socket, wire.HEARS)
    tap.close()


def test_a_ring_whose_clock_nobody_can_read_any_more(line: wire.Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps of an earlier life's card, whose clock this life may not read: no frame is moved by them. (S2-011)"""
    card = Card(37 * SECOND)
    tap = ring(card, monkeypatch)
    tap._stamps, tap._is_taken_over = None, True
    stamps, called, (first_ns, last_ns) = heard(tap, line, card)

    assert all(first_ns - SECOND <= stamp <= last_ns + SECOND for stamp in stamps)
    assert not any(called)
    assert (len(stamps) + 1) // 2 == tap.counters().stamps_refused
    tap.close()


def test_an_interface_that_is_down_costs_nothing(line: wire.Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card's port that is not up is tried again and again, for days: no descriptor stays behind, its clock's neither."""
    line.set(wire.HEARS, "down")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        card = Card(0)
        with pytest.raises(TapFailed, match="is down"):
            ring(card, monkeypatch)

        assert not card.is_there
    assert before == len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("answer", [errno.EIO, errno.EBUSY, errno.EPERM])
def test_a_driver_that_cannot_just_now(answer: int, line: wire.Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a driver answers to the wish for stamps, the interface is heard, by software's, and its clock let go. (S2-011)"""
    card = Card(0)
    monkeypatch.setattr(hardware_stamps, "time_stamping", lambda control, interface: TimeStamping(True, True, 0))
    monkeypatch.setattr(hardware_stamps, "hardware_clock", lambda interface: card)

    def refuses(*_: object) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(ethtool, "_configured", refuses)
    tap = RingTap(TapRequest(wire.HEARS, block_bytes=1 << 16, block_count=4, retire_ms=5, hardware_stamps=True))

    assert (False, False) == (tap.stamps_itself, card.is_there)
    tap.close()
