"""Sessions: what opens and closes them, what closing does, and that the power does not change it."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from drivers.clock import ClockState
from firmware.core.errors import BadSettings
from firmware.core.session import STANDING, Kind, is_to_record
from firmware.core.timestamp import SECOND
from simulator.disk import Failing, PowerCut

Theatre = Any  # tests/session/conftest.py


def test_from_its_beginning_to_its_end(theatre: Theatre) -> None:
    """Published events open and close a session; it has an identity, a kind, and both moments with their uncertainty; its beginning
    and its end leave at once, whatever intervals groups have. (S2-130, S2-132)"""
    first = theatre.say("procedure-started")
    theatre.run(1)
    assert theatre.current is not None
    assert (Kind.PROCEDURE, first.received_time, None) == (theatre.current.kind, theatre.current.start, theatre.current.end)
    (opened,) = theatre.told()
    assert ("open", "event") == (opened.fields["state"], opened.fields["opened_by"])

    theatre.run(30)
    last = theatre.say("procedure-ended")
    theatre.run(5)
    assert theatre.current is None
    assert theatre.last is not None
    assert (last.received_time, "event") == (theatre.last.end, theatre.last.closed_by)
    _, closed = theatre.told()
    assert ("closed", theatre.last.identity) == (closed.fields["state"], closed.fields["session"])
    assert (50_000, last.received_time.tai_ns) == (closed.fields["end_uncertainty_ns"], closed.fields["end_tai_ns"])


def test_closing_flushes_and_counts(theatre: Theatre) -> None:
    """What waited for its interval is on its way when the session is closed, and the closing says for each process how many
    messages there were and the last number of its own; what was said before and after is not counted. (S2-130, S2-131)"""
    theatre.say(process="before")
    theatre.run(1)
    theatre.say("procedure-started", process="console")
    theatre.run(1)
    for _ in range(40):
        last = theatre.say(process="arm")
        theatre.run(0.2)
    theatre.say("procedure-ended", process="console")
    theatre.run(4)
    theatre.say(process="after")
    theatre.run(4)

    closed = theatre.told()[-1]
    streams = [str(closed.fields[f"stream.{number}"]) for number in range(2)]
    assert {"messages": 42, "streams": 2} == {name: closed.fields[name] for name in ("messages", "streams")}
    assert f"robot-1 arm 40 {last.sequence}" == streams[0]
    assert streams[1].startswith("robot-1 console 2 ")
    assert 42 == sum(row.process in ("arm", "console") for row in theatre.told("published"))
    assert [] == theatre.board.disk.list("flush")


def test_said_twice_and_said_again_later(theatre: Theatre) -> None:
    """A second device that says it began opens nothing more; half an hour later the one left open is closed, and another begins."""
    theatre.say("procedure-started")
    theatre.run(2)
    first = theatre.current
    theatre.say("procedure-started")
    theatre.run(5)
    assert first == theatre.current

    theatre.run(1800)
    theatre.say("procedure-started")
    theatre.run(5)
    assert (first.identity, "another") == (theatre.last.identity, theatre.last.closed_by)
    assert theatre.current is not None
    assert theatre.current.identity != first.identity


def test_each_kind_and_hl7_context(make_theatre: Callable[..., Theatre]) -> None:
    """An exercise after a procedure closes it; a site may have its scheduling system's messages open sessions, as intake hears
    them; a session needs no robot. (S2-130, S2-134)"""
    theatre = make_theatre(
        opens=("exercise: event=exercise-started", "procedure: kind=hl7 fields/hl7/type=SIU/S12"), closes=("any: event=over",)
    )
    theatre.say(kind="hl7", **{"hl7/type": "SIU/S12"})
    theatre.run(3)
    assert Kind.PROCEDURE is theatre.current.kind

    theatre.say("exercise-started")
    theatre.run(5)
    assert Kind.EXERCISE is theatre.current.kind
    assert "another" == theatre.last.closed_by

    theatre.say("over")
    theatre.run(5)
    assert (None, Kind.EXERCISE) == (theatre.current, theatre.last.kind)


def test_by_order_and_by_hand(theatre: Theatre) -> None:
    """The hub's orders and those of a person at the box: carried out and answered, refused with a reason when there is nothing to
    close, when they make no sense, or when they come too late. (S2-130)"""
    nothing = theatre.order(do="close")
    nonsense = theatre.order(do="start", kind="party")
    late = theatre.order(do="start", kind="test", age_s=7200)
    theatre.run(1)
    start = theatre.order(do="start", kind="test")
    theatre.run(1)
    assert (Kind.TEST, "order") == (theatre.current.kind, theatre.current.opened_by)
    another = theatre.order(do="start", kind="exercise", signer="box-1")
    theatre.run(6)
    assert (Kind.EXERCISE, "hand") == (theatre.current.kind, theatre.current.opened_by)
    close = theatre.order(do="close", signer="box-1")
    theatre.run(6)
    assert (None, "hand") == (theatre.current, theatre.last.closed_by)

    results = theatre.results()
    assert {"refused no_session", "refused bad_parameters", "refused expired"} == {
        results[order.identity.hex()] for order in (nothing, nonsense, late)
    }
    assert {"done"} == {results[order.identity.hex()] for order in (start, another, close)}


def test_one_left_open_is_closed(make_theatre: Callable[..., Theatre]) -> None:
    """After the longest time a session may last; 0 is for ever."""
    for longest_h, expected in ((1, "time"), (0, None)):
        theatre = make_theatre(longest_h=longest_h)
        theatre.say("test-started")
        theatre.run(3700)
        assert expected == (theatre.last.closed_by if theatre.last else None)


def test_forgotten_on_a_box_that_has_no_clock(make_theatre: Callable[..., Theatre]) -> None:
    """Its RTC is what there is, and may be set by years: the time is counted since the box knows of the session, and after a power cut anew."""
    theatre = make_theatre(longest_h=1)
    theatre.board.clock.state = ClockState.FREE
    theatre.say("test-started")
    theatre.run(1800)
    theatre.board.clock.step(10**18)
    theatre.cut_power()
    theatre.run(3500)
    assert theatre.current is not None
    theatre.run(110)

    assert (None, "time") == (theatre.current, theatre.last and theatre.last.closed_by)


@pytest.mark.parametrize("outside", ["record", "pause"])
def test_recording_never_stops_by_accident(make_theatre: Callable[..., Theatre], outside: str) -> None:
    """Outside sessions everything is recorded, unless the site says otherwise; then only as long as the station says so: an old
    word, or none, or one that makes no sense, is none. (S2-130, S2-132)"""
    theatre = make_theatre(outside=outside)
    theatre.run(60)

    def records() -> bool:
        return is_to_record(theatre.board.disk.read(STANDING), theatre.board.clock.now().monotonic)

    assert (outside == "record") is records()
    theatre.say("procedure-started")
    theatre.run(1)
    assert records()
    theatre.say("procedure-ended")
    theatre.run(6)
    assert (outside == "record") is records()

    theatre.board.clock.advance(31 * SECOND)  # Nobody has said anything since.
    assert records()
    now = theatre.board.clock.now().monotonic
    for data in (
        None,
        b"",
        b"[",
        b'{"records": false}',
        b'{"records": 0, "monotonic_ns": 1}',
        b'{"records": false, "monotonic_ns": "x"}',
    ):
        assert is_to_record(data, now)


def test_power_lost_before_each_disk_operation(make_theatre: Callable[..., Theatre]) -> None:
    """Whenever the power goes between "started" and the last word about "ended": in the end one session has been, with these
    moments, and everything said during it is released. (S2-130)"""
    for doomed in range(0, 400, 3):
        theatre = make_theatre()
        first, last = theatre.say("procedure-started"), None
        start = theatre.board.disk.operations

        def before(number: int, what: str, path: str, at: int = start + doomed) -> None:
            if number == at:
                raise PowerCut

        theatre.board.disk.before = before
        finished = False
        try:
            theatre.run(1)
            theatre.say()
            last = theatre.say("procedure-ended")
            theatre.run(6)
            finished = True
        except PowerCut:
            theatre.board.disk.before = None
            theatre.cut_power(doomed)
        theatre.board.disk.before = None
        theatre.run(6)
        if theatre.last is None:  # The end was not yet durable when the power went: it is said again, as a person would.
            last = theatre.say("procedure-ended")
            theatre.run(6)

        assert theatre.current is None
        assert first.received_time == theatre.last.start
        assert last is None or last.received_time == theatre.last.end
        assert {"open", "closed"} == {row.fields["state"] for row in theatre.told()}
        assert {theatre.last.identity} == {row.fields["session"] for row in theatre.told()}
        if finished:
            return
    raise AssertionError("expected an end to the operations")


def test_handed_on_twice_is_acted_upon_once(theatre: Theatre) -> None:
    """A group that died hands the old messages on again: a session that is over is not opened by them, nor the new one closed."""
    theatre.say("procedure-started")
    theatre.say("procedure-ended")
    theatre.run(0.5)
    noticed = theatre.board.disk.list("noticed/session")
    theatre.run(6)
    first = theatre.last
    theatre.say("procedure-started")
    theatre.run(1)
    second = theatre.current
    theatre.boot()
    theatre.run(6)

    assert noticed is not None
    assert (first, second) == (theatre.last, theatre.current)


@pytest.mark.parametrize("failing", [Failing.READ_ONLY, Failing.GONE])
def test_a_sick_disk_waits(theatre: Theatre, failing: Failing) -> None:
    """The session stays as it was, nothing goes to quarantine, and when the disk is well the end is told."""
    theatre.say("procedure-started")
    theatre.run(1)
    theatre.say("procedure-ended")
    theatre.board.disk.failing = failing
    theatre.run(60)
    theatre.board.disk.failing = Failing.NOT
    theatre.run(10)

    assert theatre.last is not None
    assert [] == theatre.board.disk.list("quarantine/noticed/session")
    assert theatre.station.report.drops or theatre.group.report.counts["waits_disk_failed"]


@pytest.mark.parametrize(
    ("setting", "entry"),
    [
        ("opens", "party: event=x"),
        ("opens", "any: event=x"),
        ("closes", "procedure"),
        ("closes", "any: colour=red"),
        ("opens", "test:"),
    ],
)
def test_a_rule_that_is_none_is_named(make_theatre: Callable[..., Theatre], setting: str, entry: str) -> None:
    """It is refused when the settings are read, with the entry."""
    with pytest.raises(BadSettings, match=rf"\[session\] {setting}: expected"):
        make_theatre(**{setting: (entry,)})


def test_what_lies_there_and_makes_no_sense(theatre: Theatre) -> None:
    """A session file of any bytes is none, an order or a batch that is none goes to quarantine; the next session is opened."""
    theatre.board.disk.write("session/current", Random(1).randbytes(60))
    theatre.board.disk.write("session/marks", b"{")
    theatre.board.disk.write("noticed/session/x", b"x")
    theatre.board.disk.write("commands/verified/session/y", b"y")
    theatre.boot()
    theatre.run(1)
    theatre.say("procedure-started")
    theatre.run(1)

    assert ["x", "x.reason"] == theatre.board.disk.list("quarantine/noticed/session")
    assert ["y", "y.reason"] == theatre.board.disk.list("quarantine/commands/verified/session")
    assert theatre.current is not None


def test_a_clock_that_is_set_back_meanwhile(theatre: Theatre) -> None:
    """Who starts before the box has a clock begins an hour ahead; when it is set, the end is the end all the same, and with a clock that was
    set throughout what is older than the beginning ends nothing."""
    clock = theatre.board.clock
    clock.state = ClockState.FREE
    clock.step(3600 * SECOND)
    theatre.say("procedure-started")
    theatre.run(5)
    clock.state = ClockState.LOCKED
    clock.step(-3600 * SECOND)
    theatre.say("procedure-ended")
    theatre.run(5)
    assert (None, "event") == (theatre.current, theatre.last and theatre.last.closed_by)

    theatre.say("procedure-started")
    theatre.run(5)
    clock.step(-3600 * SECOND)
    theatre.say("procedure-ended")
    theatre.run(5)
    assert theatre.current is not None
    assert 1 == theatre.station.report.counts["closings_of_before"]
