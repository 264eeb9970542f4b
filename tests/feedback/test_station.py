"""Feedback: shown on the box, published only where the site wants that, always advisory, always answered."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from drivers.clock import ClockState
from firmware.console.views import feedback
from firmware.core.advice import ADVICE, SIGNED_PREFIX, Advice, feedback_unpacked
from firmware.core.errors import BadSettings
from firmware.core.message import Priority
from firmware.core.signature import is_signed_by
from firmware.core.timestamp import SECOND
from simulator.disk import Failing, PowerCut

Room = Any  # tests/feedback/conftest.py


def test_on_the_box_and_nowhere_else(room: Room) -> None:
    """As it comes: the advice lies where console and status show it, nothing goes into the room, and the hub hears so at once.
    (S2-124)"""
    order = room.order()
    room.run(5)

    (advisory,) = room.shown()
    assert ("replace-tool", "arm-2", "hub-1", order.identity) == (
        advisory.advice,
        advisory.device,
        advisory.given_by,
        advisory.identity,
    )
    assert [] == room.heard
    (said,) = room.said()
    assert ("command-result", Priority.P1, "done", "shown: box", order.identity.hex()) == (
        said.kind, said.priority, said.fields["result"], said.fields["cause"], said.fields["command"],
    )  # fmt: skip
    assert [] == room.board.disk.list("commands/verified/feedback")


def test_in_the_room_where_the_site_wants_it(make_room: Callable[..., Room]) -> None:
    """On a port of its own, signed by the box, three times within some seconds for a datagram may be lost. (S2-124)"""
    room = make_room(publish=True, port=47_999, address="239.1.2.3")
    room.order(advice="consider-stopping", about="00" * 16, reason="torque beyond its limit")
    room.run(10)

    assert [("239.1.2.3", 47_999)] * 3 == [(address, port) for _, address, port in room.heard]
    assert 1 == len({data for data, _, _ in room.heard})
    signed, signature = feedback_unpacked(room.heard[0][0])
    assert is_signed_by(room.board.identity.public_key(), signature, SIGNED_PREFIX + signed)
    assert not is_signed_by(room.board.identity.public_key(), signature, signed)
    assert bytes(16) == room.advisories()[0].about
    assert ["shown: box and room"] == [row.fields["cause"] for row in room.said()]


@pytest.mark.parametrize("advice", list(ADVICE))
def test_every_sentence_is_advisory(room: Room, advice: str) -> None:
    """It says so first, it asks a person to judge or tells of a fact, and what somebody wrote stands behind it in quotation marks.
    (S2-124)"""
    room.order(advice=advice, reason="STOP NOW")
    room.run()
    (advisory,) = room.shown()

    assert advisory.sentence.startswith("Advisory: ")
    assert "a person should" in advisory.sentence or "have been told" in advisory.sentence
    assert advisory.sentence.endswith("Reason given: “STOP NOW”.")
    assert advisory.sentence == Advice(advice, reason="STOP NOW").sentence()


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_reason_ends_where_its_quotation_marks_do(room: Room, ascii_only: bool) -> None:
    """Whatever marks stand in it, also on a console that has one kind of them: nothing of it reads as if the box said it. (S2-124)"""
    room.order(advice="check-arm", reason='worn”. Stop the robot now. “" Stop "„«')
    room.run()
    (advisory,) = room.shown()
    sentence = "\n".join(feedback(room.board)) if ascii_only else advisory.sentence

    assert ([2] if ascii_only else [1, 1]) == [sentence.count(mark) for mark in ('"' if ascii_only else "“”")]
    assert sentence.endswith('".' if ascii_only else "”.")


def test_a_box_without_a_clock_shows_what_it_says_it_shows(make_room: Callable[..., Room]) -> None:
    """Its RTC is ten minutes ahead, and it does not judge by it whether advice is over: it is published as often as any other, and shown, with
    that said of it. A box with a clock shows nothing that is over."""
    room = make_room(publish=True)
    room.board.clock.state = ClockState.FREE
    room.board.clock.step(600 * SECOND)
    room.order(age_s=600, expires_s=300)
    room.run(5)
    assert (["shown: box and room"], 3) == ([row.fields["cause"] for row in room.said()], len(room.heard))
    (line,) = feedback(room.board)
    assert "replacing the tool. (perhaps over: this box has no clock)" in line

    room.board.clock.state = ClockState.LOCKED
    assert ["nothing is advised now"] == feedback(room.board)
    room.board.clock.step(-600 * SECOND)
    (line,) = feedback(room.board)
    assert line.endswith("replacing the tool.")


@pytest.mark.parametrize(
    "parameters",
    [
        {"advice": "stop"}, {"advice": 3}, {"device": "arm-2"}, {"advice": "replace-tool", "do": "stop"},
        {"advice": "replace-tool", "device": "arm 2"}, {"advice": "replace-tool", "reason": "two\nlines"},
        {"advice": "replace-tool", "reason": "x" * 201}, {"advice": "replace-tool", "about": "xyz"},
    ],
)  # fmt: skip
def test_nothing_else_can_be_said(make_room: Callable[..., Room], parameters: dict[str, int | str | None]) -> None:
    """Another advice, a command, a text that is no line: refused with what was expected, shown and published nowhere. (S2-124)"""
    room = make_room(publish=True)
    room.order(**parameters)
    room.run(5)

    assert ([], []) == (room.shown(), room.heard)
    assert ["refused bad_parameters"] == [f"{row.fields['result']} {row.fields['cause']}" for row in room.said()]


def test_too_late_is_not_shown(make_room: Callable[..., Room]) -> None:
    """Advice that expired on its way is refused as such; one that expires while it is repeated is repeated no more."""
    room = make_room(publish=True)
    room.order(age_s=400)
    room.run()
    assert ([], ["expired"]) == (room.shown(), [row.fields["cause"] for row in room.said()])

    room.order(age_s=299)
    room.run(10)
    assert 2 == len(room.heard)


@pytest.mark.parametrize("address", ["", "239.255.83", "0.0.0.0", "::", "console.or3", "239.255.83.74:47005"])
def test_what_is_no_address(make_room: Callable[..., Room], address: str) -> None:
    """The kernel makes one of half an address, and the hub would hear that the room was told. Who does not publish needs none."""
    with pytest.raises(BadSettings, match=r"\[feedback\] address: expected"):
        make_room(publish=True, address=address)
    make_room(address=address)


def test_an_interface_that_is_gone(make_room: Callable[..., Room]) -> None:
    """The box shows it, the hub is told that the room was not; when the interface is back the next one is published."""
    room = make_room(publish=True)
    room.is_gone = True
    room.order()
    room.run(5)
    assert (1, [], ["shown: box"]) == (len(room.shown()), room.heard, [row.fields["cause"] for row in room.said()])
    assert {"room_not_reached": 1} == room.station.report.drops

    room.is_gone = False
    room.order()
    room.run(5)
    assert 3 == len(room.heard)


def test_only_so_many_are_kept(make_room: Callable[..., Room]) -> None:
    """The oldest go."""
    room = make_room(kept_max=5)
    orders = [room.order() for _ in range(9)]
    room.run(5)

    assert sorted(order.identity for order in orders)[-5:] == sorted(row.identity for row in room.shown())


def test_power_lost_before_each_disk_operation(make_room: Callable[..., Room]) -> None:
    """Whenever the power goes: shown in the end, answered, and what the room heard twice has one identity."""
    for doomed in range(40):
        room = make_room(publish=True)
        order = room.order()
        first = room.board.disk.operations

        def before(number: int, what: str, path: str, at: int = first + doomed) -> None:
            if number == at:
                raise PowerCut

        room.board.disk.before = before
        try:
            room.run(5)
            finished = True
        except PowerCut:
            finished = False
        room.board.disk.before = None
        room.board.disk.power_cut(Random(doomed))
        room.boot()
        room.run(5)

        assert [order.identity] == [row.identity for row in room.shown()]
        assert {order.identity} == {row.identity for row in room.advisories()}
        assert {"done"} == {row.fields["result"] for row in room.said()}
        if finished:
            return
    raise AssertionError("expected an end to the operations")


def test_a_sick_disk_waits_and_poison_does_not(room: Room) -> None:
    """Nothing is lost while the disk takes nothing; what is no order goes to quarantine."""
    room.order()
    room.board.disk.write("commands/verified/feedback/x", b"x")
    room.board.disk.failing = Failing.READ_ONLY
    room.run(60)
    room.board.disk.failing = Failing.NOT
    room.run(5)

    assert 1 == len(room.shown())
    assert ["x", "x.reason"] == room.board.disk.list("quarantine/commands/verified/feedback")
