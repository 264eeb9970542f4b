"""The real link and the uplink against a broker that answers as badly as it can, and paho's ten pitfalls (fleet study §3), each by its number."""

import resource
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.errors import NotConnected
from drivers.link import Acknowledged, Connected, Disconnected, LinkEvent, LinkRequest, Refused
from drivers.linux.board import LinuxBoard
from drivers.linux.link import PahoLink
from firmware.core import release
from firmware.core.envelope import Ack, ack_packed, packed, sealed_envelope, unpacked
from firmware.core.errors import BadItem
from firmware.core.message import Priority
from firmware.core.spool import Spool
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation
from tests.drivers.hostile_broker import Connection, HostileBroker, all_well, backwards, never, quota, twice


@pytest.fixture
def link() -> Iterator[PahoLink]:
    link = PahoLink()
    yield link
    link.close()


def heard(link: PahoLink, enough: Callable[[list[LinkEvent]], bool], *, seconds: float = 10) -> list[LinkEvent]:
    found: list[LinkEvent] = []
    until = time.monotonic() + seconds
    while not enough(found):
        left = until - time.monotonic()
        assert left > 0, f"nothing more came after {found[-5:]}"
        select.select([link.fileno()], [], [], left)
        found += link.events()
    return found


def connected(link: PahoLink, broker: HostileBroker) -> Connected:
    link.connect(LinkRequest(broker.address, "one"))
    return next(
        event for event in heard(link, lambda found: any(isinstance(e, Connected) for e in found)) if isinstance(event, Connected)
    )


class Box:
    """An uplink on a real disk and a real link."""

    def __init__(self, directory: Path, broker: HostileBroker, **settings: object) -> None:
        self.board = LinuxBoard(directory / "box", directory / "identity")
        wanted = {"brokers": (broker.address,), "backoff_s_max": 1, "acknowledge_s_max": 1} | settings
        self.station = UplinkStation(self.board, UplinkSettings(**wanted))  # type: ignore[arg-type]
        self.station.start(self.board.clock.now())
        self.outbox = Spool(self.board.disk, "outbox")
        self.broker = broker
        self.identities = [self._put(number) for number in range(30)]

    def _put(self, number: int) -> bytes:
        envelope = sealed_envelope(
            box=self.board.identity.name, kind="group", priority=Priority(number % 4 + 1), first_tai_ns=number, last_tai_ns=number,
            content=b"x%d" % number,
        )  # fmt: skip
        self.outbox.publish(release.name_of(envelope.priority, number, f"g{number}"), packed(envelope))
        return envelope.identity

    def run(self, done: Callable[[], bool], *, seconds: float = 15) -> None:
        until = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < until, f"not done: {self.station.report.as_json()}"
            wish = self.station.step(self.board.clock.now())
            now = self.board.clock.now().monotonic
            left = 0.05 if wish is None else max(0.0, min(0.05, wish.since(now) / 1e9))
            select.select(self.station.descriptors(), [], [], left)

    def seen(self) -> set[bytes]:
        found = set()
        for topic, payload in self.broker.published():
            if topic.rpartition("/")[2] in ("p1", "p2", "p3", "p4"):
                try:
                    found.add(unpacked(payload).identity)
                except BadItem:
                    continue
        return found

    def acknowledge(self, *identities: bytes) -> None:
        site, name = self.board.identity.site, self.board.identity.name
        self.broker.say(f"scrubjay/v1/{site}/{name}/ack", ack_packed(Ack(identities)))

    def end(self) -> None:
        self.station.stop(self.board.clock.now())


