"""What goes out: alarms whole and at once, everything else at the pace of the link, in pieces where it is long."""

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.envelope import Chunk, Envelope, chunk_packed, unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing, NotConnected, TooLarge, Trouble
from firmware.core.expiry import is_expired
from firmware.core.message import Priority
from firmware.core.presence import PRESENCE_BYTES_MAX
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.timestamp import MS, SECOND
from firmware.uplink.aside import LOST, UNHEARD
from firmware.uplink.lane import Lane
from firmware.uplink.looking import OUTBOX, Looking
from firmware.uplink.pace import PIECE_BYTES, PIECE_BYTES_MIN, Pace
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.standing import OTHERS, OWN, Standing
from firmware.uplink.transfer import Transfer
from firmware.uplink.wire import Wire

PRESENCE = "presence"  # a relay's: <box>, what it said last about being there
STEP_PUBLICATIONS_MAX = 64  # So that a step stays bounded, whatever the window.
REFUSED_NS_MAX = 5 * SECOND  # Longest pause after the broker took nothing, or nobody listened to it.
UNHEARD_TIMES = (
    3  # So often nobody listened to one kind of items, and somebody to another in between: nobody listens to that kind.
)
REFUSED_IN_ROW_MAX = 16  # So many different ones of a priority, and none taken between: the broker refuses them all.
BULK = "bulk"  # What is long, whatever its priority: its topic is another.
# So many different ones of a priority have ended the connection, and none was taken between: all of them do. As many times four
# connections were lost over them, and each next one would cost another.
ENDED_IN_ROW_MAX = 4
AGAIN_NS = 5 * SECOND  # After a full or failed disk.
LEAVE_NS = SECOND  # For the farewell and the end of TCP and TLS before a connection window closes.
# What is put around a piece, rounded up: a topic of 245 bytes where site, relay and box have 63 characters, 10 of MQTT, 56 of CBOR.
_CHUNK_HEAD_BYTES = 320


@dataclass(frozen=True, slots=True)
class _Ending:
    """A priority of which items end the connection. count: different ones, and none taken since. pauses: so often it was held."""

    until: Monotonic
    count: int
    pauses: int


class _TooOld(Trouble):
    """An item that is not worth sending any more. Settle it, count it."""


