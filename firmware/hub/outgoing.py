"""Commands on their way to boxes: published, and published again, until the box has answered or they have expired."""

from collections.abc import Iterator
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.durable import make_directory
from firmware.core.envelope import Order, command_unpacked, order_unpacked
from firmware.core.errors import BadItem, Missing
from firmware.core.port import Port
from firmware.core.report import Report
from firmware.core.spool import Item, Spool
from firmware.core.timestamp import SECOND
from firmware.hub.repository import Repository

OUTGOING = "commands/outgoing"
TAKEN = "~1"  # behind the name of what we have; to a spool, an attempt
# Held in memory at once; the rest waits on the disk. What has been published gives way to what has not, until it is due again: a fleet has
# more boxes that are away than this, and each is left its roll-out's order for a day.
KNOWN_MAX = 1000
ANSWERED = ("accepted", "refused", "expired", "done", "cancelled")


@dataclass(slots=True)
class _Command:
    order: Order
    data: bytes
    sent: Monotonic | None = None
    no_room: bool = False  # was due and found no connection with room; what makes room wakes us


@dataclass(frozen=True, slots=True)
class _Asleep:
    """One that gave way. Its file is still there."""

    box: str
    sent: Monotonic


class Outgoing:
    """The spool commands/outgoing/. Names begin with the counter, so that a box gets one signer's orders in the order they were made,
    but for those the broker loses: they go again, and a box takes them late.
    """

    def __init__(self, board: Board, repository: Repository, report: Report, *, resend_s: int) -> None:
        self._board = board
        self._repository = repository
        self._report = report
        self._resend_ns = resend_s * SECOND
        self._spool = Spool(board.disk, OUTGOING)
        self._commands: dict[str, _Command] = {}  # by name, in order
        self._asleep: dict[str, _Asleep] = {}
        self._is_beyond = False  # some on the disk are neither

    def start(self) -> None:
        """Begin with what lies there."""
        make_directory(self._board.disk, OUTGOING)
        self._spool.start(self._report.drop)
        self._commands.clear()
        self._asleep.clear()

    def look(self, now: Now) -> None:
        """Load what has arrived. Everything a box has not answered goes to it again with the new one, in order, while all have a place."""
        names = self._spool.names()
        here = set(names)
        self._asleep = {name: one for name, one in self._asleep.items() if name in here and not self._is_due(one.sent, now)}
        published = iter([name for name, command in self._commands.items() if command.sent is not None and not command.no_room])
        self._is_beyond = False
        for name in names:
            if name in self._commands or name in self._asleep:
                continue
            if len(self._commands) >= KNOWN_MAX and not self._gives_way(published):
                self._is_beyond = True
                break
            self._load(name, now, with_all=len(names) <= KNOWN_MAX)
        self._report.gauge("commands_beyond", max(0, len(names) - len(self._commands)))
        self._report.gauge("commands_waiting", len(self._commands))

    def again(self, box: str | None = None) -> None:
        """A box has come back (None: a broker has): publish to it again what it has not answered."""
        for command in self._commands.values():
            if box is None or command.order.box == box:
                command.sent = None
        self._asleep = {name: one for name, one in self._asleep.items() if box is not None and one.box != box}

    def answered(self, identity: bytes) -> None:
        """The box has answered this one, and the repository knows."""
        for name in [name for name, command in self._commands.items() if command.order.identity == identity]:
            self._settle(name)

    def send(self, ports: list[Port], now: Now) -> None:
        """Publish what is due, at every broker we are connected to: only one of them has the box."""
        routes = {route.box: route for route in self._repository.routes()} if self._commands else {}
        for name, command in list(self._commands.items()):
            is_over = now.timestamp.tai_ns > command.order.expires_tai_ns
            route = routes.get(command.order.box)
            is_due = command.sent is None or self._is_due(command.sent, now)
            if not is_over and (route is None or not is_due):
                continue
            if self._repository.command_state(command.order.identity) in ANSWERED:
                self._settle(name)  # The disk failed between the answer and the end of it (storm seed 1).
                continue
            if is_over or route is None:
                self._end(name, command, "expired", now)
                continue
            published = [port for port in ports if port.publish(route.to("cmd"), command.data, now.monotonic)]
            command.no_room = not published
            if published:
                self._report.count("commands_published")
                if command.sent is None and self._repository.command_state(command.order.identity) == "waiting":
                    self._repository.set_command(command.order.identity, "sent", now_tai_ns=now.timestamp.tai_ns)
                command.sent = now.monotonic

    def next_wish(self) -> Monotonic | None:
        """When something is due again."""
        waiting = [command.sent for command in self._commands.values() if command.sent is not None and not command.no_room]
        if waiting and self._is_beyond:
            return min(waiting)  # One of them gives way at once.
        if waiting or len(self._commands) < KNOWN_MAX:  # Otherwise there is no place, and what makes one wakes us.
            waiting += [one.sent for one in self._asleep.values()]
        sent = min(waiting, default=None)
        return sent.after(self._resend_ns) if sent is not None else None

    def _is_due(self, sent: Monotonic, now: Now) -> bool:
        return now.monotonic.since(sent) >= self._resend_ns

    def _gives_way(self, names: Iterator[str]) -> bool:
        """Whether one of these, which were published, makes a place; not one that is to go again meanwhile."""
        for name in names:
            command = self._commands[name]
            if command.sent is not None:
                self._asleep[name] = _Asleep(command.order.box, command.sent)
                del self._commands[name]
                return True
        return False

    def _load(self, name: str, now: Now, *, with_all: bool) -> None:
        data = self._spool.peek(name)
        if data is None:
            return
        try:
            order = order_unpacked(command_unpacked(data).order)
        except BadItem as trouble:
            self._report.drop("bad_command")
            self._is_taken(name)
            self._spool.reject(Item(name, 1, b""), str(trouble))
            return
        if self._repository.command_state(order.identity) in ANSWERED:
            self._spool.settle_named(name)  # Answered, and then the power went.
            return
        try:
            with self._repository.transaction():
                self._repository.add_command(order, about=None, now_tai_ns=now.timestamp.tai_ns)
                # Who asked for it holds the database until it stands there, and takes it back where that failed (order.py): the name says who
                # was first.
                if not self._is_taken(name):
                    raise Missing(f"expected {name}, it was taken back")
        except Missing:
            return
        if with_all:
            self.again(order.box)
        self._commands[name] = _Command(order, data)
        self._commands = dict(sorted(self._commands.items()))

    def _is_taken(self, name: str) -> bool:
        """Whether it is ours now: who has put it there finds it no more by its name."""
        try:
            self._board.disk.rename(f"{OUTGOING}/{name}", f"{OUTGOING}/{name}{TAKEN}")
        except Missing:
            return self._board.disk.exists(f"{OUTGOING}/{name}{TAKEN}")
        return True

    def _end(self, name: str, command: _Command, state: str, now: Now) -> None:
        self._repository.set_command(command.order.identity, state, now_tai_ns=now.timestamp.tai_ns)
        self._report.count(f"commands_{state}")
        self._settle(name)

    def _settle(self, name: str) -> None:
        self._spool.settle_named(name)
        self._commands.pop(name, None)
