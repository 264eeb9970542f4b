"""What the rules make of what has come in: counted, and where a rule fires, written down with what caused it. Then done, and said so.

Deciding is part of the transaction that takes the message in; doing comes after it, a firing at a time, and is repeated after a crash:
a firing that was decided is carried out, and one that was carried out is not decided again.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isinf

from drivers.board import Board
from drivers.clock import Now
from firmware.core import advice
from firmware.core.advice import Advice
from firmware.core.condition import value_of
from firmware.core.envelope import Envelope
from firmware.core.message import Message, Priority, Severity, is_token
from firmware.core.query import Query
from firmware.core.request import Request, as_parameters
from firmware.core.timestamp import SECOND, ClockState, Timestamp
from firmware.hub import calls
from firmware.hub.order import IDENTITY_SIZE, RETRIEVAL, lying, made
from firmware.hub.repository import Repository
from firmware.hub.rules import Rule

HOUR_NS = 3600 * SECOND
DUE_A_STEP = 8
SESSION_ROWS_MAX = 200_000
Count = Callable[[str], None]


def judge(
    repository: Repository,
    rules: Sequence[Rule],
    box: str,
    messages: Sequence[Message],
    *,
    on: str,
    now_tai_ns: int,
    count: Count,
) -> int:
    """Within the caller's transaction; returns how often a rule fired. The same messages again change nothing."""
    fired = 0
    for rule in rules:
        if rule.on == on:
            fired += sum(_look(repository, rule, box, message, now_tai_ns, count) for message in messages if rule.holds(message))
    return fired


def as_message(envelope: Envelope, messages: Sequence[Message]) -> Message:
    """A group as the rules see it: its device is its box, its fields are its figures, its identity the envelope's own."""
    now = max((message.received_time.tai_ns for message in messages), default=envelope.last_tai_ns)
    stamp = Timestamp(now, 0, "group", ClockState.FREE)
    closed_by = envelope.facts.get("closed_by")
    return Message(
        device=envelope.box, process="group", kind="group", priority=envelope.priority,
        severity=min((message.severity for message in messages), default=Severity.DEBUG), origin_time=stamp, received_time=stamp,
        event=_only([message.event for message in messages]),
        fields={"messages": len(messages), "bytes": envelope.raw_size, "closed_by": closed_by if isinstance(closed_by, str) else None},
    )  # fmt: skip


def judge_session(repository: Repository, rules: Sequence[Rule], box: str, session: str, *, now_tai_ns: int, count: Count) -> int:
    """The last time a session is processed: what the rules on sessions make of all that was said during it."""
    wanted = [rule for rule in rules if rule.on == "session"]
    if not wanted:
        return 0
    (row,) = repository.rows("select * from sessions where box = ? and session = ?", box, session)
    found: dict[tuple[str, str], tuple[Rule, Message, int]] = {}
    for said in repository.rows(
        "select device, process, kind, priority, severity, event, text, fields, received_tai_ns from messages"
        " where box = ? and received_tai_ns between ? and ? order by number limit ?",
        box, row["start_tai_ns"], row["end_tai_ns"], SESSION_ROWS_MAX,
    ):  # fmt: skip
        stamp = Timestamp(said["received_tai_ns"], 0, "session", ClockState.FREE)
        message = Message(
            said["device"], said["process"], said["kind"], Priority(said["priority"]), Severity(said["severity"]), stamp, stamp,
            event=said["event"], text=said["text"], fields=json.loads(said["fields"] or "{}"),
        )  # fmt: skip
        for rule in wanted:
            if rule.holds(message):
                key = rule.key(box, message)
                found[rule.name, key] = (rule, message, found.get((rule.name, key), (rule, message, 0))[2] + 1)
    fired = 0
    for (_, key), (rule, message, times) in found.items():
        if times >= rule.count:
            # Identified by the session, not by the last message: complete is only once.
            fired += _fire(repository, rule, box, key, bytes.fromhex(session) * 2, message, times, now_tai_ns, count)
    return fired


def carry_out(board: Board, repository: Repository, rules: Sequence[Rule], *, now: Now, expires_s: int) -> int:
    """Do what some of the firings that are due ask for, each in a transaction of its own; returns how many there were.

    Raises RepositoryFailed, DiskFull or DiskFailed; what is not done then is done later.
    """
    named = {rule.name: rule for rule in rules}
    rows = repository.rows("select * from firings where state = 'due' order by number limit ?", DUE_A_STEP)
    for row in rows:
        rule = named.get(row["rule"])
        with repository.transaction():
            done = [] if rule is None else [_do(board, repository, rule, deed, row, now, expires_s) for deed in rule.then]
            state = "dropped" if rule is None else "done"  # The rule was taken away before it was carried out.
            repository.change("update firings set state = ?, done = ? where number = ?", state, json.dumps(done), row["number"])
    return len(rows)


