"""The page's interface, asked over HTTP as a browser would, of the real server on a real store."""

import hashlib
import http.client
import io
import json
import resource
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from drivers.clock import ClockState, Timestamp
from drivers.linux.board import LinuxBoard
from drivers.linux.identity import trust
from firmware.core.edition import Edition, Offered, as_text, signed
from firmware.core.envelope import Order, command_unpacked, order_unpacked
from firmware.core.errors import DiskFailed, DiskFull
from firmware.core.message import Message, Priority, Severity
from firmware.core.presence import Presence
from firmware.core.report import Report, publish
from firmware.core.request import cancelled_by, from_parameters
from firmware.core.signature import is_signed_by
from firmware.core.streams import wish
from firmware.core.topics import Topic
from firmware.core.wording import Wording
from firmware.hub.fleet import Fleet, HubFailed, Wish, box_line, message_line, request_line, understood
from firmware.hub.repository import EvidenceState, Repository, RepositoryFailed
from firmware.hub.settings import HubSettings
from firmware.hub.web import serve
from simulator.broker import free_port
from simulator.identity import SimulatedIdentity

from .keeper import Keeper

SECOND = 1_000_000_000
TAI = 1_795_342_537 * SECOND  # 2026-11-22T10:15:00Z
COMMAND = bytes(range(16))


