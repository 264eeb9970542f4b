"""The simulated wire with the two ports of a passive tap."""

import pytest

from drivers.errors import TapFailed
from drivers.tap import RETURN_S, HeardFrame, TapRequest
from firmware.core.timestamp import MS, SECOND
from simulator.tap import SimulatedTap
from simulator.world import Wire, World

FRAMES = [HeardFrame(n, bytes(11) + bytes([n]) + bytes(48), 60) for n in range(10)]


def heard(tap: SimulatedTap) -> int:
    count = 0
    while (block := tap.next()) is not None:
        count += block.frame_count
        tap.release(block)
    return count


def test_each_port_has_its_senders():
    """A frame passes one port, by who sends it; who listens to both hears all."""
    wire = Wire(("eth1", "eth2"))
    one, other, both = (wire.open(TapRequest(name), lambda: None) for name in ("eth1", "eth2", "eth1,eth2"))
    wire.put(FRAMES)

    assert (5, 5, 10) == (heard(one), heard(other), heard(both))


def test_one_port_goes():
    """The other is heard; who listened to both hears the rest, who listened to that one only is told, and may come again."""
    rung: list[int] = []
    wire = Wire(("eth1", "eth2"))
    one, other, both = (
        wire.open(TapRequest(name), lambda place=place: rung.append(place))
        for place, name in enumerate(("eth1", "eth2", "eth1,eth2"))
    )
    wire.break_off("eth2")
    assert [1] == rung
    wire.put(FRAMES)

    assert (5, 5) == (heard(one), heard(both))
    with pytest.raises(TapFailed):
        other.next()
    with pytest.raises(TapFailed):
        wire.open(TapRequest("eth2"), lambda: None)
    wire.restore()
    again = wire.open(TapRequest("eth2"), lambda: None)
    wire.put(FRAMES)
    assert (5, 10) == (heard(again), heard(both))


def test_a_block_that_is_not_full_comes_when_its_time_is_over():
    """Where time passes frames come as late as the kernel may hand them over, an interface that goes hands them over before it is gone."""
    world, rung = World(1), []
    tap = world.wire.open(TapRequest("eth1", retire_ms=100), lambda: rung.append(world.now_ns))
    world.wire.put(FRAMES)
    world.wire.break_off()

    assert (0, True, 0) == (heard(tap), tap.is_filling(), tap.ready_count())
    began = world.now_ns
    world.run(199 * MS)
    assert 0 == heard(tap)
    world.run(1 * MS)
    assert (began + 200 * MS, False, 1, 10) == (rung[-1], tap.is_filling(), tap.ready_count(), tap.next().frame_count)
    with pytest.raises(TapFailed):
        tap.next()


def test_who_listens_to_several_opens_what_was_away_a_little_later():
    """In between whoever listens to that one alone may hear what he does not; it is counted when he does."""
    world = World(1)
    world.wire = wire = Wire(("eth1", "eth2"), world)
    both = wire.open(TapRequest("eth1,eth2"), lambda: None)
    wire.break_off("eth2")
    wire.restore()
    one = wire.open(TapRequest("eth2"), lambda: None)
    wire.put(FRAMES)
    world.run(1)
    counted = both.counters().received, one.counters().received, both.counters().returned
    world.run(RETURN_S * SECOND)
    wire.put(FRAMES)

    assert (5, 5, 0) == counted
    assert (15, 1) == (both.counters().received, both.counters().returned)
