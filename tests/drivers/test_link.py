"""The link's contract, held by paho over a real mosquitto and by the simulated link alike."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from drivers.errors import NotConnected, TooLarge
from drivers.link import Acknowledged, Connected, Disconnected, Link, LinkEvent, LinkRequest, Received, Refused
from drivers.linux.link import PahoLink
from simulator.broker import BrokerTls, RealBroker, free_port, mosquitto
from simulator.clock import Timeline
from simulator.link import MUTE_NS, LinkFaults, SimulatedBroker, SimulatedLink, matches
from tests.hub.test_end_to_end_real import certificates


class World(Protocol):
    address: str

    def link(self) -> Link: ...
    def heard(self, link: Link, enough: Callable[[list[LinkEvent]], bool]) -> list[LinkEvent]: ...
    def kill_broker(self) -> None: ...


class RealWorld:
    def __init__(self, directory: Path) -> None:
        self.broker = RealBroker(directory)
        self.broker.start()
        self.address = self.broker.address
        self.links: list[Link] = []

    def link(self) -> Link:
        self.links.append(PahoLink())
        return self.links[-1]

    def heard(self, link: Link, enough: Callable[[list[LinkEvent]], bool]) -> list[LinkEvent]:
        found: list[LinkEvent] = []
        until = time.monotonic() + 12
        while not enough(found):
            left = until - time.monotonic()
            assert left > 0, f"nothing more came after {found}"
            select.select([link.fileno()], [], [], left)
            found += link.events()
        return found

    def kill_broker(self) -> None:
        self.broker.kill()

    def end(self) -> None:
        for link in self.links:
            link.close()
        self.broker.stop()


class SimulatedWorld:
    def __init__(self) -> None:
        self.timeline = Timeline()
        self.broker = SimulatedBroker(self.timeline, faults=LinkFaults(delay_ns=20_000_000))
        self.address = "broker:1883"

    def link(self) -> Link:
        return SimulatedLink({self.address: self.broker}, self.timeline)

    def heard(self, link: Link, enough: Callable[[list[LinkEvent]], bool]) -> list[LinkEvent]:
        found = link.events()
        for _ in range(1000):
            if enough(found):
                return found
            self.timeline.advance(1_000_000)
            found += link.events()
        raise AssertionError(f"nothing more came after {found}")

    def kill_broker(self) -> None:
        self.broker.kill()
        self.broker.up = False


@pytest.fixture(params=["real", "simulated"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "simulated":
        yield SimulatedWorld()
        return
    real = RealWorld(tmp_path / "broker")
    yield real
    real.end()


def has(kind: type) -> Callable[[list[LinkEvent]], bool]:
    return lambda found: any(isinstance(event, kind) for event in found)


def received(found: list[LinkEvent]) -> list[Received]:
    return [event for event in found if isinstance(event, Received)]


def connected(world: World, client: str, **extra: object) -> Link:
    link = world.link()
    link.connect(LinkRequest(world.address, client, **extra))  # type: ignore[arg-type]
    world.heard(link, has(Connected))
    return link


def test_connecting_tells_the_brokers_limits(world: World) -> None:
    """Connected carries what the broker takes in flight and in one packet."""
    link = world.link()
    link.connect(LinkRequest(world.address, "one"))
    event = next(event for event in world.heard(link, has(Connected)) if isinstance(event, Connected))

    assert event.receive_maximum == 100
    assert event.maximum_packet_bytes >= 1 << 20


def test_publication_arrives_and_is_acknowledged(world: World) -> None:
    """QoS 1 to a subscriber with a wildcard: Acknowledged names the token, Received carries topic and bytes."""
    hub, box = connected(world, "hub"), connected(world, "box")
    hub.subscribe(["scrubjay/+/p1"])
    flush(world, hub)
    token = box.publish("scrubjay/b/p1", b"\x00alarm")

    assert Acknowledged(token) in world.heard(box, has(Acknowledged))
    assert Received("scrubjay/b/p1", b"\x00alarm") in world.heard(hub, has(Received))


def flush(world: World, link: Link) -> None:
    """A subscription has taken effect when something published to it comes back."""
    link.subscribe(["flush/+"])
    link.publish("flush/x", b"")
    world.heard(link, has(Received))


def test_nobody_listening_is_refused(world: World) -> None:
    """PUBACK 0x10: the broker threw it away, and that is not a delivery."""
    box = connected(world, "box")
    token = box.publish("scrubjay/b/p1", b"x")

    assert Refused(token, "0x10") in world.heard(box, has(Refused))


def test_before_the_connection_nothing_is_taken(world: World) -> None:
    """Publishing and subscribing before Connected raise, and keep nothing for later."""
    link = world.link()
    with pytest.raises(NotConnected):
        link.publish("t", b"x")
    with pytest.raises(NotConnected):
        link.subscribe(["t"])


def test_no_broker_there(world: World) -> None:
    """An attempt at nobody ends in one Disconnected."""
    link = world.link()
    link.connect(LinkRequest(f"127.0.0.1:{free_port()}", "one"))
    (event,) = world.heard(link, has(Disconnected))

    assert isinstance(event, Disconnected)


def test_broker_killed_while_connected(world: World) -> None:
    """The connection's end comes as an event; after it nothing can be published."""
    link = connected(world, "one")
    world.kill_broker()
    world.heard(link, has(Disconnected))

    with pytest.raises(NotConnected):
        link.publish("t", b"x")


