"""The listener on Linux: non-blocking sockets behind one epoll, TLS by OpenSSL. One thread, no waiting.

A caller costs a descriptor, and at most SEND_BYTES_MAX of memory for answers he has not taken. Those who connect and do not
finish TLS's handshake are as many as connections may be, and have HANDSHAKE_S; nothing else here knows time.
"""

import errno
import ipaddress
import select
import socket
import ssl
import time
from dataclasses import dataclass, field

from drivers.errors import ListenFailed
from drivers.listener import Closed, Heard, ListenEvent, ListenRequest, Opened

SO_BINDTODEVICE = 25
READ_BYTES = 65_536
DATAGRAM_BYTES_MAX = 65_535
DATAGRAMS_A_LOOK = 256
CALLERS_A_LOOK = 16
SEND_BYTES_MAX = 65_536  # Acknowledgements have some hundred bytes; who leaves hundreds of them untaken is not listening.
HANDSHAKE_S = 10.0
BACKLOG = 16


@dataclass(slots=True)
class _Caller:
    number: int  # what the station knows him by; a descriptor is given out again, and would be somebody else's
    socket: socket.socket
    peer: str
    since_s: float
    is_open: bool  # False: still shaking hands
    is_deaf: bool = False  # he has gone, or does not take answers any more; what he said before is still to be read
    unsent: bytearray = field(default_factory=bytearray)
    watched: int = select.EPOLLIN


