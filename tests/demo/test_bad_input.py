"""Bad input with real processes: frames, datagrams, commands, settings, brokers, disks and interfaces, each as bad as it gets.

The box goes on recording; what it could not do is counted by cause and visible in `scrubjay status`; nothing acknowledged is lost.
"""

import importlib.util
import json
import os
import random
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import CLOCK_REALTIME, clock_gettime, time_ns

import pytest

from drivers.linux.identity import LinuxIdentity
from firmware.core.envelope import Order
from firmware.intake.publisher import Publisher
from simulator.broker import mosquitto
from simulator.chain import BOX, HUB, SITE, Chain
from simulator.hub_view import HubView
from simulator.inspection import search


def _sibling(folder: str, name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wire, hostile = _sibling("drivers", "wire"), _sibling("demo", "hostile")
SHARED = Path(os.environ.get("SCRUBJAY_SHARED", Path(__file__).parents[3] / "shared")) / "data"
pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]
SEED = 20_261_123
TAI_NS = 37 * 10**9
HOUR_NS = 3600 * 10**9


@pytest.fixture(scope="module", autouse=True)
def own_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here happens in a network namespace that ends with this module; nobody else's frames are in the counts."""
    reason = wire.why_not()
    if reason is not None:
        pytest.skip(reason)
    with wire.Wire():
        hostile.ip("link", "set", "lo", "up")
        yield


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """One box for everything that must not end it; it hears a wire of its own, and must have been up all the time."""
    hostile.make_wire("room", "devices")
    settings = hostile.FAST | {"capture": {"interface": "room"}, "intake": {"interface": "room"}}
    with Chain(tmp_path_factory.mktemp("chain"), box_settings=settings) as chain:
        chain.wait_until_it_hears()
        yield chain
        assert "code=" not in (chain.logs / "box.log").read_text(), "a process of the box ended"
        assert 0 == chain.stop_box()
        verdict = chain.call("verify", str(chain.box_root))
        assert 0 == verdict.returncode, verdict.stdout
        assert "Traceback" not in "".join(path.read_text() for path in (chain.box_root / "logs").glob("*.log"))


def status(chain: Chain) -> str:
    """What a person sees."""
    done = chain.call("status", f"--root={chain.box_root}")
    assert 0 == done.returncode, done.stderr
    return done.stdout


def drops(chain: Chain, station: str) -> dict[str, int]:
    return dict(chain.figures(station).drops)


def heard(chain: Chain) -> int:
    """Frames recorded so far; those lost would be missing in it."""
    assert {} == {cause: count for cause, count in drops(chain, "capture").items() if count}
    return chain.figures("capture").counts.get("frames", 0)


def send(chain: Chain, rows: Iterator[bytes]) -> int:
    """Frames sent, each of them recorded when this returns."""
    before = heard(chain)
    return _sent_and_recorded(chain, rows, before)


def _sent_and_recorded(chain: Chain, rows: Iterator[bytes], before: int) -> int:
    count = hostile.sent("devices", rows, pause=lambda: chain.wait("a moment", lambda: True, timeout_s=1))
    chain.wait(f"{count} frames in the recording", lambda: heard(chain) >= before + count, timeout_s=20)
    assert before + count == heard(chain)
    return count


def texts(chain: Chain) -> list[str | None]:
    return [message.text for message in HubView(chain.database).messages(kind="published")]


def speak(chain: Chain, said: str, *, port: int = 47001) -> None:
    """A good message, and it arrives."""
    send(chain, iter([hostile.udp_frame(said.encode(), port)]))
    chain.wait(f"{said!r} at the hub", lambda: said in texts(chain), timeout_s=20)


def test_frames_of_any_bytes(chain: Chain) -> None:
    """Noise, headers that lie, jumbo frames: each is recorded, none ends the recorder or the intake. (S2-090)"""
    count = send(chain, hostile.any_bytes(SEED, 2000))
    speak(chain, "after noise")

    assert 1000 < count
    assert 0 < sum(drops(chain, "intake").values())


