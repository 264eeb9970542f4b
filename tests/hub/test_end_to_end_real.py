"""Uplink and hub with paho over a real mosquitto that is killed while it acknowledges: nothing lost, nothing twice."""

import datetime
import ipaddress
import select
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from drivers.clock import ClockState, Timestamp
from drivers.linux.board import LinuxBoard
from firmware.core import message, release
from firmware.core.envelope import packed, sealed_envelope
from firmware.core.message import Message, Priority, Severity
from firmware.core.query import Query
from firmware.core.request import Request
from firmware.core.spool import Spool
from firmware.hub.order import request_evidence
from firmware.hub.repository import Repository
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation
from simulator.broker import BrokerTls, RealBroker, mosquitto


class Fleet:
    """A box's uplink and a hub, stepped by hand; waits on their descriptors only."""

    def __init__(self, directory: Path, broker: RealBroker, *, uplink: dict[str, object] | None = None, **both: object) -> None:
        self.box = LinuxBoard(directory / "box", directory / "box-identity")
        self.hub_board = LinuxBoard(directory / "hub", directory / "hub-identity")
        self.database = str(directory / "hub.sqlite")
        brokers = (broker.address,)
        self.uplink = UplinkStation(
            self.box, UplinkSettings(brokers=brokers, backoff_s_max=1, acknowledge_s_max=2, **(both | (uplink or {})))
        )  # type: ignore[arg-type]
        self.hub = HubStation(self.hub_board, HubSettings(brokers=brokers, database=self.database, backoff_s_max=1, **both))  # type: ignore[arg-type]
        self.uplink.start(self.box.clock.now())
        self.hub.start(self.hub_board.clock.now())
        self.repository = Repository(self.database)
        self.outbox = Spool(self.box.disk, "outbox")

    def run(self, done: Callable[[], bool], *, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while not done():
            left = until - time.monotonic()
            assert left > 0, f"not done: {self.uplink.report.as_json()} {self.hub.report.as_json()}"
            now = self.box.clock.now().monotonic
            wishes = [self.uplink.step(self.box.clock.now()), self.hub.step(self.hub_board.clock.now())]
            waits = [max(0.0, wish.since(now) / 1e9) for wish in wishes if wish is not None]
            select.select([*self.uplink.descriptors(), *self.hub.descriptors()], [], [], min([left, 0.5, *waits]))

    def meet(self) -> None:
        """Both are connected and the hub has heard of the box."""
        self.run(lambda: bool(self.repository.boxes()))

    def publish(self, number: int, priority: Priority = Priority.P3, *, padding: bytes = b"") -> bytes:
        tai = self.box.clock.now().timestamp.tai_ns
        stamp = Timestamp(tai, 1000, "ptp", ClockState.LOCKED)
        one = Message(
            "robot-1",
            "arm",
            "published",
            priority,
            Severity.ERROR,
            stamp,
            stamp,
            sequence=number,
            attachment=("application/octet-stream", padding),
        )
        envelope = sealed_envelope(
            box=self.box.identity.name, kind="group", priority=priority, first_tai_ns=tai, last_tai_ns=tai,
            content=message.packed([one]),
        )  # fmt: skip
        self.outbox.publish(release.name_of(priority, tai, f"g-{number}"), packed(envelope))
        return one.identity

    def empty(self) -> bool:
        return not self.box.disk.list("outbox")

    def arrived(self) -> list[bytes]:
        return [row["identity"] for row in self.repository.rows("select identity from messages order by number")]

    def end(self) -> None:
        self.uplink.stop(self.box.clock.now())
        self.hub.stop(self.hub_board.clock.now())
        self.repository.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RealBroker]:
    broker = RealBroker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def fleet(tmp_path: Path, broker: RealBroker) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, broker)
    fleet.meet()
    yield fleet
    fleet.end()


