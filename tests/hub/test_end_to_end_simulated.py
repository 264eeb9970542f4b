"""Box's uplink and hub over a simulated broker in virtual time: whatever the broker does, everything arrives once."""

from pathlib import Path

import pytest

from drivers.clock import ClockState, Now, Timestamp
from firmware.core import message, release
from firmware.core.envelope import packed, sealed_envelope
from firmware.core.message import Message, Priority, Severity
from firmware.core.query import Query
from firmware.core.request import Request
from firmware.core.spool import Spool
from firmware.core.station import Station
from firmware.hub.order import request_evidence
from firmware.hub.repository import Repository
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.disk import SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.link import LinkFaults, SimulatedBroker, SimulatedLink

BROKER = "broker:1883"
SECOND = 1_000_000_000


class Fleet:
    """A broker, a hub and one box, in virtual time."""

    def __init__(self, directory: Path, *, seed: int = 1, faults: LinkFaults | None = None, **uplink: object) -> None:
        self.timeline = Timeline()
        self.broker = SimulatedBroker(self.timeline, seed=seed, faults=faults)
        self.links: list[SimulatedLink] = []
        self.database = str(directory / "hub.sqlite")
        self.box = self._board(SimulatedIdentity(name="box-1", seed=seed))
        self.hub_board = self._board(SimulatedIdentity(name="hub-1", seed=seed))
        self.uplink_settings = UplinkSettings(brokers=(BROKER,), backoff_s_max=4, **uplink)  # type: ignore[arg-type]
        self.uplink = UplinkStation(self.box, self.uplink_settings)
        self.hub = HubStation(self.hub_board, HubSettings(brokers=(BROKER,), database=self.database))
        self.start(self.uplink, self.box)
        self.start(self.hub, self.hub_board)
        self.outbox = Spool(self.box.disk, "outbox")

    def _board(self, identity: SimulatedIdentity) -> SimulatedBoard:
        def link() -> SimulatedLink:
            self.links.append(SimulatedLink({BROKER: self.broker}, self.timeline))
            return self.links[-1]

        return SimulatedBoard(disk=SimulatedDisk(), clock=SimulatedClock(self.timeline), identity=identity, make_link=link)

    def start(self, station: Station, board: SimulatedBoard) -> None:
        station.start(board.clock.now())

    def run(self, seconds: float, *, until_empty: bool = False) -> None:
        """Step both, moving time to whatever is next."""
        end = self.timeline.tai_ns + int(seconds * SECOND)
        while self.timeline.tai_ns < end:
            wishes = [end]
            for station, board in ((self.uplink, self.box), (self.hub, self.hub_board)):
                wish = station.step(board.clock.now())
                if wish is not None:
                    wishes.append(board.clock.moment(wish))
            wishes += [link.next_ns() or end for link in self.links]
            if until_empty and not self.box.disk.list("outbox"):
                return
            self.timeline.advance(max(0, min(wishes) - self.timeline.tai_ns))

    def publish(self, number: int, priority: Priority = Priority.P3, *, padding: int = 0) -> bytes:
        now = self.box.clock.now()
        stamp = Timestamp(now.timestamp.tai_ns + number, 1000, "ptp", ClockState.LOCKED)
        one = Message(
            "robot-1", "arm", "published", priority, Severity.ERROR, stamp, stamp, sequence=number,
            text=f"message {number} {Noise(number).text(padding)}",
        )  # fmt: skip
        envelope = sealed_envelope(
            box="box-1", kind="group", priority=priority, first_tai_ns=stamp.tai_ns, last_tai_ns=stamp.tai_ns,
            content=message.packed([one]),
        )  # fmt: skip
        self.outbox.publish(release.name_of(priority, stamp.tai_ns, f"g-{number}"), packed(envelope))
        return one.identity

    def arrived(self) -> list[bytes]:
        repository = Repository(self.database)
        try:
            return [row["identity"] for row in repository.rows("select identity from messages order by number")]
        finally:
            repository.close()


class Noise:
    """Text no compressor makes shorter."""

    def __init__(self, seed: int) -> None:
        self.identity = SimulatedIdentity(seed=seed + 1000)

    def text(self, size: int) -> str:
        return self.identity.entropy(size // 2).hex()


def test_everything_arrives_and_the_outbox_is_empty(tmp_path: Path) -> None:
    """(S2-060, S2-120) Sent by priority, acknowledged end to end, moved to sent/."""
    fleet = Fleet(tmp_path)
    later = [fleet.publish(number) for number in range(40)]
    alarms = [fleet.publish(number, Priority.P1) for number in range(40, 45)]
    fleet.run(5)

    assert alarms + later == fleet.arrived()
    assert [] == fleet.box.disk.list("outbox")
    assert len(fleet.box.disk.list("sent")) == 45


def test_nothing_depends_on_what_a_broker_retains(tmp_path: Path) -> None:
    """(S2-072, S2-120) One that retains nothing, and a hub that comes when the box's birth is long over: what the box has is there
    within seconds, an order reaches it, and when the hub has come once more it is still known."""
    fleet = Fleet(tmp_path)
    fleet.broker.keeps_retained = False
    hub, fleet.hub = fleet.hub, Nobody()  # type: ignore[assignment]
    sent = [fleet.publish(number, Priority(number % 4 + 1)) for number in range(8)]
    fleet.run(60)
    assert [] == fleet.arrived()

    fleet.hub = hub
    fleet.run(10, until_empty=True)
    assert sorted(sent) == sorted(fleet.arrived())
    repository = Repository(fleet.database)
    tai = fleet.hub_board.clock.now().timestamp.tai_ns
    request_evidence(
        fleet.hub_board, repository, box="box-1", request=Request(Query(since_utc_ns=1, until_utc_ns=2)), about=None, made_tai_ns=tai,
        expires_tai_ns=tai + 3600 * SECOND,
    )  # fmt: skip
    fleet.run(5)
    assert 1 == len(fleet.box.disk.list("commands/received"))

    hub.stop(fleet.hub_board.clock.now())
    fleet.hub = HubStation(fleet.hub_board, HubSettings(brokers=(BROKER,), database=fleet.database))
    fleet.start(fleet.hub, fleet.hub_board)
    fleet.run(5)
    sent.append(fleet.publish(9, Priority.P1))
    fleet.run(5)
    assert sorted(sent) == sorted(fleet.arrived())
    assert ["box-1"] == [name for _, name in repository.boxes()]
    repository.close()


class Nobody:
    """In the hub's place while it is not there."""

    def step(self, now: Now) -> None:
        return


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_broker_does(tmp_path: Path, seed: int) -> None:
    """Dropped connections, refusals, double, late and missing acknowledgements, a broker that dies with what it took: all arrives, once."""
    faults = LinkFaults(
        refuse=0.2, drop=0.03, quota=0.05, twice=0.1, never=0.05, late=0.2, lose=0.03, again=0.1, delay_ns=40_000_000
    )
    fleet = Fleet(tmp_path, seed=seed, faults=faults, chunk_bytes=4096, window=8)
    sent = [fleet.publish(number, Priority(number % 4 + 1), padding=20_000 if number % 7 == 0 else 0) for number in range(40)]
    fleet.run(60)
    fleet.broker.faults = LinkFaults(delay_ns=10_000_000)
    fleet.run(300, until_empty=True)

    assert sorted(sent) == sorted(fleet.arrived())
    assert [] == fleet.box.disk.list("outbox")