def test_will_is_published_when_the_connection_is_lost_and_not_when_left(world: World) -> None:
    """The last will speaks for who was lost; who says goodbye speaks for himself."""
    hub = connected(world, "hub")
    hub.subscribe(["state/+"])
    flush(world, hub)
    polite = connected(world, "polite", will_topic="state/polite", will_payload=b"lost")
    polite.disconnect()
    world.heard(polite, has(Disconnected))
    connected(world, "rude", will_topic="state/rude", will_payload=b"lost")
    connected(world, "rude")  # The same client again: the broker drops the first (MQTT 5 §3.1.4-3).

    assert [Received("state/rude", b"lost")] == received(world.heard(hub, has(Received)))


def test_a_retained_publication_waits_for_subscribers(world: World) -> None:
    """Birth is retained, so that who comes later sees it."""
    box = connected(world, "box")
    box.publish("state/box", b"online", retain=True)
    world.heard(box, lambda found: has(Acknowledged)(found) or has(Refused)(found))
    hub = connected(world, "hub")
    hub.subscribe(["state/+"])

    assert [Received("state/box", b"online")] == received(world.heard(hub, has(Received)))


def test_nothing_is_remembered_over_a_reconnect(world: World) -> None:
    """A second connection sends nothing of the first by itself, and has to subscribe again."""
    hub = connected(world, "hub")
    hub.subscribe(["t/+"])
    flush(world, hub)
    hub.connect(LinkRequest(world.address, "hub"))
    world.heard(hub, has(Connected))
    box = connected(world, "box")
    token = box.publish("t/1", b"x")

    assert Refused(token, "0x10") in world.heard(box, has(Refused))


def test_hundreds_arrive_in_order(world: World) -> None:
    """Also beyond what the link holds unread, nothing is lost or reordered on one connection."""
    hub, box = connected(world, "hub"), connected(world, "box")
    hub.subscribe(["t/+"])
    flush(world, hub)
    for start in range(0, 600, 50):
        for number in range(start, start + 50):
            box.publish("t/1", b"%d" % number)
        world.heard(box, lambda found: sum(isinstance(event, Acknowledged) for event in found) >= 50)
    got = world.heard(hub, lambda found: sum(isinstance(event, Received) for event in found) >= 600)

    assert [b"%d" % number for number in range(600)] == [event.payload for event in received(got)]


def test_closing_twice_is_as_good_as_once(world: World) -> None:
    """Also with a publication unacknowledged, and before any connection."""
    link = connected(world, "one")
    link.publish("t", b"x")
    link.close()
    world.link().close()