def test_a_restored_hub_gets_again_what_it_lacks(tmp_path: Path, broker: RealBroker) -> None:
    """As docs/uplink.md says: what was committed after the backup is in the box's sent/; back in outbox/ it is sent again, and absorbed."""
    fleet = Fleet(tmp_path, broker)
    fleet.meet()
    first = [fleet.publish(number) for number in range(3)]
    fleet.run(fleet.empty)
    with sqlite3.connect(fleet.database) as base, sqlite3.connect(tmp_path / "backup.sqlite") as copy:
        base.backup(copy)
    later = [fleet.publish(number) for number in range(3, 6)]
    fleet.run(fleet.empty)
    fleet.end()
    for ending in ("-wal", "-shm"):
        Path(fleet.database + ending).unlink(missing_ok=True)
    (tmp_path / "backup.sqlite").rename(fleet.database)
    fleet = Fleet(tmp_path, broker)
    assert first == fleet.arrived()
    for path in (tmp_path / "box" / "sent").iterdir():
        path.rename(tmp_path / "box" / "outbox" / path.name)
    fleet.run(fleet.empty)

    assert sorted(first + later) == sorted(fleet.arrived())
    fleet.end()


def test_a_message_of_each_priority_arrives(fleet: Fleet) -> None:
    """(S2-060, S2-065) All four, the most important first on each connection, and the outbox is empty only when the hub has them."""
    sent = [fleet.publish(number, Priority(4 - number)) for number in range(4)]
    fleet.run(fleet.empty)
    arrived = fleet.arrived()

    assert [sent[3], sent[2]] == [identity for identity in arrived if identity in sent[2:]]
    assert [sent[1], sent[0]] == [identity for identity in arrived if identity in sent[:2]]
    assert fleet.uplink.report.gauges["lanes"] == 2
    assert {"1": 1, "2": 1, "3": 1, "4": 1} == {
        str(row["priority"]): row["count"]
        for row in fleet.repository.rows("select priority, count(*) as count from messages group by priority")
    }


def test_broker_killed_while_acknowledging(fleet: Fleet, broker: RealBroker) -> None:
    """(S2-072) SIGKILL of a broker without persistence, three times in a stream of messages: all there, each once."""
    sent = []
    for round_number in range(4):
        sent += [fleet.publish(round_number * 100 + number, Priority(number % 4 + 1)) for number in range(100)]
        wanted = round_number * 100 + 30
        fleet.run(lambda wanted=wanted: len(fleet.arrived()) >= wanted)  # type: ignore[misc]
        if round_number < 3:
            broker.kill()
            broker.start()
    fleet.run(fleet.empty)

    assert sorted(sent) == sorted(fleet.arrived())


def test_long_item_resumes_after_kills(fleet: Fleet, broker: RealBroker) -> None:
    """An item of many pieces goes on from where the hub is, not from its beginning."""
    identity = fleet.publish(1, padding=fleet.box.identity.entropy(6_000_000))
    for chunks in (300, 800):
        fleet.run(lambda chunks=chunks: fleet.hub.report.counts.get("chunks", 0) >= chunks)  # type: ignore[misc]
        broker.kill()
        broker.start()
    fleet.run(fleet.empty)

    assert [identity] == fleet.arrived()
    # From its beginning it would be 8 MB and more; a piece has 130 bytes around it.
    assert fleet.uplink.report.counts["bytes"] < 7_000_000


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
@pytest.mark.parametrize("limit", [2000, 5000, 40_000])
def test_a_broker_that_takes_no_long_message(tmp_path: Path, limit: int) -> None:
    """(S2-060) mosquitto's message_size_limit, which it does not announce: what is longer is refused, and goes in shorter pieces."""

    class Limited(RealBroker):
        def _configuration(self) -> str:
            return super()._configuration() + f"message_size_limit {limit}\n"

    broker = Limited(tmp_path / "broker")
    broker.start()
    fleet = Fleet(tmp_path, broker)
    try:
        fleet.meet()
        sent = [
            fleet.publish(1, Priority.P1, padding=fleet.box.identity.entropy(50_000)),
            fleet.publish(2, Priority.P3, padding=fleet.box.identity.entropy(3_000)),
            fleet.publish(3, Priority.P3, padding=fleet.box.identity.entropy(1_000_000)),
            fleet.publish(4, Priority.P4),
        ]
        fleet.run(fleet.empty)

        assert sorted(sent) == sorted(fleet.arrived())
    finally:
        fleet.end()
        broker.stop()