def test_frames_that_broke_others(chain: Chain) -> None:
    """Captures that once crashed tcpdump, zeek and readers of pcapng, sent as frames. (S2-090)"""
    places = sorted(place for name in ("malformed-*", "pcapng-format") for place in (SHARED / "pcap").glob(name))
    if not places:
        pytest.skip("no recordings of others beside this checkout (SCRUBJAY_SHARED)")
    count = send(chain, hostile.recorded_by_others(places))
    speak(chain, "after those that broke others")

    assert 100 < count


def names_in(path: Path) -> list[bytes]:
    """Words that identify the patient of an HL7 v2 or FHIR file, as they stand in it."""
    data = path.read_bytes()
    if path.suffix == ".hl7":
        found = [
            word
            for line in data.replace(b"\n", b"\r").split(b"\r") if line.startswith((b"PID|", b"NK1|", b"GT1|"))
            for place in (3, 5, 11, 13) for word in line.split(b"|")[place : place + 1] for word in word.replace(b"~", b"^").split(b"^")
        ]  # fmt: skip
    else:
        person = json.loads(data)
        people = [person, *(entry.get("resource", {}) for entry in person.get("entry", []))]
        found = [
            str(word).encode()
            for one in people if one.get("resourceType") == "Patient" for name in one.get("name", [])
            for word in (name.get("family"), *name.get("given", [])) if word
        ]  # fmt: skip
    return [word for word in found if len(word) >= 6 and not word.isdigit()]


def test_datagrams_of_any_bytes(chain: Chain) -> None:
    """Noise on every port is counted and says nothing at the hub; clinical documents arrive without their patient. (S2-082, S2-085)"""
    draw = random.Random(SEED)
    ports = (47001, 47002, 47003, 47004, 514)
    begins = (
        b"",
        b"{",
        b'{"text": ',
        b"<13>",
        b"<999>",
        b"\xd9\xd9\xf7",
        b"\xa1",
        b"\xbf",
        b"\xef\xbb\xbf",
        b'{"fields": {"a": [',
    )
    secret = b"Quillfeather-7741"
    noise = [
        draw.choice(begins) + draw.randbytes(draw.randrange(1, 300)) + draw.choice((b"", secret)) + b"\xff" for _ in range(400)
    ]
    places = [SHARED / "messages" / "hl7v2", *(SHARED / "messages").glob("fhir-*")]
    documents = [path for place in places if place.is_dir() for path in sorted(place.iterdir()) if path.is_file()]
    needles = [("noise", secret), *((path.name, word) for path in documents for word in names_in(path))]
    before = chain.figures("intake")
    pieces = [line for path in documents if path.suffix == ".hl7" for line in path.read_bytes().splitlines() if line]
    rows = [*noise, *(path.read_bytes()[:60_000] for path in documents), *dict.fromkeys(pieces)]
    send(chain, (hostile.udp_frame(row, ports[place % 5], number=place) for place, row in enumerate(rows)))
    speak(chain, "after datagrams")
    chain.wait("all of it at the hub", chain.drained, timeout_s=30)
    after = chain.figures("intake")
    found = search(
        [chain.hub_root, chain.directory / "broker", chain.logs, chain.box_root / "logs", chain.box_root / "sent"], needles
    )

    assert len(rows) + 1 == after.counts["messages"] - before.counts["messages"] + after.drops.get("duplicate", 0)
    assert 100 < after.counts["undecodable"] - before.counts.get("undecodable", 0)
    assert () == found.found
    assert "undecodable" in status(chain)


def order(chain: Chain, number: int, **changes: object) -> Order:
    """A good order for the last minute's frames, or one that is not quite."""
    now_ns = time_ns() + TAI_NS
    good = Order(
        identity=os.urandom(16), signer=HUB, box=BOX, deed="retrieval", counter=number, made_tai_ns=now_ns,
        expires_tai_ns=now_ns + HOUR_NS, parameters={"since": time_ns() - 60 * 10**9, "until": time_ns()},
    )  # fmt: skip
    return replace(good, **changes)