class Hub:
    """A serving page, its store and a way to ask it."""

    def __init__(self, directory: Path) -> None:
        self.board = LinuxBoard(directory / "store", directory / "identity")
        self.supervisor = Keeper()
        self.board.supervisor = self.supervisor
        self.settings = HubSettings(database=str(directory / "hub.sqlite"), page_port=0)
        self.repository = Repository(self.settings.database)
        self.thread = threading.Thread(target=serve, args=(self.board, self.settings))
        self.thread.start()
        assert self.supervisor.started.wait(10), "the page did not start"
        self.port = int(self.supervisor.status.rpartition(":")[2].strip("/"))

    def ask(
        self, path: str, *, method: str = "GET", body: object = None, headers: dict[str, str] | None = None, raw: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            data = json.dumps(body).encode() if body is not None else raw
            known = {"Content-Type": "application/json"} if method == "POST" else {}
            connection.request(method, path, body=data, headers={**known, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> dict[str, object]:
        status, _, body = self.ask(path)
        assert status == 200, body
        found = json.loads(body)
        assert isinstance(found, dict)
        return found

    def add(
        self, number: int, priority: Priority = Priority.P1, text: str = "arm stopped", *, behind_s: int = 0, **fields: object
    ) -> bytes:
        stamp = Timestamp(TAI + number * SECOND, 1000, "ptp", ClockState.LOCKED)
        claimed = replace(stamp, tai_ns=stamp.tai_ns - behind_s * SECOND)
        one = Message(
            "robot-1", "arm", "published", priority, Severity.ERROR, claimed, stamp, sequence=number, text=text, fields=fields
        )  # type: ignore[arg-type]
        with self.repository.transaction():
            self.repository.box_seen(Topic("site-1", "box-1", "state"), TAI)
            self.repository.box_said("box-1", Presence("online", bytes(8), TAI), TAI)
            self.repository.add_messages([one], box="box-1", envelope=bytes(16), now_tai_ns=TAI + number * SECOND)
        return one.identity

    def knock(self) -> None:
        self.board.disk.write("news/.latest", b"")
        self.board.disk.rename("news/.latest", "news/latest")

    def end(self) -> None:
        self.supervisor.stop = True
        self.knock()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.repository.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path)
    yield hub
    hub.end()


def test_a_full_disk_does_not_end_the_page(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of itself finds no room; who looks is told so, not what the hub said of itself before, and the keeper hears that it lives."""
    publish(hub.board.disk, "hub", [Report("hub", gauges={"brokers": 0})], hub.board.clock.now())
    refused = threading.Semaphore(0)

    def full(path: str, data: object) -> None:
        refused.release()
        raise DiskFull("expected room")

    with monkeypatch.context() as disk:
        disk.setattr(hub.board.disk, "write", full)
        for _ in range(2):
            assert refused.acquire(timeout=10)
        assert "its disk is full" == hub.get("/api/boxes")["trouble"]
    assert hub.thread.is_alive()


def test_messages_in_order_of_arrival_and_by_choice(hub: Hub) -> None:
    """(S2-121) All, those after a number, the newest few, one priority, one box."""
    for number in range(5):
        hub.add(number, Priority(number % 2 + 1))

    def numbers(question: str) -> list[object]:
        found = hub.get(f"/api/messages{question}")["messages"]
        assert isinstance(found, list)
        return [row["number"] for row in found]

    assert [1, 2, 3, 4, 5] == numbers("")
    assert [4, 5] == numbers("?after=3")
    assert [4, 5] == numbers("?newest=2")
    assert [1, 2] == numbers("?newest=2&before=3")
    assert [2, 4] == numbers("?priority=2")
    assert [] == numbers("?box=box-2")


def test_a_message_says_what_who_and_when(hub: Hub) -> None:
    """UTC, priority, severity, origin, text and fields; numbers a browser would round come as text."""
    identity = hub.add(1, temperature_c=41.5, serial=1 << 60, endless=float("inf"))
    (found,) = hub.get("/api/messages")["messages"]  # type: ignore[misc]

    assert {"temperature_c": 41.5, "serial": str(1 << 60), "endless": "inf"} == found["fields"]
    assert ("2026-11-22T10:15:01.000Z", 1, 3, "box-1", identity.hex(), None) == (
        found["origin"], found["priority"], found["severity"], found["box"], found["identity"], found["evidence"],
    )  # fmt: skip


def test_a_long_text_is_cut_in_a_list_and_whole_by_itself(hub: Hub) -> None:
    """(S2-121) A list says that it is cut and how long it is; the message alone has all of it."""
    hub.add(1, text="x" * 5000)
    hub.add(2, text="y" * 4000)
    first, second = hub.get("/api/messages")["messages"]  # type: ignore[misc]

    assert (5000, None) == (first["cut_from"], second["cut_from"])
    assert "x" * 4000 + " … (5000 characters)" == first["text"]
    assert "x" * 5000 == hub.get("/api/messages/1")["text"]
    assert [404, 404] == [hub.ask(f"/api/messages/{number}")[0] for number in ("3", "9" * 200)]


def test_boxes_with_state_and_counts(hub: Hub) -> None:
    """(S2-120) Who is there, since when, and how much of what has come."""
    hub.add(1)
    hub.add(2, Priority.P3)
    found = hub.get("/api/boxes")

    assert {"1": 1, "3": 1} == found["messages"]
    assert [{"name": "box-1", "site": "site-1", "state": "online", "since": "2026-11-22T10:15:00.000Z", "seen": "2026-11-22T10:15:00.000Z"}] == found["boxes"]  # fmt: skip


@pytest.mark.parametrize("behind_s", [7200, -600])
def test_evidence_around_a_message_of_a_device_whose_clock_is_wrong(hub: Hub, behind_s: int) -> None:
    """(S2-107) Around when the box heard it: the frames carry its clock's stamps, and the one that carried the message is among them."""
    identity = hub.add(60, behind_s=behind_s)
    body = {"box": "box-1", "message": identity.hex(), "before_s": 30, "after_s": 10, "only_message": True}
    assert 202 == hub.ask("/api/evidence", method="POST", body=body)[0]
    (name,) = hub.board.disk.list("commands/outgoing")
    order = order_unpacked(command_unpacked(hub.board.disk.read(f"commands/outgoing/{name}")).order)
    heard = TAI + 60 * SECOND - 37 * SECOND

    assert {"since": heard - 30 * SECOND, "until": heard + 10 * SECOND, "message": identity.hex()} == order.parameters


def test_evidence_is_asked_for_signed_and_followed(hub: Hub) -> None:
    """(S2-107) ±30 s around a message become a signed order in commands/outgoing/; progress and file follow."""
    identity = hub.add(60)
    status, _, body = hub.ask(
        "/api/evidence", method="POST", body={"box": "box-1", "message": identity.hex(), "before_s": 30, "after_s": 10}
    )
    assert status == 202
    command = json.loads(body)["command"]
    (name,) = hub.board.disk.list("commands/outgoing")
    signed = command_unpacked(hub.board.disk.read(f"commands/outgoing/{name}"))
    order = order_unpacked(signed.order)
    utc = TAI + 60 * SECOND - 37 * SECOND

    assert is_signed_by(hub.board.identity.public_key(), signed.signature, signed.signed_bytes)
    assert ("box-1", "retrieval", command) == (order.box, order.deed, order.identity.hex())
    assert {"since": utc - 30 * SECOND, "until": utc + 10 * SECOND} == order.parameters
    assert ("waiting", None) == tuple(hub.get(f"/api/evidence/{command}")[key] for key in ("state", "download"))

    with hub.repository.transaction():
        hub.repository.put_evidence(EvidenceState(order.identity, "box-1", 1, 2_500_000, 7, True), TAI)
    content = bytes(range(250)) * 10_000
    hub.board.disk.mkdir("evidence")
    hub.board.disk.write(f"evidence/{command}.pcapng", content)
    link = hub.get(f"/api/evidence/{command}")["download"]
    status, headers, body = hub.ask(str(link))

    assert (200, content) == (status, body)
    assert f'attachment; filename="{command}.pcapng"' == headers["content-disposition"]
    assert command == hub.get("/api/messages")["messages"][0]["evidence"]  # type: ignore[index]


def _complete(hub: Hub, content: bytes) -> str:
    """As the hub's station leaves it; where it is downloaded."""
    name, digest = COMMAND.hex(), hashlib.sha256(content).hexdigest()
    hub.board.disk.mkdir("evidence")
    hub.board.disk.write(f"evidence/{name}.pcapng", content)
    hub.board.disk.write(f"evidence/{name}.json", json.dumps({"bytes": len(content), "sha256": digest}).encode())
    return f"/evidence/{name}.pcapng"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_download_that_broke_off_goes_on(hub: Hub, tmp_path: Path) -> None:
    """(S3-08, S3-09) curl -C - has 700,000 bytes of it and asks for the others alone; who has all of it is told so."""
    content = bytes(range(250)) * 10_000
    path, into = _complete(hub, content), tmp_path / "here.pcapng"
    into.write_bytes(content[:700_000])
    curl = [
        "curl",
        "-sS",
        "-C",
        "-",
        "-o",
        str(into),
        "-w",
        "%{http_code} %{size_download}",
        f"http://127.0.0.1:{hub.port}{path}",
    ]

    assert f"206 {len(content) - 700_000}" == subprocess.run(curl, capture_output=True, text=True, check=True, timeout=20).stdout
    assert content == into.read_bytes()
    status, headers, body = hub.ask(path, headers={"Range": f"bytes={len(content)}-"})
    assert (416, f"bytes */{len(content)}", False) == (status, headers["content-range"], body.startswith(content[:10]))


def test_a_download_of_what_has_changed_meanwhile(hub: Hub) -> None:
    """(S3-09) Who has begun with other bytes gets all of these: nobody's file is half of one and half of the other."""
    former, content = b"former" * 100_000, bytes(range(250)) * 10_000
    _, headers, body = hub.ask(_complete(hub, former))
    path, tag = _complete(hub, content), headers["etag"]
    rest = {"Range": "bytes=1000000-", "If-Range": tag}
    status, headers, body = hub.ask(path, headers=rest)

    assert (200, content) == (status, body)
    assert tag != headers["etag"] and "content-range" not in headers
    status, headers, body = hub.ask(path, headers=rest | {"If-Range": headers["etag"]})
    assert (206, content[1_000_000:]) == (status, body)
    assert (f"bytes 1000000-{len(content) - 1}/{len(content)}", str(len(content) - 1_000_000)) == (
        headers["content-range"], headers["content-length"],
    )  # fmt: skip


def test_a_download_whose_file_is_replaced_while_it_is_sent(hub: Hub) -> None:
    """(S3-09) As when a hub that lost its database gets the same evidence again: the answer breaks off, and is not the beginning of the one and
    the end of the other at the right length."""
    former = b"former--" * (3 << 19)  # more than the buffers between hold
    path, disk = _complete(hub, former), hub.board.disk
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        begun = answer.read(1_000)
        disk.remove(f"{path[1:].removesuffix('.pcapng')}.json")
        disk.write("evidence/.new.pcapng", b"latter--" * (3 << 19))
        disk.rename("evidence/.new.pcapng", path[1:])
        with pytest.raises(http.client.IncompleteRead) as broken:
            answer.read()

    assert former.startswith(begun + broken.value.partial)


def test_a_download_that_is_only_asked_about(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """(S3-08) HEAD says how long it is, which it is and that it may be resumed, whatever range comes with it, and reads nothing of it."""
    content = bytes(range(250)) * 10_000
    path, read = _complete(hub, content), list[str]()
    disk_read = hub.board.disk.read

    def noted(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        read.append(path)
        return disk_read(path, offset=offset, size=size)

    monkeypatch.setattr(hub.board.disk, "read", noted)
    status, headers, body = hub.ask(path, method="HEAD", headers={"Range": "bytes=5-"})

    assert (200, b"") == (status, body)
    assert (str(len(content)), "bytes", f'"{hashlib.sha256(content).hexdigest()}"') == tuple(
        headers[name] for name in ("content-length", "accept-ranges", "etag")
    )
    assert path[1:] not in read


def test_a_download_without_a_description(hub: Hub) -> None:
    """(S3-09) The disk had no room for it yet, or it is of other bytes: no tag, and nothing is taken for the rest of anything."""
    path = _complete(hub, b"0123456789")
    hub.board.disk.write(f"evidence/{COMMAND.hex()}.json", b'{"bytes": 9, "sha256": "%s"}' % (b"0" * 64))
    for description in ("there", "gone"):
        status, headers, body = hub.ask(path, headers={"Range": "bytes=4-", "If-Range": f'"{"0" * 64}"'})
        assert (200, b"0123456789") == (status, body)
        assert "etag" not in headers
        if description == "there":
            hub.board.disk.remove(f"evidence/{COMMAND.hex()}.json")


def _orders(hub: Hub) -> list[Order]:
    names = hub.board.disk.list("commands/outgoing")
    return [order_unpacked(command_unpacked(hub.board.disk.read(f"commands/outgoing/{name}")).order) for name in names]


@pytest.mark.parametrize("path", ["/api/evidence", "/api/sessions", "/api/feedback"])
def test_what_is_not_asked_does_not_go_out(hub: Hub, path: str) -> None:
    """The disk is full when the ledger is to say that it was: 503, nothing in commands/outgoing/, and once is once when it has room."""
    body = {"box": "box-1", "message": hub.add(60).hex(), "do": "start", "kind": "procedure", "advice": "replace-tool"}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{hub.settings.database}-wal").stat().st_size, limits[1]))
    try:
        status, _, answer = hub.ask(path, method="POST", body=body)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert (503, b"database") == (status, answer[answer.index(b"database") :][:8])
    assert [] == hub.board.disk.list("commands/outgoing")
    assert 202 == hub.ask(path, method="POST", body=body)[0]
    assert 1 == len(_orders(hub))


def test_what_is_not_asked_for_certain_does_not_go_out(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails between an order's name and its being there for good: as above."""
    body = {"box": "box-1", "message": hub.add(60).hex()}

    def refuse(path: str) -> None:
        raise DiskFailed(f"expected a disk to sync {path} on")

    with monkeypatch.context() as disk:
        disk.setattr(hub.board.disk, "sync_dir", refuse)
        assert 503 == hub.ask("/api/evidence", method="POST", body=body)[0]
    assert [] == hub.board.disk.list("commands/outgoing")


@pytest.mark.parametrize(
    "less", [{"reduce": "sample", "every": 2}, {"reduce": "sample", "rates": "motion=30"}, {"reduce": "change", "error": "2%"}]
)
def test_how_much_less_will_do_reaches_the_box(hub: Hub, less: dict[str, Any]) -> None:
    """(S2-098, S2-100, S2-101) Every n-th, so many a second, by change: as it was asked for, and nothing else in its place."""
    hub.add(1)
    status, _, _ = hub.ask(
        "/api/evidence", method="POST", body=Wish(box="box-1", since_utc_ns=1, until_utc_ns=2, **less).as_json()
    )

    assert 202 == status
    assert wish.from_parameters(less) == from_parameters(_orders(hub)[0].parameters).less


@pytest.mark.parametrize("every", [0, "2", 1.5, True])
def test_every_what_is_refused(hub: Hub, every: object) -> None:
    """A number that is none is no wish for the default rates."""
    hub.add(1)
    body = {"box": "box-1", "since_utc_ns": 1, "until_utc_ns": 2, "reduce": "sample", "every": every}
    status, _, answer = hub.ask("/api/evidence", method="POST", body=body)

    assert (400, "expected every as 1 to 1000000") == (status, json.loads(answer)["error"])


def test_every_criterion_reaches_the_box(hub: Hub) -> None:
    """(S2-107) What the page and the command line ask for is what the order says, as the box understands it."""
    identity = hub.add(60)
    wish = Wish(
        box="box-1", about=identity.hex(), only_message=True, priority=1, hosts=["10.0.0.1"], ports=[104],
        criteria={"devices": ["arm-2"], "senders": ["arm-2", "10.0.0.9"], "kinds": ["message"], "contains": ["stop"], "vlans": []},
    )  # fmt: skip
    status, _, _ = hub.ask("/api/evidence", method="POST", body=wish.as_json())
    request = from_parameters(_orders(hub)[0].parameters)

    assert 202 == status
    assert (Priority.P1, ("10.0.0.1",), (104,)) == (request.priority, request.query.hosts, request.query.ports)
    assert request.wording == Wording(
        devices=("arm-2",), senders=("arm-2", "10.0.0.9"), kinds=("message",), message=identity, contains="stop"
    )


def test_a_request_is_cancelled(hub: Hub) -> None:
    """(S2-107) From the page and from the command line: a signed order that ends the other; it is no request of its own, and once is enough."""
    identity = hub.add(60)
    body = {"box": "box-1", "message": identity.hex(), "before_s": 30, "after_s": 10}
    command = json.loads(hub.ask("/api/evidence", method="POST", body=body)[2])["command"]
    ended = Fleet(f"http://127.0.0.1:{hub.port}").cancel(command)

    asked, ender = _orders(hub)
    assert (ended, bytes.fromhex(command)) == (ender.identity.hex(), cancelled_by(ender.parameters))
    assert ender.counter > asked.counter
    assert [command] == [row["command"] for row in hub.get("/api/evidence")["evidence"]]  # type: ignore[attr-defined]
    with hub.repository.transaction():
        hub.repository.set_command(bytes.fromhex(command), "cancelled", now_tai_ns=TAI)
    with pytest.raises(HubFailed, match="not over"):
        Fleet(f"http://127.0.0.1:{hub.port}").cancel(command)
    assert 404 == hub.ask(f"/api/evidence/{'00' * 16}/cancel", method="POST", body={})[0]


def test_counters_grow_whatever_the_clock_does(hub: Hub) -> None:
    """Two orders of one signer never share a counter: a box refuses the second."""
    identity = hub.add(1).hex()
    for _ in range(3):
        hub.ask("/api/evidence", method="POST", body={"box": "box-1", "message": identity})
    orders = [
        order_unpacked(command_unpacked(hub.board.disk.read(f"commands/outgoing/{name}")).order)
        for name in hub.board.disk.list("commands/outgoing")
    ]

    assert len({order.counter for order in orders}) == 3
    with hub.repository.transaction():
        later = hub.repository.next_counter(orders[0].signer, 0)
    assert later > max(order.counter for order in orders)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"box": 1}', b'{"box": "box-9", "since_utc_ns": 0, "until_utc_ns": 1}', b'{"box": "../box"}',
        b'{"box": "box-1"}', b'{"box": "box-1", "message": "zz"}', b'{"box": "box-1", "message": "00"}',
        b'{"box": "box-1", "message": "00000000000000000000000000000000"}',
        b'{"box": "box-1", "since_utc_ns": 5, "until_utc_ns": 1}', b'{"box": "box-1", "since_utc_ns": 1e400, "until_utc_ns": 1}',
        b'{"box": "box-1", "since_utc_ns": 1, "until_utc_ns": 2, "hosts": "nobody"}',
        b'{"box": "box-1", "since_utc_ns": 1, "until_utc_ns": 2, "ports": [1]}', b"[" * 5000,
        b'{"box": "box-1", "since_utc_ns": true, "until_utc_ns": 2}', b"\xff\xfe",
        b'{"box": "box-1", "since_utc_ns": 1, "until_utc_ns": 99999999999999999999999999}',
        b'{"box": "box-1", "since_utc_ns": 1, "until_utc_ns": 2, "contains": "\\ud800"}',
    ],
)  # fmt: skip
def test_a_bad_wish_is_answered_not_carried_out(hub: Hub, body: bytes) -> None:
    """400 with a sentence, nothing in commands/outgoing/."""
    hub.add(1)
    status, _, answer = hub.ask("/api/evidence", method="POST", raw=body)

    assert status == 400
    assert json.loads(answer)["error"].startswith("expected")
    assert [] == hub.board.disk.list("commands/outgoing")


@pytest.mark.parametrize("asked", ["PUT /api/updates/files/" + "ab" * 32, "POST /api/evidence"])
def test_who_goes_before_he_has_asked_leaves_nothing_behind(hub: Hub, caplog: pytest.LogCaptureFixture, asked: str) -> None:
    """A line that drops in the middle of it: nothing hidden stays on the disk, and no stack trace in the log."""
    head = f"{asked} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\nbegun"
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as wire:
        wire.sendall(head.encode())
        wire.shutdown(socket.SHUT_WR)
        assert b"Traceback" not in wire.makefile("rb").read()
    for _ in range(100):  # What is cleared away is so behind his back: he has gone.
        hub.get("/api/boxes")
        if not hub.board.disk.list("published"):
            break

    assert [] == hub.board.disk.list("published")
    assert [] == caplog.records


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/rules", b'{"text": "# \\udfff"}'),
        ("/api/rollouts", b'{"version": "\\ud800", "by": "kim"}'),
        ("/api/calls/1", b'{"to": "closed", "by": "kim", "note": ["\\ud800"]}'),
    ],
)
def test_half_a_sign_is_no_text(hub: Hub, path: str, body: bytes) -> None:
    """JSON can say half of a surrogate pair and nothing behind the page can keep it: 400, wherever it stands."""
    assert 400 == hub.ask(path, method="POST", raw=body)[0]


@pytest.mark.parametrize(("method", "place"), [("GET", "rollouts"), ("POST", "rollouts"), ("POST", "calls")])
def test_a_number_of_thousands_of_digits(hub: Hub, method: str, place: str) -> None:
    """A path is bounded before anybody makes a number of it."""
    assert 414 == hub.ask(f"/api/{place}/{'9' * 5000}", method=method, body={"to": "closed", "by": "kim"})[0]


def test_too_long_a_wish(hub: Hub) -> None:
    """Bounded before it is parsed."""
    assert hub.ask("/api/evidence", method="POST", raw=bytes(20_000))[0] == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_nobody_elses_page_may_ask(hub: Hub, headers: dict[str, str], status: int) -> None:
    """DNS rebinding and cross-site requests are refused before anything is looked at."""
    identity = hub.add(1).hex()
    body = {"box": "box-1", "message": identity}

    assert status == hub.ask("/api/evidence", method="POST", body=body, headers=headers)[0]
    assert [] == hub.board.disk.list("commands/outgoing")


def test_own_origin_may_ask(hub: Hub) -> None:
    """The page itself, under any of its names."""
    identity = hub.add(1).hex()
    for name in (f"127.0.0.1:{hub.port}", f"localhost:{hub.port}"):
        headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
        assert hub.ask("/api/evidence", method="POST", body={"box": "box-1", "message": identity}, headers=headers)[0] == 202


def test_the_page_and_its_parts(hub: Hub) -> None:
    """Served with a policy under which nothing foreign runs; advisory, and says so."""
    for path in ("/", "/page.js", "/page.css"):
        status, headers, body = hub.ask(path)
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "nosniff" == headers["x-content-type-options"]
        assert b"http://" not in body and b"https://" not in body
    assert b"never commands a robot" in hub.ask("/")[2]
    script = hub.ask("/page.js")[2]
    assert b"innerHTML" not in script and b"eval(" not in script


@pytest.mark.parametrize(
    "path",
    ["/api/messages?after=x", "/api/messages?after=-1", "/api/messages?newest=99999999999999999999", "/api/evidence/zz"],
)
def test_bad_questions(hub: Hub, path: str) -> None:
    """400, not a stack trace."""
    assert hub.ask(path)[0] == 400


@pytest.mark.parametrize(
    "path", ["/api/evidence/" + "0" * 32, f"/evidence/{COMMAND.hex()}.pcapng", "/evidence/..%2f..%2fetc.pcapng", "/x"]
)
def test_what_is_not_there(hub: Hub, path: str) -> None:
    """404 (or 400 for what cannot be)."""
    assert hub.ask(path)[0] in (400, 404)


def test_messages_are_pushed_as_they_arrive(hub: Hub) -> None:
    """(S2-121) Server-sent events: what is there, then what comes, woken by the hub's knock and by nothing else."""
    hub.add(1)
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    connection.request("GET", "/api/events?after=0")
    answer = connection.getresponse()
    assert "text/event-stream" in answer.headers["content-type"]

    def next_messages() -> list[int]:
        while True:
            line = answer.readline()
            if line.startswith(b"data: ["):
                return [row["number"] for row in json.loads(line[6:])]

    assert [1] == next_messages()
    hub.add(2)
    hub.add(3)
    hub.knock()
    assert [2, 3] == next_messages()
    connection.close()


def test_a_database_that_fails_behind_an_open_page(
    hub: Hub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(S2-121) The stream stays, nothing is missed in it when the database is well, and no stack trace is in the log."""
    refused = threading.Semaphore(0)

    def damaged(*values: object) -> list[object]:
        refused.release()
        raise RepositoryFailed("expected the database to obey")

    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    connection.request("GET", "/api/events?after=0")
    answer = connection.getresponse()
    while answer.readline() != b"event: news\n":
        pass
    with monkeypatch.context() as database:
        database.setattr(Repository, "rows", damaged)
        hub.add(1)
        hub.knock()
        assert refused.acquire(timeout=10)
        assert [b"data:\n", b"\n", b"event: news\n"] == [answer.readline() for _ in range(3)]
    hub.knock()
    while not (line := answer.readline()).startswith(b"data: ["):
        assert line, "the stream ended"
    connection.close()

    assert [1] == [row["number"] for row in json.loads(line[6:])]
    assert [] == caplog.records


def test_text_from_boxes_stays_text(hub: Hub) -> None:
    """Markup in a message crosses as JSON text and is marked as such."""
    hub.add(1, text="<script>alert(1)</script>")
    _, headers, body = hub.ask("/api/messages")

    assert headers["content-type"] == "application/json"
    assert json.loads(body)["messages"][0]["text"] == "<script>alert(1)</script>"


def test_the_command_line_sees_what_the_page_sees(hub: Hub) -> None:
    """(S2-121) scrubjay fleet list and watch: boxes, and messages from now on, what a terminal would obey made visible."""
    hub.add(1, text="before")
    fleet = Fleet(f"http://127.0.0.1:{hub.port}")
    watched = fleet.watch()
    arrived: list[dict[str, object]] = []
    reader = threading.Thread(target=lambda: arrived.append(next(watched)))
    reader.start()
    numbers = count(2)
    while reader.is_alive():  # The stream begins when it begins; the one that finds it open is seen.
        hub.add(next(numbers), text="\x1b[31mred")
        hub.knock()
        reader.join(0.2)

    assert (["box-1"], "") == ([box["name"] for box in fleet.boxes()[0]], fleet.boxes()[1])
    assert "box-1" in box_line(fleet.boxes()[0][0])
    assert "\x1b[31mred" == arrived[0]["text"]
    assert "�[31mred" in message_line(arrived[0])


@pytest.mark.parametrize("size", [10, 4000])
def test_the_command_line_says_when_it_watches_no_more(hub: Hub, size: int) -> None:
    """(S2-121) A stream that ends, as with every restart of the hub, is no end of the messages; cut within one, it is no other hub."""
    hub.add(1)
    line = Cut(hub, 2000)
    said: list[str] = []

    def watch() -> None:
        with pytest.raises(HubFailed) as trouble, understood(line.url):
            list(Fleet(line.url).watch())
        said.append(str(trouble.value))

    reader = threading.Thread(target=watch)
    reader.start()
    numbers = count(2)
    while reader.is_alive():  # Whatever of it goes over the line, after 2000 bytes that is cut.
        hub.add(next(numbers), text="x" * size)
        hub.knock()
        reader.join(0.05)
    line.end()

    assert [True] == ["the connection" in words and " ended" in words for words in said]


def test_the_command_line_retrieves(hub: Hub) -> None:
    """(S2-107) scrubjay fleet retrieve: asks, follows every change, and fetches the same bytes."""
    identity = hub.add(1)
    fleet = Fleet(f"http://127.0.0.1:{hub.port}")
    seen: list[str] = []

    def complete(state: dict[str, object]) -> None:
        seen.append(request_line(state))
        command = bytes.fromhex(str(state["command"]))
        if len(seen) == 1:
            with hub.repository.transaction():
                hub.repository.box_said("box-1", Presence("lost", bytes(8), TAI), TAI + SECOND)
            hub.knock()
        elif len(seen) == 2:
            hub.board.disk.mkdir("evidence")
            hub.board.disk.write(f"evidence/{command.hex()}.pcapng", b"section")
            with hub.repository.transaction():
                hub.repository.put_evidence(EvidenceState(command, "box-1", parts=1, size=7, frames=3, is_complete=True), TAI)
            hub.knock()

    state = fleet.retrieve(Wish(box="box-1", about=identity.hex(), around_s=5), complete)
    into = io.BytesIO()

    assert (True, 3) == (state["complete"], state["frames"])
    order = state["command"]
    assert [
        f"{order} waiting: 0 parts, 0 frames",
        f"{order} waiting: 0 parts, 0 frames; box-1 is away since 2026-11-22T10:15:01.000Z: what is missing comes when it is back",
        f"{order} waiting: 1 parts, 3 frames",
    ] == seen
    assert 7 == fleet.download(state["download"], into)
    assert b"section" == into.getvalue()


def test_the_command_line_says_where_it_will_be_when_the_hub_goes_away(hub: Hub) -> None:
    """(S2-107) The order is on its way: whoever waited is told of it, and need not ask the box for the same frames once more."""
    hub.add(1)
    url, seen = f"http://127.0.0.1:{hub.port}", []

    def end(state: dict[str, object]) -> None:
        seen.append(state["command"])
        hub.end()

    with pytest.raises(HubFailed) as trouble, understood(url):
        Fleet(url).retrieve(Wish(box="box-1", since_utc_ns=1, until_utc_ns=2), end)

    assert f"box-1 goes on with {seen[0]}, complete it is at {url}/evidence/{seen[0]}.pcapng" in str(trouble.value)


class Cut:
    """A line to the hub that breaks after so many bytes of each answer; what was asked over it."""

    def __init__(self, hub: Hub, after: int) -> None:
        self.asked: list[bytes] = []
        self._hub, self._after = hub, after
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        while True:
            near, _ = self._listening.accept()
            with near, socket.create_connection(("127.0.0.1", self._hub.port), timeout=10) as far:
                asked = near.recv(65536)
                if not asked:
                    return
                self.asked.append(asked)
                far.sendall(asked)
                left = self._after
                with suppress(BrokenPipeError, ConnectionResetError):  # who asked may have had enough before
                    while left > 0 and (piece := far.recv(min(left, 65536))):
                        near.sendall(piece)
                        left -= len(piece)

    def end(self) -> None:
        socket.create_connection(self._listening.getsockname(), timeout=10).close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._listening.close()


def test_the_command_line_goes_on_after_a_cut(hub: Hub) -> None:
    """(S3-09) A line that breaks every megabyte costs no byte twice, and what is written is all of it."""
    content = bytes(range(250)) * 10_000
    path, line, into = _complete(hub, content), Cut(hub, 1_000_000), io.BytesIO()
    try:
        assert len(content) == Fleet(line.url).download(path, into)
    finally:
        line.end()

    assert content == into.getvalue()
    assert 3 == len(line.asked)
    assert f'If-Range: "{hashlib.sha256(content).hexdigest()}"'.encode() in line.asked[2]


def test_the_command_line_does_not_pass_a_part_for_the_whole(hub: Hub) -> None:
    """Cut before anything has come, again and again; and other bytes behind the cut: a sentence, not half a file and a success."""
    content = bytes(range(250)) * 10_000
    path, line = _complete(hub, content), Cut(hub, 100)
    try:
        with pytest.raises(HubFailed, match="connection ended"), understood(line.url):
            Fleet(line.url).download(path, io.BytesIO())
    finally:
        line.end()

    class Changing(io.BytesIO):
        def write(self, data: object) -> int:
            _complete(hub, b"other" * 500_000)
            return super().write(data)  # type: ignore[arg-type]

    line = Cut(hub, 1_000_000)
    try:
        with pytest.raises(HubFailed, match="changed"), understood(line.url):
            Fleet(line.url).download(path, Changing())
    finally:
        line.end()


def test_the_command_line_says_what_the_hub_said(hub: Hub) -> None:
    """A refusal, and a hub that is not there, are sentences and not tracebacks."""
    fleet = Fleet(f"http://127.0.0.1:{hub.port}")

    with pytest.raises(HubFailed, match="a box this hub has heard of"):
        fleet.retrieve(Wish(box="box-9", since_utc_ns=1, until_utc_ns=2), lambda state: None)
    with pytest.raises(HubFailed, match="no answer"):
        Fleet(f"http://127.0.0.1:{free_port()}").boxes()
    with pytest.raises(HubFailed, match="http://"):
        Fleet("hub:8470")


def test_a_file_and_an_edition_are_published(hub: Hub, tmp_path: Path) -> None:
    """(S1-03) A file is taken under its digest and no other; an edition only when its files are there; nothing half done stays."""
    vendor = SimulatedIdentity(name="vendor")
    trust(tmp_path / "identity", "vendor", vendor.public_key())
    data = bytes(range(256)) * 5000
    digest = hashlib.sha256(data).digest()
    edition = Edition("v2", 2, "here", "stable", "application", 0, 1 << 62, "vendor", (Offered(digest, len(data), None),))
    wish = {"edition": as_text(signed(edition, vendor.sign))}
    place = "/api/updates/files"

    assert 400 == hub.ask("/api/updates/editions", method="POST", body=wish)[0]
    assert 400 == hub.ask(f"{place}/{digest.hex()}", method="PUT", raw=data[:-1])[0]
    assert 400 == hub.ask(f"{place}/{'.' * 64}", method="PUT", raw=data)[0]
    assert 403 == hub.ask(f"{place}/{digest.hex()}", method="PUT", raw=data, headers={"Origin": "http://elsewhere"})[0]
    assert [] == hub.board.disk.list("published")
    assert 201 == hub.ask(f"{place}/{digest.hex()}", method="PUT", raw=data)[0]
    assert 201 == hub.ask("/api/updates/editions", method="POST", body=wish)[0]
    assert [digest.hex()] == hub.board.disk.list("published")
    assert ["v2"] == [row["version"] for row in hub.get("/api/updates")["editions"]]  # type: ignore[index,attr-defined]

    answers = [hub.ask("/api/rollouts", method="POST", body={"version": "v2", "by": "ann"}), hub.ask("/api/rollouts/1")]
    assert [
        (400, "expected boxes of the channel stable for here, none has said so"),
        (404, "expected the number of a roll-out"),
    ] == [(status, json.loads(body)["error"]) for status, _, body in answers]
