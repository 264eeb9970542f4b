"""Sticks that a person of the world plugs in and pulls out."""

from drivers.errors import Missing
from simulator.disk import SimulatedDisk


class SimulatedSticks:
    """`plugged` is the world's to change: name to what is on it."""

    def __init__(self) -> None:
        self.plugged: dict[str, SimulatedDisk] = {}

    def names(self) -> list[str]:
        return sorted(self.plugged)

    def open(self, name: str) -> SimulatedDisk:
        if name not in self.plugged:
            raise Missing("expected a stick that is plugged in and can be written to, there is none of this name")
        return self.plugged[name]
