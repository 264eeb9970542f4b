"""Grouping as a site may want it: by seconds, by event, with parts left out, with an age after which nothing is sent."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from firmware.core.errors import BadSettings
from firmware.core.message import Message, Priority, unpacked
from firmware.core.timestamp import SECOND, ClockState
from firmware.group.parts import Parts
from simulator.disk import Failing

Gate = Any  # conftest's; a fixture's class cannot be imported here


def about(gate: Gate, event: str, text: str, priority: int, *, ago_s: float = 0) -> Message:
    return replace(gate.message(text, priority, ago_s=ago_s), event=event)


def notices(gate: Gate) -> list[Message]:
    """What the station says itself."""
    items = [gate.disk.read(f"inbox/{name}") for name in gate.names("inbox")]
    return [message for data in items for message in unpacked(data) if message.kind == "discarded"]


def test_groups_of_less_than_a_second(make_gate: Callable[..., Gate]) -> None:
    """Intervals of 200 ms: complete at the interval's end and one interval of lateness, not two seconds. (S2-048)"""
    gate = make_gate(p2_interval_s=0.2)
    gate.put([gate.message("a", 2), gate.message("b", 2, ago_s=-0.1)])
    wish = gate.step()
    gate.step(0.39)
    assert (0.4, []) == (wish, gate.texts())
    gate.step(0.01)

    assert [["a", "b"]] == gate.texts()


def test_each_priority_has_its_own_interval(make_gate: Callable[..., Gate]) -> None:
    """Small for high, large for low, and the numbers of groups show it. (S2-047)"""
    gate = make_gate(immediate=(), p1_interval_s=1, p2_interval_s=2, p3_interval_s=4, p4_interval_s=10)
    gate.put([gate.message(f"p{priority} {second}", priority, ago_s=-second) for second in range(8) for priority in (1, 2, 3, 4)])
    for _ in range(20):
        gate.step(1)

    assert [8, 4, 2, 1] == [sum(name.startswith(f"p{priority}-") for name in gate.names("release")) for priority in (1, 2, 3, 4)]


def test_messages_about_one_event_are_one_group(make_gate: Callable[..., Gate]) -> None:
    """Across priorities, as urgent as the most urgent of them, complete when nothing more is said. (S2-050)"""
    gate = make_gate(by_event=("tool-*",), event_quiet_s=5, immediate=())
    gate.put([about(gate, "tool-failure", "debug before", 4, ago_s=1), gate.message("other", 4)])
    gate.step()
    gate.clock.advance(SECOND)
    gate.put([about(gate, "tool-failure", "failed", 2), about(gate, "tool-wear", "worn", 3)])
    gate.step()
    gate.step(4.9)
    assert [] == gate.texts()
    gate.step(0.1)

    assert [["debug before", "failed"], ["worn"]] == gate.texts()
    first = next(iter(gate.releases().values()))
    assert (Priority.P2, "event", "tool-failure") == (first.priority, first.facts["closed_by"], first.facts["event"])


def test_an_alarm_of_an_event_goes_at_once_and_is_in_the_complete_set(make_gate: Callable[..., Gate]) -> None:
    """Nobody waits for an alarm so that its company can be collected; the company is sent with it all the same. (S2-048, S2-050)"""
    gate = make_gate(by_event=("*",), event_quiet_s=5)
    gate.put([about(gate, "tool-failure", "before", 4, ago_s=2), about(gate, "tool-failure", "alarm", 1)])
    gate.step()
    assert [["alarm"]] == gate.texts()
    assert 1 == len(gate.names("inbox"))
    gate.step(5)

    assert [["alarm"], ["before", "alarm"]] == sorted(gate.texts(), key=len)
    assert [] == gate.names("inbox")


def test_an_event_that_never_ends(make_gate: Callable[..., Gate]) -> None:
    """Whatever is still said, its group is complete after the longest wait, or at a ceiling. (S2-051)"""
    gate = make_gate(by_event=("*",), event_quiet_s=5, event_longest_s=12, count_max=25, immediate=())
    for number in range(12):
        gate.put([about(gate, "e", str(number), 3)])
        gate.step()
        gate.step(1)
    assert [12] == [len(texts) for texts in gate.texts()]
    gate.put([about(gate, "e", f"more {number}", 3) for number in range(40)])
    gate.step()

    assert ["event", "count"] == [row.facts["closed_by"] for row in gate.releases().values()]
    assert [12, 25] == [len(texts) for texts in gate.texts()]


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_an_event_and_a_clock_that_is_set(make_gate: Callable[..., Gate], step_s: int) -> None:
    """Its quiet is measured by the monotonic clock."""
    gate = make_gate(by_event=("*",), event_quiet_s=5, immediate=())
    gate.put([about(gate, "e", "a", 3)])
    gate.step()
    gate.clock.step(step_s * SECOND)
    gate.step(4.9)
    assert [] == gate.texts()
    gate.step(0.1)

    assert [["a"]] == gate.texts()


def test_too_old_is_not_sent_and_is_said(make_gate: Callable[..., Gate]) -> None:
    """A group older than its priority's age is kept, not sent, and the box says so. (S2-053)"""
    gate = make_gate(p4_expires_s=86_400)
    old = gate.message("old", 4)
    gate.put([old])
    gate.disk.failing = Failing.READ_ONLY
    gate.clock.advance(86_401 * SECOND)
    gate.disk.failing = Failing.NOT
    gate.restart()
    gate.step()
    gate.step(3)

    assert [] == gate.texts()
    assert 1 == len(gate.names("groups/p4"))
    assert (1, {"expired_p4": 1}) == (len(notices(gate)), gate.station.report.drops)
    (notice,) = notices(gate)
    assert (Priority.P3, 1, "robot-1" not in (notice.text or "")) == (notice.priority, notice.fields["messages"], True)


