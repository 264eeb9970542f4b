"""Several interfaces heard as one: what intake and live do where a passive tap has a port for each direction."""

import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.errors import BadFilter, TapFailed
from drivers.linux.board import LinuxBoard
from drivers.linux.identity import introduce
from drivers.linux.joined_tap import JoinedTap
from drivers.linux.tap import RingTap
from drivers.tap import Tap, TapRequest
from firmware.core.block import frames
from simulator.tap import SimulatedTap

from . import wire

REASON = wire.why_not()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
BOTH = TapRequest(f"{wire.HEARS},{wire.HEARS_TOO}", block_bytes=1 << 16, block_count=4, retire_ms=10)
WAIT_S = 10.0


def frame(number: int, size: int = 60) -> bytes:
    return bytes.fromhex("020000000001 020000000002 88b5") + bytes(size - 16) + number.to_bytes(2, "big")


@pytest.fixture
def line() -> Iterator[wire.Wire]:
    with wire.Wire(cables=2) as made:
        yield made


def heard(tap: Tap, count: int) -> list[int]:
    """Numbers of the next frames, in any order of interfaces, woken by the descriptor alone; fewer when it stays silent."""
    rows: list[int] = []
    end = time.monotonic() + WAIT_S
    ready = select.poll()
    ready.register(tap.fileno(), select.POLLIN)
    while len(rows) < count and time.monotonic() < end:
        block = tap.next()
        if block is None:
            ready.poll(1000)
            continue
        rows += [int.from_bytes(entry.data[-2:], "big") for entry in frames(block.data, block.frame_count)]
        tap.release(block)
    return rows


def test_both_directions_are_heard(line, tmp_path: Path):
    """The board opens what is asked for with a comma; frames of both come, each once, blocks numbered one after the other."""
    introduce(tmp_path / "identity", name="box-1", site="")
    tap = LinuxBoard(tmp_path, tmp_path / "identity").tap(BOTH)
    line.send([frame(n) for n in range(100)])
    line.send([frame(n) for n in range(100, 200)], end=wire.SENDS_TOO)

    assert list(range(200)) == sorted(heard(tap, 200))
    assert (200, True, 0, 1) == (tap.counters().received, tap.counters().has_carrier, tap.counters().returned, tap.link_type)
    tap.close()
    tap.close()


def test_one_goes_the_other_is_heard(line):
    """Its place is kept: what it had heard is counted, and when it is there again it is heard again."""
    tap = JoinedTap(BOTH, RingTap)
    line.send([frame(1)], end=wire.SENDS_TOO)
    assert [1] == heard(tap, 1)
    line.cut(wire.HEARS_TOO)
    line.send([frame(2)])
    assert [2] == heard(tap, 1)
    line.connect(wire.HEARS_TOO, wire.SENDS_TOO)
    end = time.monotonic() + WAIT_S
    rows: list[int] = []
    while 3 not in rows and time.monotonic() < end:
        line.send([frame(3)], end=wire.SENDS_TOO)  # until it has been tried again
        line.send([frame(4)])
        rows += heard(tap, 1)

    assert 3 in rows
    assert tap.counters().received >= 4
    assert 1 == tap.counters().returned
    tap.close()


def test_none_left_is_a_trouble(line):
    """Only when all are gone; and it cannot be opened when none is there."""
    tap = JoinedTap(BOTH, RingTap)
    line.cut(wire.HEARS)
    line.cut(wire.HEARS_TOO)
    with pytest.raises(TapFailed, match="went away"):
        for _ in range(10):
            assert tap.next() is None
    tap.close()
    with pytest.raises(TapFailed, match="none of this name"):
        JoinedTap(BOTH, RingTap)


def test_losses_are_added_up(line):
    """A ring that ran over is counted whichever it was, also after its interface went."""
    tap = JoinedTap(BOTH, RingTap)
    line.send([frame(n % 1000, 1514) for n in range(2000)])
    line.send([frame(n % 1000, 1514) for n in range(1000)], end=wire.SENDS_TOO)
    rows = heard(tap, 3000 - tap.counters().dropped["ring_full"])
    lost = tap.counters().dropped["ring_full"]
    line.cut(wire.HEARS)
    assert tap.next() is None

    assert 3000 == len(rows) + lost
    assert lost == tap.counters().dropped["ring_full"]
    assert len(rows) == tap.counters().received
    tap.close()


def test_a_bad_filter_leaves_nothing_open():
    """The settings' fault, said at once."""
    with pytest.raises(BadFilter):
        JoinedTap(TapRequest("a,b", filter="port eleventy"), SimulatedTap)
