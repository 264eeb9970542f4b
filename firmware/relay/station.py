"""The relay: into its own outbox first, then custody; and the hub's word back to the box, when the uplink has moved an item to sent/."""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.link import Received
from firmware.core import presence
from firmware.core.download import DOWNLOADS, want_unpacked
from firmware.core.durable import make_directory, read_or_none
from firmware.core.envelope import chunk_unpacked, packed, unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.incoming import Incoming
from firmware.core.message import Field
from firmware.core.port import Port, trouble_of
from firmware.core.report import Report
from firmware.core.serving import Serving
from firmware.core.spool import Spool
from firmware.core.state import STATE, figures_of, read_states
from firmware.core.timestamp import SECOND
from firmware.core.topics import RELAY_SUBSCRIPTIONS, Topic, parsed
from firmware.relay.health import health
from firmware.relay.library import Library
from firmware.relay.names import kept, kept_name
from firmware.relay.settings import RelaySettings

OUTBOX, SENT, PASSING, PRESENCE = "outbox", "sent", "commands/passing", "presence"
AGAIN_NS = SECOND  # After a full or failed disk.
MEASURE_NS = 10 * SECOND  # How full the outbox is: a listing with sizes; in between what is taken in is added.
DELIVERED_MAX = (
    10_000  # Identities remembered after the copy is gone, for boxes that have not heard; others go to the hub once more.
)
# Of these, said again to a box that connects: its last word may have died with the broker that had taken it, or with the connection. As
# many as a hub commits in the half minute until a broker misses somebody. Who is not told asks in a few minutes (uplink's KEPT_NS).
SAID_AGAIN_MAX = 1_000
SENT_A_STEP = 256
HEALTH_WAITING_MAX = 60  # The hub away for an hour; the figures of now say more than those of a week.


@dataclass(frozen=True, slots=True)
class _Fresh:
    """An envelope not yet on the disk. port: where it came from, counted from 0."""

    port: int
    topic: Topic
    identity: bytes
    data: bytes