@pytest.mark.parametrize("answers", [all_well, twice, backwards, never, quota])
def test_nothing_is_lost_whatever_the_broker_says(
    tmp_path: Path, answers: Callable[[Connection, int], list[tuple[int, int]]]
) -> None:
    """(S2-072) PUBACK twice, backwards, never, or a refusal: every item stays until the hub has it, and goes when it says so."""
    with HostileBroker(answers).open() as broker:
        box = Box(tmp_path, broker)
        # One who never answers gets no more than a window, and four of them have to be there for one who answers backwards.
        box.run(lambda: len(box.seen()) >= (24 if answers is not quota else 8))
        assert 30 == len(box.board.disk.list("outbox"))
        assert [] == box.board.disk.list("sent")

        def told() -> bool:
            box.acknowledge(*box.identities[:10], bytes(16))
            return len(box.board.disk.list("sent")) >= 8

        if answers not in (quota, never):
            box.run(told)
        box.end()
        left, sent = box.board.disk.list("outbox"), box.board.disk.list("sent")

    assert 30 == len([name for name in left if not name.startswith(".")]) + len(sent)
    assert {release.name_of(Priority(n % 4 + 1), n, f"g{n}") for n in range(10)} >= set(sent)
    assert {} == {cause: count for cause, count in box.station.report.drops.items() if cause != "broker_stuck"}


def test_a_broker_that_hangs_up_on_one_item(tmp_path: Path) -> None:
    """(S2-072) It closes the connection instead of answering, as AWS IoT does: that item waits for itself, and the hub gets all others."""

    def hang_up(connection: Connection, identifier: int) -> list[tuple[int, int]]:
        topic, payload = connection.published[-1]
        if topic.endswith("/p1") and unpacked(payload).identity == poison:
            connection.drop()
            return []
        return [(identifier, 0)]

    with HostileBroker(hang_up).open() as broker:
        box = Box(tmp_path, broker, acknowledge_s_max=20)
        poison = box.identities[0]
        others = set(box.identities) - {poison}

        def told() -> bool:
            box.acknowledge(*(box.seen() & others))
            return len(box.board.disk.list("sent")) == len(others)

        box.run(told)
        box.end()

    assert [release.name_of(Priority(1), 0, "g0")] == box.board.disk.list("outbox")
    assert "p1: ended the connection, the connection was lost" == box.station.report.gauges["broker_refuses"]


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 100, ack_packed(Ack((bytes(16),) * 1000)), bytes(200_000)])
def test_acknowledgements_that_are_none(tmp_path: Path, garbage: bytes) -> None:
    """(S2-072) On its own topic, from whoever got past the broker: counted, and nothing is taken for delivered."""
    with HostileBroker(all_well).open() as broker:
        box = Box(tmp_path, broker)
        box.run(lambda: len(box.seen()) >= 24)
        broker.say(f"scrubjay/v1/{box.board.identity.site}/{box.board.identity.name}/ack", garbage)
        broker.say("scrubjay/v1/other/box-9/ack", ack_packed(Ack(tuple(box.identities))))
        box.run(lambda: box.station.report.drops.get("unexpected_topic", 0) == 1)
        box.end()

    assert 30 == len(box.board.disk.list("outbox"))


def test_a_broker_that_lets_nothing_be_heard(tmp_path: Path) -> None:
    """(S2-072) It refuses the subscriptions: items go, nothing is confirmed, and the status says why."""
    with HostileBroker(all_well, subscribed=0x87).open() as broker:
        box = Box(tmp_path, broker)
        box.run(lambda: len(box.seen()) >= 24 and "0x87" in str(box.station.report.gauges["broker_refuses"]))
        box.end()

    assert "what we are to hear, 0x87" == box.station.report.gauges["broker_refuses"]
    assert 30 == len(box.board.disk.list("outbox"))


def test_pitfall_1_receive_maximum(tmp_path: Path) -> None:
    """(S2-072) paho keeps 20 in flight whatever the broker announces; we never exceed what it takes, which would be its right to end it."""
    with HostileBroker(never, receive_maximum=5).open() as broker:
        box = Box(tmp_path, broker)
        box.run(lambda: len(box.seen()) >= 4)  # and our own birth
        with pytest.raises(AssertionError, match="not done"):
            box.run(lambda: False, seconds=0.5)
        box.end()

    assert 5 == max(connection.most_unanswered for connection in broker.connections)


