"""Box, relay and hub over two real brokers, the outer one with mutual TLS; both are killed while it goes through."""

import select
import time
from collections.abc import Callable
from pathlib import Path

from drivers.linux.board import LinuxBoard
from firmware.core import message, release
from firmware.core.envelope import packed, sealed_envelope
from firmware.core.message import Message, Priority, Severity
from firmware.core.spool import Spool
from firmware.hub.repository import Repository
from firmware.hub.settings import HubSettings
from firmware.hub.station import HubStation
from firmware.relay.settings import RelaySettings
from firmware.relay.station import RelayStation
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.station import UplinkStation
from simulator.broker import RealBroker
from tests.hub.test_end_to_end_real import certificates


def test_through_a_relay_over_tls_with_both_brokers_killed(tmp_path: Path) -> None:
    """(S2-067, S2-068, S2-069, S2-070) Every envelope of the box is committed by the hub once; box and relay are empty in the end."""
    tls = certificates(tmp_path / "tls")
    inner, outer = RealBroker(tmp_path / "inner"), RealBroker(tmp_path / "outer", tls=tls)
    inner.start()
    outer.start()
    files = {"ca": str(tls.ca), "certificate": str(tls.certificate), "key": str(tls.key)}
    boards = {name: LinuxBoard(tmp_path / name, tmp_path / f"{name}-identity") for name in ("box", "relay", "hub")}
    box, relay, hub = boards.values()
    database = str(tmp_path / "hub.sqlite")
    stations = [
        (box, UplinkStation(box, UplinkSettings(route="relay", relays=(inner.address,), backoff_s_max=1, acknowledge_s_max=2))),
        (relay, RelayStation(relay, RelaySettings(brokers=(inner.address,), backoff_s_max=1))),
        (relay, UplinkStation(relay, UplinkSettings(brokers=(outer.address,), backoff_s_max=1, acknowledge_s_max=2, **files), forwards=True)),  # type: ignore[arg-type]
        (hub, HubStation(hub, HubSettings(brokers=(outer.address,), database=database, backoff_s_max=1, relays=(f"{relay.identity.site}/{relay.identity.name}",), **files))),  # type: ignore[arg-type]
    ]  # fmt: skip
    for board, station in stations:
        station.start(board.clock.now())
    repository = Repository(database)
    outbox = Spool(box.disk, "outbox")

    def run(done: Callable[[], bool]) -> None:
        until = time.monotonic() + 40
        while not done():
            assert time.monotonic() < until, f"not done: {[station.report.as_json() for _, station in stations]}"
            for board, station in stations:
                station.step(board.clock.now())
            select.select([fd for _, station in stations for fd in station.descriptors()], [], [], 0.02)

    def committed() -> set[bytes]:
        return {
            row["identity"]
            for row in repository.rows(
                "select identity from envelopes where outcome = 'committed' and box = ?", box.identity.name
            )
        }

    def is_empty() -> bool:
        return not any((box.disk.list("outbox"), relay.disk.list("outbox"), relay.disk.list("sent")))

    sent = set()
    try:
        for number in range(20):
            stamp = box.clock.now().timestamp
            noise = ("application/octet-stream", box.identity.entropy(200_000 if number % 5 == 0 else 100))
            one = Message(
                "robot-1",
                "arm",
                "published",
                Priority(number % 4 + 1),
                Severity.ERROR,
                stamp,
                stamp,
                sequence=number,
                attachment=noise,
            )
            envelope = sealed_envelope(
                box=box.identity.name, kind="group", priority=one.priority, first_tai_ns=number, last_tai_ns=number,
                content=message.packed([one]),
            )  # fmt: skip
            outbox.publish(release.name_of(envelope.priority, number, f"g{number}"), packed(envelope))
            sent.add(envelope.identity)
        run(lambda: len(committed()) >= 3)
        for broker in (inner, outer):
            broker.kill()
            broker.start()
        run(lambda: committed() == sent and is_empty())
    finally:
        for board, station in stations:
            station.stop(board.clock.now())
        repository.close()
        inner.stop()
        outer.stop()

    assert 20 == len(box.disk.list("sent"))