class RelayStation:
    """Hears boxes as a hub does, and keeps what it hears as a box does."""

    name = "relay"

    def __init__(self, board: Board, settings: RelaySettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._ports = [
            Port(board, settings, broker, role="relay", hears=RELAY_SUBSCRIPTIONS, keep_told=True) for broker in settings.brokers
        ]
        self._incoming = Incoming(board.disk, self.report, per_box=settings.incoming_per_box)
        self._serving = Serving(board.disk, DOWNLOADS, self.report)
        self._library = Library(board.disk, self.report, bytes_max=settings.downloads_bytes_max)
        self._outbox = Spool(board.disk, OUTBOX)
        self._passing = Spool(board.disk, PASSING)
        self._delivered: dict[bytes, str] = {}  # whose each was, in the order they were
        self._telling: set[tuple[int, bytes]] = set()  # on their way to a box through this port
        self._deaf: set[tuple[int, str]] = set()  # boxes that do not listen at this port until they are heard there
        self._kept_bytes = self._kept_items = 0
        self._measure_due: Monotonic | None = None
        self._again: Monotonic | None = None
        self._started: Monotonic | None = None
        self._health_due: Monotonic | None = None

    def start(self, now: Now) -> None:
        for directory in (OUTBOX, SENT, PRESENCE):
            make_directory(self._board.disk, directory)
        make_directory(self._board.disk, STATE)
        self._passing.start(self.report.drop)
        self._incoming.start()
        self._library.start(now.monotonic)
        self._started = now.monotonic
        # Not at once: the first figures of this process take their two seconds.
        self._health_due = now.monotonic.after(min(self._settings.health_s, 5) * SECOND)
        for name in self._board.disk.list(PRESENCE):
            self._board.disk.remove(f"{PRESENCE}/{name}")  # Who was here before us may be gone.

    def step(self, now: Now) -> Monotonic | None:
        heard = [(number, received) for number, port in enumerate(self._ports) for received in port.hear(now)]
        # What is in hand rests with a sick disk: said and not struck off, a command would go out again with every answer to it.
        is_resting = self._again is not None and now.monotonic < self._again
        if not is_resting:
            self._again = None
        try:
            if not is_resting:
                self._measure(now.monotonic)
                self._greet()
            self._take_in(heard, now.monotonic)
            if not is_resting:
                self._pass_on_acknowledgements(now)
                self._pass_on_commands(now)
                self._library.keep_house(now.monotonic)
                self._say_health(now)
        except (DiskFull, DiskFailed) as trouble:
            # Nothing more was taken into custody: the boxes keep it, and send it again.
            self.report.drop("disk_full" if isinstance(trouble, DiskFull) else "disk_failed")
            self._again = now.monotonic.after(AGAIN_NS)
        for port in self._ports:
            port.send_acknowledgements(now.monotonic)
        self._serving.serve(now.monotonic)
        self.report.gauge("brokers", sum(port.connection.is_up for port in self._ports))
        self.report.gauge("broker_trouble", trouble_of(self._ports))
        self.report.gauge("kept_items", self._kept_items)
        self.report.gauge("kept_bytes", self._kept_bytes)
        # Health that is due waits for the disk as well: what failed may have failed before its turn came (storm seed 4 with a relay).
        wishes = [
            self._again or self._health_due,
            now.monotonic if self._serving.is_busy() else None,
            *(port.next_wish() for port in self._ports),
        ]
        return min((wish for wish in wishes if wish is not None), default=None)

    def directories(self) -> Sequence[str]:
        return (SENT, PASSING)

    def descriptors(self) -> Sequence[int]:
        return [port.connection.link.fileno() for port in self._ports]

    def stop(self, now: Now) -> None:
        for port in self._ports:
            port.connection.close()

    # From the boxes.

    def _take_in(self, heard: Sequence[tuple[int, Received]], now: Monotonic) -> None:
        """Everything of one wake for one sync; custody is said when it lasts."""
        fresh: dict[str, _Fresh] = {}
        whole: list[str] = []
        for number, received in heard:
            topic = parsed(received.topic)
            if topic is None or topic.relay is not None or topic.box == self._board.identity.name:
                self.report.drop("unexpected_topic")
                continue
            self._deaf.discard((number, topic.box))
            try:
                path = self._take(number, topic, received.payload, fresh, now)
            except (DiskFull, DiskFailed) as trouble:
                # Not acknowledged, so it comes again; one long item that finds no room must not keep the alarms out.
                self.report.drop("disk_full" if isinstance(trouble, DiskFull) else "disk_failed")
                continue
            if path is not None:
                whole.append(path)
        if fresh:
            self._outbox.publish_all([(name, entry.data) for name, entry in sorted(fresh.items())])
            for entry in fresh.values():
                self._ports[entry.port].custody(entry.topic, entry.identity)
                self.report.count("taken")
        for path in whole:
            self._incoming.forget(path)

    def _take(self, number: int, topic: Topic, payload: bytes, fresh: dict[str, _Fresh], now: Monotonic) -> str | None:
        """One publication. Returns the file to clear away when what is fresh has been published."""
        path = None
        if topic.channel == "state":
            self._take_presence(number, topic, payload)
        elif topic.channel == "want":
            self._take_want(number, topic, payload, now)
        elif topic.channel == "bulk":
            path = self._take_chunk(number, topic, payload)
            if path is not None:
                self._take_envelope(number, topic, self._board.disk.read(path), fresh)
        elif topic.channel in ("p1", "p2", "p3", "p4"):
            self._take_envelope(number, topic, payload, fresh)
        else:
            self.report.drop("unexpected_topic")
        return path

    def _take_presence(self, number: int, topic: Topic, payload: bytes) -> None:
        try:
            said = presence.unpacked(payload)
        except BadItem:
            self.report.drop("bad_presence")
            return
        if said.state != "online" and self._is_former(topic.box, said):
            self.report.count("late_wills")
            return
        if said.state == "online":
            self._ports[number].greet(topic)
            for identity in [identity for identity, box in self._delivered.items() if box == topic.box][-SAID_AGAIN_MAX:]:
                self._ports[number].committed(topic, identity)
        # Not synced: it is about now, and said again at the next birth.
        self._board.disk.write(f"{PRESENCE}/.{topic.box}", payload)
        self._board.disk.rename(f"{PRESENCE}/.{topic.box}", f"{PRESENCE}/{topic.box}")

    def _is_former(self, box: str, said: presence.Presence) -> bool:
        """Whether this is the end of another connection than the one it was heard of last: a will may come after the next birth."""
        before = read_or_none(self._board.disk, f"{PRESENCE}/{box}", size=presence.PRESENCE_BYTES_MAX)
        try:
            return before is not None and presence.unpacked(before).epoch != said.epoch
        except BadItem:
            return False

    def _take_want(self, number: int, topic: Topic, payload: bytes, now: Monotonic) -> None:
        """A file a box is to have: from here if it is here, and otherwise fetched once for the whole house."""
        try:
            want = want_unpacked(payload)
        except BadItem:
            self.report.drop("bad_want")
            return
        if self._serving.has(want.wish):
            self._serving.ask(self._ports[number], topic, want)
        self._library.wanted(want.wish, now)

    def _take_chunk(self, number: int, topic: Topic, payload: bytes) -> str | None:
        """The file of the whole, when it is whole."""
        assert topic.transfer is not None, "as parsed"
        identity = bytes.fromhex(topic.transfer)
        if identity in self._delivered:
            self._ports[number].committed(topic, identity)
            return None
        try:
            chunk = chunk_unpacked(payload)
        except BadItem:
            self.report.drop("bad_chunk")
            return None
        if self._is_full(chunk.size):
            self.report.drop("outbox_full")
            return None
        progress = self._incoming.take(topic.site, topic.box, identity, chunk)
        if progress.whole is None:
            self._ports[number].partial(topic, identity, progress.size)
        return progress.whole

    def _take_envelope(self, number: int, topic: Topic, data: bytes, fresh: dict[str, _Fresh]) -> None:
        try:
            envelope = unpacked(data)
            if envelope.box != topic.box:
                raise BadItem("expected an envelope of the box whose topic it came on")
        except BadItem:
            # Not acknowledged: it is the box's to find out, and the hub never gets to see it from us.
            self.report.drop("bad_envelope")
            return
        name = kept_name(envelope)
        if envelope.identity in self._delivered:
            self._ports[number].committed(topic, envelope.identity)
        elif self._board.disk.exists(f"{SENT}/{name}"):
            self._telling.discard((number, envelope.identity))  # It has not heard; it is told below.
        elif name in fresh:
            # Twice in one wake, and not on the disk yet: custody is said when it is, to where it was heard last (storm seed 9 with a relay).
            fresh[name] = _Fresh(number, topic, envelope.identity, data)
            self.report.count("taken_again")
        elif self._board.disk.exists(f"{OUTBOX}/{name}"):
            # Visible is not lasting: whoever published it may have been killed in between, and custody is a promise.
            self._board.disk.sync_dir(OUTBOX)
            self._ports[number].custody(topic, envelope.identity)
            self.report.count("taken_again")
        elif self._is_full(len(data)):
            self.report.drop("outbox_full")
        else:
            fresh[name] = _Fresh(number, topic, envelope.identity, data)
            self._kept_items += 1  # Counted at once, for a wake may bring hundreds; the next measurement forgives what fails.
            self._kept_bytes += len(data)

    def _is_full(self, size: int) -> bool:
        return self._kept_bytes + size > self._settings.keep_bytes_max or self._kept_items >= self._settings.keep_items_max

    def _measure(self, now: Monotonic) -> None:
        if self._measure_due is not None and now < self._measure_due:
            return
        self._measure_due = now.after(MEASURE_NS)
        sizes = []
        for name in self._board.disk.list(OUTBOX):
            try:
                sizes.append(self._board.disk.size(f"{OUTBOX}/{name}"))
            except Missing:
                continue
        self._kept_bytes, self._kept_items = sum(sizes), len(sizes)

    # To the boxes.

    def _greet(self) -> None:
        """Who was here while we were not connected has sent to nobody."""
        for number, port in enumerate(self._ports):
            if port.connection.is_up and not port.greeted:
                boxes = self._board.disk.list(
                    PRESENCE
                )  # First: where the disk is sick the greeting is still due when it is well.
                port.greeted = True
                self._deaf = {(other, box) for other, box in self._deaf if other != number}
                for box in boxes:
                    if not box.startswith("."):
                        port.greet(Topic(self._board.identity.site, box, "ack"))

    def _pass_on_acknowledgements(self, now: Now) -> None:
        """The hub has these. A copy is deleted when its box has been told, or rather when somebody listened there."""
        for number, port in enumerate(self._ports):
            for told in port.take_told():
                self._telling -= {(number, identity) for identity in told.committed}
                if told.was_heard:
                    for identity in told.committed:
                        self._remember(identity, told.topic.box)
                elif told.was_heard is False:
                    self._deaf.add((number, told.topic.box))
        site = self._board.identity.site
        for name in self._board.disk.list(SENT)[:SENT_A_STEP]:
            item = kept(name)
            if item is None:
                continue
            if item.identity in self._delivered or item.box == self._board.identity.name:
                self._board.disk.remove(f"{SENT}/{name}")
                self.report.count("delivered")
                continue
            for number, port in enumerate(self._ports):
                if (
                    port.connection.is_up
                    and (number, item.box) not in self._deaf
                    and (number, item.identity) not in self._telling
                ):
                    self._telling.add((number, item.identity))
                    port.committed(Topic(site, item.box, "ack"), item.identity)

    def _remember(self, identity: bytes, box: str) -> None:
        self._delivered[identity] = box
        while len(self._delivered) > DELIVERED_MAX:
            del self._delivered[next(iter(self._delivered))]

    def _pass_on_commands(self, now: Now) -> None:
        """Unread, to whom they are for; what is lost here the hub sends again."""
        site = self._board.identity.site
        for name in self._passing.names():
            box, _, _ = name.partition(".")
            payload = self._passing.peek(name)
            if payload is None:
                continue
            topic = Topic(site, box, "cmd")
            published = [
                port for port in self._ports if port.publish(topic, payload, now.monotonic)
            ]  # At each: one of them has the box.
            if published:
                self._passing.settle_named(name)
                self.report.count("commands_passed")

    # Of itself.

    def _say_health(self, now: Now) -> None:
        assert self._started is not None and self._health_due is not None, "start comes before step"
        if now.monotonic < self._health_due:
            return
        self._health_due = now.monotonic.after(self._settings.health_s * SECOND)
        self._measure_due = None
        self._measure(now.monotonic)
        disk, own = self._board.disk, self._board.identity.name
        waiting = sum(item.box == own for item in map(kept, disk.list(OUTBOX)) if item is not None)
        if waiting >= HEALTH_WAITING_MAX or self._is_full(0):
            self.report.drop("health_not_said")
            return
        figures: dict[str, Field] = {
            "uptime_s": now.monotonic.since(self._started) // SECOND,
            "free_bytes": disk.free_bytes(),
            "total_bytes": disk.total_bytes(),
            "boxes": sum(not name.startswith(".") for name in disk.list(PRESENCE)),
            "kept_items": self._kept_items,
            "kept_bytes": self._kept_bytes,
        }
        made = health(own, figures | figures_of(read_states(disk)), now, items=self._kept_items, size=self._kept_bytes)
        self._outbox.publish(kept_name(made), packed(made))
        self.report.count("health_said")