def _look(repository: Repository, rule: Rule, box: str, message: Message, now_tai_ns: int, count: Count) -> int:
    key, at = rule.key(box, message), message.received_time.tai_ns
    value = None if rule.rise is None else value_of(message, rule.rise[0])
    if rule.rise is not None and (value is None or isinf(value)):
        return 0  # What is infinite has risen by nothing that could be said.
    times = 1
    if rule.count > 1 or rule.rise is not None:
        # Its own time is the device's word; when the box received it is comparable.
        since = max(at - rule.within_s * SECOND, -(1 << 63))  # SQLite's least; what a box says of its time is foreign.
        if not repository.change(
            "insert or ignore into matches values (?, ?, ?, ?, ?, ?)", rule.name, key, box, message.identity, at, value
        ):
            return 0
        repository.change("delete from matches where rule = ? and key = ? and at_tai_ns < ?", rule.name, key, since)
        (row,) = repository.rows(
            "select count(*) as times, min(value) as least from matches where rule = ? and key = ? and at_tai_ns <= ?",
            rule.name,
            key,
            at,
        )
        times = row["times"]
        if times < rule.count or (rule.rise is not None and value is not None and value - row["least"] < rule.rise[1]):
            return 0
    return _fire(repository, rule, box, key, message.identity, message, times, now_tai_ns, count)


def _fire(
    repository: Repository,
    rule: Rule,
    box: str,
    key: str,
    cause: bytes,
    message: Message,
    times: int,
    now_tai_ns: int,
    count: Count,
) -> int:
    if repository.rows("select 1 from firings where rule = ? and box = ? and cause = ?", rule.name, box, cause):
        return 0
    (last,) = repository.rows("select max(at_tai_ns) as at from firings where rule = ? and key = ?", rule.name, key)
    if last["at"] is not None and abs(now_tai_ns - last["at"]) < rule.quiet_s * SECOND:
        count("rules_quiet")
        return 0
    # Of one box: one that floods must not silence the rule for the others.
    (hour,) = repository.rows(
        "select count(*) as times from firings where rule = ? and box = ? and abs(? - at_tai_ns) < ?", rule.name, box, now_tai_ns, HOUR_NS
    )  # fmt: skip
    if hour["times"] >= rule.per_hour_max:
        count("rules_withheld")
        return 0
    repository.change(
        "insert into firings (rule, key, box, cause, device, times, message_tai_ns, at_tai_ns, state) values (?, ?, ?, ?, ?, ?, ?, ?, 'due')",
        rule.name, key, box, cause, message.device, times, message.received_time.tai_ns, now_tai_ns,
    )  # fmt: skip
    count("rules_fired")
    return 1


def _do(board: Board, repository: Repository, rule: Rule, deed: str, firing: sqlite3.Row, now: Now, expires_s: int) -> str:
    """What was done, for people and for the record."""
    box, tai_ns = str(firing["box"]), now.timestamp.tai_ns
    # Published, and then the disk fails or the power goes: made again it is the same order, not a second one (storm seed 43).
    identity = hashlib.sha256(f"{deed} {firing['number']} ".encode() + firing["cause"]).digest()[:IDENTITY_SIZE]
    if deed == "call":
        return f"call {calls.open_call(repository, rule.name, str(firing['key']), box, rule.text, tai_ns)}"
    if deed == "retrieve":
        at_utc_ns = int(firing["message_tai_ns"]) - now.tai_offset_s * SECOND
        asked = Request(
            Query(
                since_utc_ns=max(0, at_utc_ns - rule.around_s * SECOND), until_utc_ns=max(0, at_utc_ns + rule.around_s * SECOND)
            ),
            rule.priority,
        )
        order = made(
            board, repository, box=box, deed=RETRIEVAL, parameters=as_parameters(asked), about=firing["cause"], identity=identity, again=lying(board), made_tai_ns=tai_ns,
            expires_tai_ns=tai_ns + expires_s * SECOND,
        )  # fmt: skip
        return f"retrieve {order.identity.hex()}"
    assert rule.advice is not None, "rules_of sees to it"
    device = str(firing["device"])
    said = Advice(rule.advice, device if is_token(device) and device != box else None, firing["cause"])
    reason = " ".join(rule.text.split())[: advice.REASON_MAX]
    said = replace(said, reason=reason if reason and reason.isprintable() else None)
    order = made(
        board, repository, box=box, deed=advice.DEED, parameters=advice.as_parameters(said), about=firing["cause"], identity=identity, again=lying(board), made_tai_ns=tai_ns,
        expires_tai_ns=tai_ns + rule.expires_s * SECOND,
    )  # fmt: skip
    return f"advise {order.identity.hex()}"


def _only(events: Sequence[str | None]) -> str | None:
    """The event all of them are about, if there is one."""
    return events[0] if events and all(event == events[0] for event in events) else None
