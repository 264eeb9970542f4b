"""The egress's contract, held by tc in a network namespace and by the simulated one alike."""

import os
from collections.abc import Iterator
from typing import Protocol

import pytest

from drivers.egress import Egress
from drivers.errors import EgressFailed
from drivers.linux.egress import LinuxEgress
from simulator.egress import SimulatedEgress
from simulator.namespaces import free_tag, remove, run_command, what_is_missing


class World(Protocol):
    egress: Egress


class RealWorld:
    def __init__(self) -> None:
        self.tag = free_tag()
        self.namespace = f"{self.tag}-box"
        run_command(["ip", "netns", "add", self.namespace])
        for line in ("link add up0 type veth peer name far0", "link set up0 up", "link set far0 up"):
            run_command(["ip", "-n", self.namespace, *line.split()])
        self.egress: Egress = LinuxEgress(prefix=["ip", "netns", "exec", self.namespace])

    def said(self, *command: str) -> str:
        return run_command(["ip", "netns", "exec", self.namespace, *command])

    def end(self) -> None:
        remove(self.tag)


class SimulatedWorld:
    def __init__(self) -> None:
        self.egress: Egress = SimulatedEgress({"up0"})


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.lab)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "simulated":
        yield SimulatedWorld()
        return
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    real = RealWorld()
    yield real
    real.end()


def test_shaped_twice_and_released(world: World) -> None:
    """(S2-060) The last rate counts; released, it is the system's again, and twice is as good as once."""
    assert world.egress.rate_kbit("up0") is None
    world.egress.shape("up0", 1900)
    world.egress.shape("up0", 9500)
    assert world.egress.rate_kbit("up0") == 9500
    world.egress.release("up0")
    world.egress.release("up0")

    assert world.egress.rate_kbit("up0") is None


@pytest.mark.parametrize("interface", ["nosuch0", "", "-dev", "a b", "x" * 16])
def test_no_such_interface(world: World, interface: str) -> None:
    """Said, and nothing else happens; nothing that is no interface's name gets as far as a command."""
    with pytest.raises(EgressFailed):
        world.egress.shape(interface, 1900)
    with pytest.raises(EgressFailed):
        world.egress.release(interface)


@pytest.mark.lab
def test_urgent_first_and_no_long_packets() -> None:
    """(S2-060) In the kernel: one HTB class with the three bands in it, and TCP's packets no longer than the wire's."""
    if os.geteuid() != 0 or what_is_missing() is not None:
        pytest.skip(what_is_missing() or "needs root")
    world = RealWorld()
    try:
        world.egress.shape("up0", 1900)
        bands = world.said("tc", "qdisc", "show", "dev", "up0")
        link = world.said("ip", "-d", "link", "show", "dev", "up0")
    finally:
        world.end()

    assert "pfifo_fast 10: parent 1:1 bands 3 priomap 1 2 2 2 1 2 0 0" in bands  # socket priorities 6 and 7: band 0; 2: band 2
    assert "gso_max_segs 1 " in link
