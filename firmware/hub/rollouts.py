"""Roll-outs as they go on: kept in the repository, moved by what boxes say, carried out by orders to them.

A roll-out is running, halted, taken back or done. All of it is rows of one transaction: the hub killed anywhere goes on where it was, and
an order made twice is one order by its identity.
"""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, replace

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core import edition as editions_form
from firmware.core.edition import Edition
from firmware.core.message import Message, Priority, Severity
from firmware.core.report import Report
from firmware.core.timestamp import SECOND
from firmware.hub import calls, editions
from firmware.hub.hours import Hours
from firmware.hub.order import IDENTITY_SIZE, lying, made
from firmware.hub.repository import Repository
from firmware.hub.rollout import FAILED, GOOD, OFFERED, OFFICIAL, WAITING, Member, Plan, decided
from firmware.hub.settings import HubSettings

DEED = "update"
RUNNING, HALTED, DONE, BACK = "running", "halted", "done", "back"
LOOK_NS = 5 * SECOND  # What boxes say is looked at at once; this is for time alone, and for what the page wrote down.
STEP_NS = 10 * SECOND  # A clock that is merely steered is off by less between two looks.
AHEAD_NS = 300 * SECOND  # As a box allows its hub ([command] clock_tolerance_s); and what arrives out of order does so within it.
# A database that was restored makes orders anew under the identities of those its boxes had meanwhile. Each attempt has another; so many at most.
REPLAYED = "c.state = 'refused' and c.detail = 'replayed' and m.attempts < 8"
OUTCOMES_BAD = ("refused", "stays test", "taken back")
# A box that a later roll-out has: what it runs now is that one's doing.
NOT_SINCE = "not exists (select 1 from members n where n.box = m.box and n.rollout > m.rollout)"
CONFIRMED = "confirmed"  # of a system, as its box says (firmware/update/system.py)


