"""The link, real: paho-mqtt 2 as a thin wire, MQTT 5, QoS 1; MQTT 3.1.1 where the broker speaks nothing newer.

Nothing of ours depends on what only MQTT 5 has: without it a refusal comes as a lost connection, and the window is this file's.

paho keeps nothing for us: each attempt gets a client of its own, so nothing is remembered, resent or reconnected behind the
uplink's back (paho #492, #698: all its queue in flight at once after a reconnect). It is driven through its interface for
foreign loops by one thread a connection; its callbacks only queue events and wake a socket pair.
"""

import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.errors import NotConnected, TooLarge
from drivers.link import (
    WE_LEFT,
    Acknowledged,
    Connected,
    Deaf,
    Disconnected,
    LinkEvent,
    LinkRequest,
    Received,
    Refused,
    Service,
)
from drivers.linux.dial import first_to_answer
from drivers.linux.link_trouble import hung_up, meaning_of, named, out_of_time, unusable

CONNECT_S_MAX = 5.0  # One attempt; a broker that needs longer is as good as away, and another may be in the list.
CLOSE_S_MAX = 1.0  # For the farewell to leave; paho's own loop_stop may wait for ever with one publication unacknowledged.
UNACKNOWLEDGED_MS_MAX = 20_000  # TCP_USER_TIMEOUT: a dead path is noticed this soon even while we are sending.
# Publications the broker may hand us before `events` was called. Together with the acknowledgement at `events` it bounds what
# this process holds for a slow station.
RECEIVE_MAXIMUM = 256
INCOMING_BYTES_MAX = 1 << 20  # Nothing of ours is longer; what is does not get as far as our memory.
NO_SUBSCRIBERS = 0x10  # RabbitMQ 4 says this and drops the publication.
UNSUPPORTED_VERSION = 0x84  # MQTT 5 §3.2.2.2; paho says it too for the 0x01 of a broker of MQTT 3.1.1
RETAIN_NOT_SUPPORTED = 0x9A  # Of a will; such a broker ends the connection over any other retained publication (§3.2.2.3.5).
RECEIVE_MAXIMUM_V311 = 20  # Such a broker tells no limit; this is what mosquitto and paho keep in flight by default.
# Expedited forwarding (RFC 3246) for what is urgent, lower effort (RFC 8622) for what gives way to everybody.
DSCP: dict[Service, int] = {"urgent": 46, "ordinary": 0, "bulk": 1}
# socket(7): up to 6 without a privilege. drivers/linux/egress.py sorts by them.
SOCKET_PRIORITIES: dict[Service, int] = {"urgent": 6, "ordinary": 0, "bulk": 2}
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python 3.11 has no name for it
BULK_UNSENT_BYTES_MAX = 16_384  # What the kernel takes beyond what is on the wire; more would only wait there instead of here.
NO_PASSWORD = "none"  # At least four characters, or OpenSSL takes it for none; a key without a pass phrase takes any.
_NO_LIMIT = 268_435_455  # the longest packet MQTT can express (§2.1.4)


class PahoLink:
    """A Link over TCP or TLS."""

    def __init__(self) -> None:
        _take_any_reason()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._queue: deque[tuple[_Connection, LinkEvent, int]] = deque()
        self._connection: _Connection | None = None
        self._number = 0

    def fileno(self) -> int:
        return self._ours.fileno()

    def connect(self, request: LinkRequest) -> None:
        self._drop()
        self._number += 1
        self._connection = _Connection(request, self._number, self._push)
        self._connection.start()

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.leave()

    def subscribe(self, topics: Sequence[str]) -> None:
        self._connected().subscribe(topics)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        return self._connected().publish(topic, payload, retain)

    def events(self) -> list[LinkEvent]:
        _drain(self._ours)
        found: list[LinkEvent] = []
        while self._queue:
            connection, event, packet = self._queue.popleft()
            if isinstance(event, Received):
                # Only now the broker may send another: a publication is taken from it when somebody takes it from us.
                if connection is self._connection:
                    connection.acknowledge(packet)
                found.append(event)
            elif connection is self._connection:
                found.append(event)
        return found

    def close(self) -> None:
        self._drop()
        self._ours.close()
        self._theirs.close()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> "_Connection":
        if self._connection is None or not self._connection.is_up:
            raise NotConnected("expected a connection to a broker, there is none")
        return self._connection

    def _push(self, connection: "_Connection", event: LinkEvent, packet: int) -> None:
        # From the connection's thread. An append is atomic; a full pair is already a wake.
        self._queue.append((connection, event, packet))
        try:
            self._theirs.send(b"\0")
        except OSError:
            return


class _Client(Client):
    """paho's, but for how it comes to a socket: its own way is one address after the other, each with the whole time of an attempt."""

    def _create_socket_connection(self) -> socket.socket:
        addresses = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return first_to_answer([(family, address) for family, _, _, _, address in addresses], within_s=CONNECT_S_MAX)