def test_commands_that_must_not_be_obeyed(chain: Chain) -> None:
    """Forged, altered, unknown, late, early, for others, replayed, no command at all: refused by cause, told to the hub; then a good one. (S2-107)"""
    topic = f"scrubjay/v1/{SITE}/{BOX}/cmd"
    hub = LinuxIdentity(chain.hub_root / "identity")
    stranger = LinuxIdentity(chain.box_root / "identity")  # any key the box does not trust for orders will do
    base = 10**18  # above every counter the hub has given
    now_ns = time_ns() + TAI_NS
    first, forged = order(chain, base), order(chain, base + 1)
    accepted = hostile.command(hub, first)
    bad = {
        "bad_signature": hostile.command(stranger, forged),
        "unknown_signer": hostile.command(stranger, order(chain, base + 2, signer="mallory")),
        "not_for_us": hostile.command(hub, order(chain, base + 3, box="another-box")),
        "expired": hostile.command(hub, order(chain, base + 4, made_tai_ns=now_ns - 2 * HOUR_NS, expires_tai_ns=now_ns - HOUR_NS)),
        "stale": hostile.command(hub, order(chain, base + 5, made_tai_ns=now_ns - 48 * HOUR_NS)),
        "from_the_future": hostile.command(hub, order(chain, base + 6, made_tai_ns=now_ns + HOUR_NS, expires_tai_ns=now_ns + 2 * HOUR_NS)),
        "unknown_deed": hostile.command(hub, order(chain, base + 7, deed="reboot")),
        "not_a_command": random.Random(SEED).randbytes(200),
    }  # fmt: skip
    hostile.publish_raw(chain.broker.address, topic, [accepted])
    chain.wait("the good one accepted", lambda: chain.figures("command").counts.get("accepted", 0) == 1, timeout_s=15)
    hostile.publish_raw(chain.broker.address, topic, list(bad.values()))
    hostile.publish_raw(
        chain.broker.address,
        topic,
        [b"", accepted[:-1], hostile.command(hub, replace(first, identity=os.urandom(16))), accepted, b"x" * 100_000],
    )
    chain.wait("each refused", lambda: bad.keys() | {"replayed"} <= drops(chain, "command").keys(), timeout_s=15)
    last = order(chain, base + 9)
    hostile.publish_raw(chain.broker.address, topic, [hostile.command(hub, last)])
    chain.wait("the last one accepted", lambda: chain.figures("command").counts.get("accepted", 0) == 2, timeout_s=15)
    chain.wait(
        "its evidence at the hub",
        lambda: (found := HubView(chain.database).evidence(last.identity)) is not None and found.complete,
        timeout_s=30,
    )
    refused = drops(chain, "command")
    said = [message.text for message in HubView(chain.database).messages(kind="command-result")]

    assert {**dict.fromkeys(bad, 1), "not_a_command": 3, "replayed": 1} == refused
    assert 1 == drops(chain, "uplink")["command_too_long"]
    assert 11 <= sum("refused" in (text or "") for text in said)
    assert all(cause in status(chain) for cause in (*bad, "replayed", "command_too_long"))


def is_deaf(chain: Chain, trouble: str) -> bool:
    """Whether recorder and intake have both said so, and why."""
    capture, intake = chain.figures("capture").gauges, chain.figures("intake").gauges
    return (
        "gone" == capture["interface"]
        and "closed" == intake["tap"]
        and trouble in f"{capture['interface_trouble']} {intake['tap_trouble']}"
    )


def hears_again(chain: Chain) -> bool:
    return "heard" == chain.figures("capture").gauges["interface"] and "open" == chain.figures("intake").gauges["tap"]


def test_an_interface_that_comes_and_goes(chain: Chain) -> None:
    """Taken out and put back while recording: named in status, heard again by itself, and the gap is stated. (S2-090)"""
    hostile.ip("link", "delete", "room")
    chain.wait("recorder and intake to say so", lambda: is_deaf(chain, "there is none of this name"), timeout_s=15)
    seen = status(chain)
    hostile.make_wire("room", "devices")
    chain.wait("both to hear again", lambda: hears_again(chain), timeout_s=15)
    speak(chain, "after a new cable")
    errors = [message.text or "" for message in HubView(chain.database).messages(kind="error")]

    assert "expected interface 'room'" in seen
    assert any("interface room is not there" in text for text in errors)


