"""The connection as a box holds it: its topics, its birth and its last will."""

from drivers.board import Board
from drivers.clock import Now
from drivers.link import Connected, LinkRequest
from firmware.core.connection import Connection
from firmware.core.presence import EPOCH_SIZE, Presence, packed
from firmware.core.topics import Topic
from firmware.uplink.settings import UplinkSettings


class Wire:
    """A box's connection. connection: when to try, and how it stands. link: publishes and tells events."""

    def __init__(self, board: Board, settings: UplinkSettings) -> None:
        self.link = board.link()
        self.connection = Connection(
            self.link, board.identity, settings.brokers, backoff_s_max=settings.backoff_s_max, request=self._request
        )
        self._identity = board.identity
        self._settings = settings
        self._epoch = b""

    def topic(self, channel: str, transfer: str | None = None) -> str:
        """One of this box's own topics."""
        return str(Topic(self._identity.site, self._identity.name, channel, transfer))

    def connected(self, event: Connected, now: Now) -> int:
        """The broker said yes: subscribe and be born. Returns the birth's token; raises NotConnected when it is gone again."""
        self.connection.connected(event, now.monotonic)
        self.link.subscribe([self.topic("ack"), self.topic("cmd")])
        return self.link.publish(self.topic("state"), packed(Presence("online", self._epoch, now.timestamp.tai_ns)), retain=True)

    def leave(self, now: Now, *, with_word: bool) -> None:
        """Give the link up; with a word, so that the hub need not wonder. May raise NotConnected."""
        if self.connection.is_up and with_word:
            self.link.publish(self.topic("state"), packed(Presence("left", self._epoch, now.timestamp.tai_ns)), retain=True)
        self.connection.close()

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
        )
