"""A small broker of MQTT 5 on a real socket that answers as badly as it is told to: never, twice, in the wrong order, or with a refusal."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP = 1, 2, 3, 4, 8, 9, 12, 13
RECEIVE_MAXIMUM = 0x21  # MQTT 5 §3.2.2.3.3


@dataclass
class HostileBroker:
    """answers: what is sent for a publication's packet identifier, as PUBACKs (identifier, reason). connections: in order, what each published."""

    answers: Callable[["Connection", int], list[tuple[int, int]]]
    receive_maximum: int = 100
    subscribed: int = 1  # what it says to each subscription
    connections: list["Connection"] = field(default_factory=list)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @contextmanager
    def open(self) -> Iterator["HostileBroker"]:
        """For as long as the block lasts."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            for connection in self.connections:
                connection.drop()

    def published(self) -> list[tuple[str, bytes]]:
        """Topic and payload of everything, of all connections."""
        return [entry for connection in self.connections for entry in connection.published]

    def say(self, topic: str, payload: bytes) -> None:
        """To everybody who has subscribed to anything."""
        for connection in self.connections:
            if connection.filters:
                connection.say(topic, payload)

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(wire, self)
            self.connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()


class Connection:
    """One client."""

    def __init__(self, wire: socket.socket, broker: HostileBroker) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.filters: list[str] = []
        self.unanswered: list[int] = []
        self.most_unanswered = 0
        self._wire = wire
        self._broker = broker
        self._lock = threading.Lock()
        self._next = 0

    def serve(self) -> None:
        try:
            while (packet := self._packet()) is not None:
                self._take(*packet)
        except (OSError, IndexError, struct.error):
            return

    def drop(self) -> None:
        try:
            self._wire.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._wire.close()

    def say(self, topic: str, payload: bytes) -> None:
        self._next += 1
        name = topic.encode()
        self._send(PUBLISH << 4 | 2, struct.pack(">H", len(name)) + name + struct.pack(">HB", self._next, 0) + payload)

    def puback(self, identifier: int, reason: int) -> None:
        if identifier in self.unanswered:
            self.unanswered.remove(identifier)
        self._send(PUBACK << 4, struct.pack(">HBB", identifier, reason, 0))

    def _take(self, head: int, body: bytes) -> None:
        kind = head >> 4
        if kind == CONNECT:
            self._send(CONNACK << 4, b"\0\0\x03" + struct.pack(">BH", RECEIVE_MAXIMUM, self._broker.receive_maximum))
        elif kind == SUBSCRIBE:
            (identifier,) = struct.unpack_from(">H", body)
            at = 3 + body[2]
            while at < len(body):
                (size,) = struct.unpack_from(">H", body, at)
                self.filters.append(body[at + 2 : at + 2 + size].decode())
                at += size + 3
            self._send(SUBACK << 4, struct.pack(">HB", identifier, 0) + bytes([self._broker.subscribed]) * len(self.filters))
        elif kind == PUBLISH:
            (size,) = struct.unpack_from(">H", body)
            (identifier,) = struct.unpack_from(">H", body, 2 + size)
            self.published.append((body[2 : 2 + size].decode(), body[5 + size + body[4 + size] :]))
            self.unanswered.append(identifier)
            self.most_unanswered = max(self.most_unanswered, len(self.unanswered))
            for answer, reason in self._broker.answers(self, identifier):
                self.puback(answer, reason)
        elif kind == PINGREQ:
            self._send(PINGRESP << 4, b"")

    def _packet(self) -> tuple[int, bytes] | None:
        head = self._wire.recv(1)
        if not head:
            return None
        size, shift = 0, 0
        while True:
            byte = self._exactly(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return head[0], self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._wire.recv(size - len(found))
            if not piece:
                raise OSError("gone")
            found += piece
        return found

    def _send(self, head: int, body: bytes) -> None:
        size, length = len(body), b""
        while True:
            length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
            size >>= 7
            if not size:
                break
        with self._lock:
            try:
                self._wire.sendall(bytes([head]) + length + body)
            except OSError:
                return


def all_well(connection: Connection, identifier: int) -> list[tuple[int, int]]:
    """A broker as it should be."""
    return [(identifier, 0)]


def never(connection: Connection, identifier: int) -> list[tuple[int, int]]:
    """Takes everything and says nothing."""
    return []


def twice(connection: Connection, identifier: int) -> list[tuple[int, int]]:
    """Every answer two times, and one to something nobody sent."""
    return [(identifier, 0), (identifier, 0), (60_000, 0)]


def backwards(connection: Connection, identifier: int) -> list[tuple[int, int]]:
    """Answers four at a time, the last one first."""
    return [(one, 0) for one in reversed(connection.unanswered)] if len(connection.unanswered) >= 4 else []


def quota(connection: Connection, identifier: int) -> list[tuple[int, int]]:
    """0x97 for two of three (paho counts them as published)."""
    return [(identifier, 0 if identifier % 3 == 0 else 0x97)]
