"""The uplink: outbox/ to the hub, in order of importance, kept until the hub has it; commands from the hub to commands/received/."""

from collections.abc import Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.link import (
    CA_EXPIRED,
    OUR_CERTIFICATE_EXPIRED,
    THEIR_CERTIFICATE_EXPIRED,
    WE_LEFT,
    Acknowledged,
    Connected,
    Deaf,
    Disconnected,
    Received,
    Refused,
)
from firmware.core.connection import UNANSWERED
from firmware.core.download import WANTED
from firmware.core.durable import make_directory
from firmware.core.envelope import Ack, ack_unpacked
from firmware.core.errors import BadItem, NotConnected, TooLarge
from firmware.core.report import Report
from firmware.core.timestamp import SECOND
from firmware.core.topics import parsed
from firmware.uplink.answers import AGAIN_NS, Answers
from firmware.uplink.aside import UNHEARD
from firmware.uplink.downloading import Downloading
from firmware.uplink.inward import Inward
from firmware.uplink.lane import Lane, OnWire
from firmware.uplink.looking import OUTBOX, Looking
from firmware.uplink.opening import Closed, Open, Opening
from firmware.uplink.pace import Pace
from firmware.uplink.sending import BULK, LEAVE_NS, PRESENCE, Sending
from firmware.uplink.settings import UplinkSettings
from firmware.uplink.shed import Shedding
from firmware.uplink.standing import OTHERS, STATE, Standing
from firmware.uplink.wire import Wire

CUSTODY_NS = 3600 * SECOND  # A relay that has said nothing for this long is asked again by sending; it may have lost its disk.
# The hub's word dies with a relay that had it in memory, if the broker that was to hand it on is dead, too (storm seed 9407 with a relay).
# So what has been kept for long is sent again before that, so few at a time that it costs nothing while the relay only waits for its hub.
KEPT_NS = 120 * SECOND
KEPT_AGAIN_MAX = 16
CONNECT_NS = 7 * SECOND  # A connection window shorter than an attempt and a farewell is not used any more.
TOO_LARGE = "0x95"  # mosquitto's message_size_limit, which it announces to nobody.
NOBODY_LISTENS = "0x10"  # Not about the publication; the same is true of every other on this topic.
SPREAD_NS = 10 * SECOND  # All boxes of a house have the same window; they begin somewhere in here.