_Push: TypeAlias = Callable[["_Connection", LinkEvent, int], None]


class _Connection:
    """One attempt, and what came of it. `push` is called from its thread; everything else is called from the station's."""

    def __init__(self, request: LinkRequest, number: int, push: "_Push") -> None:
        self.is_up = self._was_up = False
        self._request = request
        self._number = number
        self._push = push
        self._closed = False
        self._reason = ""
        self._packet_bytes_max = _NO_LIMIT
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"link-{number}", daemon=True)
        self._too_new = False
        self._retains = True
        self._without_retained = False  # it refused our will for being retained
        self._version = MQTTv5
        self._client = self._new_client(MQTTv5)

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:  # TasksMax, memory: an attempt that failed costs less than to end.
            self._closed = True
            self._wake.close()
            self._woken.close()
            self._push(self, Disconnected("no thread is to be had"), 0)

    def subscribe(self, topics: Sequence[str]) -> None:
        code, _ = self._client.subscribe([(topic, 1) for topic in topics])
        self._wake_up()
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnected("expected a connection to a broker, it has just gone")

    def publish(self, topic: str, payload: bytes, retain: bool) -> int:
        # Fixed header 5, topic 2 + n, packet identifier 2, properties 1 (§3.3).
        if len(payload) + len(topic.encode()) + 10 > self._packet_bytes_max:
            raise TooLarge(f"expected a packet of at most {self._packet_bytes_max} bytes, the payload has {len(payload)}")
        info = self._client.publish(topic, payload, qos=1, retain=retain and self._retains)
        self._wake_up()
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnected("expected a connection to a broker, it has just gone")
        return self._token(info.mid)

    def acknowledge(self, packet: int) -> None:
        self._client.ack(packet, 1)
        self._wake_up()

    def leave(self) -> None:
        self._closed = True
        self._client.disconnect()
        self._wake_up()

    def close(self) -> None:
        self.leave()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S_MAX)
        # What has not left by now stays; the thread finds its wire closed, and ends.
        self._close_wire()

    def _new_client(self, version: MQTTProtocolVersion) -> Client:
        request = self._request
        client = _Client(
            CallbackAPIVersion.VERSION2, request.client, protocol=version, reconnect_on_failure=False, manual_ack=True
        )
        client.connect_timeout = CONNECT_S_MAX
        client.max_inflight_messages_set(0)  # The window is the uplink's; paho's ignores the broker's Receive Maximum.
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = partial(_set_options, request.service)
        # With a writer registered paho leaves writing to the thread below instead of doing it in whoever publishes.
        client.on_socket_register_write = _nothing
        if request.will_topic is not None:
            client.will_set(request.will_topic, request.will_payload, qos=1, retain=self._retains)
        return client

    def _run(self) -> None:
        try:
            self._connect_and_serve(MQTTv5)
            if self._without_retained and not self._closed:
                self._retains = False
                self._connect_anew(MQTTv5)
            if self._too_new and not self._closed:
                self._connect_anew(MQTTv311)
        except (OSError, ValueError, ssl.SSLError) as trouble:
            self._reason = self._reason or named(trouble, self._request)
        finally:
            # Also after a mistake of ours in a callback, which goes on to the thread's end and its traceback: paho alone would
            # call itself connected for ever.
            if not self.is_up and not self._closed and (ours := out_of_time(self._request.certificate)):
                # With TLS 1.3 the broker's word about it comes after our handshake, and paho keeps it to itself.
                self._reason = f"{ours}; {self._reason}" if self._reason else ours
            elif not self._was_up and not self._closed and not self._reason:
                self._reason = hung_up(self._request)
            self.is_up = False
            self._close_wire()
            self._push(self, Disconnected(self._reason or "the connection was lost"), 0)
            self._wake.close()
            self._woken.close()

    def _connect_anew(self, version: MQTTProtocolVersion) -> None:
        """Once more, in a way this broker may take."""
        self._close_wire()
        self._client, self._reason = self._new_client(version), ""
        self._connect_and_serve(version)

    def _connect_and_serve(self, version: MQTTProtocolVersion) -> None:
        request, client, self._version = self._request, self._client, version
        if request.ca is not None:
            try:
                # Without a password OpenSSL asks for one at the terminal, and waits there.
                client.tls_set(
                    ca_certs=request.ca, certfile=request.certificate, keyfile=request.key, keyfile_password=NO_PASSWORD
                )
            except (OSError, ValueError) as trouble:
                self._reason = unusable(request, trouble)
                return
        host, _, port = request.broker.rpartition(":")
        properties = None
        if version == MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            properties.MaximumPacketSize = INCOMING_BYTES_MAX
        client.connect(host.strip("[]"), int(port), keepalive=request.keepalive_s, properties=properties)
        answer_by = time.monotonic() + CONNECT_S_MAX
        poll = select.poll()  # Not select(2), which ends at descriptor 1023.
        poll.register(self._woken.fileno(), select.POLLIN)
        while not self._closed or client.want_write():
            wire = client.socket()
            if wire is None:
                return
            if not self.is_up and time.monotonic() > answer_by:
                # Silence is also how a broker of MQTT 3.1.1 may answer what it cannot take apart (amqtt 0.12).
                self._reason, self._too_new = "the broker did not answer", True
                return
            poll.register(wire.fileno(), select.POLLIN | (select.POLLOUT if client.want_write() else 0))
            # Bytes TLS has already taken from the kernel ring no bell.
            waiting = isinstance(wire, ssl.SSLSocket) and wire.pending() > 0
            ready = dict(poll.poll(0 if waiting else 1000))  # paho's keep-alive wants to be asked about once a second.
            poll.unregister(wire.fileno())
            _drain(self._woken)
            if (
                waiting or ready.get(wire.fileno(), 0) & ~select.POLLOUT
            ) and client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if client.want_write() and client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def _close_wire(self) -> None:
        wire = self._client.socket()
        if isinstance(wire, socket.socket):
            try:
                wire.shutdown(socket.SHUT_RDWR)  # Wakes a thread that waits on it, which closing alone does not.
            except OSError:
                pass  # It was going down by itself.
            wire.close()

    def _wake_up(self) -> None:
        try:
            self._wake.send(b"\0")
        except OSError:
            return  # A full pair is already a wake; a closed one has nobody to wake.

    def _token(self, packet: int) -> int:
        return self._number << 16 | packet

    # paho's callbacks, in the connection's thread. They queue and return: paho holds a lock of its own meanwhile.

    def _on_connect(
        self, client: Client, user: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._reason = f"the broker refused: {meaning_of(code)}"
            self._too_new = code.value == UNSUPPORTED_VERSION
            self._without_retained = code.value == RETAIN_NOT_SUPPORTED and self._retains
            return
        receive_maximum = getattr(properties, "ReceiveMaximum", 65_535) if self._version == MQTTv5 else RECEIVE_MAXIMUM_V311
        self._packet_bytes_max = getattr(properties, "MaximumPacketSize", _NO_LIMIT)
        self._retains = self._retains and getattr(properties, "RetainAvailable", 1) != 0
        self.is_up = self._was_up = True
        self._push(self, Connected(receive_maximum, self._packet_bytes_max), 0)

    def _on_disconnect(
        self, client: Client, user: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self.is_up = False
        if flags.is_disconnect_packet_from_server:
            self._reason = self._reason or f"the broker ended the connection: {meaning_of(code)}"
        elif self._closed:
            self._reason = self._reason or WE_LEFT

    def _on_publish(self, client: Client, user: object, packet: int, code: ReasonCode, properties: Properties | None) -> None:
        token = self._token(packet)
        if code.value >= 0x80 or code.value == NO_SUBSCRIBERS:
            self._push(self, Refused(token, f"{code.value:#04x}"), 0)
        else:
            self._push(self, Acknowledged(token), 0)

    def _on_subscribe(
        self, client: Client, user: object, packet: int, codes: list[ReasonCode], properties: Properties | None
    ) -> None:
        for code in codes:
            if code.value >= 0x80:
                self._push(self, Deaf(f"{code.value:#04x}"), 0)

    def _on_message(self, client: Client, user: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # Nobody's topic; the station counts it as unexpected.
        self._push(self, Received(topic, bytes(message.payload)), message.mid)


def _drain(end: socket.socket) -> None:
    try:
        while end.recv(4096):
            continue
    except OSError:
        return


def _take_any_reason() -> None:
    """Have paho take a packet with a reason MQTT 5 does not list for it.

    mosquitto answers what is beyond its message_size_limit with PUBACK 0x95; paho 2 calls that malformed, and the connection is lost.
    """
    ReasonCode.unpack = _reason_as_it_is  # type: ignore[assignment, method-assign]


def _reason_as_it_is(reason: ReasonCode, buffer: bytes | bytearray) -> int:
    reason.value = buffer[0]
    return 1


def _nothing(*_: object) -> None:
    return


def _set_options(service: Service, client: Client, user: object, wire: object) -> None:
    assert isinstance(wire, socket.socket), "paho over TCP or TLS"
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
    if service == "bulk":
        wire.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, BULK_UNSENT_BYTES_MAX)
    if wire.family == socket.AF_INET6:
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP[service] << 2)
    else:
        wire.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP[service] << 2)
    # After the other: setting IP_TOS sets the priority as well (ip(7)).
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, SOCKET_PRIORITIES[service])