def test_an_interface_nobody_may_listen_to(tmp_path: Path) -> None:
    """Without the right to listen the recorder stays, says which right is missing, and asks again."""
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv (util-linux) to take a right away with")
    with hostile.started_as_nobody(tmp_path, "lo") as (process, figures):
        hostile.until(lambda: figures().get("interface_trouble", "none") != "none", timeout_s=15)
        trouble = figures()
        still_there = process.poll() is None

    assert ("gone", True) == (trouble["interface"], still_there)
    assert "CAP_NET_RAW" in trouble["interface_trouble"]
    assert 0 == process.returncode


def test_a_typo_in_the_settings(tmp_path: Path) -> None:
    """Nothing is started, the nearest key is named."""
    path = tmp_path / "box.toml"
    path.write_text('[capture]\ninterfase = "lo"\n')
    done = hostile.scrubjay("run", "box", f"--root={tmp_path / 'box'}", f"--settings={path}")

    assert (2, "") == (done.returncode, done.stdout)
    assert f"scrubjay: {path}: [capture] has no setting 'interfase'; did you mean 'interface'?\n" == done.stderr
    assert not (tmp_path / "box").exists()


# What listens where a broker should, and how many attempts it sees; the silent one keeps the first for five seconds.
ANSWERS: list[tuple[bytes | None, int]] = [
    (b"", 2),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", 2),
    (random.Random(SEED).randbytes(5000), 2),
    (b"\x20\xff\xff\xff\xff\xff", 2),  # a length without end
    (b"\x20\x03\x00\x00\x00\x30\x7f" + b"\xff" * 100, 2),  # accepted, then nonsense
    (b"\x20\x00", 2),  # accepted, in no words
    (None, 1),
]
HEARS_LOOPBACK = {"capture": {"interface": "lo"}, "intake": {"interface": "lo"}}


@pytest.mark.skipif(mosquitto() is None, reason="no mosquitto to take the password from")
def test_brokers(tmp_path: Path) -> None:
    """Down, closing at once, talking nonsense, silent, refusing, stopped while acknowledging, killed: each message arrives once. (S2-072)"""
    chain = Chain(tmp_path, box_settings=hostile.FAST | HEARS_LOOPBACK)
    port = chain.broker.port
    late = chain.broker = hostile.LateBroker(tmp_path / "broker", port=port)
    said: list[str] = []
    with chain, closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as line:
        publisher = Publisher(line.sendto, host="127.0.0.1", process="victim")

        def publish(about: str) -> None:
            for priority in (1, 2, 3, 4):
                said.append(f"{about} {priority}")
                publisher.publish(priority, said[-1])

        def trouble() -> str:
            return str(chain.figures("uplink").gauges.get("broker_trouble", ""))

        def arrived() -> bool:
            return set(said) <= set(texts(chain))

        chain.wait(
            "a box that hears",
            lambda: (
                "open" == chain.figures("intake").gauges.get("tap")
                and "heard" == chain.figures("capture").gauges.get("interface")
            ),
            timeout_s=30,
        )
        publish("without a broker")
        chain.wait("the groups to wait", lambda: chain.figures("uplink").gauges.get("outbox_items", 0) >= 4, timeout_s=20)
        troubles = [trouble()]
        assert "ConnectionRefusedError" in status(chain)
        for answer, attempts in ANSWERS:
            with hostile.impostor(port, answer) as came:
                chain.wait("an attempt", lambda came=came, attempts=attempts: len(came) >= attempts, timeout_s=20)
            troubles.append(trouble())
        closed = hostile.ClosedBroker(tmp_path / "closed", port=port)
        closed.start()
        chain.wait("a refusal", lambda: "refused" in trouble(), timeout_s=30)
        assert "0x87" in status(chain)  # not authorised (MQTT 5 §3.2.2.2)
        closed.stop()
        publish("before the broker")
        late.is_due = True
        late.start()
        chain.wait("all at the hub", arrived, timeout_s=40)

        os.kill(late.pid, signal.SIGSTOP)
        publish("while it is stopped")
        chain.wait("the box to notice", lambda: "none" == chain.figures("uplink").gauges["broker"], timeout_s=30)
        assert "broker_trouble" in status(chain)
        late.kill()
        publish("while it is dead")
        late.start()
        chain.wait("all at the hub", arrived, timeout_s=40)
        chain.wait("the outbox to be empty", chain.drained, timeout_s=20)
        assert sorted(set(said)) == sorted(text for text in texts(chain) if text)
        assert 0 == HubView(chain.database).quarantined()
        assert all(trouble not in ("", "none", "none yet") for trouble in troubles), troubles
        assert "code=" not in (chain.logs / "box.log").read_text()
        assert "Traceback" not in (chain.box_root / "logs" / "uplink.log").read_text()