class UplinkStation:
    """Sends what deidentify has put into the outbox, and nothing else.

    Here are the connection and its windows, and what is heard on it; `Sending` puts items on the wire, `Answers` takes them off.
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
        self._inward = Inward(board, self.report)
        self._shedding = Shedding(board, self.report, bytes_max=settings.outbox_bytes_max, items_max=settings.outbox_items_max)
        self._standing = Standing()
        self._looking = Looking(board, self.report, self._standing)
        self._answers = Answers(board, self.report, self._standing, self._looking)
        self._sending = Sending(
            board, settings, self.report, standing=self._standing, looking=self._looking, wire=self._wire, pace=self._pace, forwards=forwards,
        )  # fmt: skip
        self._downloading = Downloading(board, settings, self.report, standing=self._standing, wire=self._wire)
        self._heard: Monotonic | None = None  # when the hub, or a relay in its place, last said anything
        self._kept_due = Monotonic(0)  # when a relay may be asked again about what it keeps
        self._deaf = ""  # why the broker lets us not hear something
        self._trouble = ""  # why the broker was lost or not reached, as the driver said it

    def start(self, now: Now) -> None:
        make_directory(self._board.disk, OUTBOX)
        self._answers.start()
        self._inward.start(forwards=self._forwards)
        if self._forwards:
            make_directory(self._board.disk, PRESENCE)
        self._sending.start()
        self._downloading.start()

    def step(self, now: Now) -> Monotonic | None:
        self._hear(now)
        self._keep_connected(now)
        self._send_again_what_is_overdue(now)
        self._looking.look(now)
        self._standing.take_back(now.monotonic)
        self._be_born(now)
        self._sending.speak_for_others(now)
        more = self._sending.send(now, closes_in_ns=self._now_open.closes_in_ns if isinstance(self._now_open, Open) else 0)
        more |= self._download(now)
        self._answers.settle_moves(now.monotonic)
        self._shed(now)
        self._gauge(now.monotonic)
        return now.monotonic if more else self._next_wish(now.monotonic)

    def directories(self) -> Sequence[str]:
        return (OUTBOX, WANTED, *([PRESENCE] if self._forwards else []))

    def descriptors(self) -> Sequence[int]:
        return (self._wire.a.link.fileno(), self._wire.b.link.fileno())

    def stop(self, now: Now) -> None:
        try:
            self._wire.leave(now)
        except NotConnected:
            pass  # Gone already; then its will has spoken.
        self._wire.close()
        self._answers.settle_moves(now.monotonic, is_last=True)

    # The connection.

    def _be_born(self, now: Now) -> None:
        """Before anything else on a new connection, or later where the broker does not take it: nothing depends on it."""
        a = self._wire.a
        if self._wire.is_born or not a.connection.is_up or len(a) >= a.connection.receive_maximum:
            return
        if self._standing.may_say(STATE, a):
            try:
                self._wire.be_born(now)
            except (NotConnected, TooLarge):
                return

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
        tried = self._of_broker(UNANSWERED)
        may = a.connection.is_up or state.closes_in_ns is None or state.closes_in_ns >= CONNECT_NS
        if may and a.connection.connect_when_due(now):
            self.report.count("disconnected")
            self._trouble = tried
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

    def _lose(self, now: Now, *, why: str | None = None) -> None:
        """A is gone: nothing that was in flight may be assumed delivered, all of it waits again. why: None when we left."""
        ending = self._suspect(self._wire.a) if why is not None else []
        self._wire.lost(now)
        self._forget_flights()
        self._set_aside(ending, why or "", now)

    def _forget_flights(self) -> None:
        self._standing.ground()
        self._downloading.grounded()
        self._pace.begin()
        self._looking.soon()

    def _forget_lane(self, lane: Lane, now: Now, *, why: str) -> None:
        """B is gone alone: what was on it waits again, what the broker has taken is still on its way to the hub."""
        ending = self._suspect(lane)
        for identity in lane.identities():
            self._standing.wait_again(identity)
            self._standing.ask_again(identity)
        lane.forget()
        self._downloading.grounded()
        self._pace.begin()
        self._wire.second_lost(now.monotonic)
        self._set_aside(ending, why, now)

    def _suspect(self, lane: Lane) -> Sequence[str]:
        """The connection has ended: the names of what ends connections."""
        ending = self._standing.suspect(lane, self._sending.ending_kinds())
        if ending:
            lane.connection.works()  # It was no fault of the broker's: what else there is need not wait for long.
            if self._sending.ended_by_size(lane.connection.broker, ending, lane.longest()):
                return ()
        return ending

    def _set_aside(self, names: Sequence[str], why: str, now: Now) -> None:
        """The broker ends the connection over these."""
        for name in names:
            self._sending.ended_kind(name[:2], now.monotonic, is_new=name not in self._standing.aside.names())
        self._standing.set_aside_lost(names, why, now.monotonic)
        if names:
            self.report.count("ended_connection", len(names))

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
                        self._taken(lane, lane.answered(token))
                        self._pace.answered((lane is self._wire.a, token), now.monotonic)
                    case Refused(token, reason):
                        self._refused(lane, token, reason, now.monotonic)
                    case Deaf(reason):
                        self.report.count("refused_by_broker")
                        self._deaf = reason
                    case Received(topic, payload):
                        acknowledged += self._received(topic, payload, now)
        if acknowledged and not self._answers.move_to_sent(acknowledged, now.monotonic):
            self._sending.pause(now.monotonic, AGAIN_NS)

    def _begin(self, lane: Lane, event: Connected, now: Now) -> None:
        if lane is not self._wire.a:
            if self._wire.a.connection.is_up:
                lane.connection.connected(event, now.monotonic)
            else:
                lane.link.disconnect()  # A went while B was coming.
            return
        self.report.count("connected")
        self._deaf = ""
        self._forget_flights()
        self._standing.aside.others_first(now.monotonic)
        self._standing.own.others_first(now.monotonic)
        self._standing.try_unheard()
        self._sending.begin()
        try:
            self._wire.connected(event, now)
        except NotConnected:
            return  # Disconnected is on its way.

    def _lost(self, lane: Lane, reason: str, now: Now) -> None:
        if lane is self._wire.a:
            self.report.count("disconnected")
            self._trouble = self._of_broker(reason) if self._was_open and reason != WE_LEFT else self._trouble
            if reason.startswith((OUR_CERTIFICATE_EXPIRED, THEIR_CERTIFICATE_EXPIRED, CA_EXPIRED)):
                self.report.drop("certificate_expired")  # Health tells it on, and the console shows it: only a person can help.
            self._lose(now, why=reason)
        elif lane.connection.is_up:
            self.report.count("bulk_disconnected")
            self._forget_lane(lane, now, why=reason)
        else:
            lane.connection.lost(now.monotonic)

    def _taken(self, lane: Lane, on_wire: OnWire | None) -> None:
        if on_wire is not None:
            if lane is self._wire.b:
                lane.connection.works()  # Which broker is worth trying is A's to find out, by what the hub confirms.
            for name in self._standing.taken(on_wire):
                self._sending.taken(name)
                self._sending.taken_kind(name[:2], is_long=name in self._standing.transfers)

    def _refused(self, lane: Lane, token: int, reason: str, now: Monotonic) -> None:
        self._pace.answered((lane is self._wire.a, token), now)
        on_wire = lane.answered(token)
        if on_wire is None:
            return
        if on_wire.identity is None:
            self._refused_own(on_wire, reason, now)
            return
        self.report.count("refused_by_broker")
        if reason == TOO_LARGE and self._sending.refused_size(on_wire.size):
            self._standing.wait_again(on_wire.identity)
            self._standing.ask_again(on_wire.identity)
            return
        if reason != NOBODY_LISTENS:
            for name in self._standing.set_aside(on_wire.identity, f"refused, {reason}", now):
                self._sending.refused_kind(name[:2], now)
            return
        is_long, names = self._standing.is_begun(on_wire.identity), self._standing.names_of(on_wire.identity)
        kind = BULK if is_long else min(names, default="")[:2]
        if not self._sending.unheard(kind, now):
            self._standing.wait_again(on_wire.identity)
            self._standing.ask_again(on_wire.identity)
        elif is_long:
            self._standing.set_aside(on_wire.identity, UNHEARD, now)
        else:
            self._standing.wait_again(on_wire.identity)
            self._sending.refused_kind(kind, now, all_are=True)

    def _refused_own(self, on_wire: OnWire, reason: str, now: Monotonic) -> None:
        """What is no item is said again, when it is time to. That nobody listens is said by a broker that takes it."""
        own = on_wire.own
        if own is None or reason == NOBODY_LISTENS:
            self._standing.taken(on_wire)
            return
        self.report.count("refused_by_broker")
        self._standing.refused_own(own, reason, now)
        if own == STATE:
            self._wire.is_born = False
        elif own == OTHERS:
            self._sending.unsaid()

    def _received(self, topic: str, payload: bytes, now: Now) -> tuple[bytes, ...]:
        """Identities the hub has committed, when this was an acknowledgement."""
        ours = parsed(topic)
        if ours is None or ours.channel not in ("ack", "cmd", "piece") or ours != self._wire.topic_of(ours.channel, box=ours.box):
            self.report.drop("unexpected_topic")
        elif ours.channel == "piece":
            self._downloading.hear(payload, now.monotonic)
        elif ours.channel == "cmd":
            self._inward.take(payload, box=ours.box if ours.relay else None)
        else:
            try:
                ack = ack_unpacked(payload)
            except BadItem:
                self.report.drop("bad_acknowledgement")
                return ()
            self._heard = now.monotonic
            self._sending.works()
            self._wire.a.connection.works()
            if ack == Ack():
                self._sending.hub_is_back()
            self._answers.hear(ack, now.monotonic)
            return ack.committed
        return ()

    # What is to come down.

    def _download(self, now: Now) -> bool:
        """Behind everything that is urgent, and not when its answer could not come before the connection window closes."""
        if not self._wire.a.connection.is_up:
            return False
        closes_in_ns = self._now_open.closes_in_ns if isinstance(self._now_open, Open) else 0
        may = closes_in_ns is None or closes_in_ns > LEAVE_NS + SECOND
        return self._downloading.step(now, is_quiet=may and not self._standing.waiting.urgent)

    # What waits too long.

    def _send_again_what_is_overdue(self, now: Now) -> None:
        a, b = self._wire.a, self._wire.b
        if not a.connection.is_up:
            return
        if a.is_stuck(now.monotonic):
            # Connected in name only. Another broker may do better.
            self.report.drop("broker_stuck")
            why = "the broker answered nothing"
            self._trouble = self._of_broker(why)
            ending = self._suspect(a)
            a.leave(now)
            self._lose(now)
            self._set_aside(ending, why, now)
            return
        if b.is_stuck(now.monotonic):
            self.report.drop("broker_stuck")
            b.link.disconnect()
            self._forget_lane(b, now, why="the broker answered nothing")
        limit_ns = self._settings.acknowledge_s_max * SECOND
        if resent := self._standing.send_overdue_again(now.monotonic, limit_ns=limit_ns, heard=self._heard):
            self.report.count("resent", resent)
        for identity in self._kept_too_long(now.monotonic):
            self._standing.wait_again(identity)
            self.report.count("kept_again")
        if asked := self._standing.ask_overdue_again(now.monotonic, limit_ns=limit_ns, heard=self._heard):
            self.report.count("asked_again", asked)

    def _kept_too_long(self, now: Monotonic) -> Sequence[bytes]:
        """What a relay has in custody, and is to be asked about."""
        flights = self._standing.flights
        too_long = flights.kept_before(now.after(-CUSTODY_NS + 1))
        if now < self._kept_due:
            return too_long
        long = flights.kept_before(now.after(-KEPT_NS + 1))[:KEPT_AGAIN_MAX]
        if long:
            self._kept_due = now.after(KEPT_NS)
        return max(too_long, long, key=len)  # Both begin with what was kept longest.

    def _shed(self, now: Now) -> None:
        """Keep the outbox within its bounds, what a relay keeps for us first. A relay promised to keep what is in its own: it takes no more."""
        if self._forwards:
            return
        for name in self._shedding.step(
            now.monotonic, custody=self._standing.flights.in_custody, is_going=self._standing.transfers.__contains__
        ):
            self._standing.drop(name)

    # How it stands.

    def _of_broker(self, trouble: str) -> str:
        """With the name of the broker that is being tried or was lost, where there are several: they have troubles of their own."""
        return f"{self._wire.a.connection.broker}: {trouble}" if len(self._settings.peers()) > 1 else trouble

    def _next_wish(self, now: Monotonic) -> Monotonic | None:
        limit_ns = self._settings.acknowledge_s_max * SECOND
        a, b = self._wire.a, self._wire.b
        wishes = [
            self._answers.next_wish(),
            self._looking.next_wish(),
            None if self._forwards else self._shedding.next_wish(now),
            self._next_opening(now),
        ]
        if self._was_open:
            wishes.append(a.next_wish())
        if a.connection.is_up:
            flights, moved = self._standing.flights, self._standing.next_moved()
            overdue, kept = flights.next_overdue(), flights.next_kept()
            wishes += [
                b.next_wish(),
                self._sending.next_wish(now),
                self._standing.aside.next_due(),
                self._standing.own.next_due(),
                self._downloading.next_wish(),
                self._wire.bulk_may_begin(now) if self._standing.waiting.bulk or self._downloading.is_wanting() else None,
                overdue.after(limit_ns) if overdue is not None else None,
                max(kept.after(KEPT_NS), min(self._kept_due, kept.after(CUSTODY_NS))) if kept is not None else None,
                moved.after(limit_ns) if moved is not None else None,
            ]
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
        flights = self._standing.flights
        oldest = flights.oldest()
        up = self._wire.a.connection.is_up
        trouble = "" if up else self._trouble or "none yet"
        # What ends connections has been found, or it is said that the broker refuses it.
        unsteady = self._wire.a.connection.unsteady(now) if self._was_open and not len(self._standing.aside) else ""
        self.report.gauge("broker", self._wire.a.connection.broker if up else "none")
        self.report.gauge("broker_trouble", "; ".join(filter(None, (trouble, unsteady))) or "none")
        self.report.gauge("lanes", up + self._wire.b.connection.is_up)
        self.report.gauge("hub_heard_s", now.since(self._heard) // SECOND if self._heard is not None else "never")
        self.report.gauge("window", "open" if self._was_open else "closed")
        self.report.gauge("set_aside", len(self._standing.aside))
        deaf = f"what we are to hear, {self._deaf}" if self._deaf else ""  # Most of what else there is comes of that.
        self.report.gauge("broker_refuses", deaf or self._sending.word())
        self.report.gauge("in_flight", len(flights))
        self.report.gauge("in_custody", flights.custody_count)
        self.report.gauge("bulk_window_bytes", int(self._pace.window_bytes))
        self.report.gauge("rate_bytes_per_s", self._pace.rate_bytes_per_s)
        self.report.gauge("oldest_unacknowledged_s", now.since(oldest) // SECOND if oldest is not None else 0)
