"""The uplink: outbox/ to the hub, in order of importance, kept until the hub has it; commands from the hub to commands/received/."""

import hashlib
from collections.abc import Mapping, Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.link import (
    OUR_CERTIFICATE_EXPIRED,
    THEIR_CERTIFICATE_EXPIRED,
    Acknowledged,
    Connected,
    Disconnected,
    Received,
    Refused,
)
from firmware.core.durable import make_directory, move
from firmware.core.envelope import Chunk, Envelope, ack_unpacked, chunk_packed, unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing, NotConnected, TooLarge, Trouble
from firmware.core.expiry import is_expired
from firmware.core.message import Priority
from firmware.core.presence import PRESENCE_BYTES_MAX
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.timestamp import MS, SECOND
from firmware.core.topics import parsed
from firmware.uplink.flight import Flights, without
from firmware.uplink.inward import Inward
from firmware.uplink.lane import Lane
from firmware.uplink.opening import Closed, Open, Opening
from firmware.uplink.pace import PIECE_BYTES, Pace
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.shed import Shedding
from firmware.uplink.transfer import Transfer
from firmware.uplink.waiting import Waiting
from firmware.uplink.wire import Wire

OUTBOX, SENT = "outbox", "sent"
PRESENCE = "presence"  # a relay's: <box>, what it said last about being there
STEP_PUBLICATIONS_MAX = 64  # So that a step stays bounded, whatever the window.
# Looking through the outbox may take a tenth of the time: a thousand items are looked at every 10 ms, a hundred thousand every second.
LISTING_SHARE = 10
LISTED_NS_MAX = 10_000  # What a name may cost, on a card.
# The move to sent/ need not outlive a power cut at once: what comes back is sent again, and the hub absorbs it. An alarm that arrives
# meanwhile must not wait for two syncs.
SETTLE_NS = SECOND
REFUSED_NS_MAX = 5 * SECOND  # Longest pause after the broker took nothing, or nobody listened to it.
AGAIN_NS = 5 * SECOND  # After a full or failed disk.
HELLO_NS = SECOND  # A hub that has just come back missed what was sent before; what is younger may still be on its way to it.
CUSTODY_NS = 3600 * SECOND  # A relay that has said nothing for this long is asked again by sending; it may have lost its disk.
LEAVE_NS = SECOND  # For the farewell and the end of TCP and TLS before a connection window closes.
CONNECT_NS = 7 * SECOND  # A connection window shorter than an attempt and a farewell is not used any more.
SPREAD_NS = 10 * SECOND  # All boxes of a house have the same window; they begin somewhere in here.
_CHUNK_HEAD_BYTES = 256  # what topic, packet and CBOR put around a piece, rounded up


class _TooOld(Trouble):
    """An item that is not worth sending any more. Settle it, count it."""


