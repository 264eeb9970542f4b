"""What the rules make of messages, groups and sessions: fired or not, written down once, and carried out once."""

import json
from collections import Counter
from dataclasses import replace as replaced
from pathlib import Path

import pytest

from drivers.clock import ClockState, Timestamp
from firmware.core.durable import make_directory, replace
from firmware.core.envelope import Envelope, command_unpacked, order_unpacked, sealed_envelope
from firmware.core.errors import BadItem, DiskFull
from firmware.core.message import Field, Message, Priority, Severity, packed
from firmware.core.report import Report
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.hub import calls
from firmware.hub.consequences import Consequences
from firmware.hub.judge import as_message, carry_out, judge, judge_session
from firmware.hub.outgoing import OUTGOING
from firmware.hub.repository import Repository
from firmware.hub.rules import Rule, rules_of
from simulator.board import SimulatedBoard
from simulator.identity import SimulatedIdentity

TAI = 1_795_342_537 * SECOND


class Bench:
    """A repository, rules, and messages that come in; `at` is the time of both."""

    def __init__(self, directory: Path, rules: str) -> None:
        self.board = SimulatedBoard(identity=SimulatedIdentity(name="hub-1"))
        make_directory(self.board.disk, OUTGOING)
        make_directory(self.board.disk, "policy")
        self.repository = Repository(str(directory / "hub.sqlite"))
        self.rules: tuple[Rule, ...] = rules_of(rules)
        self.counts: Counter[str] = Counter()
        self.at_s = 0
        self.number = 0

    def message(self, event: str = "tool-failure", *, device: str = "arm-2", **fields: Field) -> Message:
        self.number += 1
        stamp = Timestamp(TAI + self.at_s * SECOND, 1, "ptp", ClockState.LOCKED)
        return Message(
            device,
            "joint",
            "published",
            Priority.P1,
            Severity.ERROR,
            stamp,
            stamp,
            sequence=self.number,
            event=event,
            fields=fields,
        )

    def take(self, *messages: Message, box: str = "box-1", on: str = "message") -> int:
        def count(name: str) -> None:
            self.counts[name] += 1

        with self.repository.transaction():
            self.repository.add_messages(messages, box=box, envelope=bytes(16), now_tai_ns=TAI + self.at_s * SECOND)
            return judge(self.repository, self.rules, box, messages, on=on, now_tai_ns=TAI + self.at_s * SECOND, count=count)

    def fired(self) -> list[tuple[str, str, int]]:
        return [(row["rule"], row["key"], row["times"]) for row in self.repository.rows("select * from firings order by number")]

    def carry_out(self) -> int:
        return carry_out(self.board, self.repository, self.rules, now=self.board.clock.now(), expires_s=3600)

    def orders(self) -> list[tuple[str, dict[str, int | str | None]]]:
        spool = Spool(self.board.disk, OUTGOING)
        found = [order_unpacked(command_unpacked(spool.peek(name) or b"").order) for name in spool.names()]
        return [(order.deed, dict(order.parameters)) for order in found]


def rule(**settings: object) -> str:
    values = {"name": "wears", "when": "event=tool-failure", **settings}
    return "[[rule]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def complete_session(bench: Bench, *, start_s: int = 0, end_s: int) -> str:
    """One of box-1, by its identity."""
    session = "00112233aabbccdd"
    bench.repository.change(
        "insert into sessions (box, session, kind, state, start_tai_ns, start_uncertainty_ns, opened_by, end_tai_ns, changed_tai_ns)"
        " values ('box-1', ?, 'procedure', 'complete', ?, 0, 'event', ?, 0)",
        session, TAI + start_s * SECOND, TAI + end_s * SECOND,
    )  # fmt: skip
    return session


