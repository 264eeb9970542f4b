"""The two connections as a box holds them: their topics, its birth and its last will.

A: what is urgent, our presence, acknowledgements and commands. B: everything else, to the same broker, so that a queue of bulk in
one of the kernels on the way is another connection's queue. Where a broker takes only one connection from us, A carries all.
"""

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.link import Connected, LinkRequest
from firmware.core.connection import Connection
from firmware.core.presence import EPOCH_SIZE, Presence, packed
from firmware.core.timestamp import SECOND
from firmware.core.topics import Topic, via_subscriptions
from firmware.uplink.lane import Lane
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.standing import STATE

# As long as an attempt at the second connection may take, with one more in reserve; then A carries what B would.
ALONE_NS = 6 * SECOND
SECOND_AWAY_NS = 600 * SECOND  # A second connection that was there on this first one, and is away for so long, comes no more.


class Wire:
    """a, b: the two lanes. forwards: also for others, as a relay does."""

    def __init__(self, board: Board, settings: UplinkSettings, *, forwards: bool) -> None:
        self._identity = board.identity
        self._settings = settings
        self._forwards = forwards
        self._epoch = b""
        self._up_since = Monotonic(0)
        self._second_lost: Monotonic | None = None  # since A is up
        self.is_born = False  # whether the broker was told on this connection that we are there
        link = board.link()
        self.a = Lane(
            link,
            Connection(
                link, self._identity, settings.peers(), backoff_s_max=settings.backoff_s_max, request=self._request,
            ),
        )  # fmt: skip
        self._second = board.link()
        self.b = self._follower()

    def lane_for_bulk(self, now: Monotonic) -> Lane | None:
        """B; A where B did not come up; None while it may still."""
        if self.b.connection.is_up:
            return self.b
        return self.a if self.a.connection.is_up and now.since(self._up_since) >= ALONE_NS else None

    def second_lost(self, now: Monotonic) -> None:
        """B is gone alone. It will be back: the broker has taken it before."""
        self._second_lost = now
        self.b.connection.lost(now)

    def is_second_coming(self, now: Monotonic) -> bool:
        """Whether what may end a connection should rather wait for B to end than go on A."""
        return self._second_lost is not None and now.since(self._second_lost) < SECOND_AWAY_NS

    def bulk_may_begin(self, now: Monotonic) -> Monotonic | None:
        """When A will carry bulk if B does not come up; None when that is decided."""
        decided = self._up_since.after(ALONE_NS)
        return decided if self.a.connection.is_up and not self.b.connection.is_up and now < decided else None

    def topic(self, channel: str, transfer: str | None = None, *, box: str | None = None) -> str:
        """One of this box's own topics, or of one it speaks for."""
        return str(self.topic_of(channel, transfer, box=box))

    def topic_of(self, channel: str, transfer: str | None = None, *, box: str | None = None) -> Topic:
        """Likewise, taken apart."""
        own = self._identity.name
        if box is None or box == own:
            return Topic(self._identity.site, own, channel, transfer)
        return Topic(self._identity.site, box, channel, transfer, relay=own)

    def connected(self, event: Connected, now: Now) -> None:
        """The broker said yes to A: subscribe, and B may follow. Raises NotConnected when it is gone again."""
        self.a.connection.connected(event, now.monotonic)
        self._up_since = now.monotonic
        self.b, self.is_born, self._second_lost = self._follower(), False, None
        through = via_subscriptions(self._identity.site, self._identity.name) if self._forwards else ()
        self.a.link.subscribe([self.topic("ack"), self.topic("cmd"), *through])

    def be_born(self, now: Now) -> None:
        """Say that we are there. Raises NotConnected, or TooLarge."""
        self._say(Presence("online", self._epoch, now.timestamp.tai_ns), now)
        self.is_born = True

    def lost(self, now: Now) -> None:
        """A is gone; B goes too, for its acknowledgements would not be heard."""
        self.a.forget()
        self.a.connection.lost(now.monotonic)
        self.b.link.disconnect()
        self.b = self._follower()

    def leave(self, now: Now, *, until_tai_ns: int | None = None) -> None:
        """Go from both; with a word, so that the hub need not wonder. until: when we shall be back, if we shall. May raise NotConnected."""
        self.b.link.disconnect()
        if self.is_born and self.a.connection.is_up and len(self.a) < self.a.connection.receive_maximum:
            self._say(Presence("left", self._epoch, now.timestamp.tai_ns, until_tai_ns), now)

    def close(self) -> None:
        """Give both links up."""
        self.a.connection.close()
        self.b.connection.close()

    def _say(self, presence: Presence, now: Now) -> None:
        self.a.say(STATE, self.topic("state"), packed(presence), now.monotonic, retain=True)

    def _follower(self) -> Lane:
        """B as it begins: it knows one broker, the one A has found."""
        broker = self.a.connection.broker
        return Lane(
            self._second,
            Connection(
                self._second, self._identity, (broker,), backoff_s_max=self._settings.backoff_s_max, request=self._bulk_request
            ),
        )

    def _request(self, broker: str, now: Now) -> LinkRequest:
        self._epoch = self._identity.entropy(EPOCH_SIZE)
        return LinkRequest(
            broker,
            client=f"{self._identity.site}/{self._identity.name}",
            will_topic=self.topic("state"),
            will_payload=packed(Presence("lost", self._epoch, now.timestamp.tai_ns)),
            keepalive_s=self._settings.keepalive_s,
            ca=self._settings.ca or None,
            certificate=self._settings.certificate or None,
            key=self._settings.key or None,
            service="urgent",
        )

    def _bulk_request(self, broker: str, now: Now) -> LinkRequest:
        return LinkRequest(
            broker,
            client=f"{self._identity.site}/{self._identity.name}/bulk",
            keepalive_s=self._settings.keepalive_s,
            ca=self._settings.ca or None,
            certificate=self._settings.certificate or None,
            key=self._settings.key or None,
            service="bulk",
        )
