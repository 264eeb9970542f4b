"""Devices that connect: bounded in number, in what they may leave half said, and in how long; answered when what they said is durable."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.board import Board
from drivers.clock import Monotonic, Now
from drivers.listener import Closed, Heard, Listener, Opened
from firmware.core.entrance import Rules, message_from
from firmware.core.errors import BadItem, ListenFailed
from firmware.core.framing import Framing
from firmware.core.report import Report
from firmware.core.timestamp import SECOND
from firmware.intake.doors import Answer, Door, Reader, Understood
from firmware.intake.taking import Moments, Taking

MESSAGES_A_STEP = 512  # A twentieth of a second of them; then the mirror port and the disk have their turn.
# From the first byte of a message to its last. A megabyte takes a second over the slowest link of a room; who takes longer is stuck
# or wants to be.
WHOLE_NS = 10 * SECOND
# One device has one or two connections; eight leave room for a gateway, and twenty-four for the others.
CALLERS_A_PEER = 8
IDLE_NS = 60 * SECOND  # Silent so long, a caller gives up his place when all are taken; else silence is no fault.
AGAIN_NS = SECOND
UNANSWERED_MAX = (
    1_024  # answers one caller may wait for, beyond it he is to send again; a sender that does not wait for each is rare
)


@dataclass(slots=True)
class _Caller:
    peer: str
    framing: Framing
    read: Reader
    active: Monotonic
    begun: Monotonic | None = None  # when the message began that is not whole yet
    unanswered: int = 0


@dataclass(slots=True)
class _Port:
    door: Door
    read: Reader  # of datagrams; each connection has its own
    listener: Listener | None = None
    again: Monotonic = field(default_factory=lambda: Monotonic(0))
    refused: int = 0
    callers: dict[int, _Caller] = field(default_factory=dict)
    # Heard and not yet read to the end: (connection, its peer, messages, who reads them; a caller may have gone meanwhile). Nothing more
    # is heard before: TCP makes the sender wait.
    unread: deque[tuple[int | None, str, Iterator[bytes], Reader]] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class _Owed:
    """An answer to be given when its message is durable."""

    port: _Port
    connection: int | None
    answer: Answer


class Callers:
    """All doors of one intake. None of it waits for anybody."""

    def __init__(self, board: Board, doors: Sequence[Door], rules: Rules, report: Report, taking: Taking) -> None:
        self._board = board
        self._rules = rules
        self._report = report
        self._taking = taking
        self._ports = [_Port(door, door.reader()) for door in doors]
        self._owed: dict[bytes, _Owed] = {}
        self._count = 0
        self._moments = Moments()

    def hear(self, now: Now) -> bool:
        """Open what is not open, hear who has something to say, up to a step's ceiling; whether there may be more."""
        left = MESSAGES_A_STEP
        more = False
        for port in self._ports:
            self._open(port, now)
            if port.listener is None:
                continue
            if not port.unread:
                self._listen(port, port.listener, now)
            left = self._read(port, now, left)
            more |= bool(port.unread)
            self._let_go_of_the_slow(port, now)
        return more

    def next_due(self) -> Monotonic | None:
        """When somebody's time is up, or a port is tried again."""
        moments = [port.again for port in self._ports if port.listener is None]
        moments += [
            caller.begun.after(WHOLE_NS) for port in self._ports for caller in port.callers.values() if caller.begun is not None
        ]
        return min(moments, default=None)

    def descriptors(self) -> list[int]:
        return [port.listener.fileno() for port in self._ports if port.listener is not None]

    def answer(self, receipts: Iterable[bytes], code: str, now: Now) -> None:
        """Their messages are durable ("A"), or could not be kept and are to be sent again ("R")."""
        for receipt in receipts:
            owed = self._owed.pop(receipt, None)
            if owed is not None:
                self._send(owed.port, owed.connection, owed.answer, code, now)

    def close(self) -> None:
        """Everybody is sent away; who waited for an answer will send again."""
        for port in self._ports:
            if port.listener is not None:
                port.listener.close()
                port.listener = None
            port.callers.clear()
            port.unread.clear()
        self._owed.clear()

    def _open(self, port: _Port, now: Now) -> None:
        if port.listener is not None or now.monotonic < port.again:
            return
        try:
            port.listener = self._board.listener(port.door.request)
            port.refused = 0
            self._report.gauge(f"{port.door.name}_port", port.listener.port)
        except ListenFailed as trouble:
            self._report.drop("listen_failed")
            self._report.gauge(f"{port.door.name}_port", str(trouble))
            port.again = now.monotonic.after(AGAIN_NS)

    def _listen(self, port: _Port, listener: Listener, now: Now) -> None:
        for event in listener.events():
            match event:
                case Opened(connection, peer):
                    self._welcome(port, listener, connection, peer, now)
                case Heard(None, peer, data):
                    port.unread.append((None, peer, iter((data,)), port.read))
                case Heard(connection, peer, data):
                    caller = port.callers.get(connection) if connection is not None else None
                    if caller is not None:
                        caller.active = now.monotonic
                        port.unread.append((connection, peer, caller.framing.feed(data), caller.read))
                case Closed(connection, reason):
                    caller = port.callers.pop(connection, None)
                    if caller is not None:
                        port.unread.append((connection, caller.peer, self._last_of(caller, reason), caller.read))
                    if reason != "closed":
                        self._report.count(f"caller_{reason}")
        if (refused := listener.refused) > port.refused:
            self._report.drop("caller_refused", refused - port.refused)
            port.refused = refused
            # All places are taken: whoever has been silent longest makes room for the next try.
            self._make_room(port, listener, now, port.callers)
        self._report.gauge(f"{port.door.name}_callers", len(port.callers))

    def _last_of(self, caller: _Caller, reason: str) -> Iterator[bytes]:
        """What he left half said, once all before it is read: a message because he ended it so, or lost."""
        last = caller.framing.last() if reason == "closed" else b""
        if last:
            yield last
        elif caller.framing.held:
            self._report.drop("cut_off")

    def _welcome(self, port: _Port, listener: Listener, connection: int, peer: str, now: Now) -> None:
        assert port.door.framing is not None, "only over TCP somebody connects"
        own = {number: caller for number, caller in port.callers.items() if caller.peer == peer}
        # A device that connects anew and forgets its former connections must not lock itself out.
        if len(own) >= CALLERS_A_PEER and not self._make_room(port, listener, now, own):
            self._report.drop("caller_refused")
            listener.drop(connection)
            return
        port.callers[connection] = _Caller(peer, port.door.framing(), port.door.reader(), now.monotonic)
        self._report.count("callers")

    def _make_room(self, port: _Port, listener: Listener, now: Now, among: Mapping[int, _Caller]) -> bool:
        """The one of them that has been silent longest is sent away, where any has been for long; whether one was."""
        silent = [(caller.active, number) for number, caller in among.items() if now.monotonic.since(caller.active) > IDLE_NS]
        if silent:
            self._report.drop("caller_idle")
            self._end(port, listener, min(silent)[1])
        return bool(silent)

    def _read(self, port: _Port, now: Now, left: int) -> int:
        while port.unread and left > 0:
            connection, peer, messages, read = port.unread[0]
            caller = port.callers.get(connection) if connection is not None else None
            try:
                data = next(messages, None)
                understood = None if data is None else read(data)
            except BadItem:
                self._report.drop(f"bad_{port.door.name}")
                port.unread.popleft()
                if connection is not None and port.listener is not None:
                    self._end(port, port.listener, connection)
                continue
            if caller is not None and understood is not None:
                caller.begun = None
            if understood is None:
                port.unread.popleft()
                if caller is not None:
                    caller.begun = (caller.begun or now.monotonic) if caller.framing.held else None
                continue
            left -= 1
            self._take(port, connection, peer, understood, now)
        return left

    def _take(self, port: _Port, connection: int | None, peer: str, understood: Understood, now: Now) -> None:
        if understood.reply and connection is not None and port.listener is not None:
            port.listener.send(connection, understood.reply)
        if understood.wrong is not None:
            self._report.drop(f"bad_{port.door.name}")
            if understood.answer is not None:
                self._send(port, connection, understood.answer, "E" if understood.wrong == "error" else "R", now)
            return
        if understood.said is None:
            self._report.count(f"{port.door.name}_other")
            return
        message = message_from(
            understood.said,
            address=peer,
            port=None,
            stamp_utc_ns=self._moments.next(now),
            now=now,
            rules=self._rules,
            count=self._report.count,
        )
        receipt = None
        if understood.answer is not None:
            caller = port.callers.get(connection) if connection is not None else None
            if caller is None:
                self._report.drop("unanswered")
                return  # He has gone: he will send it again.
            if caller.unanswered >= UNANSWERED_MAX:
                self._report.drop("unanswered")
                caller.unanswered += 1
                self._send(port, connection, understood.answer, "R", now)
                return
            self._count += 1
            receipt = self._count.to_bytes(8, "big")
            self._owed[receipt] = _Owed(port, connection, understood.answer)
            caller.unanswered += 1
        done = self._taking.take(message, now.monotonic, receipt=receipt, is_unique=understood.said.is_unique)
        if done and receipt is not None:
            self.answer([receipt], "A", now)

    def _send(self, port: _Port, connection: int | None, answer: Answer, code: str, now: Now) -> None:
        self._count += 1
        data = answer(code, now.utc_ns, f"{now.utc_ns}-{self._count}")
        self._report.count(f"{port.door.name}_answered_{code}" if data else f"{port.door.name}_not_answered")
        if connection is not None and port.listener is not None:
            caller = port.callers.get(connection)
            if caller is not None:
                caller.unanswered = max(0, caller.unanswered - 1)
            if data:
                port.listener.send(connection, data)

    def _let_go_of_the_slow(self, port: _Port, now: Now) -> None:
        for connection, caller in list(port.callers.items()):
            if caller.begun is not None and now.monotonic.since(caller.begun) >= WHOLE_NS and port.listener is not None:
                self._report.drop("caller_slow")
                self._end(port, port.listener, connection)

    def _end(self, port: _Port, listener: Listener, connection: int) -> None:
        port.callers.pop(connection, None)
        # What he had said before and was not read yet is not worth reading: nobody is there to be answered, and he spoke nonsense.
        port.unread = deque(row for row in port.unread if row[0] != connection)
        listener.drop(connection)