def test_so_many_of_one_device_in_a_time(tmp_path: Path) -> None:
    """A part that often fails: three times in an hour on one device, not on three, and not over a longer time. (S2-122)"""
    bench = Bench(tmp_path, rule(count=3, within_s=3600))
    for device in ("arm-1", "arm-2", "arm-3"):
        bench.take(bench.message(device=device))
    bench.at_s = 3000
    bench.take(bench.message(device="arm-2"), bench.message("near-limit", device="arm-2"))
    bench.at_s = 4000
    bench.take(bench.message(device="arm-2"))
    assert [] == bench.fired()

    bench.at_s = 4500
    bench.take(bench.message(device="arm-2"))
    assert [("wears", "box-1 arm-2", 3)] == bench.fired()


def test_that_evidence_of_an_event_is_on_its_way_is_no_event(tmp_path: Path) -> None:
    """The box says so under the event's name: an injury is one call and not two, three failures are not six. Who asks for the kind gets it."""
    rules = (
        rule(count=2) + rule(name="late", on="session", count=2) + rule(name="sent", when="event=tool-* kind=slice", per="fleet")
    )
    bench = Bench(tmp_path, rules)
    for _ in range(2):
        bench.take(replaced(bench.message(device="box-1"), kind="slice"))
    session = complete_session(bench, end_s=1)
    judge_session(bench.repository, bench.rules, "box-1", session, now_tai_ns=TAI, count=lambda name: None)

    assert [("sent", "", 1)] == bench.fired()


def test_a_trend(tmp_path: Path) -> None:
    """An arm that has become ten degrees warmer in half an hour; one that is always warm, or says no number, is none. (S2-122)"""
    bench = Bench(tmp_path, rule(name="hot", when="fields/temperature>20", rise="temperature 10", within_s=1800))
    for minute, (arm, pump) in enumerate(((31, 60), (33, 61), (38, 60), (40, "warm"), (42, 62))):
        bench.at_s = minute * 300
        bench.take(bench.message(device="arm-2", temperature=arm), bench.message(device="pump", temperature=pump))

    assert [("hot", "box-1 arm-2", 5)] == bench.fired()


@pytest.mark.parametrize("first", [float("inf"), float("-inf")])
def test_infinity_is_no_trend(tmp_path: Path, first: float) -> None:
    """A sensor that says infinity has told of no rise, and is none to rise from."""
    bench = Bench(tmp_path, rule(name="hot", rise="temperature 10", within_s=1800))
    for temperature in (first, 20.0, float("inf")):
        bench.at_s += 60
        bench.take(bench.message(temperature=temperature))

    assert [] == bench.fired()


def test_a_box_of_another_age_ends_nothing(tmp_path: Path) -> None:
    """A message received 292 years before 1970 by its box's clock is counted like any other: SQLite has no earlier moment to look from."""
    bench = Bench(tmp_path, rule(count=2, within_s=86_400))
    long_ago = [replaced(bench.message(), received_time=Timestamp(1 - (1 << 63), 0, "none", ClockState.FREE)) for _ in range(2)]

    assert 1 == bench.take(*long_ago)


@pytest.mark.parametrize(("per", "expected"), [("fleet", 1), ("box", 2), ("device", 3), ("process", 3)])
def test_whose_are_counted_together(tmp_path: Path, per: str, expected: int) -> None:
    """Of the fleet, of a box, of a device or its process; each fires once until it has been quiet."""
    bench = Bench(tmp_path, rule(per=per))
    for box, device in (("box-1", "arm-1"), ("box-1", "arm-2"), ("box-2", "arm-1"), ("box-1", "arm-1")):
        bench.take(bench.message(device=device), box=box)

    assert expected == len(bench.fired())
    assert 4 - expected == bench.counts["rules_quiet"]


def test_once_for_a_message_and_not_too_often(tmp_path: Path) -> None:
    """The same message again changes nothing; beyond the hour's number firings are counted and withheld, after it they go on. (S2-122)"""
    bench = Bench(tmp_path, rule(quiet_s=0, per_hour_max=2))
    first = bench.message()
    assert [1, 0, 1, 0] == [bench.take(first), bench.take(first), bench.take(bench.message()), bench.take(bench.message())]
    assert 1 == bench.counts["rules_withheld"]
    assert 1 == bench.take(bench.message(), box="box-2")

    bench.at_s = 3601
    assert 1 == bench.take(bench.message())