class Rollouts:
    """All of a hub's."""

    def __init__(self, board: Board, repository: Repository, report: Report, settings: HubSettings) -> None:
        self._board = board
        self._repository = repository
        self._report = report
        self._settings = settings
        self._hours = Hours.of(settings.update_hours)
        self._due = Monotonic(0)
        self._ahead_ns: int | None = None  # our clock before the one that does not jump, at the last look
        self._is_moved = True  # a box has said something
        self._is_running = False  # or may be

    # Within the transaction that takes messages in.

    def hear(self, box: str, messages: Sequence[Message], now_tai_ns: int) -> None:
        """What a box says of its versions and of how it is. The same again changes nothing."""
        for message in messages:
            if message.device != box:
                continue
            if message.kind == "update" and message.process == "update" and isinstance(message.fields.get("official"), str):
                self._hear_versions(box, message, now_tai_ns)
            elif message.kind == "health" and message.process == "health" and "losses_going_on" in message.fields:
                self._hear_health(box, is_well=message.fields["losses_going_on"] == 0, now_tai_ns=now_tai_ns)

    def _hear_versions(self, box: str, message: Message, now_tai_ns: int) -> None:
        said = {
            name: str(message.fields.get(name) or "")[:128] for name in ("official", "previous", "phase", "board", "channels")
        }
        number = message.fields.get("number")
        # By the box's own time: what was said later and arrived earlier is not undone. But what it said of a time that has not come yet, it
        # said with a clock that was wrong, and all it says with a right one would be older for as long.
        is_newest = self._repository.change(
            "insert into versions values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (box) do update set official = ?2, previous = ?3,"
            " number = ?4, phase = ?5, board = ?6, channels = ?7, said_tai_ns = ?8 where said_tai_ns <= ?8 or said_tai_ns > ?9",
            box, said["official"], said["previous"], number if isinstance(number, int) and abs(number) < 1 << 63 else 0, said["phase"],
            said["board"], said["channels"], message.origin_time.tai_ns, now_tai_ns + AHEAD_NS,
        )  # fmt: skip
        version, outcome = message.fields.get("version"), message.fields.get("outcome")
        if outcome in OUTCOMES_BAD and isinstance(version, str):
            self._change_members(box, FAILED, "e.version = ?", version, now_tai_ns, cause=message.text or str(outcome))
        self._hear_system(box, message, now_tai_ns)
        if is_newest:
            # What it says it runs, and not only that it says it has changed: the word of the change may be lost with the power.
            official = said["official"]
            self._change_members(box, OFFICIAL, "e.version = ? and e.kind = 'application'", official, now_tai_ns)
            self._change_members(
                box, FAILED, "e.version <> ? and e.kind = 'application'", official, now_tai_ns, cause=f"it runs {official} again"
            )
        self._is_moved = True

    def _hear_system(self, box: str, message: Message, now_tai_ns: int) -> None:
        """Official is a system that runs and is confirmed there: its bundle may wait in the other slot for the end of a session."""
        said = [str(message.fields.get(name) or "")[:256] for name in ("system", "system_state", "slot", "other_slot")]
        version, state = said[:2]
        if not version:
            return
        is_newest = self._repository.change(
            "insert into systems values (?1, ?2, ?3, ?4, ?5, ?6) on conflict (box) do update set version = ?2, state = ?3, slot = ?4,"
            " other = ?5, said_tai_ns = ?6 where said_tai_ns <= ?6 or said_tai_ns > ?7",
            box, *said, message.origin_time.tai_ns, now_tai_ns + AHEAD_NS,
        )  # fmt: skip
        if is_newest and state == CONFIRMED:
            self._change_members(box, OFFICIAL, "e.version = ? and e.kind = 'system'", version, now_tai_ns)
            self._change_members(
                box,
                FAILED,
                "e.version <> ? and e.kind = 'system'",
                version,
                now_tai_ns,
                cause=f"it runs the system {version} again",
            )

    def _change_members(self, box: str, state: str, which: str, value: str, now_tai_ns: int, *, cause: str = "") -> None:
        """In every roll-out that is not done, of the editions meant. Official from what it was before that; failed only once."""
        former = (
            (WAITING, OFFERED) if state == OFFICIAL else (OFFICIAL, GOOD) if "<>" in which else (WAITING, OFFERED, OFFICIAL, GOOD)
        )
        self._repository.change(
            "update members set state = ?, since_tai_ns = ?, well_tai_ns = 0, heard_tai_ns = 0, cause = ? where box = ? and state in"
            f" ({', '.join('?' * len(former))}) and rollout in (select r.number from rollouts r join editions e on e.identity = r.edition"
            # A box that was never offered it, and has it from elsewhere, is none of a roll-out's that was taken back.
            f" where r.state <> '{DONE}' and not (r.state = '{BACK}' and members.state = '{WAITING}') and {which})",
            state, now_tai_ns, cause[:500], box, *former, value,
        )  # fmt: skip

    def _hear_health(self, box: str, *, is_well: bool, now_tai_ns: int) -> None:
        # By the hub's own time: what a box says of an hour ago is no word of how it is now, and its clock may be another's.
        changed = self._repository.change(
            "update members set heard_tai_ns = ?1, well_tai_ns = case when not ?2 then 0 when well_tai_ns = 0 then ?1 else well_tai_ns end"
            f" where box = ?3 and state = '{OFFICIAL}'",
            now_tai_ns, is_well, box,
        )  # fmt: skip
        self._is_moved |= changed > 0

    # After it.

    def go_on(self, now: Now) -> bool:
        """Decide and order what is due; whether there is news. Raises RepositoryFailed, DiskFull or DiskFailed: then it is done later."""
        if now.monotonic < self._due and not self._is_moved:
            self._is_running = True  # What woke us may be a roll-out that has just been begun: look when it is time.
            return False
        self._due = now.monotonic.after(LOOK_NS)
        self._look_at_clock(now)
        numbers = [int(row["number"]) for row in self._repository.rows("select number from rollouts where state = ?", RUNNING)]
        self._is_running, is_news = bool(numbers), False
        for number in numbers:
            with self._repository.transaction():
                is_news |= self._decide(number, now)
        # Taken back, and then a box that was underway with it says that it has it now.
        late = f"select distinct rollout from members m where state = ? and rollout in (select number from rollouts where state = ?) and {NOT_SINCE}"
        for row in self._repository.rows(late, OFFICIAL, BACK):
            with self._repository.transaction():
                is_news |= order_back(self._board, self._repository, self._settings, row["rollout"], now, which=NOT_SINCE) > 0
        self._is_moved = False
        self._report.gauge("rollouts_running", len(numbers))
        return is_news

    def _look_at_clock(self, now: Now) -> None:
        """What has to last begins anew where our clock was set meanwhile: no box was well, or silent, for as long as it jumped. A start knows
        no jump, but what stands there of a time that has not come yet."""
        stamp = now.timestamp.tai_ns
        ahead_ns = stamp - now.monotonic.ns
        was_set = self._ahead_ns is not None and abs(ahead_ns - self._ahead_ns) > STEP_NS
        which = "" if was_set else " and max(since_tai_ns, well_tai_ns, heard_tai_ns) > ?1"
        if was_set or self._ahead_ns is None:
            with self._repository.transaction():
                begun = self._repository.change(
                    f"update members set since_tai_ns = ?1, well_tai_ns = 0, heard_tai_ns = 0 where state in ('{OFFERED}', '{OFFICIAL}')"
                    f" and rollout in (select number from rollouts where state in ('{RUNNING}', '{HALTED}')){which}",
                    stamp,
                )
            if begun:
                self._report.count("waits_begun_anew", begun)
        self._ahead_ns = ahead_ns

    def next_wish(self) -> Monotonic | None:
        """When time alone may have changed something."""
        return self._due if self._is_running else None

    def may_send(self, site: str, now: Now) -> bool:
        """Whether this site's hours are now."""
        return self._hours.left_ns(site, now) != 0

    def _decide(self, number: int, now: Now) -> bool:
        """Within a transaction; whether anything changed."""
        stamp = now.timestamp.tai_ns
        (row,) = self._repository.rows("select * from rollouts where number = ?", number)
        if row["state"] != RUNNING:
            return False
        self._hear_refusals(number, stamp)
        plan, before = plan_of(row["plan"]), members_of(self._repository, number)
        decision = decided(plan, int(row["phase"]), before, stamp)
        for former, member in zip(before, decision.members, strict=True):
            if member != former:
                self._put(number, member)
        found = editions.by_identity(self._repository, row["edition"])
        assert found is not None, "an edition is never removed"
        offered = 0
        if decision.offer and found[0].until_tai_ns <= stamp:
            decision = replace(decision, halt=f"its edition has expired, and {len(decision.offer)} boxes were to be offered it")
        if decision.halt:
            self._halt(row, found[0], decision.halt, now)
        else:
            offered = self._offer(number, found, decision.offer, now)
        if decision.is_done:
            good = sum(member.state == GOOD for member in decision.members)
            set_state(self._repository, number, DONE, f"{good} of {len(decision.members)} boxes are good", stamp)
        elif decision.phase != row["phase"]:
            self._repository.change(
                "update rollouts set phase = ?, changed_tai_ns = ? where number = ?", decision.phase, stamp, number
            )
        return bool(
            decision.halt or decision.is_done or offered or decision.phase != row["phase"] or list(decision.members) != before
        )

    def _hear_refusals(self, number: int, stamp: int) -> None:
        """Orders that a box refused before they came as far as a version, but for those that it takes under another identity."""
        self._repository.change(
            f"update members set state = '{FAILED}', since_tai_ns = ?, cause = coalesce((select 'it refused: ' || c.detail from commands c"
            " where c.identity = members.command), cause) where rollout = ? and state = ? and command in (select c.identity from commands c"
            f" join members m on m.command = c.identity where c.state = 'refused' and not ({REPLAYED}))",
            stamp, number, OFFERED,
        )  # fmt: skip

    def _offer(self, number: int, found: tuple[Edition, bytes], boxes: Sequence[str], now: Now) -> int:
        """Order it, where the site's hours are now; orders that found nobody in their time are made again."""
        sites = {name: site for site, name in self._repository.boxes()}
        again = [
            row["box"]
            for row in self._repository.rows(
                "select m.box from members m join commands c on c.identity = m.command where m.rollout = ? and m.state = ?"
                f" and (c.state in ('expired', 'cancelled') or {REPLAYED})",
                number, OFFERED,
            )
        ]  # fmt: skip
        stamp, count = now.timestamp.tai_ns, 0
        edition, data = found
        if edition.until_tai_ns <= stamp:
            return 0  # No box takes it, and an order that is over as it is made would be made again at every look.
        published = lying(self._board) if boxes or again else {}
        for box in (*boxes, *again):
            left_ns = self._hours.left_ns(sites.get(box, ""), now)
            if left_ns == 0:
                continue
            expires = min(
                edition.until_tai_ns, stamp + (self._settings.update_expires_s * SECOND if left_ns is None else left_ns)
            )
            (member,) = self._repository.rows(
                "select attempts, since_tai_ns from members where rollout = ? and box = ?", number, box
            )
            # Published, and then the disk fails or the power goes: made again it is the same order.
            identity = hashlib.sha256(f"rollout {number} {box} {member['attempts']} ".encode() + data).digest()[:IDENTITY_SIZE]
            made(
                self._board, self._repository, box=box, deed=DEED, parameters={"edition": editions_form.as_text(data)}, about=None,
                identity=identity, again=published, made_tai_ns=stamp, expires_tai_ns=expires,
            )  # fmt: skip
            self._repository.change(
                "update members set state = ?, since_tai_ns = case when state = 'waiting' then ? else since_tai_ns end, command = ?,"
                " attempts = attempts + 1 where rollout = ? and box = ?",
                OFFERED, stamp, identity, number, box,
            )  # fmt: skip
            count += 1
        if count:
            self._repository.count("editions_offered", count)
        return count

    def _halt(self, row: sqlite3.Row, edition: Edition, cause: str, now: Now) -> None:
        stamp, number = now.timestamp.tai_ns, int(row["number"])
        set_state(self._repository, number, HALTED, cause, stamp)
        withdraw(self._repository, number, stamp)
        text = f"roll-out {number} of version {edition.version} is halted: {cause}"
        say(self._board, self._repository, text, number, now, priority=Priority(self._settings.rollout_priority))
        calls.open_call(self._repository, "rollout", str(number), "", text[:500], stamp)
        self._report.count("rollouts_halted")

    def _put(self, number: int, member: Member) -> None:
        self._repository.change(
            "update members set state = ?, since_tai_ns = ?, cause = ? where rollout = ? and box = ?",
            member.state, member.since_tai_ns, member.cause, number, member.box,
        )  # fmt: skip


