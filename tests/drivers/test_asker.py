"""The asker's contract, on the real one (loopback) and the simulated one."""

import select
import socket
import time
from collections.abc import Iterator

import pytest

from drivers.asker import Asker
from drivers.errors import NotConnected, Unreachable
from drivers.linux.asker import LinuxAsker
from simulator.asker import SimulatedAsker
from simulator.clock import SimulatedClock


@pytest.fixture(params=["linux", "simulated"])
def asker(request: pytest.FixtureRequest) -> Iterator[Asker]:
    made: Asker = LinuxAsker("lo") if request.param == "linux" else SimulatedAsker(SimulatedClock())
    yield made
    made.close()
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        yield heard


def test_every_datagram_gets_its_stamp(asker: Asker, listener: socket.socket) -> None:
    """Numbers grow by one, stamps come once each, in order, and none lies after the datagram's arrival."""
    numbers = [asker.ask(b"what time is it", "127.0.0.1", listener.getsockname()[1]) for _ in range(5)]
    left = list(asker.left())

    assert list(range(numbers[0], numbers[0] + 5)) == numbers == [row.number for row in left]
    assert [] == list(asker.left())
    assert sorted(left, key=lambda row: row.stamp_ns) == left
    assert 6 == len(asker.mac)


def test_the_datagram_arrives_after_its_stamp(listener: socket.socket) -> None:
    """What is sent is what was given, and its stamp is of the wall clock."""
    asker = LinuxAsker("lo")
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    asker.ask(b"\x00\x01", "127.0.0.1", listener.getsockname()[1])
    select.select([listener], [], [], 5)

    assert b"\x00\x01" == listener.recv(16)
    assert before <= asker.left()[0].stamp_ns <= time.clock_gettime_ns(time.CLOCK_REALTIME)
    asker.close()


def test_an_interface_that_is_not_there() -> None:
    """Both say NotConnected, and nothing was sent."""
    with pytest.raises(NotConnected):
        LinuxAsker("nothing0")
    simulated = SimulatedAsker(SimulatedClock())
    simulated.stuck = True
    with pytest.raises(NotConnected):
        simulated.ask(b"x", "10.0.0.1", 319)
    assert [] == list(simulated.left())


def test_an_address_that_is_none() -> None:
    """A destination that no datagram can go to is NotConnected, not the end of the process."""
    asker = LinuxAsker("lo")
    with pytest.raises(NotConnected):
        asker.ask(b"x", "127.0.0.1", 0)
    asker.close()


def test_an_address_nothing_can_be_sent_to(asker: Asker, listener: socket.socket) -> None:
    """It is told apart from an interface that is gone, and costs those beside it neither a datagram nor a stamp. (S2-010)"""
    if isinstance(asker, SimulatedAsker):
        asker.unreachable = {"255.255.255.255"}
    numbers = [asker.ask(b"x", "127.0.0.1", listener.getsockname()[1])]
    with pytest.raises(Unreachable):
        asker.ask(b"x", "255.255.255.255", 319)
    numbers.append(asker.ask(b"x", "127.0.0.1", listener.getsockname()[1]))

    assert numbers == [row.number for row in asker.left()]