class Sending:
    """One scheduler for both lanes: strictly by priority, then by time.

    forwards: as a relay's, which speaks for whoever made an envelope.
    """

    def __init__(
        self,
        board: Board,
        settings: UplinkSettings,
        report: Report,
        *,
        standing: Standing,
        looking: Looking,
        wire: Wire,
        pace: Pace,
        forwards: bool,
    ) -> None:
        self._disk = board.disk
        self._name = board.identity.name
        self._settings = settings
        self._report = report
        self._standing = standing
        self._looking = looking
        self._wire = wire
        self._pace = pace
        self._forwards = forwards
        self._outbox = Spool(board.disk, OUTBOX)
        self._hold: Monotonic | None = None
        self._held: dict[str, tuple[Monotonic, int]] = {}  # by priority ("p3"): until when, and how often in a row
        self._refusals = 0
        # By priority, or BULK: how often nobody listened after something else had been taken, and of which that has been since.
        self._unheard: dict[str, int] = {}
        self._others_taken: set[str] = set()
        self._ending: dict[str, _Ending] = {}  # by priority; outlives connections, for it ends them
        self._longest: int | None = None  # of a piece: half of what this broker has refused as too large
        # Likewise by broker: half of what it has ended a connection over; and the items it was.
        self._longest_alive: dict[str, int] = {}
        self._shortened: set[str] = set()
        self._said: dict[str, bytes] = {}  # by box: what was last said of it on this connection

    def start(self) -> None:
        """The outbox is ours to consume."""
        self._outbox.start(self._report.drop)

    def begin(self) -> None:
        """A new connection: what held us up was the former one's."""
        self._said.clear()
        self.hub_is_back()
        self._longest = None
        self.works()

    def unsaid(self) -> None:
        """The broker has refused what was said of a box, and does not say of which."""
        self._said.clear()

    def works(self) -> None:
        """The hub has answered."""
        self._hold, self._refusals = None, 0

    def hub_is_back(self) -> None:
        """The hub says that it listens now."""
        self._held.clear()
        self._unheard.clear()
        self._others_taken.clear()

    def pause(self, now: Monotonic, ns: int) -> None:
        """Nothing goes out for so long."""
        until = now.after(ns)
        self._hold = until if self._hold is None or until > self._hold else self._hold

    def unheard(self, kind: str, now: Monotonic) -> bool:
        """Nobody was there to hear one of this kind, and everything waits, longer each time. True: it is only this kind, for others are
        heard, and only this is to wait (a hub away for a moment between two of them must not have an alarm wait behind the rest)."""
        times = self._unheard[kind] = self._unheard.get(kind, 0) + (kind in self._others_taken)
        self._others_taken.discard(kind)
        if times >= UNHEARD_TIMES:
            return True
        self.pause(now, self._wire.a.connection.jitter(min(REFUSED_NS_MAX, (100 * MS) << min(self._refusals, 10))))
        self._refusals += 1
        return False

    def refused_kind(self, priority: str, now: Monotonic, *, all_are: bool = False) -> None:
        """The broker has refused one of this priority ("p3"): it may refuse them all, and what it says nothing about need not wait.

        all_are: it does, for nobody listens to them.
        """
        until, times = self._held.get(priority, (now, REFUSED_IN_ROW_MAX if all_are else 0))
        if until > now:
            return  # One of a window of them counts for all.
        # A few may be of bad luck: an alarm not tried yet does not wait for those, behind what is less important (storm seed 1).
        over = times - REFUSED_IN_ROW_MAX
        pause = self._wire.a.connection.jitter(min(REFUSED_NS_MAX, (100 * MS) << min(over, 10))) if over >= 0 else 0
        self._held[priority] = (now.after(pause), times + 1)

    def ending_kinds(self) -> Container[str]:
        """Priorities of which items end connections, as far as known."""
        return self._ending

    def ended_kind(self, priority: str, now: Monotonic, *, is_new: bool) -> None:
        """One of this priority has ended the connection: it may be so with all of them, and each costs the others one. is_new: the first time."""
        former = self._ending.get(priority, _Ending(now, 0, 0))
        count, pauses = former.count + is_new, former.pauses
        if count < ENDED_IN_ROW_MAX:
            self._ending[priority] = _Ending(now, count, 0)
            return
        longest = LOST.urgent_ns_max if priority < "p3" else LOST.bulk_ns_max
        until = now.after(min(longest, LOST.first_ns << min(pauses, 10)))
        self._ending[priority] = _Ending(until, count, pauses + 1)

    def refused_size(self, size: int) -> bool:
        """The broker takes no publication of so many bytes: half of it next. False: it can be made no smaller."""
        longest = max(PIECE_BYTES_MIN, size // 2)
        if self._longest is None or longest < self._longest:
            self._longest = longest
            return True
        return size > self._longest + _CHUNK_HEAD_BYTES  # It was on the wire before that was known.

    def ended_by_size(self, broker: str, names: Sequence[str], size: int) -> bool:
        """These items, in one publication of so many bytes, have ended a connection: it may have been too long, so half of it next.

        A broker of MQTT 3.1.1, or a gateway before it, says nothing else about its limit. False: it was not that.
        """
        if size > PIECE_BYTES_MIN + _CHUNK_HEAD_BYTES and not any(
            name in OWN or name in self._standing.aside.names() for name in names
        ):
            self._longest_alive[broker] = max(PIECE_BYTES_MIN, size // 2)
            self._shortened.update(names)
            return True
        if self._shortened.intersection(names):
            self._longest_alive.pop(broker, None)
            self._shortened.difference_update(names)
        return False

    def taken(self, name: str) -> None:
        """The broker has taken this one, or a piece of it."""
        self._shortened.discard(name)

    def taken_kind(self, priority: str, *, is_long: bool) -> None:
        """The broker has taken one of this priority."""
        self._held.pop(priority, None)
        self._ending.pop(priority, None)
        self._unheard.pop(BULK if is_long else priority, None)
        self._others_taken.update(self._unheard)

    def word(self) -> str:
        """What the broker does not take, for people: the most important of it."""
        if self._standing.aside or not self._unheard or not self._standing.waiting:
            return self._standing.word()
        return f"{min(self._unheard, key=lambda kind: (kind == BULK, kind))}: {UNHEARD}"

    def next_wish(self, now: Monotonic) -> Monotonic | None:
        """When a pause ends, if anything waits for that."""
        if self._looking.is_blind:
            return None
        held = self._held_until()
        waits = {name[:2] for name in (*self._standing.waiting.urgent, *self._standing.waiting.bulk)} if held else set()
        wishes = [until for priority, until in held if priority in waits and until > now]
        wishes += [self._hold] if self._hold is not None else []
        return min(wishes, default=None) if self._standing.waiting else None

    def _held_until(self) -> list[tuple[str, Monotonic]]:
        """Priorities of which nothing goes before that, for one reason or another."""
        return [
            *((priority, until) for priority, (until, _) in self._held.items()),
            *((priority, entry.until) for priority, entry in self._ending.items()),
        ]

    def send(self, now: Now, *, closes_in_ns: int | None) -> bool:
        """Put what may go on the wire. Returns whether more could go at once. closes_in_ns: the connection window; None: it does not."""
        if self._looking.is_blind or (self._hold is not None and now.monotonic < self._hold):
            return False
        self._hold = None
        for _ in range(STEP_PUBLICATIONS_MAX):
            if not self._wire.a.connection.is_up:
                return False
            waiting = self._standing.waiting
            held = {priority for priority, until in self._held_until() if now.monotonic < until}
            name = waiting.first(held)
            if name is None and waiting:
                return False
            if name is None:
                if waiting.is_cut:
                    waiting.is_cut = False
                    self._looking.soon()  # Those held are on their way: look for the rest.
                    return True
                return False
            try:
                if not (self._send_urgent(name, now) if name in waiting.urgent else self._send_bulk(name, now, closes_in_ns)):
                    return False
            except NotConnected:
                return False  # Disconnected is on its way.
            except (Missing, BadItem) as trouble:
                self._give_up(name, trouble)
            except _TooOld:
                self._discard(name)
            except TooLarge:
                # This broker takes no item of this size; another in the list may.
                self._report.drop("too_large_for_broker")
                self.pause(now.monotonic, AGAIN_NS)
                return False
            except (DiskFull, DiskFailed):
                self._report.drop("disk_failed")
                self.pause(now.monotonic, AGAIN_NS)
                return False
        return True

    def _send_urgent(self, name: str, now: Now) -> bool:
        """A whole alarm, on A, at once. False: it has to wait, and all that is less important with it."""
        a = self._wire.a
        if len(self._standing.flights) >= self._window(a) or len(a) >= self._window(a) or not self._standing.may_join(name, a):
            return False
        if self._disk.size(f"{OUTBOX}/{name}") > self._piece_bytes_max(a):
            self._standing.waiting.is_long(name)
            return True
        data, envelope = self._read(name, now)
        self._publish_whole(a, name, data, envelope, now.monotonic)
        return True

    def _send_bulk(self, name: str, now: Now, closes_in_ns: int | None) -> bool:
        """The next item of the bulk, or its next piece. False: it has to wait, and what is behind it as well."""
        lane = self._wire.lane_for_bulk(now.monotonic)
        # A quarter is kept for alarms: with the window full of statistics an alarm would wait for a round trip.
        if (
            lane is None
            or len(self._standing.flights) >= self._window(lane) - self._window(lane) // 4
            or len(lane) >= self._window_of_pieces(lane)
            or not self._standing.may_join(name, lane)
            # An alarm would wait for the next connection.
            or (lane is self._wire.a and self._standing.suspects.goes_alone(name) and self._wire.is_second_coming(now.monotonic))
        ):
            return False
        if closes_in_ns is not None and closes_in_ns <= LEAVE_NS + self._pace.lasting_ns():
            return False  # It could not be answered before the connection window closes.
        longest = self._piece_bytes_max(lane)
        piece_bytes = self._pace.piece_bytes(longest)
        transfer = self._standing.transfers.get(name)
        if transfer is None:
            size = self._disk.size(f"{OUTBOX}/{name}")
            if size <= min(longest, max(PIECE_BYTES, piece_bytes)):
                if not self._pace.has_room(size):
                    return False
                data, envelope = self._read(name, now)
                self._publish_whole(lane, name, data, envelope, now.monotonic)
                return True
            data, envelope = self._read(name, now)
            transfer = Transfer(envelope.identity, envelope.box, len(data), hashlib.sha256(data).digest(), moved=now.monotonic)
            self._standing.transfers[name] = transfer
        ahead_bytes = self._settings.chunk_bytes * self._settings.bulk_window
        piece = transfer.next_piece(piece_bytes=piece_bytes, ahead_bytes=ahead_bytes)
        if piece is None or not self._pace.has_room(piece.size):
            return False
        data = self._disk.read(f"{OUTBOX}/{name}", offset=piece.offset, size=piece.size)
        if len(data) != piece.size:
            raise BadItem(f"expected {piece.size} bytes at {piece.offset}, the file has become shorter")
        chunk = Chunk(piece.offset, transfer.size, transfer.digest, data)
        topic = self._wire.topic("bulk", transfer.identity.hex(), box=transfer.box)
        self._publish(lane, topic, chunk_packed(chunk), transfer.identity, now.monotonic, is_bulk=True)
        self._standing.transfers[name] = transfer = transfer.sending(piece, now.monotonic)
        self._report.count("chunks")
        if transfer.is_all_sent:
            self._standing.waiting.drop(name)
            self._standing.flights.add(transfer.identity, name, now.monotonic)
            self._report.count("published")
        return True

    def _publish_whole(self, lane: Lane, name: str, data: bytes, envelope: Envelope, now: Monotonic) -> None:
        topic = self._wire.topic(f"p{int(envelope.priority)}", box=envelope.box)
        self._publish(lane, topic, data, envelope.identity, now, is_bulk=name >= "p3")
        self._standing.waiting.drop(name)
        self._standing.flights.add(envelope.identity, name, now)
        self._report.count("published")

    def _publish(self, lane: Lane, topic: str, payload: bytes, identity: bytes, now: Monotonic, *, is_bulk: bool) -> None:
        token = lane.publish(topic, payload, identity, now)
        if is_bulk:
            self._pace.sending((lane is self._wire.a, token), len(payload), now)
        self._report.count("bytes", len(payload))

    def _read(self, name: str, now: Now) -> tuple[bytes, Envelope]:
        data = self._disk.read(f"{OUTBOX}/{name}")
        envelope = unpacked(data)
        if envelope.box != self._name and not self._forwards:
            raise BadItem("expected an envelope of this box; only a relay speaks for others")
        if is_expired(envelope.facts, now) and envelope.priority != Priority.P1:
            raise _TooOld
        return data, envelope

    def _window(self, lane: Lane) -> int:
        return min(lane.connection.receive_maximum, self._settings.window)

    def _window_of_pieces(self, lane: Lane) -> int:
        """Publications on the lane at once: pieces are many for one item, and the pace bounds their bytes. One is kept for an alarm, or
        for what is asked for."""
        return max(1, lane.connection.receive_maximum - 1)

    def _piece_bytes_max(self, lane: Lane) -> int:
        longest = min(self._settings.chunk_bytes, lane.connection.packet_bytes_max - _CHUNK_HEAD_BYTES)
        longest = min(longest, self._longest_alive.get(lane.connection.broker, longest))
        return max(1, longest if self._longest is None else min(longest, self._longest))

    def speak_for_others(self, now: Now) -> None:
        """A relay's: whether its boxes are there, as they say it or their broker does."""
        a = self._wire.a
        if not self._forwards or not a.connection.is_up:
            return
        try:
            for box in self._disk.list(PRESENCE):
                said = b"" if box.startswith(".") else self._disk.read(f"{PRESENCE}/{box}", size=PRESENCE_BYTES_MAX)
                may = len(a) < self._window(a) and self._standing.may_say(OTHERS, a)
                if said and self._said.get(box) != said and may:
                    a.say(OTHERS, self._wire.topic("state", box=box), said, now.monotonic, retain=True)
                    self._said[box] = said
        except (Missing, DiskFailed, NotConnected, TooLarge):
            return  # With the next thing that happens.

    def _give_up(self, name: str, trouble: Missing | BadItem) -> None:
        self._standing.drop(name)
        if isinstance(trouble, Missing):
            self._report.drop("vanished")
            return
        # Not `take`: its count of attempts would send an alarm to quarantine because the power failed five times.
        try:
            self._disk.rename(f"{OUTBOX}/{name}", f"{OUTBOX}/{name}~1")
            self._outbox.reject(Item(name, 1, b""), str(trouble))
        except (Missing, DiskFull, DiskFailed):
            self._report.drop("not_quarantined")
            return
        self._report.drop("not_an_envelope")

    def _discard(self, name: str) -> None:
        """It waited too long for its sender to want it sent (S2-053): the original stays in groups/, and health tells of the loss.

        Never an alarm: this station cannot say what it was, and an alarm does not go in silence.
        """
        self._standing.waiting.drop(name)
        self._outbox.settle(Item(name, 0, b""))
        self._report.drop(f"expired_{name[:2]}")