def plan_of(text: str) -> Plan:
    """As it is stored."""
    row = json.loads(text)
    return Plan(tuple(row["shares"]), row["soak_s"], row["limit_s"], row["success_percent"], row["errors_percent"])


def plan_stored(plan: Plan) -> str:
    """As it is stored."""
    return json.dumps(asdict(plan))


def members_of(repository: Repository, number: int) -> list[Member]:
    """Those that count, in their order."""
    return [
        Member(row["box"], row["state"], row["since_tai_ns"], row["well_tai_ns"], row["heard_tai_ns"], row["cause"])
        for row in repository.rows("select * from members where rollout = ? and not left_out order by place", number)
    ]


def set_state(repository: Repository, number: int, state: str, cause: str, now_tai_ns: int) -> None:
    """Within the caller's transaction."""
    repository.change(
        "update rollouts set state = ?, cause = ?, changed_tai_ns = ? where number = ?", state, cause, now_tai_ns, number
    )


def withdraw(repository: Repository, number: int, now_tai_ns: int) -> None:
    """Orders that no box has answered yet are sent no more; those boxes wait again. Within the caller's transaction."""
    unanswered = "select command from members where rollout = ? and state = ? and command in (select identity from commands where state in ('waiting', 'sent'))"
    rows = repository.rows(unanswered, number, OFFERED)
    for row in rows:
        repository.set_command(row["command"], "cancelled", detail="the roll-out was halted", now_tai_ns=now_tai_ns)
        repository.change(
            "update members set state = ?, since_tai_ns = 0 where rollout = ? and command = ?", WAITING, number, row["command"]
        )


