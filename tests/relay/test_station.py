"""A box that may not go outside, a relay and a hub, in virtual time: everything arrives, in the box's name, whatever is away."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from drivers.clock import ClockState, Timestamp
from drivers.link import Acknowledged, LinkRequest
from firmware.core import message, release
from firmware.core.envelope import Chunk, Envelope, ack_unpacked, chunk_packed, packed, sealed_envelope
from firmware.core.message import Message, Priority, Severity
from firmware.core.presence import Presence
from firmware.core.presence import packed as presence_packed
from firmware.core.presence import unpacked as presence_unpacked
from firmware.core.query import Query
from firmware.core.request import Request
from firmware.core.spool import Spool
from firmware.core.station import Station
from firmware.hub.order import request_evidence
from firmware.hub.repository import Repository
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from firmware.relay.settings import RelaySettings
from firmware.relay.station import RelayStation
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.disk import Failing, SimulatedDisk
from simulator.identity import SimulatedIdentity
from simulator.link import LinkFaults, SimulatedBroker, SimulatedLink

SECOND = 1_000_000_000
INNER, OUTER = "inner:1883", "outer:1883"


class House:
    """Box, relay and hub. The box reaches the inner broker only, the hub the outer one only."""

    def __init__(
        self, directory: Path, *, relays: tuple[str, ...] = ("site-1/relay-1",), relay: dict[str, object] | None = None
    ) -> None:
        self.timeline = Timeline()
        self.inner, self.outer = SimulatedBroker(self.timeline, seed=1), SimulatedBroker(self.timeline, seed=2)
        self.links: list[SimulatedLink] = []
        self.owners: list[str] = []  # of each link
        self.box = self._board("box-1", {INNER: self.inner})
        self.relay = self._board("relay-1", {INNER: self.inner, OUTER: self.outer})
        self.hub = self._board("hub-1", {OUTER: self.outer})
        self.relay_settings = RelaySettings(brokers=(INNER,), **(relay or {}))  # type: ignore[arg-type]
        self.database = str(directory / "hub.sqlite")
        self.uplink = UplinkStation(self.box, UplinkSettings(relays=(INNER,), route="relay", backoff_s_max=5, chunk_bytes=4096))
        self.hub_station = HubStation(
            self.hub, HubSettings(brokers=(OUTER,), database=self.database, relays=relays, backoff_s_max=5, resend_s=5)
        )
        self.repository = Repository(self.database)
        self.outbox = Spool(self.box.disk, "outbox")
        self.stations: list[tuple[SimulatedBoard, Station]] = [(self.box, self.uplink), (self.hub, self.hub_station)]
        for board, station in self.stations:
            station.start(board.clock.now())
        self.start_relay()

    def start_relay(self, **outside: object) -> None:
        self.relay_station = RelayStation(self.relay, self.relay_settings)
        settings = UplinkSettings(**({"brokers": (OUTER,), "backoff_s_max": 5, "chunk_bytes": 8192} | outside))  # type: ignore[arg-type]
        self.outside = UplinkStation(self.relay, settings, forwards=True)
        for station in (self.relay_station, self.outside):
            station.start(self.relay.clock.now())
        self.stations = [entry for entry in self.stations if entry[0] is not self.relay]
        self.stations += [(self.relay, self.relay_station), (self.relay, self.outside)]

    def kill_relay(self) -> None:
        """The process ends without a word; nothing it held in memory is left."""
        for link in self.links_of("relay-1"):
            link.crash()
        self.stations = [entry for entry in self.stations if entry[0] is not self.relay]

    def links_of(self, name: str) -> list[SimulatedLink]:
        return [link for link, owner in zip(self.links, self.owners, strict=True) if owner == name]

    def _board(self, name: str, network: dict[str, SimulatedBroker]) -> SimulatedBoard:
        def make() -> SimulatedLink:
            self.links.append(SimulatedLink(network, self.timeline))
            self.owners.append(name)
            return self.links[-1]

        seed = sum(name.encode())
        return SimulatedBoard(
            disk=SimulatedDisk(),
            clock=SimulatedClock(self.timeline),
            identity=SimulatedIdentity(name=name, seed=seed),
            make_link=make,
        )

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        end = self.timeline.tai_ns + int(seconds * SECOND)
        while self.timeline.tai_ns < end and not until():
            wishes = [end]
            for board, station in self.stations:
                wish = station.step(board.clock.now())
                wishes += [board.clock.moment(wish)] if wish is not None else []
            wishes += [link.next_ns() or end for link in self.links]
            # What one station writes into another's directory rings: here everybody is stepped every 50 ms.
            self.timeline.advance(max(1000, min(min(wishes) - self.timeline.tai_ns, 50_000_000)))

    def put(self, number: int, priority: int = 3, *, padding: int = 0) -> bytes:
        tai = self.box.clock.now().timestamp.tai_ns
        stamp = Timestamp(tai, 1000, "ptp", ClockState.LOCKED)
        noise = ("application/octet-stream", self.box.identity.entropy(padding)) if padding else None
        one = Message(
            "robot-1", "arm", "published", Priority(priority), Severity.ERROR, stamp, stamp, sequence=number, text=f"message {number}",
            attachment=noise,
        )  # fmt: skip
        envelope = sealed(message.packed([one]), number=tai, priority=priority)
        self.outbox.publish(release.name_of(Priority(priority), tai, f"g{number}"), packed(envelope))
        return one.identity

    def arrived(self) -> list[bytes]:
        return [
            row["identity"]
            for row in self.repository.rows("select identity from messages where kind <> 'health' order by number")
        ]

    def files(self, board: SimulatedBoard, path: str) -> list[str]:
        """Without what the relay says of itself, which comes whenever its time has come."""
        return [name for name in board.disk.list(path) if not name.startswith(".") and "-relay-1." not in name]

    def is_drained(self) -> bool:
        return not any((self.files(self.box, "outbox"), self.files(self.relay, "outbox"), self.files(self.relay, "sent")))


def sealed(content: bytes, *, number: int = 1, priority: int = 3, box: str = "box-1") -> Envelope:
    return sealed_envelope(
        box=box, kind="group", priority=Priority(priority), first_tai_ns=number, last_tai_ns=number, content=content
    )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    yield House(tmp_path)


def test_everything_goes_through_in_the_boxs_name(house: House) -> None:
    """(S2-067, S2-068, S2-070, S2-071) The hub knows the box, not the relay, as who said it; nothing is left in between."""
    house.run(2)
    sent = [house.put(number, priority) for number, priority in enumerate((4, 3, 2, 1))]
    sent.append(house.put(9, 3, padding=40_000))
    house.run(30, until=lambda: len(house.arrived()) == 5 and house.is_drained())

    assert set(sent) == set(house.arrived())
    assert {"box-1"} == {row["box"] for row in house.repository.rows("select box from messages where kind <> 'health'")}
    assert house.is_drained()
    assert 5 == len(house.files(house.box, "sent"))
    (row,) = house.repository.rows("select * from boxes where name = 'box-1'")
    assert ("site-1", "relay-1", "online") == (row["site"], row["relay"], row["state"])


def test_custody_is_not_delivery(house: House) -> None:
    """(S2-068) While outside is away the relay keeps it, the box keeps it too, and does not send it again every twenty seconds."""
    house.outer.up = False
    house.outer.kill()
    house.run(2)
    for number in range(10):
        house.put(number, number % 4 + 1)
    house.run(600)
    assert 10 == len(house.files(house.relay, "outbox")) == len(house.files(house.box, "outbox"))
    assert (10, 0) == (house.uplink.report.gauges["in_custody"], house.uplink.report.counts.get("resent", 0))

    house.outer.up = True
    house.run(60, until=lambda: len(house.arrived()) == 10 and house.is_drained())
    assert house.is_drained()
    assert 10 == len(house.files(house.box, "sent"))


def test_the_boxs_window_of_items_is_free_for_more(house: House) -> None:
    """(S2-067) What is in custody takes no room in the window: a hundred items reach the relay while outside is away."""
    house.outer.up = False
    house.outer.kill()
    for number in range(100):
        house.put(number, 4)
    house.run(60)

    assert 100 == len(house.files(house.relay, "outbox"))


def test_a_relay_that_is_killed_again_and_again(house: House) -> None:
    """(S2-068) At any moment, with long items half received: nothing is lost, nothing is twice."""
    sent = {house.put(number, number % 4 + 1, padding=30_000 if number % 5 == 0 else 0) for number in range(30)}
    for _ in range(12):
        house.run(0.7)
        house.kill_relay()
        house.run(0.5)
        house.start_relay()
    house.run(120, until=lambda: len(house.arrived()) == 30 and house.is_drained())

    assert sent == set(house.arrived()) and len(house.arrived()) == 30
    assert house.is_drained()


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_whatever_both_brokers_do(tmp_path: Path, seed: int) -> None:
    """(S2-068, S2-072) Twice, late, never, lost, refused on both sides of the relay: everything arrives once, and all is drained."""
    house = House(tmp_path)
    faults = LinkFaults(
        refuse=0.2, drop=0.03, quota=0.05, twice=0.1, never=0.03, late=0.2, lose=0.02, again=0.1, delay_ns=40_000_000
    )
    for broker in (house.inner, house.outer):
        broker.faults = faults
        broker._random.seed(seed)
    sent = {house.put(number, number % 4 + 1, padding=20_000 if number % 7 == 0 else 0) for number in range(25)}
    house.run(90)
    for broker in (house.inner, house.outer):
        broker.faults = LinkFaults()
    house.run(4000, until=lambda: len(house.arrived()) == 25 and house.is_drained() and not house.files(house.box, "outbox"))

    assert sent == set(house.arrived()) and len(house.arrived()) == 25
    assert house.is_drained()


def test_a_box_that_was_away_hears_when_it_is_back(house: House) -> None:
    """The hub's word waits at the relay until the box listens; then the copy is deleted."""
    house.run(1)
    house.outer.up = False
    house.outer.kill()
    house.put(1)
    house.run(5)
    for link in house.links_of("box-1"):
        link.crash()
    house.stations = [entry for entry in house.stations if entry[0] is not house.box]
    house.outer.up = True
    house.run(60, until=lambda: len(house.arrived()) == 1)
    house.run(5)
    assert 1 == len(house.files(house.relay, "sent"))

    house.uplink = UplinkStation(house.box, UplinkSettings(relays=(INNER,), route="relay", backoff_s_max=5))
    house.uplink.start(house.box.clock.now())
    house.stations.append((house.box, house.uplink))
    house.run(30, until=house.is_drained)
    assert house.is_drained()


