"""What the tests of bad input do to a box: a network of its own, frames, brokers that misbehave, a small disk, orders of all kinds."""

import json
import random
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from drivers.errors import Trouble
from drivers.identity import Identity
from firmware.core.envelope import Command, Order, command_packed, order_packed
from simulator.broker import RealBroker
from simulator.capture_file import frames

MTU_BYTES = 65_535  # veth's longest: jumbo frames of every kind pass
FRAME_BYTES_MIN = 14  # packet(7) sends nothing shorter than an Ethernet header
VLAN_TYPES = (b"\x81\x00", b"\x88\xa8")
FAST = {
    "group": {"p1_interval_s": 1, "p2_interval_s": 1, "p3_interval_s": 1, "p4_interval_s": 1, "lateness_ms": 100},
    # Seconds where a real box has minutes, so that every attempt after a failure falls into the test.
    "uplink": {"backoff_s_max": 1, "keepalive_s": 2, "acknowledge_s_max": 3},
    "health": {"look_s": 1, "quiet_s": 5},
}


def ip(*words: str) -> None:
    """One ip command, which must succeed."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


def make_wire(hears: str, sends: str) -> None:
    """A veth pair on which nothing is said but what a test sends."""
    ip("link", "add", hears, "type", "veth", "peer", "name", sends)
    for end in (hears, sends):
        Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        ip("link", "set", end, "arp", "off", "multicast", "off", "mtu", str(MTU_BYTES), "up")


def any_bytes(seed: int, count: int) -> Iterator[bytes]:
    """Frames of any bytes: noise, noise behind headers that promise something, and headers cut anywhere."""
    draw = random.Random(seed)
    types = (b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x88\xf7", b"\x88\xcc", *VLAN_TYPES, b"\x00\x20", b"\xff\xff")
    for _ in range(count):
        size = draw.choice((0, 1, 4, 20, 46, 100, 1500, 9000, draw.randrange(60_000)))
        body = draw.randbytes(size)
        if size > 28 and draw.random() < 0.5:  # an IPv4 header, its lengths and fragment offset left to chance, to a message port
            port = draw.choice((47001, 47002, 47003, 47004, 514))
            body = (
                bytes([0x45 + draw.choice((0, 0, 1, 10))])
                + body[1:9]
                + b"\x11"
                + body[10:22]
                + port.to_bytes(2, "big")
                + body[24:]
            )
        yield draw.randbytes(12) + draw.choice(types) + body


def recorded_by_others(directories: Sequence[Path]) -> Iterator[bytes]:
    """Every Ethernet frame of every capture file there; files we cannot read have no frames."""
    for path in sorted(path for directory in directories for path in directory.glob("*.pcap*")):
        try:
            yield from (row.data for row in frames(path))
        except Trouble:
            continue


def sent(interface: str, rows: Iterator[bytes], *, pause: Callable[[], None]) -> int:
    """Frames the kernel took. Frames it takes apart before anybody may listen (a tag promised and not there) are not sent.

    pause: called after every hundred, so that a ring is not overrun by a test that only wants to know about contents.
    """
    count = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as line:
        line.bind((interface, 0))
        for row in rows:
            if len(row) < FRAME_BYTES_MIN or (row[12:14] in VLAN_TYPES and len(row) < 20):
                continue
            try:
                line.send(row)
            except OSError:
                continue  # longer than any wire here
            count += 1
            if count % 100 == 0:
                pause()
    return count


class LateBroker(RealBroker):
    """A broker that is not there yet when the chain starts."""

    is_due = False

    def start(self) -> None:
        if self.is_due:
            super().start()


class ClosedBroker(RealBroker):
    """Takes nobody: it wants a password, and there is none."""

    def _configuration(self) -> str:
        passwords = self._directory / "passwords"
        passwords.write_text("")
        return super()._configuration().replace("allow_anonymous true", f"allow_anonymous false\npassword_file {passwords}")


@contextmanager
def impostor(port: int, answer: bytes | None) -> Iterator[list[int]]:
    """Something that listens where a broker should. answer: what it says to everything; b"" closes at once, None never speaks.

    Yields the number of connections it took, as a list that grows.
    """
    came: list[int] = []
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", port)) as door, ours, theirs:

        def serve() -> None:
            held = []
            while True:
                ready = select.select([door, theirs, *held], [], [])[0]
                if theirs in ready:
                    break
                for wire in ready:
                    if wire is door:
                        guest, _ = door.accept()
                        came.append(len(came))
                        if answer == b"":
                            guest.close()
                        else:
                            held.append(guest)
                    else:
                        _speak(wire, answer, held)
            for wire in held:
                wire.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield came
        finally:
            ours.send(b"x")
            thread.join()


def _speak(wire: socket.socket, answer: bytes | None, held: list[socket.socket]) -> None:
    try:
        heard = wire.recv(65_536)
        if heard and answer is not None:
            wire.sendall(answer)
    except OSError:
        heard = b""
    if not heard:
        held.remove(wire)
        wire.close()


@contextmanager
def small_disk(place: Path, size_mb: int) -> Iterator[None]:
    """A file system of this size at `place`; raises OSError where none may be mounted."""
    place.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "scrubjay-test", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)


def publish_raw(address: str, topic: str, payloads: Sequence[bytes]) -> None:
    """Somebody with access to the broker publishes bytes, and waits until the broker has them."""
    host, _, port = address.rpartition(":")
    client = Client(CallbackAPIVersion.VERSION2, "somebody", protocol=MQTTv5)
    client.connect(host, int(port))
    client.loop_start()
    try:
        for payload in payloads:
            client.publish(topic, payload, qos=1).wait_for_publish(10)
    finally:
        client.disconnect()
        client.loop_stop()


def command(identity: Identity, order: Order, *, signature: bytes | None = None) -> bytes:
    """The order as published, signed by this identity unless a signature is given."""
    data = order_packed(order)
    return command_packed(Command(data, identity.sign(Command(data, b"").signed_bytes) if signature is None else signature))


def scrubjay(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`scrubjay …`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "firmware.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def started_as_nobody(root: Path, interface: str) -> "Iterator[tuple[subprocess.Popen[bytes], Callable[[], dict[str, str]]]]":
    """The recorder without the right to listen, and its gauges."""

    def gauges() -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads((root / "state" / "capture.json").read_text())["stations"]["capture"]["gauges"]
        except FileNotFoundError:
            return {}
        return found

    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", sys.executable, "-m", "firmware.cli", "run", "box",
             "--process=capture", f"--root={root}", f"--set=capture.interface={interface}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process, gauges
    finally:
        process.terminate()
        process.wait(20)


def fill(path: Path) -> None:
    """A file that takes every byte its file system has."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def until(condition: Callable[[], bool], *, timeout_s: float) -> None:
    """Look fifty times a second until it holds."""
    for _ in range(int(timeout_s * 50)):
        if condition():
            return
        select.select([], [], [], 0.02)
    raise AssertionError("expected it to hold in time")


def udp_frame(payload: bytes, port: int, *, number: int = 0) -> bytes:
    """A frame with this datagram from 10.0.0.9 to 10.0.0.255; its checksum says "not computed", which UDP allows."""
    udp = struct.pack(">HHHH", 5000, port, 8 + len(payload), 0) + payload
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number & 0xFFFF, 0, 64, 17, 0, bytes([10, 0, 0, 9]), bytes([10, 0, 0, 255])
    )
    return bytes.fromhex("ffffffffffff020000000009") + b"\x08\x00" + head + udp