def order_back(board: Board, repository: Repository, settings: HubSettings, number: int, now: Now, *, which: str = "true") -> int:
    """To every box in it that runs the version and has one to go back to; how many. which: of its members `m`, as SQL.

    Within the caller's transaction.
    """
    (rollout,) = repository.rows("select edition from rollouts where number = ?", number)
    found = editions.by_identity(repository, rollout["edition"])
    assert found is not None, "an edition is never removed"
    edition, stamp = found[0], now.timestamp.tai_ns
    if edition.kind == "system":
        runs = "join systems s on s.box = m.box where m.rollout = ? and s.version = ?"
        parameters = {"system": "previous", "from": edition.version}
    else:
        runs = "join versions v on v.box = m.box where m.rollout = ? and v.official = ? and v.previous <> ''"
        parameters = {"rollback": "previous", "from": edition.version}
    rows = repository.rows(f"select m.box from members m {runs} and m.state <> '{BACK}' and {which}", number, edition.version)
    for row in rows:
        ordered = made(
            board, repository, box=row["box"], deed=DEED, parameters=parameters, about=None, made_tai_ns=stamp,
            expires_tai_ns=stamp + settings.update_expires_s * SECOND,
        )  # fmt: skip
        repository.change(
            "update members set state = ?, since_tai_ns = ?, command = ?, cause = 'asked to go back' where rollout = ? and box = ?",
            BACK, stamp, ordered.identity, number, row["box"],
        )  # fmt: skip
    return len(rows)


def say(board: Board, repository: Repository, text: str, number: int, now: Now, *, priority: Priority) -> None:
    """The hub's own word, among the messages. Within the caller's transaction."""
    name = board.identity.name
    message = Message(
        device=name, process="rollout", kind="rollout", priority=priority,
        severity=Severity.NOTICE if priority >= Priority.P3 else Severity.ERROR, origin_time=now.timestamp, received_time=now.timestamp,
        event=f"rollout-{number}", text=text, fields={"rollout": number},
    )  # fmt: skip
    repository.add_messages([message], box=name, envelope=bytes(16), now_tai_ns=now.timestamp.tai_ns)
