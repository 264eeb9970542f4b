"""The uplink: outbox/ to the hub, in order of importance, kept until the hub has it; commands from the hub to commands/received/."""

import hashlib
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.link import Acknowledged, Connected, Disconnected, Received, Refused
from firmware.core.durable import make_directory, move
from firmware.core.envelope import Chunk, ack_unpacked, chunk_packed, unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing, NotConnected, TooLarge
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.timestamp import MS, SECOND
from firmware.core.topics import parsed
from firmware.uplink.flight import Flights, without
from firmware.uplink.inward import Inward
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.transfer import Transfer
from firmware.uplink.wire import Wire

OUTBOX, SENT = "outbox", "sent"
STEP_PUBLICATIONS_MAX = 64  # So that a step stays bounded, whatever the window.
# Looking through the outbox may take a tenth of the time: a thousand items are looked at every 10 ms, a hundred thousand every second.
LISTING_SHARE = 10
# The move to sent/ need not outlive a power cut at once: what comes back is sent again, and the hub absorbs it. An alarm that arrives
# meanwhile must not wait for two syncs.
SETTLE_NS = SECOND
REFUSED_NS_MAX = 5 * SECOND  # Longest pause after the broker took nothing, or nobody listened to it.
AGAIN_NS = 5 * SECOND  # After a full or failed disk.
HELLO_NS = SECOND  # A hub that has just come back missed what was sent before; what is younger may still be on its way to it.
# A publication the broker says nothing about is a connection lost (mosquitto #2362: QoS 0 flows, QoS 1 is stuck, for hours).
STUCK_NS_MAX = 30 * SECOND
_CHUNK_HEAD_BYTES = 256  # what topic, packet and CBOR put around a piece, rounded up


@dataclass(frozen=True, slots=True)
class _OnWire:
    """A publication the broker has not answered. identity: of the envelope it belongs to; None for our own state."""

    identity: bytes | None
    since: Monotonic