def test_a_group_is_looked_at_as_well(tmp_path: Path) -> None:
    """So many alarms in one group: its figures are what a rule asks about, its envelope is the cause. (S2-121, S2-122)"""
    bench = Bench(
        tmp_path, rule(name="flood", on="group", when="priority<=1 fields/messages>=3 fields/closed_by=flood", per="box")
    )
    messages = [bench.message() for _ in range(3)]
    envelope: Envelope = sealed_envelope(
        box="box-1",
        kind="group",
        priority=Priority.P1,
        first_tai_ns=TAI,
        last_tai_ns=TAI,
        content=packed(messages),
        facts={"closed_by": "flood"},
    )
    row = as_message(envelope, messages)

    assert ("tool-failure", Severity.ERROR) == (row.event, row.severity)
    assert 0 == bench.take(*messages, on="group")
    assert 1 == bench.take(row, on="group")
    assert [("flood", "box-1", 1)] == bench.fired()


def test_a_session_is_processed_one_last_time(tmp_path: Path) -> None:
    """Counted over all that was said during it, and only for the session whose turn it is. (S2-131)"""
    bench = Bench(tmp_path, rule(name="many", on="session", count=3, then=["call"]))
    for second in range(5):
        bench.at_s = second * 100
        assert 0 == bench.take(bench.message())
    session = complete_session(bench, start_s=50, end_s=350)
    for expected in (1, 0):
        fired = judge_session(bench.repository, bench.rules, "box-1", session, now_tai_ns=TAI, count=lambda name: None)
        assert expected == fired

    assert [("many", "box-1 arm-2", 3)] == bench.fired()


def test_what_follows_is_done_once_and_written_down(tmp_path: Path) -> None:
    """A call, an order for the frames around the message, and advice with the device's name and the rule's words as the reason; the
    firing says what was done. Called again nothing more happens. (S2-122, S2-124)"""
    bench = Bench(
        tmp_path, rule(then=["call", "retrieve", "advise"], advice="replace-tool", text="Fails often.", around_s=10, priority=3)
    )
    message = bench.message()
    bench.take(message)
    assert (1, 0) == (bench.carry_out(), bench.carry_out())

    (retrieval, asked), (feedback, advised) = bench.orders()
    utc = TAI - bench.board.clock.now().tai_offset_s * SECOND
    assert ("retrieval", utc - 10 * SECOND, utc + 10 * SECOND, 3) == (
        retrieval,
        asked["since"],
        asked["until"],
        asked["priority"],
    )
    assert "feedback" == feedback
    assert {"advice": "replace-tool", "device": "arm-2", "about": message.identity.hex(), "reason": "Fails often."} == advised
    (row,) = bench.repository.rows("select * from firings")
    assert ("done", message.identity) == (row["state"], row["cause"])
    assert ["call", "retrieve", "advise"] == [deed.split()[0] for deed in json.loads(row["done"])]
    assert [("open", "Fails often.", "box-1 arm-2")] == [
        (c["state"], c["text"], c["about"]) for c in calls.listed(bench.repository, tai_offset_s=37)
    ]


def test_a_rule_that_was_taken_away(tmp_path: Path) -> None:
    """What it had fired for and was not done is dropped, and the record says so."""
    bench = Bench(tmp_path, rule())
    bench.take(bench.message())
    bench.rules = ()
    assert 1 == bench.carry_out()
    assert ["dropped"] == [row["state"] for row in bench.repository.rows("select state from firings")]