@pytest.mark.parametrize(("age_s", "sent"), [(86_400 - 3, True), (86_400, False)])
def test_the_edge_of_an_age(make_gate: Callable[..., Gate], age_s: int, sent: bool) -> None:
    """To the second; the group closes two seconds after it is met. (S2-053)"""
    gate = make_gate(p4_expires_s=86_400)
    gate.put([gate.message("x", 4)])
    gate.clock.advance(age_s * SECOND)
    gate.step()
    gate.step(2)

    assert sent == (gate.texts() == [["x"]])


def test_what_leaves_says_until_when(gate: Gate) -> None:
    """A day for the last priority, a week for the others, never for alarms: the stations it waits at hold to it. (S2-053)"""
    now = gate.clock.now().timestamp.tai_ns
    gate.put([gate.message(str(priority), priority) for priority in (1, 2, 3, 4)])
    gate.step()
    gate.step(602)

    expected = [None, now + 604_800 * SECOND, now + 604_800 * SECOND, now + 86_400 * SECOND]
    assert expected == [row.facts.get("expires_tai_ns") for row in gate.releases().values()]


def test_alarms_do_not_age_unless_a_site_says_so(make_gate: Callable[..., Gate]) -> None:
    """And then the box says it as urgently. (S2-053)"""
    for settings, texts, said in (({}, [["alarm"]], []), ({"p1_expires_s": 3600}, [], [Priority.P1])):
        gate = make_gate(**settings)
        gate.put([gate.message("alarm", 1)])
        gate.clock.advance(400 * 86_400 * SECOND)
        gate.station.step(gate.clock.now())

        assert (texts, said) == (gate.texts(), [notice.priority for notice in notices(gate)])


def test_a_clock_without_a_source_discards_nothing(make_gate: Callable[..., Gate]) -> None:
    """Neither what was received before it was set, nor by it: it may be off by years. (S2-053)"""
    for received, present in ((ClockState.FREE, ClockState.LOCKED), (ClockState.LOCKED, ClockState.FREE)):
        gate = make_gate()
        gate.clock.state = received
        gate.put([gate.message("x", 4)])
        gate.clock.state = present
        gate.clock.advance(40 * 365 * 86_400 * SECOND)
        gate.step()
        gate.step(2)

        assert [["x"]] == gate.texts()


def test_a_device_whose_clock_is_a_year_behind_is_heard(gate: Gate) -> None:
    """Age counts from when the box received it, not from what a device says."""
    gate.put([gate.message("late clock", 4, ago_s=365 * 86_400)])
    gate.step()
    gate.step(2)

    assert [["late clock"]] == gate.texts()


def test_parts_left_on_the_box(make_gate: Callable[..., Gate]) -> None:
    """A group may hold part of each message; the one kept here holds all. (S2-044)"""
    gate = make_gate(leave_out=("4 attachment", "4 fields/raw*"))
    whole = replace(gate.message("x", 4), fields={"raw/1": 5, "torque": 4.5}, attachment=("image/png", b"png"))
    gate.put([whole, replace(whole, priority=Priority.P1)])
    gate.step()
    gate.step(602)
    alarm, rest = (unpacked(row.body)[0] for row in gate.releases().values())
    (kept,) = gate.names("groups/p4")

    assert (whole.fields, whole.attachment) == (alarm.fields, alarm.attachment)
    assert ({"torque": 4.5}, None, "x") == (rest.fields, rest.attachment, rest.text)
    assert b"png" in gate.disk.read(f"groups/p4/{kept}")


@pytest.mark.parametrize("entry", ["attachment", "5 text", "4 device", "4"])
def test_parts_that_cannot_be_left_out(entry: str) -> None:
    """Who, when and how urgent stay: without them a message is none. The entry is named."""
    with pytest.raises(BadSettings, match="leave_out"):
        Parts.of((entry,))


def test_a_flood_takes_its_turn(gate: Gate) -> None:
    """Alarms of a device that floods go in full groups, sorted behind alarms that came later, by how much of it there was. (S2-060)"""
    flood = [gate.message(f"flood {number}", 1, device="mad") for number in range(200)]
    gate.put(flood, writer="intake.flood")
    gate.step()
    gate.clock.advance(3 * SECOND)
    gate.put([gate.message("the one that matters", 1)])
    gate.step()
    names = gate.names("release")
    texts = gate.texts()

    assert [25] * 8 == [len(rows) for rows in texts if rows[0] != "the one that matters"]
    place = texts.index(["the one that matters"])
    assert place == 3, "of a flood at 20 a second, three groups of 25 have had their turn in 3 s"
    assert names == sorted(names)
    assert "count" == next(iter(gate.releases().values())).facts["closed_by"]
    assert [] == gate.names("inbox")


def test_the_rest_of_a_flood_does_not_wait(gate: Gate) -> None:
    """Fewer than a group of it leave after a second."""
    gate.put([gate.message("flood", 1, device="mad")], writer="intake.flood")

    assert 1 == gate.step()
    gate.step(1)
    assert [["flood"]] == gate.texts()
    assert "flood" == next(iter(gate.releases().values())).facts["closed_by"]