def test_alarm_overtakes_a_long_item(fleet: Fleet) -> None:
    """(S2-060) An alarm that comes while evidence is on its way does not wait for its end."""
    fleet.publish(1, Priority.P3, padding=fleet.box.identity.entropy(6_000_000))
    fleet.run(lambda: fleet.hub.report.counts.get("chunks", 0) >= 5)
    alarm = fleet.publish(2, Priority.P1)
    fleet.run(lambda: bool(fleet.arrived()))

    assert [alarm] == fleet.arrived()
    assert fleet.hub.report.counts["chunks"] < 40


def test_command_reaches_the_box_and_stays_until_answered(fleet: Fleet) -> None:
    """(S2-107) Published to the box's own topic, untouched; kept at the hub, for the box has not answered yet."""
    fleet.publish(1)
    fleet.run(fleet.empty)
    tai = fleet.hub_board.clock.now().timestamp.tai_ns
    request = Request(Query(since_utc_ns=1, until_utc_ns=2))
    request_evidence(
        fleet.hub_board, fleet.repository, box=fleet.box.identity.name, request=request, about=None, made_tai_ns=tai,
        expires_tai_ns=tai + 10**12,
    )  # fmt: skip
    (outgoing,) = fleet.hub_board.disk.list("commands/outgoing")
    signed = fleet.hub_board.disk.read(f"commands/outgoing/{outgoing}")
    fleet.run(lambda: bool(fleet.box.disk.list("commands/received")))
    (received,) = fleet.box.disk.list("commands/received")
    (kept,) = fleet.hub_board.disk.list("commands/outgoing")  # by its name, or that of what is on its way

    assert (
        signed == fleet.hub_board.disk.read(f"commands/outgoing/{kept}") == fleet.box.disk.read(f"commands/received/{received}")
    )


def test_over_tls_with_certificates(tmp_path: Path) -> None:
    """(S2-069) mTLS: with the fleet's certificates all arrives; who has none gets no connection."""
    tls = certificates(tmp_path)
    broker = RealBroker(tmp_path / "broker", tls=tls)
    broker.start()
    files = {"ca": str(tls.ca), "certificate": str(tls.certificate), "key": str(tls.key)}
    fleet = Fleet(tmp_path, broker, **files)
    try:
        fleet.meet()
        sent = [fleet.publish(number) for number in range(5)]
        fleet.publish(9, padding=fleet.box.identity.entropy(200_000))
        fleet.run(fleet.empty)
        assert sent == fleet.arrived()[:5]
    finally:
        fleet.end()
    plain = Fleet(tmp_path / "plain", broker)
    try:
        plain.publish(1)
        plain.run(lambda: plain.uplink.report.counts.get("disconnected", 0) >= 2)
        assert "connected" not in plain.uplink.report.counts
    finally:
        plain.end()
        broker.stop()


def test_a_certificate_that_expires_during_a_session(tmp_path: Path) -> None:
    """(S2-069) The session outlives it, the next attempt says why it fails, nothing is lost, and a new file is enough to go on."""
    tls = certificates(tmp_path, lasts_s=6)
    lasting = certificates(tmp_path / "lasting", authority=tmp_path)
    broker = RealBroker(tmp_path / "broker", tls=BrokerTls(tls.ca, lasting.certificate, lasting.key))
    broker.start()
    fleet = Fleet(
        tmp_path, broker, uplink={"ca": str(tls.ca), "certificate": str(tls.certificate), "key": str(tls.key)},
        ca=str(tls.ca), certificate=str(lasting.certificate), key=str(lasting.key),
    )  # fmt: skip
    try:
        fleet.meet()
        fleet.publish(1)
        fleet.run(fleet.empty)
        fleet.run(lambda: datetime.datetime.now(datetime.UTC) > expiry(tls.certificate) + datetime.timedelta(seconds=1))
        fleet.publish(2)
        fleet.run(fleet.empty)
        assert 2 == len(fleet.arrived())

        broker.kill()
        broker.start()
        fleet.publish(3)
        fleet.run(lambda: fleet.uplink.report.drops.get("certificate_expired", 0) > 0)
        assert str(fleet.uplink.report.gauges["broker_trouble"]).startswith("our certificate has expired; our clock says ")
        tls.certificate.write_bytes(lasting.certificate.read_bytes())
        tls.key.write_bytes(lasting.key.read_bytes())
        fleet.run(fleet.empty)
        assert 3 == len(fleet.arrived())
    finally:
        fleet.end()
        broker.stop()


