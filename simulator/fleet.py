"""A box and a hub in fair weather, with a relay between them where wanted: the storm's machines, and a room that says what it is told to.

For behaviour that goes through the whole chain. Power cuts and kills are the caller's to choose (`world.doom`).
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import cbor2

from firmware.core.settings import Settings
from firmware.core.timestamp import MS, SECOND
from firmware.hub.repository import Repository
from firmware.roles import BOX, HUB, RELAY, SECTIONS, Process
from simulator.parrots import ARM, Device, Parrots, datagram
from simulator.world import BROKER, OUTSIDE, Machine, World

SITE, BOX_NAME, RELAY_NAME, HUB_NAME = "site-1", "or3-box", "or3-relay", "hub-1"
# Everybody is in a hurry here; what takes minutes otherwise takes seconds.
BOX_SETTINGS = f"""
[capture]
segment_s = 30
[clock]
chronyd = ""
[group]
p2_interval_s = 600
[health]
health_s = 3600
[uplink]
brokers = ["{BROKER}"]
backoff_s_max = 2
acknowledge_s_max = 5
chunk_bytes = 8192
"""
HUB_SETTINGS = f"""
[hub]
brokers = ["{BROKER}"]
relays = ["{SITE}/{RELAY_NAME}"]
backoff_s_max = 2
resend_s = 10
"""
RELAY_SETTINGS = f"""
[relay]
brokers = ["{BROKER}"]
backoff_s_max = 2
[uplink]
brokers = ["{OUTSIDE}"]
backoff_s_max = 2
"""
VIA_RELAY = f"""
[uplink]
route = "relay"
relays = ["{BROKER}"]
brokers = ["nowhere:1883"]
"""
PORTS = {1: 47001, 2: 47002, 3: 47003, 4: 47004}


class SmallFleet:
    """box, hub: more settings, as TOML."""

    def __init__(self, directory: Path, *, seed: int = 1, box: str = "", hub: str = "", relayed: bool = False) -> None:
        self.world = World(seed)
        self.parrots = Parrots(Random(seed))
        self.database = str(directory / "hub.sqlite")
        self.relay: Machine | None = None
        if relayed:
            self.world.begin_house(seed)
        self.hub = self._machine(HUB_NAME, "hub", HUB, [HUB_SETTINGS, f"[hub]\ndatabase = {self.database!r}\n", hub])
        if relayed:
            self.relay = self._machine(RELAY_NAME, "relay", RELAY, [RELAY_SETTINGS])
        self.box = self._machine(BOX_NAME, "box", BOX, [BOX_SETTINGS, VIA_RELAY if relayed else "", box])
        self.box.identity.trust(HUB_NAME, self.hub.identity.public_key())
        for machine in self.world.machines:
            machine.start_all()
        self.run(2)
        self._sequence = 0

    def run(self, seconds: float) -> None:
        """So much virtual time."""
        self.world.run(int(seconds * SECOND))

    def say(
        self, text: str, *, priority: int = 3, event: str | None = None, device: Device = ARM, process: str = "arm", **fields: Any
    ) -> None:  # Any: as CBOR takes it
        """A device publishes this, with its clock as the box's."""
        self._sequence += 1
        row: dict[str, object] = {
            "version": 1, "process": process, "sequence": self._sequence, "text": text, "event": event, "fields": fields or None,
            "time_utc_ns": self.box.clock.now().utc_ns,
        }  # fmt: skip
        payload = cbor2.dumps({name: value for name, value in row.items() if value is not None})
        self.world.put(self.box, [datagram(device, "10.77.0.255", PORTS[priority], payload)])

    def chatter(self, seconds: int, *, every_ms: int = 500) -> None:
        """Ordinary traffic for so long."""
        for _ in range(seconds * 1000 // every_ms):
            self.world.put(self.box, list(self.parrots.chatter(1)))
            self.world.run(every_ms * MS)

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:  # Any: as the database gives them
        """What the hub's database says."""
        repository = Repository(self.database)
        try:
            return [dict(row) for row in repository.rows(query, *values)]
        finally:
            repository.close()

    def crashes(self) -> list[str]:
        """What ended a process that should not have."""
        return [crash for machine in self.world.machines for crash in machine.crashes]

    def _machine(self, name: str, role: str, table: Sequence[Process], texts: Sequence[str]) -> Machine:
        processes = [process for process in table if process.build is not None and process.name != "console"]
        settings = Settings(SECTIONS[role], [(name, text) for text in texts if text])
        return self.world.add(name, processes, settings, site=SITE, capacity_bytes=96 << 20)
