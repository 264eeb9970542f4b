"""The simulated wire with the two ports of a passive tap."""

import pytest

from drivers.errors import TapFailed
from drivers.tap import HeardFrame, TapRequest
from simulator.tap import SimulatedTap
from simulator.world import Wire

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