def test_real_link_refuses_what_the_broker_would_not_take(tmp_path: Path) -> None:
    """Maximum Packet Size is the broker's word; paho alone sends larger ones anyway."""
    broker = SmallBroker(tmp_path)
    broker.start()
    link = PahoLink()
    try:
        link.connect(LinkRequest(broker.address, "one"))
        RealWorld.heard(None, link, has(Connected))  # type: ignore[arg-type]
        with pytest.raises(TooLarge):
            link.publish("t", bytes(4096))
        link.publish("t", bytes(4000))
    finally:
        link.close()
        broker.stop()


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
def test_real_link_takes_a_refusal_that_mqtt_does_not_know(tmp_path: Path) -> None:
    """mosquitto's message_size_limit answers PUBACK 0x95, which MQTT 5 has for other packets only: a refusal, and the connection lives."""
    broker = LimitedBroker(tmp_path)
    broker.start()
    link = PahoLink()
    try:
        link.connect(LinkRequest(broker.address, "one"))
        RealWorld.heard(None, link, has(Connected))  # type: ignore[arg-type]
        link.subscribe(["t"])
        tokens = [link.publish("t", bytes(size)) for size in (4000, 4097, 1)]
        found = RealWorld.heard(None, link, lambda found: has(Disconnected)(found) or tokens[2] in answered(found))  # type: ignore[arg-type]

        assert {tokens[0]: None, tokens[1]: "0x95", tokens[2]: None} == answered(found)
    finally:
        link.close()
        broker.stop()


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
def test_real_link_to_a_broker_that_retains_nothing(tmp_path: Path) -> None:
    """It takes no retained will, and ends the connection over a retained publication: both go unretained, and nothing depends on it."""
    broker = ForgetfulBroker(tmp_path)
    broker.start()
    hub, box, other = PahoLink(), PahoLink(), PahoLink()
    try:
        hub.connect(LinkRequest(broker.address, "hub"))
        RealWorld.heard(None, hub, has(Connected))  # type: ignore[arg-type]
        hub.subscribe(["state/+"])
        token = hub.publish("state/flush", b"", retain=True)
        RealWorld.heard(None, hub, lambda found: has(Received)(found) and token in answered(found))  # type: ignore[arg-type]
        box.connect(LinkRequest(broker.address, "box", will_topic="state/box", will_payload=b"lost"))
        RealWorld.heard(None, box, has(Connected))  # type: ignore[arg-type]
        token = box.publish("state/box", b"online", retain=True)
        assert Acknowledged(token) in RealWorld.heard(None, box, has(Acknowledged))  # type: ignore[arg-type]
        other.connect(LinkRequest(broker.address, "box"))
        RealWorld.heard(None, box, has(Disconnected))  # type: ignore[arg-type]
        found = RealWorld.heard(None, hub, lambda found: len(received(found)) >= 2)  # type: ignore[arg-type]

        assert [Received("state/box", b"online"), Received("state/box", b"lost")] == received(found)
    finally:
        for link in (hub, box, other):
            link.close()
        broker.stop()


def answered(found: list[LinkEvent]) -> dict[int, str | None]:
    """By token: None, or why it was refused."""
    return {event.token: getattr(event, "reason", None) for event in found if isinstance(event, Acknowledged | Refused)}


def test_real_link_speaks_the_older_version_to_an_older_broker(tmp_path: Path) -> None:
    """A broker of MQTT 3.1.1 (amqtt, what runs where mosquitto cannot be installed) is used all the same, with a window of our own."""
    broker = RealBroker(tmp_path, embedded=True)
    broker.start()
    link = PahoLink()
    try:
        link.connect(LinkRequest(broker.address, "one", will_topic="w", will_payload=b"gone"))
        first = RealWorld.heard(None, link, has(Connected))  # type: ignore[arg-type]
        link.subscribe(["t/+"])
        token = link.publish("t/1", bytes(70_000))
        found = RealWorld.heard(None, link, lambda found: has(Received)(found) and has(Acknowledged)(found))  # type: ignore[arg-type]

        assert 20 == next(event for event in first if isinstance(event, Connected)).receive_maximum
        assert Acknowledged(token) in found
        assert [Received("t/1", bytes(70_000))] == received(found)
    finally:
        link.close()
        broker.stop()


