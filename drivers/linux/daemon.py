"""A daemon's control socket, real: a datagram socket in the file system, or UDP on the loopback interface."""

import os
import socket
from collections.abc import Sequence

from drivers.errors import NotConnected

DATAGRAM_BYTES_MAX = 4096
HEARD_MAX = 64


class LinuxDaemon:
    """address: a path ("/run/scrubjay-ptp/ptp4l"), or "127.0.0.1:323".

    Connected anew whenever it has to be: a daemon that was restarted has another socket under the same name.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    def say(self, data: bytes) -> None:
        try:
            (self._socket or self._open()).send(data)
        except BlockingIOError:
            raise NotConnected("expected the daemon to read what it was sent, it does not") from None
        except OSError as problem:
            self.close()
            raise NotConnected(f"expected a daemon at its control socket, got {type(problem).__name__}") from None

    def heard(self) -> Sequence[bytes]:
        found: list[bytes] = []
        while self._socket is not None and len(found) < HEARD_MAX:
            try:
                found.append(self._socket.recv(DATAGRAM_BYTES_MAX))
            except BlockingIOError:
                break
            except OSError:
                self.close()  # UDP says so when nobody is there
        return found

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        host, colon, port = self._address.rpartition(":")
        if colon and port.isdigit():
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            place: str | tuple[str, int] = (host, int(port))
        else:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            # The daemon answers to the name of who asked. An abstract one is nobody's file, goes with the process, and needs no
            # right to write where the daemon lives.
            opened.bind(f"\0scrubjay-{os.getpid()}-{id(self):x}")
            place = self._address
        try:
            opened.connect(place)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        return opened
