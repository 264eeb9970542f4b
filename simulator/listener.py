"""A simulated listener: callers are method calls of the world, with the same ceilings as the real one's."""

from drivers.listener import Closed, Heard, ListenEvent, ListenRequest, Opened

READ_BYTES = 65_536


class SimulatedListener:
    """One port. `call`, `say`, `datagram` and `hang_up` are the world's; `answers` is what a caller was sent."""

    def __init__(self, request: ListenRequest) -> None:
        self.request = request
        self.answers: dict[int, bytearray] = {}
        self._peers: dict[int, str] = {}
        self._events: list[ListenEvent] = []
        self._refused = 0
        self._number = 0
        self._closed = False

    # The world's side.

    def call(self, peer: str) -> int | None:
        """Somebody connects; None when he is turned away."""
        if self._closed or len(self._peers) >= self.request.connections_max:
            self._refused += 1
            return None
        self._number += 1
        self._peers[self._number] = peer
        self.answers[self._number] = bytearray()
        self._events.append(Opened(self._number, peer))
        return self._number

    def say(self, connection: int, data: bytes) -> bool:
        """He says something; False when he finds himself disconnected."""
        if connection not in self._peers:
            return False
        for at in range(0, len(data), READ_BYTES):
            self._events.append(Heard(connection, self._peers[connection], data[at : at + READ_BYTES]))
        return True

    def datagram(self, peer: str, data: bytes) -> None:
        """One comes, over UDP."""
        self._events.append(Heard(None, peer, data))

    def hang_up(self, connection: int) -> None:
        """He leaves."""
        if self._peers.pop(connection, None) is not None:
            self._events.append(Closed(connection, "closed"))

    def is_connected(self, connection: int) -> bool:
        return connection in self._peers

    # The contract.

    @property
    def port(self) -> int:
        return self.request.port

    @property
    def refused(self) -> int:
        return self._refused

    def fileno(self) -> int:
        return -1

    def events(self) -> list[ListenEvent]:
        events, self._events = self._events, []
        return events

    def send(self, connection: int, data: bytes) -> None:
        if connection in self._peers:
            self.answers[connection] += data

    def drop(self, connection: int) -> None:
        self.hang_up(connection)

    def close(self) -> None:
        self._closed = True
        for connection in list(self._peers):
            self.hang_up(connection)