class UplinkStation:
    """Sends what deidentify has put into the outbox, and nothing else."""

    name = "uplink"

    def __init__(self, board: Board, settings: UplinkSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._wire = Wire(board, settings)
        self._link = self._wire.link
        self._connection = self._wire.connection
        self._outbox = Spool(board.disk, OUTBOX)
        self._inward = Inward(board, self.report)
        self._queue: deque[str] = deque()  # names that wait, in order
        self._listed: Monotonic | None = None  # when the outbox may be looked through again; None: at once
        self._look_wanted = False
        self._is_blind = False  # the last look failed: what may have become first since is not known (storm seeds 9 and 36)
        self._flights = Flights()
        self._transfers: dict[str, Transfer] = {}  # begun long items, by name
        self._on_wire: dict[int, _OnWire] = {}  # by token
        self._hold: Monotonic | None = None
        self._refusals = 0
        self._settle_by: Monotonic | None = None
        self._trouble = ""  # why the broker was lost or not reached, as the driver said it

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, OUTBOX)
        make_directory(self._board.disk, SENT)
        self._inward.start()
        self._outbox.start()

    def step(self, now: Now) -> Monotonic | None:
        self._hear(now)
        self._connection.connect_when_due(now)
        self._send_again_what_is_overdue(now.monotonic)
        self._look(now)
        more = self._send(now)
        self._settle_moves(now.monotonic)
        self._gauge(now.monotonic)
        return now.monotonic if more else self._next_wish(now.monotonic)

    def directories(self) -> Sequence[str]:
        return (OUTBOX,)

    def descriptors(self) -> Sequence[int]:
        return (self._link.fileno(),)

    def stop(self, now: Now) -> None:
        try:
            self._wire.leave(now, with_word=len(self._on_wire) < self._connection.receive_maximum)
        except NotConnected:
            self._connection.close()
        if self._settle_by is not None:
            self._settle_moves(self._settle_by)

    # What comes in.

    def _hear(self, now: Now) -> None:
        acknowledged: list[bytes] = []
        for event in self._link.events():
            match event:
                case Connected():
                    self._begin(event, now)
                case Disconnected(reason):
                    self.report.count("disconnected")
                    self._trouble = reason
                    self._forget_flights()
                    self._connection.lost(now.monotonic)
                case Acknowledged(token):
                    self._on_wire.pop(token, None)
                case Refused(token):
                    self._refused(token, now.monotonic)
                case Received(topic, payload):
                    acknowledged += self._received(topic, payload, now)
        if acknowledged:
            self._move_to_sent(acknowledged, now.monotonic)

    def _begin(self, event: Connected, now: Now) -> None:
        self.report.count("connected")
        self._forget_flights()
        self._hold, self._refusals = None, 0
        try:
            self._on_wire[self._wire.connected(event, now)] = _OnWire(None, now.monotonic)
        except NotConnected:
            return  # Disconnected is on its way.

    def _forget_flights(self) -> None:
        """Nothing that was in flight may be assumed delivered: all of it waits again."""
        self._on_wire.clear()
        self._flights.clear()
        self._listed = None
        self._transfers = {name: transfer.asking_again() for name, transfer in self._transfers.items()}

    def _refused(self, token: int, now: Monotonic) -> None:
        on_wire = self._on_wire.pop(token, None)
        if on_wire is None or on_wire.identity is None:
            return
        self.report.count("refused_by_broker")
        self._wait_again(on_wire.identity)
        for name, transfer in self._transfers.items():
            if transfer.identity == on_wire.identity:
                self._transfers[name] = transfer.asking_again()
        self._pause(now, self._connection.jitter(min(REFUSED_NS_MAX, (100 * MS) << min(self._refusals, 10))))
        self._refusals += 1

    def _received(self, topic: str, payload: bytes, now: Now) -> tuple[bytes, ...]:
        """Identities the hub has committed, when this was an acknowledgement."""
        ours = parsed(topic)
        if ours is None or str(ours) not in (self._wire.topic("ack"), self._wire.topic("cmd")):
            self.report.drop("unexpected_topic")
        elif ours.channel == "cmd":
            self._inward.take(payload)
        else:
            try:
                ack = ack_unpacked(payload)
            except BadItem:
                self.report.drop("bad_acknowledgement")
                return ()
            self._hold, self._refusals = None, 0
            self._connection.works()
            self._hear_offsets(ack.partial, now.monotonic)
            if not ack.committed and not ack.partial:
                self._hub_is_back(now.monotonic)
            return ack.committed
        return ()

    def _hub_is_back(self, now: Monotonic) -> None:
        """The hub has just subscribed: what was sent before was thrown away by the broker, or died with the former hub."""
        for identity in self._flights.sent_before(now.after(-HELLO_NS)):
            self._wait_again(identity)
            self.report.count("resent")
        self._transfers = {name: transfer.asking_again() for name, transfer in self._transfers.items()}

    def _hear_offsets(self, offsets: Mapping[bytes, int], now: Monotonic) -> None:
        for name, transfer in self._transfers.items():
            if transfer.identity in offsets:
                self._transfers[name] = transfer.hearing(offsets[transfer.identity], now)

    def _move_to_sent(self, identities: Sequence[bytes], now: Monotonic) -> None:
        for identity in identities:
            names = self._flights.take(identity) or self._names_of_transfer(identity)
            if not names:
                self.report.count("acknowledged_again")
                continue
            for name in names:
                self._transfers.pop(name, None)
                try:
                    move(self._board.disk, f"{OUTBOX}/{name}", f"{SENT}/{name}")
                except Missing:
                    self.report.drop("vanished")
                except (DiskFull, DiskFailed):
                    # It waits again, the hub absorbs it and acknowledges it again; by then the disk may be well.
                    self.report.drop("not_moved_to_sent")
                    self._listed = None
                    self._pause(now, AGAIN_NS)
                else:
                    self.report.count("acknowledged")
                    self._settle_by = self._settle_by or now.after(SETTLE_NS)

    def _names_of_transfer(self, identity: bytes) -> tuple[str, ...]:
        # The hub had it all before we had sent it all: the answer to the question after a reconnect.
        names = tuple(name for name, transfer in self._transfers.items() if transfer.identity == identity)
        for name in names:
            self._drop_from_queue(name)
        return names

    def _settle_moves(self, now: Monotonic) -> None:
        if self._settle_by is None or now < self._settle_by:
            return
        try:
            # The arrival first: the departure alone, made lasting, would be an item lost.
            self._board.disk.sync_dir(SENT)
            self._board.disk.sync_dir(OUTBOX)
        except (DiskFull, DiskFailed):
            self.report.drop("sync_failed")
            self._settle_by = now.after(AGAIN_NS)
            return
        self._settle_by = None

    # What waits.

    def _look(self, now: Now) -> None:
        """Look through the outbox, as often as its length allows."""
        self._look_wanted = self._listed is not None and now.monotonic < self._listed
        if self._look_wanted:
            return
        before = self._board.clock.now().monotonic
        try:
            names = without(self._board.disk.list(OUTBOX), self._flights)
        except DiskFailed:
            self.report.drop("disk_failed")
            self._listed = now.monotonic.after(AGAIN_NS)
            self._is_blind = True
            return
        self._is_blind = False
        took_ns = self._board.clock.now().monotonic.since(before)
        self._listed = now.monotonic.after(took_ns * LISTING_SHARE)
        self._queue = deque(names)
        for name in self._transfers.keys() - set(names):
            if name not in self._flights:
                del self._transfers[name]
        edges = [bisect_left(names, f"p{priority}-") for priority in (1, 2, 3, 4)] + [bisect_left(names, "p5")]
        for priority in (1, 2, 3, 4):
            self.report.gauge(f"outbox_p{priority}", edges[priority] - edges[priority - 1])

    def _wait_again(self, identity: bytes) -> None:
        """It is in flight no longer and waits in its place again."""
        for name in self._flights.take(identity):
            if name in self._transfers:
                self._transfers[name] = self._transfers[name].asking_again()
            if name not in self._queue:
                self._queue.insert(bisect_left(self._queue, name), name)

    def _drop_from_queue(self, name: str) -> None:
        if name in self._queue:
            self._queue.remove(name)

    def _send_again_what_is_overdue(self, now: Monotonic) -> None:
        if not self._connection.is_up:
            return
        if any(now.since(entry.since) >= STUCK_NS_MAX for entry in self._on_wire.values()):
            # Connected in name only. Another broker may do better.
            self.report.drop("broker_stuck")
            self._trouble = "the broker answered nothing"
            self._link.disconnect()
            self._forget_flights()
            self._connection.lost(now)
            return
        limit_ns = self._settings.acknowledge_s_max * SECOND
        for identity in self._flights.sent_before(now.after(-limit_ns + 1)):
            self._wait_again(identity)
            self.report.count("resent")
        for name, transfer in self._transfers.items():
            if transfer.sent and now.since(transfer.moved) >= limit_ns:
                self._transfers[name] = transfer.asking_again()
                self.report.count("asked_again")

    # What goes out.

    def _send(self, now: Now) -> bool:
        """Put what may go on the wire. Returns whether more could go at once."""
        if self._is_blind or (self._hold is not None and now.monotonic < self._hold):
            return False
        self._hold = None
        for _ in range(STEP_PUBLICATIONS_MAX):
            if not self._connection.is_up or not self._queue or not self._has_room(self._queue[0]):
                return False
            try:
                if not self._send_first(self._queue[0], now.monotonic):
                    return False
            except NotConnected:
                return False  # Disconnected is on its way.
            except (Missing, BadItem) as trouble:
                self._give_up(self._queue.popleft(), trouble)
            except TooLarge:
                # This broker takes no item of this size; another in the list may.
                self.report.drop("too_large_for_broker")
                self._pause(now.monotonic, AGAIN_NS)
                return False
            except (DiskFull, DiskFailed):
                self.report.drop("disk_failed")
                self._pause(now.monotonic, AGAIN_NS)
                return False
        return True

    def _has_room(self, name: str) -> bool:
        window = min(self._connection.receive_maximum, self._settings.window)
        # A quarter is kept for alarms: with the window full of statistics an alarm would wait for a round trip.
        usable = window if name < "p3" else window - window // 4
        return len(self._flights) < usable and len(self._on_wire) < window

    def _piece_bytes(self) -> int:
        return max(1, min(self._settings.chunk_bytes, self._connection.packet_bytes_max - _CHUNK_HEAD_BYTES))

    def _send_first(self, name: str, now: Monotonic) -> bool:
        """Send the first of the queue, or its next piece. False: it has to wait, and what is behind it as well."""
        transfer = self._transfers.get(name)
        if transfer is None:
            data = self._board.disk.read(f"{OUTBOX}/{name}")
            envelope = unpacked(data)
            if len(data) <= self._piece_bytes():
                self._publish(self._wire.topic(f"p{int(envelope.priority)}"), data, envelope.identity, now)
                self._queue.popleft()
                self._flights.add(envelope.identity, name, now)
                self.report.count("published")
                return True
            transfer = Transfer(envelope.identity, len(data), hashlib.sha256(data).digest(), moved=now)
            self._transfers[name] = transfer
        piece = transfer.next_piece(chunk_bytes=self._piece_bytes(), bulk_window=self._settings.bulk_window)
        if piece is None:
            return False
        data = self._board.disk.read(f"{OUTBOX}/{name}", offset=piece.offset, size=piece.size)
        if len(data) != piece.size:
            raise BadItem(f"expected {piece.size} bytes at {piece.offset}, the file has become shorter")
        chunk = Chunk(piece.offset, transfer.size, transfer.digest, data)
        self._publish(self._wire.topic("bulk", transfer.identity.hex()), chunk_packed(chunk), transfer.identity, now)
        self._transfers[name] = transfer = transfer.sending(piece, now)
        self.report.count("chunks")
        if transfer.is_all_sent:
            self._queue.popleft()
            self._flights.add(transfer.identity, name, now)
            self.report.count("published")
        return True

    def _publish(self, topic: str, payload: bytes, identity: bytes, now: Monotonic) -> None:
        token = self._link.publish(topic, payload)
        self._on_wire[token] = _OnWire(identity, now)
        self.report.count("bytes", len(payload))

    def _give_up(self, name: str, trouble: Missing | BadItem) -> None:
        self._transfers.pop(name, None)
        if isinstance(trouble, Missing):
            self.report.drop("vanished")
            return
        # Not `take`: its count of attempts would send an alarm to quarantine because the power failed five times.
        try:
            self._board.disk.rename(f"{OUTBOX}/{name}", f"{OUTBOX}/{name}~1")
            self._outbox.reject(Item(name, 1, b""), str(trouble))
        except (Missing, DiskFull, DiskFailed):
            self.report.drop("not_quarantined")
            return
        self.report.drop("not_an_envelope")

    def _pause(self, now: Monotonic, ns: int) -> None:
        until = now.after(ns)
        self._hold = until if self._hold is None or until > self._hold else self._hold

    # How it stands.

    def _next_wish(self, now: Monotonic) -> Monotonic | None:
        limit_ns = self._settings.acknowledge_s_max * SECOND
        wishes = [self._connection.next_wish(), self._settle_by]
        if self._connection.is_up:
            overdue = self._flights.next_overdue()
            stuck = min((entry.since for entry in self._on_wire.values()), default=None)
            moved = min((transfer.moved for transfer in self._transfers.values() if transfer.sent), default=None)
            wishes += [
                self._hold if self._queue and not self._is_blind else None,
                overdue.after(limit_ns) if overdue is not None else None,
                moved.after(limit_ns) if moved is not None else None,
                stuck.after(STUCK_NS_MAX) if stuck is not None else None,
            ]
        # What arrived while we were not allowed to look rang already, and will not ring again.
        if self._look_wanted or self._is_blind:
            wishes.append(self._listed)
        return min((wish for wish in wishes if wish is not None), default=None)

    def _gauge(self, now: Monotonic) -> None:
        oldest = self._flights.oldest()
        self.report.gauge("broker", self._connection.broker if self._connection.is_up else "none")
        self.report.gauge("broker_trouble", "none" if self._connection.is_up else self._trouble or "none yet")
        self.report.gauge("outbox_items", len(self._queue) + len(self._flights))
        self.report.gauge("in_flight", len(self._flights))
        self.report.gauge("oldest_unacknowledged_s", now.since(oldest) // SECOND if oldest is not None else 0)