class LinuxListener:
    """One port. Raises ListenFailed when it is opened."""

    def __init__(self, request: ListenRequest) -> None:
        self._request = request
        self._callers: dict[int, _Caller] = {}  # by descriptor
        self._descriptors: dict[int, int] = {}  # by number
        self._number = 0
        self._gone: list[ListenEvent] = []
        self._refused = 0
        self._tls = _context(request) if request.transport == "tls" else None
        try:
            self._socket = _bound(request)
        except OSError as problem:
            name = errno.errorcode.get(problem.errno or 0, str(problem))
            raise ListenFailed(
                f"expected {request.transport} port {request.port} to be ours, the kernel answered {name}"
            ) from None
        self._epoll = select.epoll()
        self._epoll.register(self._socket, select.EPOLLIN)
        self._closed = False

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def refused(self) -> int:
        return self._refused

    def fileno(self) -> int:
        return self._epoll.fileno()

    def events(self) -> list[ListenEvent]:
        found, self._gone = self._gone, []
        if self._closed:
            return found
        for descriptor, mask in self._epoll.poll(0):
            if descriptor == self._socket.fileno():
                self._receive(found) if self._request.transport == "udp" else self._accept(found)
            elif descriptor in self._callers:
                self._serve(descriptor, mask, found)
        self._forget_slow_hands(found)
        return found + self._taken_gone()

    def send(self, connection: int, data: bytes) -> None:
        descriptor = self._descriptors.get(connection)
        if descriptor is None:
            return
        caller = self._callers[descriptor]
        if caller.is_deaf:
            return
        caller.unsent += data
        self._flush(descriptor, caller)
        if len(caller.unsent) > SEND_BYTES_MAX and descriptor in self._callers:
            self._end(descriptor, "slow")

    def drop(self, connection: int) -> None:
        descriptor = self._descriptors.get(connection)
        if descriptor is not None:
            self._end(descriptor, "closed")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for descriptor in list(self._callers):
            self._end(descriptor, "closed")
        self._epoll.close()
        self._socket.close()

    def _receive(self, found: list[ListenEvent]) -> None:
        for _ in range(DATAGRAMS_A_LOOK):
            try:
                data, address = self._socket.recvfrom(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                return  # An ICMP error of somebody who was never sent anything; the next datagram is not concerned.
            found.append(Heard(None, _plain(address[0]), data))

    def _accept(self, found: list[ListenEvent]) -> None:
        for _ in range(CALLERS_A_LOOK):
            try:
                caller, address = self._socket.accept()
            except OSError:
                return  # Nobody, somebody who has left again, or no descriptor for him.
            if len(self._callers) >= self._request.connections_max:
                self._refused += 1
                caller.close()
                continue
            caller.setblocking(False)
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # A monitor that was unplugged does not say goodbye.
            peer = _plain(address[0])
            if self._tls is not None:
                try:
                    caller = self._tls.wrap_socket(caller, server_side=True, do_handshake_on_connect=False)
                except OSError:
                    self._refused += 1  # He has reset the connection before it was accepted: Python looks at that already here.
                    continue
            descriptor = caller.fileno()
            self._number += 1
            self._callers[descriptor] = _Caller(self._number, caller, peer, time.monotonic(), is_open=self._tls is None)
            self._epoll.register(descriptor, select.EPOLLIN)
            if self._tls is None:
                self._descriptors[self._number] = descriptor
                found.append(Opened(self._number, peer))

    def _serve(self, descriptor: int, mask: int, found: list[ListenEvent]) -> None:
        caller = self._callers[descriptor]
        if not caller.is_open:
            self._shake_hands(descriptor, caller, found)
            return
        if mask & select.EPOLLOUT or caller.unsent:
            self._flush(descriptor, caller)
        if mask & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and descriptor in self._callers:
            self._read(descriptor, caller, found)

    def _shake_hands(self, descriptor: int, caller: _Caller, found: list[ListenEvent]) -> None:
        assert isinstance(caller.socket, ssl.SSLSocket), "only TLS shakes hands"
        try:
            caller.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(descriptor, caller, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._watch(descriptor, caller, select.EPOLLOUT)
        except (OSError, ValueError):
            self._turn_away(descriptor)
        else:
            caller.is_open = True
            self._watch(descriptor, caller, select.EPOLLIN)
            self._descriptors[caller.number] = descriptor
            found.append(Opened(caller.number, caller.peer))
            self._read(descriptor, caller, found)  # What came with the last of the handshake wakes nobody any more.

    def _read(self, descriptor: int, caller: _Caller, found: list[ListenEvent]) -> None:
        pieces: list[bytes] = []
        reason = None
        while sum(map(len, pieces)) < READ_BYTES:
            try:
                data = caller.socket.recv(READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError:
                reason = "failed"
                break
            if not data:
                reason = "closed"
                break
            pieces.append(data)
            if not (isinstance(caller.socket, ssl.SSLSocket) and caller.socket.pending()):
                break
        # What OpenSSL has decrypted and nobody has read makes no descriptor readable: it is read to the end.
        while reason is None and isinstance(caller.socket, ssl.SSLSocket) and caller.socket.pending():
            pieces.append(caller.socket.recv(caller.socket.pending()))
        if pieces:
            found.append(Heard(caller.number, caller.peer, b"".join(pieces)))
        if reason is not None:
            self._end(descriptor, "failed" if caller.is_deaf else reason)
            found += self._taken_gone()

    def _flush(self, descriptor: int, caller: _Caller) -> None:
        try:
            while caller.unsent:
                del caller.unsent[: caller.socket.send(bytes(caller.unsent))]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except (ConnectionResetError, BrokenPipeError):
            # Who closes with answers unread resets the connection. The kernel keeps what he had sent until it is read, and so long we read.
            caller.is_deaf = True
            caller.unsent.clear()
        except OSError:
            self._end(descriptor, "failed")
            return
        self._watch(descriptor, caller, select.EPOLLIN | (select.EPOLLOUT if caller.unsent else 0))

    def _watch(self, descriptor: int, caller: _Caller, mask: int) -> None:
        if caller.watched != mask:
            self._epoll.modify(descriptor, mask)
            caller.watched = mask

    def _forget_slow_hands(self, found: list[ListenEvent]) -> None:
        now_s = time.monotonic()
        for descriptor, caller in list(self._callers.items()):
            if not caller.is_open and now_s - caller.since_s > HANDSHAKE_S:
                self._turn_away(descriptor)

    def _turn_away(self, descriptor: int) -> None:
        self._refused += 1
        self._epoll.unregister(descriptor)
        self._callers.pop(descriptor).socket.close()

    def _end(self, descriptor: int, reason: str) -> None:
        caller = self._callers.pop(descriptor)
        self._epoll.unregister(descriptor)
        caller.socket.close()
        if self._descriptors.pop(caller.number, None) is not None:
            self._gone.append(Closed(caller.number, reason))

    def _taken_gone(self) -> list[ListenEvent]:
        gone, self._gone = self._gone, []
        return gone


def _bound(request: ListenRequest) -> socket.socket:
    kind = socket.SOCK_DGRAM if request.transport == "udp" else socket.SOCK_STREAM
    everywhere = request.address == ""
    family = socket.AF_INET6 if everywhere or ":" in request.address else socket.AF_INET
    try:
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as problem:
        if not everywhere or problem.errno != errno.EAFNOSUPPORT:
            raise
        family = socket.AF_INET  # A kernel started without IPv6; socket.has_ipv6 only says that Python was built with it.
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if everywhere else 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if request.interface:
            made.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, request.interface.encode() + b"\0")
        made.bind((request.address, request.port))
        if kind == socket.SOCK_STREAM:
            made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _context(request: ListenRequest) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9662: RFC 5425 with TLS 1.2 or newer
    if request.certificate is None:
        raise ListenFailed("expected a certificate to listen with TLS, none is set")
    try:
        context.load_cert_chain(request.certificate, request.key, _no_pass_phrase)
        if request.ca is not None:
            context.load_verify_locations(request.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as problem:
        raise ListenFailed(f"expected PEM files of certificate, key and authorities: {type(problem).__name__}") from None
    except ValueError as problem:
        raise ListenFailed(f"expected PEM files of certificate, key and authorities: {problem}") from None
    return context


def _no_pass_phrase() -> str:
    """In place of OpenSSL's question at the terminal, for which a box has nobody."""
    raise ValueError("the key has a pass phrase")


def _plain(address: str) -> str:
    """An IPv4 caller on a port of both families comes as ::ffff:10.0.0.5; an IPv6 one may come with his scope."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