class UplinkStation:
    """Sends what deidentify has put into the outbox, and nothing else.

    forwards: a relay's uplink, which speaks for whoever made an envelope and hands on what the hub says to them.
    """

    name = "uplink"

    def __init__(self, board: Board, settings: UplinkSettings, *, forwards: bool = False) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._forwards = forwards
        self._wire = Wire(board, settings, forwards=forwards)
        self._pace = Pace()
        self._opening = Opening(settings.open_every_min, settings.open_min, settings.open_offset_min)
        self._now_open: Open | Closed = Open()
        self._was_open = True
        self._outbox = Spool(board.disk, OUTBOX)
        self._inward = Inward(board, self.report)
        self._shedding = Shedding(board, self.report, bytes_max=settings.outbox_bytes_max, items_max=settings.outbox_items_max)
        self._waiting = Waiting()
        self._listed: Monotonic | None = None  # when the outbox may be looked through again; None: at once
        self._look_wanted = False
        self._is_blind = False  # the last look failed: what may have become first since is not known (storm seeds 9 and 36)
        self._flights = Flights()
        self._transfers: dict[str, Transfer] = {}  # begun long items, by name
        self._hold: Monotonic | None = None
        self._refusals = 0
        self._settle_by: Monotonic | None = None
        self._said: dict[str, bytes] = {}  # by box: what was last said of it on this connection
        self._trouble = ""  # why the broker was lost or not reached, as the driver said it

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, OUTBOX)
        make_directory(self._board.disk, SENT)
        self._inward.start(forwards=self._forwards)
        if self._forwards:
            make_directory(self._board.disk, PRESENCE)
        self._outbox.start(self.report.drop)

    def step(self, now: Now) -> Monotonic | None:
        self._hear(now)
        self._keep_connected(now)
        self._send_again_what_is_overdue(now)
        self._look(now)
        self._speak_for_others(now)
        more = self._send(now)
        self._settle_moves(now.monotonic)
        self._shed(now)
        self._gauge(now.monotonic)
        return now.monotonic if more else self._next_wish(now.monotonic)

    def directories(self) -> Sequence[str]:
        return (OUTBOX, PRESENCE) if self._forwards else (OUTBOX,)

    def descriptors(self) -> Sequence[int]:
        return (self._wire.a.link.fileno(), self._wire.b.link.fileno())

    def stop(self, now: Now) -> None:
        try:
            self._wire.leave(now)
        except NotConnected:
            pass  # Gone already; then its will has spoken.
        self._wire.close()
        if self._settle_by is not None:
            self._settle_moves(self._settle_by)

    # The connection.

    def _keep_connected(self, now: Now) -> None:
        """Connect when it is due and allowed, and be gone before it is allowed no more (S2-066)."""
        state = self._now_open = self._opening.at(now)
        a, b = self._wire.a, self._wire.b
        if isinstance(state, Closed) or (state.closes_in_ns is not None and state.closes_in_ns <= LEAVE_NS):
            if self._was_open:
                self._was_open = False
                self._close_window(now)
            return
        if not self._was_open:
            if state.closes_in_ns is not None and state.closes_in_ns < CONNECT_NS:
                return
            self._was_open = True
            self.report.count("windows_opened")
            a.connection.begin_by(now.monotonic.after(min(SPREAD_NS, (state.closes_in_ns or 0) // 20)), now.monotonic)
        if a.connection.is_up or state.closes_in_ns is None or state.closes_in_ns >= CONNECT_NS:
            a.connection.connect_when_due(now)
        if a.connection.is_up and (state.closes_in_ns is None or state.closes_in_ns >= CONNECT_NS):
            b.connection.connect_when_due(now)

    def _close_window(self, now: Now) -> None:
        """Leave: the hub knows when we shall be back, and what was not acknowledged waits and goes on there."""
        closed = self._opening_again(now)
        try:
            self._wire.leave(now, until_tai_ns=closed)
        except NotConnected:
            pass  # It is gone already.
        self._wire.a.leave(now)
        self._lose(now)
        self._trouble = "the connection window is closed"
        self.report.count("windows_closed")

    def _opening_again(self, now: Now) -> int | None:
        ns = self._opening.opens_in_ns(now)
        return now.timestamp.tai_ns + ns if ns is not None else None

    def _lose(self, now: Now) -> None:
        """A is gone: nothing that was in flight may be assumed delivered, all of it waits again."""
        self._wire.lost(now)
        self._forget_flights()

    def _forget_flights(self) -> None:
        self._flights.clear()
        self._said.clear()
        self._pace.begin()
        self._listed = None
        self._transfers = {name: transfer.asking_again() for name, transfer in self._transfers.items()}

    def _forget_lane(self, lane: Lane, now: Now) -> None:
        """B is gone alone: what was on it waits again, what the broker has taken is still on its way to the hub."""
        for identity in lane.identities():
            self._wait_again(identity)
            self._ask_again(identity)
        lane.forget()
        self._pace.begin()
        lane.connection.lost(now.monotonic)

    # What comes in.

    def _hear(self, now: Now) -> None:
        acknowledged: list[bytes] = []
        for lane in (self._wire.a, self._wire.b):
            for event in lane.link.events():
                match event:
                    case Connected():
                        self._begin(lane, event, now)
                    case Disconnected(reason):
                        self._lost(lane, reason, now)
                    case Acknowledged(token):
                        lane.answered(token)
                        self._pace.answered((lane is self._wire.a, token), now.monotonic)
                    case Refused(token):
                        self._refused(lane, token, now.monotonic)
                    case Received(topic, payload):
                        acknowledged += self._received(topic, payload, now)
        if acknowledged:
            self._move_to_sent(acknowledged, now.monotonic)

    def _begin(self, lane: Lane, event: Connected, now: Now) -> None:
        if lane is not self._wire.a:
            if self._wire.a.connection.is_up:
                lane.connection.connected(event, now.monotonic)
            else:
                lane.link.disconnect()  # A went while B was coming.
            return
        self.report.count("connected")
        self._forget_flights()
        self._hold, self._refusals = None, 0
        try:
            self._wire.connected(event, now)
        except NotConnected:
            return  # Disconnected is on its way.

    def _lost(self, lane: Lane, reason: str, now: Now) -> None:
        if lane is self._wire.a:
            self.report.count("disconnected")
            self._trouble = reason if self._was_open else self._trouble
            if reason in (OUR_CERTIFICATE_EXPIRED, THEIR_CERTIFICATE_EXPIRED):
                self.report.drop("certificate_expired")  # Health tells it on, and the console shows it: only a person can help.
            self._lose(now)
        elif lane.connection.is_up:
            self.report.count("bulk_disconnected")
            self._forget_lane(lane, now)
        else:
            lane.connection.lost(now.monotonic)

    def _refused(self, lane: Lane, token: int, now: Monotonic) -> None:
        self._pace.answered((lane is self._wire.a, token), now)
        on_wire = lane.answered(token)
        if on_wire is None or on_wire.identity is None:
            return
        self.report.count("refused_by_broker")
        self._wait_again(on_wire.identity)
        self._ask_again(on_wire.identity)
        self._pause(now, self._wire.a.connection.jitter(min(REFUSED_NS_MAX, (100 * MS) << min(self._refusals, 10))))
        self._refusals += 1

    def _received(self, topic: str, payload: bytes, now: Now) -> tuple[bytes, ...]:
        """Identities the hub has committed, when this was an acknowledgement."""
        ours = parsed(topic)
        if ours is None or ours.channel not in ("ack", "cmd") or ours != self._wire.topic_of(ours.channel, box=ours.box):
            self.report.drop("unexpected_topic")
        elif ours.channel == "cmd":
            self._inward.take(payload, box=ours.box if ours.relay else None)
        else:
            try:
                ack = ack_unpacked(payload)
            except BadItem:
                self.report.drop("bad_acknowledgement")
                return ()
            self._hold, self._refusals = None, 0
            self._wire.a.connection.works()
            self._hear_offsets(ack.partial, now.monotonic)
            self._hear_custody(ack.custody, now.monotonic)
            if not ack.committed and not ack.partial and not ack.custody:
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

    def _hear_custody(self, identities: Sequence[bytes], now: Monotonic) -> None:
        """A relay has these on its disk: they stay here until the hub has them, and are not sent again soon."""
        for identity in identities:
            for name in self._names_of_transfer(identity):
                self._flights.add(identity, name, now)  # It had the whole before we had sent it all.
            if self._flights.keep(identity, now):
                self.report.count("in_custody")

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
            self._waiting.drop(name)
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

    def _speak_for_others(self, now: Now) -> None:
        """A relay's: whether its boxes are there, as they say it or their broker does."""
        a = self._wire.a
        if not self._forwards or not a.connection.is_up:
            return
        try:
            for box in self._board.disk.list(PRESENCE):
                said = b"" if box.startswith(".") else self._board.disk.read(f"{PRESENCE}/{box}", size=PRESENCE_BYTES_MAX)
                if said and self._said.get(box) != said and len(a) < self._window(a):
                    a.publish(self._wire.topic("state", box=box), said, None, now.monotonic, retain=True)
                    self._said[box] = said
        except (Missing, DiskFailed, NotConnected, TooLarge):
            return  # With the next thing that happens.

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
        self._waiting.fill(names, count=len(names))
        # Not longer for a short list: something else held the machine up, and an alarm would wait ten times as long for it.
        took_ns = min(self._board.clock.now().monotonic.since(before), len(names) * LISTED_NS_MAX)
        self._listed = now.monotonic.after(took_ns * LISTING_SHARE)
        for name in self._transfers.keys() - set(names):
            if name not in self._flights:
                del self._transfers[name]
        for priority in (1, 2, 3, 4):
            self.report.gauge(f"outbox_p{priority}", sum(name.startswith(f"p{priority}-") for name in names))
        self.report.gauge("outbox_items", len(names) + len(self._flights) + self._flights.custody_count)

    def _wait_again(self, identity: bytes) -> None:
        """It is in flight no longer and waits in its place again."""
        for name in self._flights.take(identity):
            if name in self._transfers:
                self._transfers[name] = self._transfers[name].asking_again()
            self._waiting.again(name)

    def _ask_again(self, identity: bytes) -> None:
        for name, transfer in self._transfers.items():
            if transfer.identity == identity:
                self._transfers[name] = transfer.asking_again()

    def _send_again_what_is_overdue(self, now: Now) -> None:
        a, b = self._wire.a, self._wire.b
        if not a.connection.is_up:
            return
        if a.is_stuck(now.monotonic):
            # Connected in name only. Another broker may do better.
            self.report.drop("broker_stuck")
            self._trouble = "the broker answered nothing"
            a.leave(now)
            self._lose(now)
            return
        if b.is_stuck(now.monotonic):
            self.report.drop("broker_stuck")
            b.link.disconnect()
            self._forget_lane(b, now)
        limit_ns = self._settings.acknowledge_s_max * SECOND
        overdue = self._flights.sent_before(now.monotonic.after(-limit_ns + 1))
        for identity in [*overdue, *self._flights.kept_before(now.monotonic.after(-CUSTODY_NS + 1))]:
            self._wait_again(identity)
            self.report.count("resent")
        for name, transfer in self._transfers.items():
            if transfer.sent and now.monotonic.since(transfer.moved) >= limit_ns and name not in self._flights:
                self._transfers[name] = transfer.asking_again()
                self.report.count("asked_again")

    def _shed(self, now: Now) -> None:
        """Keep the outbox within its bounds, what a relay keeps for us first. A relay promised to keep what is in its own: it takes no more."""
        if self._forwards:
            return
        gone = self._shedding.step(now.monotonic, custody=self._flights.in_custody, is_going=self._is_under_way)
        for name in gone:
            self._waiting.drop(name)
            self._transfers.pop(name, None)

    def _is_under_way(self, name: str) -> bool:
        return name in self._transfers

    # What goes out.

    def _send(self, now: Now) -> bool:
        """Put what may go on the wire. Returns whether more could go at once."""
        if self._is_blind or (self._hold is not None and now.monotonic < self._hold):
            return False
        self._hold = None
        for _ in range(STEP_PUBLICATIONS_MAX):
            if not self._wire.a.connection.is_up:
                return False
            urgent = bool(self._waiting.urgent)
            name = (self._waiting.urgent or self._waiting.bulk or [None])[0]
            if name is None:
                if self._waiting.is_cut:
                    self._waiting.is_cut, self._listed = False, None  # Those held are on their way: look for the rest.
                    return True
                return False
            try:
                if not (self._send_urgent(name, now) if urgent else self._send_bulk(name, now)):
                    return False
            except NotConnected:
                return False  # Disconnected is on its way.
            except (Missing, BadItem) as trouble:
                self._give_up(name, trouble)
            except _TooOld:
                self._discard(name)
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

    def _send_urgent(self, name: str, now: Now) -> bool:
        """A whole alarm, on A, at once. False: it has to wait, and all that is less important with it."""
        a = self._wire.a
        if len(self._flights) >= self._window(a) or len(a) >= self._window(a):
            return False
        if self._board.disk.size(f"{OUTBOX}/{name}") > self._piece_bytes_max(a):
            self._waiting.is_long(name)
            return True
        data, envelope = self._read(name, now)
        self._publish_whole(a, name, data, envelope, now.monotonic)
        return True

    def _send_bulk(self, name: str, now: Now) -> bool:
        """The next item of the bulk, or its next piece. False: it has to wait, and what is behind it as well."""
        lane = self._wire.lane_for_bulk(now.monotonic)
        # A quarter is kept for alarms: with the window full of statistics an alarm would wait for a round trip.
        if (
            lane is None
            or len(self._flights) >= self._window(lane) - self._window(lane) // 4
            or len(lane) >= self._window_of_pieces(lane)
        ):
            return False
        if not self._lasts(now):
            return False  # It could not be answered before the connection window closes.
        longest = self._piece_bytes_max(lane)
        piece_bytes = self._pace.piece_bytes(longest)
        transfer = self._transfers.get(name)
        if transfer is None:
            size = self._board.disk.size(f"{OUTBOX}/{name}")
            if size <= min(longest, max(PIECE_BYTES, piece_bytes)):
                if not self._pace.has_room(size):
                    return False
                data, envelope = self._read(name, now)
                self._publish_whole(lane, name, data, envelope, now.monotonic)
                return True
            data, envelope = self._read(name, now)
            transfer = Transfer(envelope.identity, envelope.box, len(data), hashlib.sha256(data).digest(), moved=now.monotonic)
            self._transfers[name] = transfer
        ahead_bytes = self._settings.chunk_bytes * self._settings.bulk_window
        piece = transfer.next_piece(piece_bytes=piece_bytes, ahead_bytes=ahead_bytes)
        if piece is None or not self._pace.has_room(piece.size):
            return False
        data = self._board.disk.read(f"{OUTBOX}/{name}", offset=piece.offset, size=piece.size)
        if len(data) != piece.size:
            raise BadItem(f"expected {piece.size} bytes at {piece.offset}, the file has become shorter")
        chunk = Chunk(piece.offset, transfer.size, transfer.digest, data)
        topic = self._wire.topic("bulk", transfer.identity.hex(), box=transfer.box)
        self._publish(lane, topic, chunk_packed(chunk), transfer.identity, now.monotonic, is_bulk=True)
        self._transfers[name] = transfer = transfer.sending(piece, now.monotonic)
        self.report.count("chunks")
        if transfer.is_all_sent:
            self._waiting.drop(name)
            self._flights.add(transfer.identity, name, now.monotonic)
            self.report.count("published")
        return True

    def _publish_whole(self, lane: Lane, name: str, data: bytes, envelope: Envelope, now: Monotonic) -> None:
        topic = self._wire.topic(f"p{int(envelope.priority)}", box=envelope.box)
        self._publish(lane, topic, data, envelope.identity, now, is_bulk=name >= "p3")
        self._waiting.drop(name)
        self._flights.add(envelope.identity, name, now)
        self.report.count("published")

    def _publish(self, lane: Lane, topic: str, payload: bytes, identity: bytes, now: Monotonic, *, is_bulk: bool) -> None:
        token = lane.publish(topic, payload, identity, now)
        if is_bulk:
            self._pace.sending((lane is self._wire.a, token), len(payload), now)
        self.report.count("bytes", len(payload))

    def _read(self, name: str, now: Now) -> tuple[bytes, Envelope]:
        data = self._board.disk.read(f"{OUTBOX}/{name}")
        envelope = unpacked(data)
        if envelope.box != self._board.identity.name and not self._forwards:
            raise BadItem("expected an envelope of this box; only a relay speaks for others")
        if is_expired(envelope.facts, now) and envelope.priority != Priority.P1:
            raise _TooOld
        return data, envelope

    def _window(self, lane: Lane) -> int:
        return min(lane.connection.receive_maximum, self._settings.window)

    def _window_of_pieces(self, lane: Lane) -> int:
        """Publications on the lane at once: pieces are many for one item, and the pace bounds their bytes."""
        return lane.connection.receive_maximum - (lane is self._wire.a)

    def _piece_bytes_max(self, lane: Lane) -> int:
        return max(1, min(self._settings.chunk_bytes, lane.connection.packet_bytes_max - _CHUNK_HEAD_BYTES))

    def _lasts(self, now: Now) -> bool:
        closes = self._now_open.closes_in_ns if isinstance(self._now_open, Open) else 0
        return closes is None or closes > LEAVE_NS + self._pace.lasting_ns()

    def _give_up(self, name: str, trouble: Missing | BadItem) -> None:
        self._transfers.pop(name, None)
        self._waiting.drop(name)
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

    def _discard(self, name: str) -> None:
        """It waited too long for its sender to want it sent (S2-053): the original stays in groups/, and health tells of the loss.

        Never an alarm: this station cannot say what it was, and an alarm does not go in silence.
        """
        self._waiting.drop(name)
        self._outbox.settle(Item(name, 0, b""))
        self.report.drop(f"expired_{name[:2]}")

    def _pause(self, now: Monotonic, ns: int) -> None:
        until = now.after(ns)
        self._hold = until if self._hold is None or until > self._hold else self._hold

    # How it stands.

    def _next_wish(self, now: Monotonic) -> Monotonic | None:
        limit_ns = self._settings.acknowledge_s_max * SECOND
        a, b = self._wire.a, self._wire.b
        wishes = [self._settle_by, None if self._forwards else self._shedding.next_wish(now), self._next_opening(now)]
        if self._was_open:
            wishes.append(a.next_wish())
        if a.connection.is_up:
            overdue, kept = self._flights.next_overdue(), self._flights.next_kept()
            moved = min(
                (entry.moved for name, entry in self._transfers.items() if entry.sent and name not in self._flights), default=None
            )
            wishes += [
                b.next_wish(),
                self._hold if self._waiting and not self._is_blind else None,
                self._wire.bulk_may_begin(now) if self._waiting.bulk else None,
                overdue.after(limit_ns) if overdue is not None else None,
                kept.after(CUSTODY_NS) if kept is not None else None,
                moved.after(limit_ns) if moved is not None else None,
            ]
        # What arrived while we were not allowed to look rang already, and will not ring again.
        if self._look_wanted or self._is_blind:
            wishes.append(self._listed)
        return min((wish for wish in wishes if wish is not None), default=None)

    def _next_opening(self, now: Monotonic) -> Monotonic | None:
        """When the connection window opens, or when we have to be gone."""
        match self._now_open:
            case Closed(opens_in_ns=ns):
                return now.after(ns) if ns is not None else None
            case Open(closes_in_ns=ns) if ns is not None and ns > LEAVE_NS:
                return now.after(ns - LEAVE_NS)
            case Open(closes_in_ns=ns) if ns is not None:
                return now.after(ns)
        return None

    def _gauge(self, now: Monotonic) -> None:
        oldest = self._flights.oldest()
        up = self._wire.a.connection.is_up
        self.report.gauge("broker", self._wire.a.connection.broker if up else "none")
        self.report.gauge("broker_trouble", "none" if up else self._trouble or "none yet")
        self.report.gauge("lanes", up + self._wire.b.connection.is_up)
        self.report.gauge("window", "open" if self._was_open else "closed")
        self.report.gauge("in_flight", len(self._flights))
        self.report.gauge("in_custody", self._flights.custody_count)
        self.report.gauge("bulk_window_bytes", int(self._pace.window_bytes))
        self.report.gauge("rate_bytes_per_s", self._pace.rate_bytes_per_s)
        self.report.gauge("oldest_unacknowledged_s", now.since(oldest) // SECOND if oldest is not None else 0)
