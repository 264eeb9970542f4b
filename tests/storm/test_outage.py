"""Intake away for a minute while the room goes on talking: every message is at the hub, once."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from firmware.core.settings import Settings
from firmware.core.timestamp import MS, SECOND
from firmware.hub.repository import Repository
from firmware.roles import BOX, HUB, SECTIONS
from simulator.parrots import Parrots, Told
from simulator.storm import BOX_SETTINGS, HUB_SETTINGS
from simulator.world import Machine, World

# The storm's budget lets retention delete what is a minute old; here nothing may go before it was read back.
ROOMY = "[retention]\nbudget_bytes = 64_000_000\n"


class Outage:
    """A box, a hub and a room that says thirty messages a second."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.world = World(seed)
        self.parrots = Parrots(Random(seed))
        self.database = str(directory / "hub.sqlite")
        self.box = self._machine("or3-box", "box", BOX_SETTINGS)
        self.hub = self._machine("hub-1", "hub", f"{HUB_SETTINGS}\ndatabase = {self.database!r}\n")
        self.box.identity.trust("hub-1", self.hub.identity.public_key())
        self.told: list[Told] = []
        self.hub.start_all()
        self.box.start_all()
        self.world.run(2 * SECOND)

    def _machine(self, name: str, role: str, text: str) -> Machine:
        table = [
            process for process in (BOX if role == "box" else HUB) if process.build is not None and process.name != "console"
        ]
        layers = [("outage", text), *([("outage", ROOMY)] if role == "box" else [])]
        return self.world.add(name, table, Settings(SECTIONS[role], layers), site="site-1", capacity_bytes=96 << 20)

    def talk(self, seconds: int) -> None:
        for _ in range(seconds * 10):
            for _ in range(3):
                utc_ns = self.box.clock.now().utc_ns
                self.told.append(self.parrots.tell(lambda device, utc_ns=utc_ns: utc_ns))  # clocks that are as the box's
                self.world.put(self.box, [*self.told[-1].frames, *self.parrots.chatter(1)])
            self.world.run(100 * MS)

    def start(self, name: str) -> None:
        (process,) = [process for process in self.box.processes if process.name == name]
        self.box.start(process)

    def arrived(self) -> Counter[str]:
        """How often each token is at the hub."""
        repository = Repository(self.database)
        rows = repository.rows("select process, text from messages")
        repository.close()
        words = [word for row in rows for word in {row["process"], *(row["text"] or "").split()} if word.startswith("tok-")]
        return Counter(words)


@pytest.mark.parametrize("step_s", [0, -30, 20])
def test_every_message_of_the_outage_arrives_once(tmp_path: Path, step_s: int) -> None:
    """Killed under load, away for a minute, the clock set meanwhile or not: the recorder's copy is as good. (S2-034, S2-035)"""
    outage = Outage(tmp_path, seed=7)
    outage.talk(10)
    outage.box.end("roomside")
    outage.talk(30)
    outage.box.clock.step(step_s * SECOND)
    outage.talk(30)
    outage.start("roomside")
    outage.talk(10)
    outage.world.run(90 * SECOND)

    assert Counter({told.token: 1 for told in outage.told}) == outage.arrived()
    assert 2_400 == len(outage.told)
    assert [] == [*outage.box.crashes, *outage.hub.crashes]


def test_both_away(tmp_path: Path) -> None:
    """Intake killed again and again, and the gate that reads back what it missed: still every message, once. (S2-034)"""
    outage = Outage(tmp_path, seed=8)
    for _ in range(6):
        outage.talk(3)
        outage.box.kill("roomside")
        outage.talk(3)
        outage.box.kill("gate")
    outage.world.run(90 * SECOND)

    assert Counter({told.token: 1 for told in outage.told}) == outage.arrived()
    assert [] == [*outage.box.crashes, *outage.hub.crashes]