def test_a_broker_whose_certificate_has_expired(tmp_path: Path) -> None:
    """(S2-069) Not spoken to, and said in words."""
    lasting = certificates(tmp_path)
    old = certificates(tmp_path / "old", lasts_s=-60, authority=tmp_path)
    broker = RealBroker(tmp_path / "broker", tls=BrokerTls(lasting.ca, old.certificate, old.key))
    broker.start()
    fleet = Fleet(tmp_path, broker, ca=str(lasting.ca), certificate=str(lasting.certificate), key=str(lasting.key))
    try:
        fleet.publish(1)
        fleet.run(lambda: fleet.uplink.report.drops.get("certificate_expired", 0) > 0)
        assert str(fleet.uplink.report.gauges["broker_trouble"]).startswith(
            "the broker's certificate has expired; our clock says "
        )
        assert not fleet.empty()
    finally:
        fleet.end()
        broker.stop()


def test_a_listener_whose_certificate_is_replaced(tmp_path: Path) -> None:
    """(S2-069) In the middle of a session the broker comes back with a certificate that has expired, then with a stranger's: the box
    speaks to neither, says in words which it is, and keeps everything; with one renewed it goes on, and each arrives once."""
    good = certificates(tmp_path)
    old = certificates(tmp_path / "old", lasts_s=-60, authority=tmp_path)
    strange = certificates(tmp_path / "strange")
    serving = BrokerTls(good.ca, tmp_path / "serving.pem", tmp_path / "serving.key")

    def show(which: BrokerTls) -> None:
        serving.certificate.write_bytes(which.certificate.read_bytes())
        serving.key.write_bytes(which.key.read_bytes())
        if broker.pid is not None:
            broker.kill()
        broker.start()

    def trouble() -> object:
        return fleet.uplink.report.gauges["broker_trouble"]

    broker = RealBroker(tmp_path / "broker", tls=serving)
    show(good)
    fleet = Fleet(tmp_path, broker, ca=str(good.ca), certificate=str(good.certificate), key=str(good.key))
    try:
        fleet.meet()
        sent = [fleet.publish(1)]
        fleet.run(fleet.empty)
        show(old)
        sent += [fleet.publish(number, Priority(number % 4 + 1)) for number in range(2, 12)]
        sent.append(fleet.publish(12, padding=fleet.box.identity.entropy(200_000)))
        fleet.run(lambda: str(trouble()).startswith("the broker's certificate has expired; our clock says "))
        assert fleet.uplink.report.drops["certificate_expired"] > 0
        show(strange)
        fleet.run(
            lambda: str(trouble()).startswith(
                ("ca does not certify the broker", "the broker's certificate: certificate signature")
            )
        )
        assert 11 == len(fleet.box.disk.list("outbox"))

        show(good)
        fleet.run(fleet.empty)
        assert sorted(sent) == sorted(fleet.arrived())
        assert "none" == trouble()
    finally:
        fleet.end()
        broker.stop()


def expiry(certificate: Path) -> datetime.datetime:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def certificates(
    directory: Path,
    *,
    begins_s: float = -3600,
    lasts_s: float = 3600,
    authority: Path | None = None,
    authority_lasts_s: float = 3600,
) -> BrokerTls:
    """A certificate for everybody on loopback from and until so many seconds from now, by a new authority or by the one made in another
    directory."""
    directory.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def made(subject: str, key: ec.EllipticCurvePrivateKey, begins_s: float, lasts_s: float) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("test authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(seconds=begins_s))
            .not_valid_after(now + datetime.timedelta(seconds=lasts_s))
        )

    place = authority or directory
    if authority is None:
        fresh = ec.generate_private_key(ec.SECP256R1())
        signed = made("test authority", fresh, -3600, authority_lasts_s).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        (place / "ca.pem").write_bytes(signed.sign(fresh, hashes.SHA256()).public_bytes(Encoding.PEM))
        (place / "authority.pem").write_bytes(fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    authority_key = load_pem_private_key((place / "authority.pem").read_bytes(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        made("box", key, begins_s, lasts_s).add_extension(alternative, critical=False).sign(authority_key, hashes.SHA256())
    )
    files = BrokerTls(place / "ca.pem", directory / "certificate.pem", directory / "key.pem")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files