def test_pitfall_2_and_7_nothing_is_queued_or_sent_again_by_the_client(link: PahoLink) -> None:
    """(S2-072) paho puts all its queue in flight after a reconnect, and keeps 2 kB a message until then: ours holds nothing over a connection."""
    with HostileBroker(never).open() as broker:
        connected(link, broker)
        for number in range(50):
            link.publish("t", b"%d" % number)
        broker.connections[0].drop()
        heard(link, lambda found: any(isinstance(event, Disconnected) for event in found))
        with pytest.raises(NotConnected):
            link.publish("t", b"while away")
        connected(link, broker)
        link.publish("t", b"new")
        until = time.monotonic() + 5
        while not broker.connections[-1].published and time.monotonic() < until:
            select.select([link.fileno()], [], [], 0.05)

        assert [("t", b"new")] == broker.connections[-1].published


def test_pitfall_3_a_refusal_is_not_a_delivery(link: PahoLink) -> None:
    """(S2-072) PUBACK 0x97: paho counts it as published; here it is Refused."""
    with HostileBroker(quota).open() as broker:
        connected(link, broker)
        tokens = [link.publish("t", b"x") for _ in range(6)]
        found = [event for event in heard(link, lambda found: len(found) >= 6) if isinstance(event, Acknowledged | Refused)]

    assert {token: token & 0xFFFF for token in tokens} == {event.token: event.token & 0xFFFF for event in found}
    assert all(isinstance(event, Acknowledged) == ((event.token & 0xFFFF) % 3 == 0) for event in found)


def test_pitfall_4_attempts_are_not_in_step(tmp_path: Path) -> None:
    """(S2-072) paho tries after exactly 1, 3, 7 and 15 s, and a fleet with it; ours are drawn anew, each box its own."""
    waits = []
    for name in ("one", "two"):
        with HostileBroker(all_well).open() as broker:
            address = broker.address
        board = LinuxBoard(tmp_path / name, tmp_path / f"{name}-identity")
        station = UplinkStation(board, UplinkSettings(brokers=(address,)))
        station.start(board.clock.now())
        connection = station._wire.a.connection
        waits.append([connection.jitter(1 << 60) for _ in range(20)])
        station.stop(board.clock.now())

    assert not set(waits[0]) & set(waits[1])
    assert max(waits[0]) > 2 * min(waits[0])


def test_pitfall_6_a_slow_station_does_not_hold_the_client_up(link: PahoLink) -> None:
    """(S2-072) paho calls back under the lock that publishing needs; ours only queues there, so 300 unread answers cost the 301st nothing."""
    with HostileBroker(all_well).open() as broker:
        connected(link, broker)
        longest = 0.0
        for _ in range(300):
            began = time.monotonic()
            link.publish("t", b"x")
            longest = max(longest, time.monotonic() - began)
        found = heard(link, lambda found: len(found) >= 300)

    assert 300 == len(found)
    assert longest < 1.0


def test_pitfall_9_leaving_with_something_unanswered(link: PahoLink) -> None:
    """(S2-072) paho's loop_stop waits for ever for one publication without an answer; close returns."""
    with HostileBroker(never).open() as broker:
        connected(link, broker)
        link.publish("t", bytes(100_000))
        began = time.monotonic()
        link.close()

        assert time.monotonic() - began < 5


def test_pitfall_10_more_than_a_thousand_descriptors(link: PahoLink) -> None:
    """(S2-072) paho's own loop selects, which ends at descriptor 1023; ours polls."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1500:
        pytest.skip(f"only {hard} descriptors may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1500), hard))
    files = [Path("/dev/null").open() for _ in range(1100)]  # noqa: SIM115  (closed below)
    high = PahoLink()
    try:
        with HostileBroker(all_well).open() as broker:
            high.connect(LinkRequest(broker.address, "one"))
            poll = select.poll()
            poll.register(high.fileno(), select.POLLIN)
            found: list[LinkEvent] = []
            while not any(isinstance(event, Connected) for event in found):
                assert poll.poll(10_000)
                found = high.events()
            token = high.publish("t", b"x")
            while Acknowledged(token) not in found:
                assert poll.poll(10_000)
                found = high.events()
    finally:
        high.close()
        for file in files:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