class SmallBroker(RealBroker):
    def _configuration(self) -> str:
        return super()._configuration() + "max_packet_size 4096\n"


class ForgetfulBroker(RealBroker):
    """It keeps nothing for who comes later, and says so."""

    def _configuration(self) -> str:
        return super()._configuration() + "retain_available false\n"


class LimitedBroker(RealBroker):
    """It takes no payload of more than 4 KiB, and does not say so beforehand."""

    def _configuration(self) -> str:
        return super()._configuration() + "message_size_limit 4096\n"


def test_real_link_survives_a_stopped_broker(tmp_path: Path) -> None:
    """A broker that takes the connection and then says nothing holds nobody up: close returns."""
    broker = RealBroker(tmp_path)
    broker.start()
    link = PahoLink()
    pid = broker.pid
    assert pid is not None
    try:
        link.connect(LinkRequest(broker.address, "one"))
        RealWorld.heard(None, link, has(Connected))  # type: ignore[arg-type]
        os.kill(pid, signal.SIGSTOP)
        link.publish("t", bytes(100_000))
        before = time.monotonic()
        link.close()

        assert time.monotonic() - before < 3
    finally:
        os.kill(pid, signal.SIGCONT)
        broker.kill()


def test_real_link_to_a_name_most_of_whose_addresses_are_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(S2-065) As where a network drops IPv6 in silence and the name has several such addresses: the one that answers is found in time."""
    broker = RealBroker(tmp_path)
    broker.start()
    link = PahoLink()
    with ExitStack() as stack:
        dead = [stack.enter_context(silent()) for _ in range(3)]
        ports = [*dead, broker.port]
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answer)
        try:
            link.connect(LinkRequest(f"broker.example:{broker.port}", "one"))
            found = RealWorld.heard(None, link, lambda found: has(Connected)(found) or has(Disconnected)(found))  # type: ignore[arg-type]
            assert has(Connected)(found), found

            broker.kill()
            RealWorld.heard(None, link, has(Disconnected))  # type: ignore[arg-type]
            answer[:3] = []
            link.connect(LinkRequest(f"broker.example:{broker.port}", "one"))
            assert [Disconnected("ConnectionRefusedError")] == RealWorld.heard(None, link, has(Disconnected))  # type: ignore[arg-type]
        finally:
            link.close()
            broker.stop()


@contextmanager
def silent() -> Iterator[int]:
    """A loopback port that lets every attempt wait, as a dead address does: its queue of connections is full."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_a_callback_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """paho alone would call itself connected for ever (paho pitfall 5): here Disconnected follows."""

    def mistaken(*_: object) -> None:
        raise AssertionError("a mistake of ours")

    monkeypatch.setattr("drivers.linux.link._Connection._on_publish", mistaken)
    broker = RealBroker(tmp_path)
    broker.start()
    link = PahoLink()
    try:
        link.connect(LinkRequest(broker.address, "one"))
        RealWorld.heard(None, link, has(Connected))  # type: ignore[arg-type]
        link.publish("t", b"x")
        RealWorld.heard(None, link, has(Disconnected))  # type: ignore[arg-type]
        with pytest.raises(NotConnected):
            link.publish("t", b"x")
    finally:
        link.close()
        broker.stop()


def test_a_link_where_no_thread_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt has failed, as any other may; the next one may do better."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    link = PahoLink()
    with monkeypatch.context() as nowhere:
        nowhere.setattr(threading.Thread, "start", refuse)
        link.connect(LinkRequest("127.0.0.1:1", "box"))
    ready = select.select([link.fileno()], [], [], 0)[0]

    assert ([link.fileno()], [Disconnected("no thread is to be had")]) == (ready, link.events())
    link.connect(LinkRequest("127.0.0.1:1", "box"))
    select.select([link.fileno()], [], [], 5)
    assert [Disconnected("ConnectionRefusedError")] == link.events()
    link.close()


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
def test_real_link_says_in_words_why_tls_fails(tmp_path: Path) -> None:
    """(S2-069) A file that is missing or is not one, a key of another certificate, a certificate the broker does not take, none where it
    wants one, none of TLS at all: whoever reads it knows where to look."""
    good, other = certificates(tmp_path / "good"), certificates(tmp_path / "other")
    broker = RealBroker(tmp_path / "broker", tls=good)
    broker.start()
    link = PahoLink()
    files = {"ca": str(good.ca), "certificate": str(good.certificate), "key": str(good.key)}

    def said(**changed: str | None) -> str:
        link.connect(LinkRequest(broker.address, "one", **(files | changed)))  # type: ignore[arg-type]
        (event,) = RealWorld.heard(None, link, has(Disconnected))  # type: ignore[arg-type]
        assert isinstance(event, Disconnected)
        return event.reason

    try:
        assert "key cannot be read: No such file or directory" == said(key=str(tmp_path / "none.pem"))
        assert "ca cannot be read: Is a directory" == said(ca=str(tmp_path))
        assert said(ca=str(good.key)).startswith("ca, certificate and key cannot be used: ")
        assert "ca, certificate and key cannot be used: KEY_VALUES_MISMATCH" == said(key=str(other.key))
        refused = said(certificate=str(other.certificate), key=str(other.key))
        assert "the broker hung up after TLS; it may not take our certificate" == refused
        assert "the broker hung up after TLS; it may want a certificate" == said(certificate=None, key=None)
        assert "the broker hung up at once; it may want TLS" == said(ca=None, certificate=None, key=None)
    finally:
        link.close()
        broker.stop()


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
def test_real_link_says_whose_certificate_is_out_of_time(tmp_path: Path) -> None:
    """(S2-069) The broker's, ours, the authority's, too old or too new, and with which clock: it may be the clock that is wrong."""
    good, later = certificates(tmp_path / "good"), certificates(tmp_path / "later", begins_s=1800, authority=tmp_path / "good")
    gone = certificates(tmp_path / "gone", authority_lasts_s=-60)

    def said(serving: BrokerTls, ours: BrokerTls) -> str:
        broker, link = RealBroker(tmp_path / "broker", tls=serving), PahoLink()
        broker.start()
        before = time.strftime("%Y-%m-%d", time.gmtime())
        try:
            files = {"ca": str(serving.ca), "certificate": str(ours.certificate), "key": str(ours.key)}
            link.connect(LinkRequest(broker.address, "one", **files))  # type: ignore[arg-type]
            (event,) = RealWorld.heard(None, link, has(Disconnected))  # type: ignore[arg-type]
        finally:
            link.close()
            broker.stop()
        assert isinstance(event, Disconnected)
        what, _, day = event.reason.partition("; our clock says ")
        assert day in (before, time.strftime("%Y-%m-%d", time.gmtime()))
        return what

    assert "the broker's certificate is not valid yet" == said(later, good)
    assert "our certificate is not valid yet" == said(good, later)
    assert "the certificate in ca has expired" == said(gone, good)


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
def test_real_link_does_not_ask_a_terminal_for_a_pass_phrase(tmp_path: Path) -> None:
    """(S2-069) OpenSSL alone would, and the attempt wait there for as long as somebody has the terminal open; it is said."""
    good = certificates(tmp_path)
    key = load_pem_private_key(good.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    good.key.write_bytes(locked)
    terminal, screen = os.openpty()
    program = (
        "import fcntl, select, sys, termios\n"
        "from drivers.link import LinkRequest\n"
        "from drivers.linux.link import PahoLink\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "link = PahoLink()\n"
        "link.connect(LinkRequest('127.0.0.1:1', 'one', ca=sys.argv[1], certificate=sys.argv[2], key=sys.argv[3]))\n"
        "select.select([link.fileno()], [], [], 5)\n"
        "print(link.events(), flush=True)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(good.ca), str(good.certificate), str(good.key)],
            stdin=screen, stdout=subprocess.PIPE, start_new_session=True, check=True, text=True, timeout=20,
        )  # fmt: skip
        asked = bool(select.select([terminal], [], [], 0)[0])
    finally:
        os.close(terminal)
        os.close(screen)

    assert ("[Disconnected(reason='key has a pass phrase; expected one without')]\n", False) == (done.stdout, asked)


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
def test_real_link_says_in_words_what_else_answers(tmp_path: Path) -> None:
    """(S2-069) A broker without TLS at this port, a captive portal, a broker that lets nobody in, one not certified by ca."""
    good, other = certificates(tmp_path / "good"), certificates(tmp_path / "other")
    plain, closed = RealBroker(tmp_path / "plain"), ClosedBroker(tmp_path / "closed")
    secure = RealBroker(tmp_path / "secure", tls=good)
    link = PahoLink()

    def said(broker: str, **files: str) -> str:
        link.connect(LinkRequest(broker, "one", **files))  # type: ignore[arg-type]
        (event,) = RealWorld.heard(None, link, has(Disconnected))  # type: ignore[arg-type]
        assert isinstance(event, Disconnected)
        return event.reason

    with socket.create_server(("127.0.0.1", 0)) as portal:
        portal.settimeout(10)

        def answer() -> None:
            wire, _ = portal.accept()
            with wire:
                wire.recv(2048)
                wire.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            for broker in (plain, closed, secure):
                broker.start()
            assert said(plain.address, ca=str(good.ca)).startswith("no TLS is spoken there (")
            assert said(f"127.0.0.1:{portal.getsockname()[1]}", ca=str(good.ca)).startswith("no TLS is spoken there (")
            assert "the broker refused: 0x87, it does not let us in" == said(closed.address)
            assert said(secure.address, ca=str(other.ca)).startswith(("ca does not certify", "the broker's certificate: "))
        finally:
            thread.join()
            link.close()
            for broker in (plain, closed, secure):
                broker.stop()


class ClosedBroker(RealBroker):
    """It wants a user and a password."""

    def _configuration(self) -> str:
        return super()._configuration().replace("allow_anonymous true", "allow_anonymous false")


def test_topic_filters() -> None:
    """+ is one level, # is the rest (MQTT 5 §4.7)."""
    assert matches("a/+/c", "a/b/c")
    assert matches("a/#", "a/b/c")
    assert matches("#", "a")
    assert not matches("a/+", "a/b/c")
    assert not matches("a/+/c", "a/b")
    assert not matches("a/b", "a/b/c")


def test_a_path_that_dies_takes_what_is_on_it() -> None:
    """Only simulated: nothing arrives in either direction, both ends find out later, and the will speaks then."""
    timeline = Timeline()
    broker = SimulatedBroker(timeline, faults=LinkFaults(mute=1.0))
    box, hub = (SimulatedLink({"broker:1": broker}, timeline) for _ in range(2))
    for link, request in ((box, LinkRequest("broker:1", "box", "state", b"lost")), (hub, LinkRequest("broker:1", "hub"))):
        link.connect(request)
        link.events()
        link.subscribe(["ack" if link is box else "#"])
    box.publish("p1", b"an alarm")
    broker.faults = LinkFaults()
    token = hub.publish("ack", b"to nobody any more")

    assert Acknowledged(token) in hub.events()
    assert ([], ["ack"]) == (box.events(), [topic for topic, _ in broker.published])
    timeline.advance(MUTE_NS)
    assert [Disconnected("the connection was lost")] == box.events()
    hub.publish("ack", b"again")
    assert Received("state", b"lost") in hub.events()
