"""The hub: what boxes publish into the repository, in one transaction a wake, and only then the acknowledgements."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.link import Received
from firmware.core import durable, presence
from firmware.core.cbor import decoded_cbor
from firmware.core.download import want_unpacked
from firmware.core.envelope import Envelope, chunk_unpacked, content_of, unpacked
from firmware.core.errors import BadItem, DiskFailed, DiskFull
from firmware.core.incoming import Incoming
from firmware.core.message import Message
from firmware.core.message import unpacked as messages_unpacked
from firmware.core.port import Port, trouble_of
from firmware.core.report import Report
from firmware.core.serving import Serving
from firmware.core.streams.wish import MODES
from firmware.core.timestamp import SECOND
from firmware.core.topics import HUB_SUBSCRIPTIONS, Topic, parsed
from firmware.hub.affairs import POLICY
from firmware.hub.consequences import Consequences, identity_of
from firmware.hub.editions import PUBLISHED
from firmware.hub.evidence import Evidence, TooFarAhead
from firmware.hub.outgoing import OUTGOING, Outgoing
from firmware.hub.repository import COMMITTED, EvidenceState, Repository, RepositoryFailed
from firmware.hub.rollouts import Rollouts
from firmware.hub.settings import HubSettings

QUARANTINE = "quarantine/hub"
NEWS = "news"  # A name appears here after each commit; the page's process listens for it.
SEEN_EVERY_NS = SECOND
SEARCHED, CANCELLED = "searched", "cancelled"
CAUSE_MAX = 256  # of why a box refused
DETAIL_MAX = 1024  # characters of what is said about a command
AGAIN_NS = SECOND  # After the database or the disk refused.
GONE = "some of what had come is gone from this hub"  # behind all else that is said of evidence


@dataclass(slots=True)
class _Outcome:
    """What to do once the transaction is durable, in this order."""

    committed: list[tuple[Port, Topic, bytes]] = field(default_factory=list)
    partial: list[tuple[Port, Topic, bytes, int]] = field(default_factory=list)
    greet: list[tuple[Port, Topic]] = field(default_factory=list)
    answered: list[bytes] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    evidence: list[EvidenceState] = field(default_factory=list)


class HubStation:
    """Takes in, acknowledges, and sends commands out."""

    name = "hub"

    def __init__(self, board: Board, settings: HubSettings) -> None:
        self.report = Report(self.name)
        self._board = board
        self._settings = settings
        self._repository = Repository(settings.database)
        self._ports = [Port(board, settings, broker, role="hub", hears=HUB_SUBSCRIPTIONS) for broker in settings.brokers]
        self._seen: dict[tuple[str, str, str | None], int] = {}  # when a box was last written down as seen, ns TAI
        self._consequences = Consequences(board, self._repository, self.report, expires_s=settings.command_expires_s)
        self._incoming = Incoming(board.disk, self.report, per_box=settings.incoming_per_box)
        self._evidence = Evidence(board.disk, self._repository)
        self._unfinished: list[EvidenceState] = []  # complete in the repository, and not yet to be downloaded
        self._serving = Serving(board.disk, PUBLISHED, self.report)
        self._rollouts = Rollouts(board, self._repository, self.report, settings)
        self._outgoing = Outgoing(board, self._repository, self.report, resend_s=settings.resend_s)

    def start(self, now: Now) -> None:
        durable.make_directory(self._board.disk, QUARANTINE)
        self._board.disk.mkdir(NEWS)
        self._consequences.start(now)
        self._incoming.start()
        self._evidence.start()
        durable.make_directory(self._board.disk, PUBLISHED)
        self._outgoing.start()

    def step(self, now: Now) -> Monotonic | None:
        again: Monotonic | None = None
        try:
            heard = [(port, received) for port in self._ports for received in port.hear(now)]
            if heard:
                self._take_in(heard, now)
                self.report.gauge("refused", "")  # Not before: where nothing comes nothing is refused, and all would seem well.
            self._greet()
            if self._rollouts.go_on(now):
                self._knock()
            self._outgoing.look(now)
            self._outgoing.send(self._ports, now)
            if self._consequences.draw(now):
                self._knock()
            self._finish_evidence()  # Last: a disk that stays full must not keep the orders in.
        except RepositoryFailed:
            # Nothing of this wake is in the repository and nothing was acknowledged: the boxes send it again.
            self._seen.clear()
            self._refused("repository_failed" if self._repository.is_in_place() else "database_gone")
            again = now.monotonic.after(AGAIN_NS)
        except (DiskFull, DiskFailed) as trouble:
            self._refused("disk_full" if isinstance(trouble, DiskFull) else "disk_failed")
            again = now.monotonic.after(AGAIN_NS)
        for port in self._ports:
            # Those that find no room go when the broker has answered some, which wakes us.
            port.send_acknowledgements(now.monotonic)
        self._serving.serve(now.monotonic, may=lambda topic: self._rollouts.may_send(topic.site, now))
        self.report.gauge("brokers", sum(port.connection.is_up for port in self._ports))
        self.report.gauge("broker_trouble", trouble_of(self._ports))
        if again is not None:
            # And not earlier: what was due and refused is still due, and would have the loop spin (storm seed 612).
            return again
        wishes = [
            self._outgoing.next_wish(), self._consequences.next_wish(now), self._rollouts.next_wish(),
            now.monotonic if self._serving.is_busy() else None, *(port.next_wish() for port in self._ports),
        ]  # fmt: skip
        return min((wish for wish in wishes if wish is not None), default=None)

    def directories(self) -> Sequence[str]:
        return (OUTGOING, POLICY)

    def descriptors(self) -> Sequence[int]:
        return [port.connection.link.fileno() for port in self._ports]

    def stop(self, now: Now) -> None:
        for port in self._ports:
            port.connection.close()
        self._repository.close()

    def _refused(self, cause: str) -> None:
        self.report.drop(cause)
        self.report.gauge("refused", cause)

    # In.

    def _take_in(self, heard: Sequence[tuple[Port, Received]], now: Now) -> None:
        outcome = _Outcome()
        counted: dict[str, int] = {}

        def count(name: str, by: int = 1) -> None:
            counted[name] = counted.get(name, 0) + by

        with self._repository.transaction():
            for port, received in heard:
                topic = parsed(received.topic)
                if topic is None:
                    self.report.drop("unexpected_topic")
                    continue
                if topic.relay is not None and f"{topic.site}/{topic.relay}" not in self._settings.relays:
                    self.report.drop("unknown_relay")
                    continue
                if topic.channel != "state":  # Of which more than half is no word of the box: _take_presence.
                    self._box_seen(topic, now.timestamp.tai_ns)
                # What is not acknowledged comes again; a full disk at one piece of evidence must not keep the alarms out.
                try:
                    with self._repository.item():
                        self._take(port, topic, received.payload, outcome, count, now)
                except TooFarAhead:
                    self.report.drop("evidence_too_far_ahead")
                except DiskFull:
                    self.report.drop("disk_full")
                except DiskFailed:
                    self.report.drop("disk_failed")
            for name, by in counted.items():
                self._repository.count(name, by)
        for name, by in counted.items():
            self.report.count(name, by)
        self._act_on(outcome)

    def _box_seen(self, topic: Topic, now_tai_ns: int) -> None:
        # Once a second is enough for people, and a piece of something long then costs no write at all.
        who = (topic.site, topic.box, topic.relay)
        # A clock that was set back is news, too: until it is where it was, everybody would seem to have been silent since.
        if not 0 <= now_tai_ns - self._seen.get(who, 0) < SEEN_EVERY_NS or topic.channel == "state":
            for route in [known for known in self._seen if known[:2] == who[:2]]:
                del self._seen[route]  # Another route is news at once.
            self._repository.box_seen(topic, now_tai_ns)
            self._seen[who] = now_tai_ns

    def _act_on(self, outcome: _Outcome) -> None:
        """Everything is in the repository: say so, and clear away. A crash anywhere here costs a repetition."""
        self._unfinished += (
            outcome.evidence
        )  # First: no part of it comes again, so what the disk refuses here is ours to remember.
        for port, topic, identity in outcome.committed:
            port.committed(topic, identity)
        for port, topic, identity, size in outcome.partial:
            port.partial(topic, identity, size)
        for port, topic in outcome.greet:
            port.greet(topic)
            self._outgoing.again(topic.box)
        for identity in outcome.answered:
            self._outgoing.answered(identity)
        for path in outcome.forget:
            self._incoming.forget(path)
        self._knock()

    def _finish_evidence(self) -> None:
        if not self._unfinished:
            return
        while self._unfinished:
            self._evidence.finish(self._unfinished[0])
            self._unfinished.pop(0)
        self._knock()

    def _knock(self) -> None:
        # Not synced: it is a knock on the door.
        self._board.disk.write(f"{NEWS}/.latest", b"")
        self._board.disk.rename(f"{NEWS}/.latest", f"{NEWS}/latest")

    def _take(self, port: Port, topic: Topic, payload: bytes, outcome: _Outcome, count: Callable[..., None], now: Now) -> None:
        if topic.channel == "state":
            self._take_presence(port, topic, payload, outcome, now)
        elif topic.channel == "want":
            self._take_want(port, topic, payload)
        elif topic.channel == "bulk":
            self._take_chunk(port, topic, payload, outcome, count, now)
        elif topic.channel in ("p1", "p2", "p3", "p4"):
            identity = self._take_envelope(topic, payload, outcome, count, now)
            if identity is not None:
                outcome.committed.append((port, topic, identity))
        else:
            self.report.drop("unexpected_topic")

    def _take_presence(self, port: Port, topic: Topic, payload: bytes, outcome: _Outcome, now: Now) -> None:
        try:
            said = presence.unpacked(payload)
        except BadItem:
            self.report.drop("bad_presence")
            return
        if not self._repository.is_known(topic.box):
            self._box_seen(topic, now.timestamp.tai_ns)
        is_news = not self._repository.has_said(topic.box, said)
        if not self._repository.box_said(topic.box, said, now.timestamp.tai_ns):
            return
        # A will is the broker's word, and so is what it keeps of every box for a hub that comes back: nobody was heard by that.
        if is_news and said.state != "lost":
            self._box_seen(topic, now.timestamp.tai_ns)
        if said.state == "online":
            outcome.greet.append((port, topic))

    def _take_want(self, port: Port, topic: Topic, payload: bytes) -> None:
        try:
            want = want_unpacked(payload)
        except BadItem:
            self.report.drop("bad_want")
            return
        if self._serving.has(want.wish):
            self._serving.ask(port, topic, want)
        else:
            self.report.drop("want_unknown")

    def _take_chunk(
        self, port: Port, topic: Topic, payload: bytes, outcome: _Outcome, count: Callable[..., None], now: Now
    ) -> None:
        assert topic.transfer is not None, "as parsed"
        identity = bytes.fromhex(topic.transfer)
        if self._repository.has_envelope(identity):
            outcome.committed.append((port, topic, identity))
            return
        try:
            chunk = chunk_unpacked(payload)
        except BadItem:
            self.report.drop("bad_chunk")
            return
        progress = self._incoming.take(topic.site, topic.box, identity, chunk)
        if progress.whole is None:
            outcome.partial.append((port, topic, identity, progress.size))
            return
        self._take_envelope(topic, self._board.disk.read(progress.whole), outcome, count, now)
        # Its own identity was checked against its content or it is in quarantine; either way the box may forget this transfer.
        outcome.committed.append((port, topic, identity))
        outcome.forget.append(progress.whole)

    def _take_envelope(self, topic: Topic, data: bytes, outcome: _Outcome, count: Callable[..., None], now: Now) -> bytes | None:
        """Into the repository, or into quarantine. Returns the identity to acknowledge; None where it could not even be found."""
        try:
            envelope = unpacked(data)
        except BadItem as trouble:
            self._to_quarantine(data, "bad_envelope", trouble)
            return _identity_in(data)
        if self._repository.has_envelope(envelope.identity):
            count("duplicate_envelopes")
            return envelope.identity
        stamp = now.timestamp.tai_ns
        try:
            if envelope.box != topic.box:
                raise BadItem("expected an envelope of the box whose topic it came on")
            content = content_of(envelope)
            if envelope.kind == "group":
                self._take_group(envelope, messages_unpacked(content), outcome, count, now)
            else:
                self._consequences.adopt(envelope, stamp)
                state, gone = self._evidence.take(envelope, content, stamp)
                if gone:
                    self.report.drop("evidence_gone", gone)
                count("evidence_parts")
                if state.is_complete:
                    outcome.evidence.append(state)
                # Evidence is an answer too, and comes before the box's words about it, which wait for their group.
                detail = self._said_of(state, envelope, is_gone=gone > 0)
                word = "accepted" if not state.is_complete else CANCELLED if detail.startswith(CANCELLED) else "done"
                self._answered(state.command, word, envelope.box, outcome, stamp, detail=detail)
        except BadItem as trouble:
            # Acknowledged as what it is, and kept here for a person: the box would send it for ever.
            self._to_quarantine(data, "bad_content", trouble)
            self._repository.add_envelope(envelope, size=len(data), outcome=f"quarantined: {trouble}", now_tai_ns=stamp)
        else:
            self._repository.add_envelope(envelope, size=len(data), outcome=COMMITTED, now_tai_ns=stamp)
            count("envelopes")
            count("bytes", len(data))
        return envelope.identity

    def _said_of(self, state: EvidenceState, envelope: Envelope, *, is_gone: bool) -> str:
        """What is said of a request for evidence; parts come in any order, and the last one's word stands. is_gone: some were lost here."""
        before, now = self._repository.command_detail(state.command), _so_far(envelope)
        if before.endswith(GONE):
            before, is_gone = before.removesuffix(GONE).removesuffix("; "), True
        detail = before if before and not before.startswith(SEARCHED) and envelope.facts.get("last") != 1 else now
        detail = "" if state.is_complete and detail.startswith(SEARCHED) else detail
        return "; ".join(filter(None, (detail, GONE if is_gone else "")))

    def _take_group(
        self, envelope: Envelope, messages: Sequence[Message], outcome: _Outcome, count: Callable[..., None], now: Now
    ) -> None:
        stamp = now.timestamp.tai_ns
        new = self._repository.add_messages(messages, box=envelope.box, envelope=envelope.identity, now_tai_ns=stamp)
        count("messages", new)
        self._consequences.judge(envelope, messages, now_tai_ns=stamp, count=count)
        if new < len(messages):
            count("duplicate_messages", len(messages) - new)
        self._rollouts.hear(envelope.box, messages, stamp)
        for message in messages:
            if message.kind == "command-result":
                self._take_result(envelope.box, message, outcome, stamp)

    def _take_result(self, box: str, message: Message, outcome: _Outcome, now_tai_ns: int) -> None:
        result, identity = message.fields.get("result"), identity_of(message.fields.get("command"))
        if result not in ("accepted", "refused", "done") or identity is None:
            return
        cause = message.fields.get("cause")
        self._answered(identity, str(result), box, outcome, now_tai_ns, detail=str(cause)[:CAUSE_MAX] if cause else "")

    def _answered(self, command: bytes, state: str, box: str, outcome: _Outcome, now_tai_ns: int, *, detail: str = "") -> None:
        # Only the box it was sent to may answer it; and what is done stays so, whatever is said about its beginning later.
        # A refusal, too, is not undone by the word that it was accepted before, which may come later (storm seed 2 with a relay).
        known = self._repository.command_state(command)
        if known in ("done", "cancelled") or (known == "refused" and state == "accepted"):
            return
        if self._repository.set_command(command, state, detail=detail, now_tai_ns=now_tai_ns, box=box):
            outcome.answered.append(command)

    def _to_quarantine(self, data: bytes, cause: str, trouble: BadItem) -> None:
        self.report.drop(cause)
        if len(self._board.disk.list(QUARANTINE)) >= 2 * self._settings.quarantine_items_max:
            self.report.drop("quarantine_full")
            return
        name = f"hub-{hashlib.sha256(data).hexdigest()[:32]}"
        durable.replace(self._board.disk, QUARANTINE, f"{name}.reason", f"{cause}: {trouble}\n".encode())
        durable.replace(self._board.disk, QUARANTINE, name, data)

    # Out.

    def _greet(self) -> None:
        for port in self._ports:
            if port.connection.is_up and not port.greeted:
                port.greeted = True
                for topic in self._repository.routes():
                    port.greet(topic)
                self._outgoing.again()


def _so_far(envelope: Envelope) -> str:
    """What a part of evidence says about the whole: how far the box has come, or at the end what is not in it, and why."""
    facts = envelope.facts
    if facts.get("last") != 1:
        percent = facts.get("searched_percent")
        return f"{SEARCHED} {percent} %" if isinstance(percent, int) else ""
    said = [CANCELLED] if facts.get("cancelled") == 1 else []
    if facts.get("truncated") == 1:
        said.append("cut off: more than one order may send")
    if facts.get("reduce") in MODES and facts["reduce"] != "none":
        gone = sum(count for name, count in facts.items() if name.startswith("left_out_") and isinstance(count, int))
        said.append(f"reduced on request ({facts['reduce']}): {gone} frames left out")
    if isinstance(facts.get("not_held"), str):
        said.append(f"not held: {facts['not_held']}")
    return "; ".join(said)[:DETAIL_MAX]


def _identity_in(data: bytes) -> bytes | None:
    """The identity an envelope that is none otherwise may still carry."""
    try:
        row = decoded_cbor(data)
    except BadItem:
        return None
    identity = row.get(1) if isinstance(row, dict) else None
    return identity if isinstance(identity, bytes) and len(identity) == 16 else None