def test_a_full_disk(tmp_path: Path) -> None:
    """Recording stops at its reserve and counts; alarms go on; with no byte left they wait; with room again all of it goes on by itself. (S2-090)"""
    hostile.make_wire("room2", "devices2")
    box = tmp_path / "box"
    try:
        disk = hostile.small_disk(box, 96)
        disk.__enter__()
    except OSError as problem:
        pytest.skip(f"no small disk: {problem}")
    try:
        _fill_and_free(tmp_path, box)
    finally:
        disk.__exit__(None, None, None)


def age_s(box: Path, process: str) -> float:
    """How old a process's report is."""
    return clock_gettime(CLOCK_REALTIME) - (box / "state" / f"{process}.json").stat().st_mtime


def _fill_and_free(directory: Path, box: Path) -> None:
    ballast, last_byte = box / "ballast", box / "last_byte"
    ballast.write_bytes(bytes(64 << 20))
    settings = hostile.FAST | {"capture": {"interface": "room2", "reserve_mb": 8}, "intake": {"interface": "room2"}}
    noise = random.Random(SEED)
    said: list[str] = []
    sent = 0
    with Chain(directory, box_settings=settings) as chain:

        def frames(rows: Iterator[bytes]) -> None:
            nonlocal sent
            sent += hostile.sent("devices2", rows, pause=lambda: chain.wait("a moment", lambda: True, timeout_s=1))

        def speak(text: str) -> None:
            said.append(text)
            frames(iter([hostile.udp_frame(text.encode(), 47001)]))

        def counted() -> int:
            capture = chain.figures("capture")
            return capture.counts.get("frames", 0) + capture.drops.get("disk_full", 0)

        chain.wait_until_it_hears()
        speak("before")
        # 40 MB: more than there is room for, less than the ring holds, for a ring overrun would be a different loss.
        frames(hostile.udp_frame(noise.randbytes(50_000), 9) for _ in range(800))
        chain.wait("them to be written or lost", lambda: counted() >= sent, timeout_s=30)
        chain.wait("the recorder to say so", lambda: "disk_full" == chain.figures("capture").gauges["state"], timeout_s=10)
        seen = status(chain)
        speak("within the reserve")
        chain.wait("the alarm at the hub", lambda: "within the reserve" in texts(chain), timeout_s=20)
        hostile.fill(last_byte)
        speak("with no byte left")
        frames(hostile.udp_frame(noise.randbytes(5_000), 9) for _ in range(50))
        # Not even the reports can be written now; that they grow old is what can be seen from outside.
        chain.wait("the reports to grow old", lambda: age_s(box, "roomside") > 4, timeout_s=10)
        assert status(chain).startswith("THE DISK IS FULL")
        last_byte.unlink()
        chain.wait("the alarm at the hub", lambda: "with no byte left" in texts(chain), timeout_s=30)
        ballast.unlink()
        chain.wait("recording", lambda: "recording" == chain.figures("capture").gauges["state"], timeout_s=20)
        before = chain.figures("capture").counts["frames"]
        frames(hostile.udp_frame(noise.randbytes(5_000), 9) for _ in range(50))
        speak("after")
        chain.wait("more recorded", lambda: chain.figures("capture").counts["frames"] >= before + 51, timeout_s=20)
        chain.wait("all at the hub", lambda: set(said) <= set(texts(chain)), timeout_s=30)
        figures = chain.figures("capture")
        log = (chain.logs / "box.log").read_text()
        errors = [message.text or "" for message in HubView(chain.database).messages(kind="error")]
        assert 0 == chain.stop_box()
        verdict = chain.call("verify", str(box))

    assert sorted(said) == sorted(texts(chain))
    assert sent == figures.counts["frames"] + figures.drops["disk_full"]
    assert "disk_full" in seen
    assert any("the disk takes nothing more" in text for text in errors)
    assert 0 == verdict.returncode, verdict.stdout
    assert "disk_full" in verdict.stdout
    assert "code=" not in log, log
