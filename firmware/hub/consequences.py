"""What follows from what has come in, beside keeping it: the boxes' own slices and sessions, and the rules.

Part of the transaction that takes a group in: what a box says of itself, and what rules make of its messages. After it, in
transactions of their own: which sessions are complete, and what the rules that fired ask for.
"""

from collections.abc import Callable, Sequence

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core.condition import AnyOf
from firmware.core.durable import make_directory, read_or_none
from firmware.core.envelope import Envelope, Order
from firmware.core.errors import BadSettings, DiskFailed, DiskFull
from firmware.core.message import Message
from firmware.core.report import Report
from firmware.core.timestamp import SECOND
from firmware.hub import sessions
from firmware.hub.affairs import POLICY, RULES
from firmware.hub.judge import as_message, carry_out, judge, judge_session
from firmware.hub.order import RETRIEVAL
from firmware.hub.repository import Repository, RepositoryFailed
from firmware.hub.rules import AS_IT_COMES, RULES_BYTES_MAX, rules_of

POLICY_NS = SECOND  # How often it is looked whether the rules have changed.
AGAIN_NS = SECOND  # After the database or the disk refused.
LOOK_NS = SECOND  # Counting what a session has takes some 50 ms for a hundred thousand messages that are new.


class Consequences:
    """Of one hub. expires_s: how long an order for frames may wait for its box."""

    def __init__(self, board: Board, repository: Repository, report: Report, *, expires_s: int) -> None:
        self._board = board
        self._repository = repository
        self._report = report
        self._expires_s = expires_s
        self._rules = rules_of(AS_IT_COMES)
        self._may = AnyOf(())  # whether a message is of interest to any rule on messages
        self._policy = b""  # as the rules were last read
        self._policy_due = Monotonic(0)
        self._is_fired = True  # something may be due from before
        self._unsettled: set[str] = set()  # boxes that have spoken since their sessions were looked at
        self._look_due = Monotonic(0)
        self._held = sessions.Held()
        self._again = Monotonic(0)

    def start(self, now: Now) -> None:
        """Read the rules, and look at every box's sessions once."""
        make_directory(self._board.disk, POLICY)
        self._read_policy(now)
        self._unsettled = {box for _, box in self._repository.boxes()}

    # Within the transaction that takes it in.

    def judge(self, envelope: Envelope, messages: Sequence[Message], *, now_tai_ns: int, count: Callable[..., None]) -> None:
        """A group of a box: what it says of itself, and whether a rule fires. The same group again changes nothing."""
        self._unsettled.add(envelope.box)
        for message in messages:
            if message.kind == "slice":
                self._take_slice(envelope.box, message, now_tai_ns)
            elif message.kind == "session":
                sessions.take(self._repository, envelope.box, message, now_tai_ns)
        wanted = [message for message in messages if self._may.holds(message)]
        for on, rows in (("message", wanted), ("group", [as_message(envelope, messages)])):
            fired = judge(self._repository, self._rules, envelope.box, rows, on=on, now_tai_ns=now_tai_ns, count=count)
            self._is_fired |= fired > 0

    def adopt(self, envelope: Envelope, now_tai_ns: int) -> None:
        """Evidence nobody here asked for: the box did, because of an event (S2-106). Its order is written down as the box's."""
        if envelope.asked_by is not None and self._repository.command_state(envelope.asked_by) is None:
            since, until = (envelope.facts.get(name) for name in ("from_utc_ns", "until_utc_ns"))
            self._add_slice(envelope.box, envelope.asked_by, since, until, None, now_tai_ns)

    # After it.

    def draw(self, now: Now) -> bool:
        """Some of what is due; whether there is news. Raises RepositoryFailed, DiskFull or DiskFailed: then it is done later."""
        if now.monotonic < self._again:
            return False
        try:
            self._read_policy(now)
            looked = self._look_at_sessions(now)
            return self._carry_out(now) or looked
        except (RepositoryFailed, DiskFull, DiskFailed):
            # An order that was published and taken back rings our own bell: we would try it again at once, for ever (storm seed 43).
            self._again = now.monotonic.after(AGAIN_NS)
            raise

    def next_wish(self, now: Now) -> Monotonic | None:
        """When something is due."""
        if self._is_fired:
            return max(now.monotonic, self._again)
        return self._look_due if self._unsettled else None

    def _look_at_sessions(self, now: Now) -> bool:
        """What has come may be the last of a session that is closed: then it is processed for the last time (S2-131)."""
        if not self._unsettled or now.monotonic < self._look_due:
            return False
        self._look_due = now.monotonic.after(LOOK_NS)
        stamp, count, complete = now.timestamp.tai_ns, self._repository.count, 0
        with self._repository.transaction():
            for box in sorted(self._unsettled):
                for session in self._held.look(self._repository, box, stamp):
                    fired = judge_session(self._repository, self._rules, box, session, now_tai_ns=stamp, count=count)
                    self._is_fired |= fired > 0
                    complete += 1
            if complete:
                count("sessions_complete", complete)
                self._report.count("sessions_complete", complete)
        self._unsettled.clear()
        return True

    def _carry_out(self, now: Now) -> bool:
        """What rules have fired for, some at a time."""
        if not self._is_fired:
            return False
        done = carry_out(self._board, self._repository, self._rules, now=now, expires_s=self._expires_s)
        self._is_fired = done > 0
        if done:
            self._report.count("firings_done", done)
        return done > 0

    def _read_policy(self, now: Now) -> None:
        """The rules, when somebody has changed them; a file that cannot be used changes nothing, and is told about."""
        if now.monotonic < self._policy_due:
            return
        self._policy_due = now.monotonic.after(POLICY_NS)
        text = read_or_none(self._board.disk, f"{POLICY}/{RULES}", size=RULES_BYTES_MAX + 1)
        data = AS_IT_COMES.encode() if text is None else text
        if data == self._policy:
            return
        self._policy = data
        try:
            self._rules = rules_of(data.decode(), where=f"{POLICY}/{RULES}")
        except (BadSettings, UnicodeDecodeError) as problem:
            self._report.drop("bad_rules")
            self._report.gauge("rules_trouble", str(problem)[:200])
        else:
            self._may = AnyOf([rule.when for rule in self._rules if rule.on == "message"])
            self._report.gauge("rules", len(self._rules))
            self._report.gauge("rules_trouble", "none")

    def _take_slice(self, box: str, message: Message, now_tai_ns: int) -> None:
        command, about = (identity_of(message.fields.get(name)) for name in ("command", "about"))
        if command is None:
            return
        if self._repository.command_state(command) is None:
            since, until = (message.fields.get(name) for name in ("since_utc_ns", "until_utc_ns"))
            self._add_slice(box, command, since, until, about, now_tai_ns)
        elif about is not None:
            self._repository.set_about(command, about, box=box)

    def _add_slice(self, box: str, command: bytes, since: object, until: object, about: bytes | None, now_tai_ns: int) -> None:
        moments = {name: value for name, value in (("since", since), ("until", until)) if isinstance(value, int)}
        order = Order(command, box, box, RETRIEVAL, 0, now_tai_ns, now_tai_ns, moments)
        self._repository.add_command(order, about=about, now_tai_ns=now_tai_ns, state="accepted")


def identity_of(value: object) -> bytes | None:
    """16 bytes from 32 hexadecimal digits as a box writes them in a field; None for anything else."""
    try:
        identity = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return None
    return identity if len(identity) == 16 else None