def test_a_word_that_died_with_the_broker_is_said_again(house: House) -> None:
    """The broker had taken it, so the relay's copy is gone; the box kept its own and need not wait for the hour to ask (storm seed 1012)."""
    said: list[bytes] = []
    publish = SimulatedBroker.publish

    def dying(broker: SimulatedBroker, link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        if topic.endswith("box-1/ack") and ack_unpacked(payload).committed and not said:
            said.extend(ack_unpacked(payload).committed)
            link.push(house.timeline.tai_ns, Acknowledged(token))
            broker.kill()
        else:
            publish(broker, link, token, topic, payload, retain=retain)

    house.inner.publish = dying.__get__(house.inner)  # type: ignore[method-assign]
    house.put(1)
    house.run(60, until=lambda: bool(said) and house.is_drained())

    assert said and house.is_drained()


def test_a_full_disk_takes_nothing_into_custody(house: House) -> None:
    """Nothing is promised that is not on the disk; the box keeps it and it goes on when there is room."""
    house.run(2)
    house.relay.disk.failing = Failing.READ_ONLY
    identity = house.put(1, 1)
    house.run(30)
    assert house.uplink.report.gauges["in_custody"] == 0
    assert house.relay_station.report.drops["disk_failed"] > 0
    house.relay.disk.failing = Failing.NOT
    house.run(60, until=house.is_drained)

    assert [identity] == house.arrived()


def test_what_comes_twice_at_once_is_in_custody_when_it_is_on_the_disk(house: House) -> None:
    """(S2-068) A broker delivers twice and the disk is full: the second copy is no proof that the first is kept (storm seed 9)."""
    house.run(2)
    house.inner.faults = LinkFaults(again=1.0)
    house.relay.disk.fill(leave_bytes=0)
    identity = house.put(1, 1)
    house.run(5)
    assert house.relay_station.report.drops["disk_full"] > 0
    assert house.uplink.report.gauges["in_custody"] == 0 == len(house.files(house.relay, "outbox"))

    house.relay.disk.fill(leave_bytes=1 << 20)
    house.run(60, until=house.is_drained)
    assert [identity] == house.arrived()


def test_a_sick_disk_is_tried_again_after_a_second(house: House) -> None:
    """(S2-067) Health that is due while nothing can be read wakes nobody at once and for ever; it is said when the disk is well."""
    house.run(4)
    house.relay.disk.failing = Failing.GONE
    for _ in range(10):  # its first health is due after five seconds
        now = house.relay.clock.now()
        wish = house.relay_station.step(now)
        assert wish is not None and SECOND == wish.since(now.monotonic)
        house.timeline.advance(SECOND)
    assert {"disk_failed": 10} == house.relay_station.report.drops

    house.relay.disk.failing = Failing.NOT
    house.relay_station.step(house.relay.clock.now())
    assert 1 == house.relay_station.report.counts["health_said"]


def test_a_sick_disk_passes_a_command_on_once_a_second(house: House) -> None:
    """Passed on and not struck off, it went out again with every answer to it, a thousand times a second (storm seed 4005)."""
    house.run(4)
    Spool(house.relay.disk, "commands/passing").publish("box-1.1", b"not for a relay to read")
    house.relay.disk.failing = Failing.READ_ONLY
    house.run(5)
    assert 4 <= [topic.rpartition("/")[2] for topic, _ in house.inner.published].count("cmd") <= 6

    house.relay.disk.failing = Failing.NOT
    house.run(2)
    assert [] == house.files(house.relay, "commands/passing")


def test_boxes_are_greeted_when_the_disk_is_well(house: House) -> None:
    """(S2-068) It connects while its disk cannot be read: who is to be greeted is on it. When it is well they are, and what they sent
    meanwhile comes again at once, not after the time a box waits for an answer."""
    house.run(2)
    house.inner.drop("site-1/relay-1/relay")
    house.relay.disk.failing = Failing.GONE
    house.run(20, until=lambda: house.relay_station.report.gauges["brokers"] == 0)
    house.run(20, until=lambda: house.relay_station.report.gauges["brokers"] == 1)
    identity = house.put(1, 1)
    house.run(2)
    assert [] == house.arrived()

    house.relay.disk.failing = Failing.NOT
    house.run(5, until=house.is_drained)
    assert [identity] == house.arrived()


def test_a_relay_that_is_full_takes_no_more(tmp_path: Path) -> None:
    """(S2-068) Bounded by its settings; what it promised stays, what it did not stays with the box."""
    house = House(tmp_path, relay={"keep_items_max": 100})
    house.outer.up = False
    house.outer.kill()
    for number in range(130):
        house.put(number, 4)
    house.run(120)
    assert 100 == len(house.files(house.relay, "outbox"))
    assert house.relay_station.report.drops["outbox_full"] > 0
    house.outer.up = True
    house.run(300, until=lambda: len(house.arrived()) == 130)

    assert 130 == len(house.arrived())


def test_outside_only_in_its_window(house: House) -> None:
    """(S2-066, S2-068) The window is the relay's: the box hands over at any time, outside hears of it inside the window only."""
    house.kill_relay()
    house.start_relay(open_every_min=30, open_min=10)  # it is 10:15; the next opens at 10:30
    house.put(1, 1)
    house.run(14 * 60)
    assert [] == house.arrived()
    assert 1 == len(house.files(house.relay, "outbox"))
    house.run(3 * 60)

    assert 1 == len(house.arrived())


def test_an_order_reaches_the_box_through_the_relay(house: House) -> None:
    """(S2-107) Unread and unchanged, to the box it is for; published again by the hub until it is answered."""
    house.put(1)
    house.run(10, until=lambda: bool(house.arrived()))
    tai = house.hub.clock.now().timestamp.tai_ns
    request_evidence(
        house.hub, house.repository, box="box-1", request=Request(Query(since_utc_ns=1, until_utc_ns=2)), about=None, made_tai_ns=tai,
        expires_tai_ns=tai + 10**12,
    )  # fmt: skip
    house.run(20, until=lambda: bool(house.files(house.box, "commands/received")))
    (outgoing,), (received,) = house.hub.disk.list("commands/outgoing"), house.files(house.box, "commands/received")

    assert house.hub.disk.read(f"commands/outgoing/{outgoing}") == house.box.disk.read(f"commands/received/{received}")
    assert [] == house.files(house.relay, "commands/passing")


def test_a_relay_nobody_trusts_is_not_believed(tmp_path: Path) -> None:
    """The hub takes nothing from a relay it does not know; relay and box keep it."""
    house = House(tmp_path, relays=("site-1/another",))
    house.put(1)
    house.run(60)

    assert [] == house.arrived()
    assert house.hub_station.report.drops["unknown_relay"] > 0
    assert 1 == len(house.files(house.box, "outbox"))


def test_the_last_will_of_a_box_reaches_the_hub(house: House) -> None:
    """The house's broker speaks for a box that is gone; the relay says so outside."""
    house.run(5)
    for link in house.links_of("box-1"):
        link.crash()
    house.stations = [entry for entry in house.stations if entry[0] is not house.box]
    house.run(5)

    assert ["lost"] == [row["state"] for row in house.repository.rows("select state from boxes where name = 'box-1'")]


def test_malformed_and_foreign_things_in_the_house(house: House) -> None:
    """Bytes that are no envelope, another box's name inside, a relay behind a relay, pieces with a wrong digest: counted, kept from outside."""
    house.run(1)
    stranger = SimulatedLink({INNER: house.inner}, house.timeline)
    stranger.connect(LinkRequest(INNER, "stranger"))
    house.run(1, until=lambda: bool(stranger.events()))
    tree = "scrubjay/v1/site-1"
    whole = packed(sealed(b"x" * 100, box="box-2"))
    for topic, payload in (
        (f"{tree}/box-2/p1", b"\xff" * 40),
        (f"{tree}/box-3/p1", whole),
        (f"{tree}/relay-9/via/box-2/p1", whole),
        (f"{tree}/relay-1/p1", packed(sealed(b"x", box="relay-1"))),
        (f"{tree}/box-2/bulk/{'0' * 32}", b"no chunk"),
        (f"{tree}/box-2/bulk/{'0' * 32}", chunk_packed(Chunk(0, len(whole), bytes(32), whole))),
        (f"{tree}/box-2/state", b"nothing"),
    ):
        stranger.publish(topic, payload)
    house.run(10)

    assert {
        "bad_envelope": 2,
        "bad_chunk": 1,
        "bad_digest": 1,
        "bad_presence": 1,
        "unexpected_topic": 1,
    } == house.relay_station.report.drops
    assert [] == house.files(house.relay, "outbox") == house.arrived()


def test_custody_is_durable_when_it_is_said(house: House) -> None:
    """(S2-068) Whatever the box has been told is in custody lies on the relay's disk after a power cut at that moment."""
    house.outer.up = False
    house.outer.kill()
    said: list[bytes] = []
    publish = SimulatedBroker.publish

    def listening(broker: SimulatedBroker, link: SimulatedLink, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        if topic.endswith("box-1/ack"):
            said.extend(ack_unpacked(payload).custody)
        publish(broker, link, token, topic, payload, retain=retain)

    house.inner.publish = listening.__get__(house.inner)  # type: ignore[method-assign]
    sent = [house.put(number, 3) for number in range(20)]
    house.run(0.5, until=lambda: len(said) >= 5)
    house.kill_relay()
    house.relay.disk.power_cut(Random(1))
    names = house.files(house.relay, "outbox")

    assert sent and said
    assert all(any(identity.hex() in name for name in names) for identity in said)


def test_presence_through_a_relay_is_the_boxs_own(house: House) -> None:
    """Epoch and words are the box's; the relay has a presence of its own beside it."""
    house.run(5)
    states = [(topic, presence_unpacked(payload).state) for topic, payload in house.outer.published if topic.endswith("/state")]

    assert ("scrubjay/v1/site-1/relay-1/state", "online") in states
    assert ("scrubjay/v1/site-1/relay-1/via/box-1/state", "online") in states


def test_a_late_will_is_not_passed_on_for_the_boxs_word(house: House) -> None:
    """The will of an earlier connection comes after the next one's birth, by another broker of the house, while the hub is away."""
    house.run(5)
    (row,) = house.repository.rows("select * from boxes where name = 'box-1'")
    house.outer.up = False
    house.outer.kill()
    house.inner.drop("site-1/box-1")
    house.run(10)
    stranger = SimulatedLink({INNER: house.inner}, house.timeline)
    stranger.connect(LinkRequest(INNER, "another broker"))
    house.run(1, until=lambda: bool(stranger.events()))
    will = presence_packed(Presence("lost", row["epoch"], house.timeline.tai_ns))
    stranger.publish("scrubjay/v1/site-1/box-1/state", will, retain=True)
    house.run(5)
    house.outer.up = True
    house.run(60)

    (state,) = house.repository.rows("select * from boxes where name = 'box-1'")
    assert ("online", False) == (state["state"], state["epoch"] == row["epoch"])


def test_it_speaks_of_itself_as_a_box_does(house: House) -> None:
    """(S2-067) Every minute the hub hears how much it keeps and how it stands with the outside, beside the boxes; nothing of it stays."""
    house.run(2)
    house.put(1)
    house.run(130)
    rows = house.repository.rows("select fields from messages where box = 'relay-1' and kind = 'health' order by number")
    said = [json.loads(row["fields"]) for row in rows]
    (state,) = house.repository.rows("select * from boxes where name = 'relay-1'")

    assert [5, 65, 125] == [row["uptime_s"] for row in said]
    assert {1} == {row["boxes"] for row in said} and {0} == {row["kept_items"] for row in said}
    assert all(row["free_bytes"] > 0 for row in said)
    assert ("site-1", None, "online") == (state["site"], state["relay"], state["state"])
    assert [] == [name for path in ("outbox", "sent") for name in house.relay.disk.list(path)]


def test_it_says_no_more_of_itself_than_an_hour_while_nobody_hears(tmp_path: Path) -> None:
    """(S2-068) The hub away: sixty of its own wait and no more, and what it did not say is counted; the boxes' have the room."""
    house = House(tmp_path, relay={"health_s": 1})
    house.outer.up = False
    house.outer.kill()
    house.run(80)

    assert 60 == len(house.relay.disk.list("outbox"))
    assert 10 < house.relay_station.report.drops["health_not_said"] < 20
    assert "never" == house.outside.report.gauges["hub_heard_s"]

    house.outer.up = True
    house.run(10)
    assert 0 == len(house.relay.disk.list("sent"))
    assert 0 <= int(house.outside.report.gauges["hub_heard_s"]) < 2
