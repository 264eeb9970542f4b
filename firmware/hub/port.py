"""One broker as the hub hears it: a connection, and the acknowledgements that wait for room on it."""

from dataclasses import dataclass, field

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.link import Acknowledged, Connected, Disconnected, LinkRequest, Received, Refused
from firmware.core.connection import Connection
from firmware.core.envelope import ACK_IDENTITIES_MAX, Ack, ack_packed
from firmware.core.errors import NotConnected, TooLarge
from firmware.core.timestamp import SECOND
from firmware.core.topics import HUB_SUBSCRIPTIONS, Topic
from firmware.hub.settings import HubSettings

PUBLISHED_MAX = 50  # On the wire at once; below every broker's Receive Maximum we have met, and a fleet's acks fit in seconds.
STUCK_NS_MAX = 30 * SECOND


@dataclass(slots=True)
class _Pending:
    """What one box has not been told yet. An empty one is a greeting: the hub is here."""

    committed: list[bytes] = field(default_factory=list)
    partial: dict[bytes, int] = field(default_factory=dict)


class Port:
    """One broker. `greeted`: set when it has just been connected to, until the station has greeted all boxes."""

    def __init__(self, board: Board, settings: HubSettings, broker: str) -> None:
        self.greeted = False
        self.connection = Connection(
            board.link(), board.identity, (broker,), backoff_s_max=settings.backoff_s_max, request=self._request
        )
        self._settings = settings
        # One hub at a broker: a second with this name takes its place, as it would after a restart.
        self._client = f"{board.identity.site}/{board.identity.name}/hub"
        self._on_wire: dict[int, Monotonic] = {}
        self._pending: dict[tuple[str, str], _Pending] = {}

    def hear(self, now: Now) -> list[Received]:
        """What has arrived; keeps the connection meanwhile."""
        received = []
        for event in self.connection.link.events():
            match event:
                case Connected():
                    self._forget()
                    self.connection.connected(event, now.monotonic)
                    try:
                        self.connection.link.subscribe(HUB_SUBSCRIPTIONS)
                    except NotConnected:
                        continue  # Disconnected is on its way.
                    self.greeted = False
                case Disconnected():
                    self._forget()
                    self.connection.lost(now.monotonic)
                case Acknowledged(token) | Refused(token, _):
                    # A box that is not there is told again when it comes back.
                    self._on_wire.pop(token, None)
                case Received():
                    self.connection.works()
                    received.append(event)
        self.connection.connect_when_due(now)
        if self.connection.is_up and any(now.monotonic.since(since) >= STUCK_NS_MAX for since in self._on_wire.values()):
            self.connection.link.disconnect()
            self._forget()
            self.connection.lost(now.monotonic)
        return received

    def committed(self, site: str, box: str, identity: bytes) -> None:
        """The box may forget this envelope."""
        pending = self._pending.setdefault((site, box), _Pending())
        pending.committed.append(identity)
        pending.partial.pop(identity, None)

    def partial(self, site: str, box: str, identity: bytes, size: int) -> None:
        """The hub has so many bytes of this long envelope."""
        self._pending.setdefault((site, box), _Pending()).partial[identity] = size

    def greet(self, site: str, box: str) -> None:
        """Tell the box that the hub is here: what it sent before may have been thrown away."""
        self._pending.setdefault((site, box), _Pending())

    def send_acknowledgements(self, now: Monotonic) -> bool:
        """As many as there is room for. Returns whether some wait for room."""
        while self._pending:
            (site, box), pending = next(iter(self._pending.items()))
            committed, later = pending.committed[: ACK_IDENTITIES_MAX // 2], pending.committed[ACK_IDENTITIES_MAX // 2 :]
            if not self.publish(str(Topic(site, box, "ack")), ack_packed(Ack(tuple(committed), pending.partial)), now):
                return True
            if later:
                self._pending[site, box] = _Pending(later)
            else:
                del self._pending[site, box]
        return False

    def publish(self, topic: str, payload: bytes, now: Monotonic) -> bool:
        """Whether it is on the wire; not so without a connection or room."""
        if not self.connection.is_up or len(self._on_wire) >= min(PUBLISHED_MAX, self.connection.receive_maximum):
            return False
        try:
            self._on_wire[self.connection.link.publish(topic, payload)] = now
        except (NotConnected, TooLarge):
            return False
        return True

    def next_wish(self) -> Monotonic | None:
        """When it wants to be heard again without anything having arrived."""
        stuck = min(self._on_wire.values(), default=None)
        wishes = [self.connection.next_wish(), stuck.after(STUCK_NS_MAX) if stuck is not None else None]
        return min((wish for wish in wishes if wish is not None), default=None)

    def _forget(self) -> None:
        # Boxes send again what was not acknowledged, and are told again.
        self._on_wire.clear()
        self._pending.clear()

    def _request(self, broker: str, now: Now) -> LinkRequest:
        return LinkRequest(
            broker,
            client=self._client,
            keepalive_s=self._settings.keepalive_s,
            ca=self._settings.ca or None,
            certificate=self._settings.certificate or None,
            key=self._settings.key or None,
        )