def test_a_call_from_open_to_closed(tmp_path: Path) -> None:
    """What happens again while it is open is the same call; acknowledged and closed by somebody, with a note; what happens after
    that opens another. (S2-123, S2-124)"""
    bench = Bench(tmp_path, rule(quiet_s=0))
    for _ in range(3):
        bench.take(bench.message())
        bench.carry_out()
    (call,) = calls.listed(bench.repository, tai_offset_s=37)
    assert (1, 3, "open") == (call["number"], call["times"], call["state"])

    def change(number: int, to: str, *, by: str = "Kim", note: str = "") -> dict[str, object] | None:
        return calls.change(bench.repository, number, to=to, by=by, note=note, now_tai_ns=TAI, tai_offset_s=37)

    acknowledged = change(1, "acknowledged", note="on my way")
    assert acknowledged is not None
    assert ("acknowledged", "Kim", "on my way") == (acknowledged["state"], acknowledged["by"], acknowledged["note"])
    assert change(7, "closed") is None
    closed = change(1, "closed")
    assert closed is not None
    assert ("closed", "on my way") == (closed["state"], closed["note"])
    assert [] == calls.listed(bench.repository, tai_offset_s=37)
    for number, to, by in ((1, "acknowledged", "Kim"), (1, "open", "Kim"), (1, "closed", ""), (1, "closed", "two\nlines")):
        with pytest.raises(BadItem, match="expected"):
            change(number, to, by=by)

    bench.at_s = 3700
    bench.take(bench.message())
    bench.carry_out()
    assert [2, 1] == [call["number"] for call in calls.listed(bench.repository, tai_offset_s=37, everything=True)]


def test_a_call_has_one_who_sees_to_it(tmp_path: Path) -> None:
    """(S2-124) Of two people who acknowledge it at once one is told that the other has; he whose answer was lost may say it again."""
    bench = Bench(tmp_path, rule(quiet_s=0))
    bench.take(bench.message())
    bench.carry_out()

    def acknowledge(by: str, note: str = "") -> dict[str, object]:
        found = calls.change(bench.repository, 1, to="acknowledged", by=by, note=note, now_tai_ns=TAI, tai_offset_s=37)
        assert found is not None
        return found

    acknowledge("Kim")
    with pytest.raises(BadItem, match="not acknowledged yet, Kim has"):
        acknowledge("Sam")
    assert ("Kim", "on my way") == tuple(acknowledge("Kim", "on my way")[name] for name in ("by", "note"))
    closed = calls.change(bench.repository, 1, to="closed", by="Sam", note="", now_tai_ns=TAI, tai_offset_s=37)
    assert closed is not None
    assert ("closed", "Sam") == (closed["state"], closed["by"])


@pytest.mark.parametrize("is_answered", [False, True])
def test_a_disk_that_refuses_is_asked_again_a_second_later(tmp_path: Path, is_answered: bool) -> None:
    """Not at once, though the order that was published and taken back rings our own bell; and the order made then is the same one, or
    none where its box has answered it. (S2-122)"""
    bench = Bench(tmp_path, rule(then=["retrieve", "advise"], advice="check-arm"))
    replace(bench.board.disk, "policy", "rules.toml", rule(then=["retrieve", "advise"], advice="check-arm").encode())
    consequences = Consequences(bench.board, bench.repository, Report("hub"), expires_s=3600)
    consequences.start(bench.board.clock.now())
    bench.take(bench.message())
    renames = 0

    def before(number: int, what: str, path: str) -> None:
        nonlocal renames
        renames += what == "rename" and "outgoing" in path
        if renames == 2:
            raise DiskFull("expected room for the second order")

    bench.board.disk.before = before
    with pytest.raises(DiskFull):
        consequences.draw(bench.board.clock.now())
    now = bench.board.clock.now()
    assert (False, now.monotonic.after(SECOND)) == (consequences.draw(now), consequences.next_wish(now))
    assert ["retrieval"] == [deed for deed, _ in bench.orders()]

    bench.board.disk.before = None
    bench.board.clock.advance(SECOND)
    spool = Spool(bench.board.disk, OUTGOING)
    (first,) = spool.names()
    if is_answered:
        made = order_unpacked(command_unpacked(spool.peek(first) or b"").order)
        bench.repository.add_command(made, about=None, now_tai_ns=0, state="accepted")
        spool.settle_named(first)
    assert consequences.draw(bench.board.clock.now())
    assert (not is_answered) == (first in spool.names())
    assert ["feedback", *([] if is_answered else ["retrieval"])] == sorted(deed for deed, _ in bench.orders())
    assert ["done"] == [row["state"] for row in bench.repository.rows("select state from firings")]
