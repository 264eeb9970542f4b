"""Topics from a broker that lets anybody say anything, those through relays (`via`) above all: understood as written, or dropped and counted."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.link import Received
from firmware.core.download import Piece, Want, Wish, piece_packed, want_packed
from firmware.core.envelope import Ack, Chunk, ack_packed, chunk_packed, packed, sealed_envelope
from firmware.core.message import Priority
from firmware.core.presence import Presence
from firmware.core.presence import packed as presence_packed
from firmware.core.topics import HUB_SUBSCRIPTIONS, RELAY_SUBSCRIPTIONS, parsed, via_subscriptions
from firmware.hub.repository import Repository
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from firmware.relay.settings import RelaySettings
from firmware.relay.station import RelayStation
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation
from simulator.board import SimulatedBoard
from simulator.clock import SimulatedClock, Timeline
from simulator.identity import SimulatedIdentity
from simulator.link import SimulatedBroker, SimulatedLink, matches

LEVELS = st.sampled_from(
    ["scrubjay", "v1", "v2", "site-1", "site-2", "box-1", "box-2", "relay-1", "relay-9", "via", "via", "state", "p1", "p4", "p5", "bulk", "want", "piece", "cmd", "ack",
     "0" * 32, "g" * 32, "", "+", "#", "..", "a/../b", "x" * 64, "BOX", "é", "\x00"]
)  # fmt: skip
ENDS = st.sampled_from(["state", "p1", "p3", "want", "piece", "cmd", "ack", f"bulk/{'0' * 32}", "bulk", "p9"])
LIKELY = st.builds(
    lambda site, first, through, end: f"scrubjay/v1/{site}/{first}{through}/{end}",
    st.sampled_from(["site-1", "site-2"]), st.sampled_from(["box-1", "relay-1", "relay-9"]), st.sampled_from(["", "/via/box-1", "/via/relay-1", "/via/a b", "/via"]), ENDS,
)  # fmt: skip
TOPICS = LIKELY | st.lists(LEVELS, max_size=9).map("/".join)
ENVELOPE = packed(
    sealed_envelope(box="box-1", kind="group", priority=Priority.P3, first_tai_ns=1, last_tai_ns=2, content=b"\x80")
)
PAYLOADS = st.binary(max_size=30) | st.sampled_from(
    [ENVELOPE, ENVELOPE[:-1], chunk_packed(Chunk(0, 9, bytes(32), b"abc")), chunk_packed(Chunk(5, 1 << 22, bytes(32), b"x")),
     ack_packed(Ack(committed=(bytes(16),))), ack_packed(Ack(custody=(bytes(16),))), ack_packed(Ack()),
     presence_packed(Presence("online", bytes(8), 1)), want_packed(Want(Wish(bytes(32), 9), 2, 5)), piece_packed(Piece(Wish(bytes(32), 9), 0, b"abc"))]
)  # fmt: skip


class House:
    """Relay and hub on one broker, connected."""

    def __init__(self, directory: Path) -> None:
        self.timeline, self.links = Timeline(), list[SimulatedLink]()
        self.broker = SimulatedBroker(self.timeline)
        self.relay, hub = self.board("relay-1", 1), self.board("hub-1", 2)
        self.database = str(directory / "hub.sqlite")
        self.stations = [
            (self.relay, RelayStation(self.relay, RelaySettings(brokers=("in:1",)))),
            (self.relay, UplinkStation(self.relay, UplinkSettings(brokers=("in:1",)), forwards=True)),
            (hub, HubStation(hub, HubSettings(brokers=("in:1",), database=self.database, relays=("site-1/relay-1",)))),
        ]
        for board, station in self.stations:
            station.start(board.clock.now())
        for _ in range(4):
            self.step()
        self.repository = Repository(self.database)

    def board(self, name: str, seed: int) -> SimulatedBoard:
        def make() -> SimulatedLink:
            self.links.append(SimulatedLink({"in:1": self.broker}, self.timeline))
            return self.links[-1]

        return SimulatedBoard(
            clock=SimulatedClock(self.timeline), identity=SimulatedIdentity(name=name, seed=seed), make_link=make
        )

    def step(self) -> None:
        for board, station in self.stations:
            station.step(board.clock.now())
        self.timeline.advance(1_000_000_000)

    def kept(self) -> set[str]:
        """What the relay keeps of others; of itself it says something every minute."""
        return {name for name in self.relay.disk.list("outbox") if "-relay-1." not in name}

    def say(self, topic: str, payload: bytes) -> None:
        """To everybody, subscribed or not."""
        for link in self.links:
            link.push(self.timeline.tai_ns, Received(topic, payload))
        self.step()


@given(TOPICS)
@settings(max_examples=500, deadline=None)
def test_any_topic(topic: str) -> None:
    """What is understood is written back the same, and came by a subscription; nothing else is understood."""
    ours = parsed(topic)
    if ours is None:
        return

    assert topic == str(ours)
    subscribed = (*RELAY_SUBSCRIPTIONS, *HUB_SUBSCRIPTIONS, *via_subscriptions(ours.site, ours.relay or ours.box))
    assert ours.channel in ("cmd", "ack", "piece") or any(matches(one, topic) for one in subscribed)
    assert not any(mark in level for level in (ours.site, ours.box, ours.relay or "") for mark in "+#/.")


def test_any_topic_with_any_payload_at_relay_and_hub(tmp_path_factory) -> None:
    """Neither stops; the hub learns of no box through a relay nobody enrolled; the relay keeps nothing a `via` brought it. (S2-067, S2-071)"""
    house = House(tmp_path_factory.mktemp("house"))
    heard: list[str] = []

    @given(st.lists(st.tuples(TOPICS, PAYLOADS), min_size=1, max_size=4))
    @settings(max_examples=120, deadline=None)
    def say(said: list[tuple[str, bytes]]) -> None:
        for topic, payload in said:
            kept = house.kept()
            house.say(topic, payload)
            ours = parsed(topic)
            heard.append(topic)
            if ours is None or ours.relay is not None:
                assert house.kept() <= kept

    say()
    rows = house.repository.rows("select site, name, relay from boxes")
    assert {row["relay"] for row in rows} <= {None, "relay-1"}
    assert {row["name"] for row in rows} <= {"box-1", "box-2", "relay-1", "relay-9"}
    assert heard and all(station.report.drops.get("unexpected_topic", 0) for _, station in house.stations)
