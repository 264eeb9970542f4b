"""Priorities as S2-030 lists them, and whom a site subscribes to."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from firmware.core.errors import BadSettings
from firmware.core.message import Priority
from firmware.intake.publisher import datagram

Room = Any  # conftest's; a fixture's class cannot be imported here


def priorities(room: Room) -> dict[str | None, Priority]:
    for _ in range(2):
        room.step(1_000)
    return {message.text: message.priority for message in room.messages()}


def test_several_ports_of_one_priority(make_room: Callable[..., Room]) -> None:
    """And one priority's messages are one, whichever port they came to. (S2-030)"""
    room = make_room(p1_ports=(47001, 48001, 49001))
    for port in (47001, 48001, 49001):
        room.say(b"%d" % port, port=port)

    assert {"47001": Priority.P1, "48001": Priority.P1, "49001": Priority.P1} == priorities(room)


def test_several_priorities_on_one_port(make_room: Callable[..., Room]) -> None:
    """All on a single port: what the message states, else by its severity, else the last. (S2-030)"""
    room = make_room(p1_ports=(), p2_ports=(), p3_ports=(), p4_ports=(), syslog_ports=(50_000,))
    rows = [datagram(f"p{n}", priority=n) for n in (1, 2, 3, 4)] + [
        datagram("error", severity="error"),
        b"<12>1 - - - - - - warning",
        b"words",
    ]
    room.say(*rows, port=50_000)

    assert {
        "p1": Priority.P1, "p2": Priority.P2, "p3": Priority.P3, "p4": Priority.P4, "error": Priority.P1, "warning": Priority.P2, "words": Priority.P4,
    } == priorities(room)  # fmt: skip


def test_a_port_listed_twice_and_a_priority_in_the_message(make_room: Callable[..., Room]) -> None:
    """The port's more urgent word counts, and the message's own before it. (S2-030)"""
    room = make_room(p2_ports=(47001, 47002))
    room.say(datagram("port"), datagram("message", priority=3), port=47001)

    assert {"port": Priority.P1, "message": Priority.P3} == priorities(room)


def test_from_the_content(make_room: Callable[..., Room]) -> None:
    """Words that tell of an event set it, and with it the priority; whole words, in any case, the longest first. (S2-025, S2-026, S2-030)"""
    room = make_room(
        event_words=("patient injury=patient-injury", "tool=tool", "tool failure=tool-failure", "oil change=routine-maintenance"),
        event_priorities=("patient-injury=1", "tool-failure=1", "tool=3", "routine-maintenance=3"),
    )
    said = ("Patient Injury suspected", "TOOL FAILURE at arm 2", "tool changed", "stool sample", "oil change overdue")
    room.say(*(text.encode() for text in said), port=47004)
    room.say(b"oil change overdue, error", port=47001)

    assert {
        said[0]: Priority.P1, said[1]: Priority.P1, said[2]: Priority.P3, said[3]: Priority.P4, said[4]: Priority.P3,
        "oil change overdue, error": Priority.P3,
    } == priorities(room)  # fmt: skip
    assert {"patient-injury", "tool-failure", "tool", None, "routine-maintenance"} == {
        message.event for message in room.messages()
    }


def test_patient_injury_is_known_without_any_setting(room: Room) -> None:
    """The one event no site may forget: in a text without a name, and by name. (S2-025)"""
    room.say(b"patient injury at the left shoulder", datagram("named", event="patient-injury"), port=47004)

    assert {Priority.P1} == set(priorities(room).values())


def test_scales_of_other_makers(make_room: Callable[..., Room]) -> None:
    """Any number of levels under any names, and ours turned round. (S2-030)"""
    room = make_room(stated_priorities=("0=1", "urgent=1", "9=4", "1=4"))
    for stated in (0, "urgent", 9, 1, 2, "odd"):
        room.say(cbor2.dumps({"priority": stated, "text": str(stated)}), port=47003)

    assert {
        "0": Priority.P1, "urgent": Priority.P1, "9": Priority.P4, "1": Priority.P4, "2": Priority.P2, "odd": Priority.P3,
    } == priorities(room)  # fmt: skip


@pytest.mark.parametrize(
    ("subscribe", "taken"),
    [
        (("* *",), {"arm", "arm-2", "ui-render", "state"}), (("* arm*",), {"arm", "arm-2"}), (("robot-? state", "* arm"), {"arm", "state"}),
        (("!* ui-*", "* *"), {"arm", "arm-2", "state"}), (("cart *",), set()), (("!* *",), set()), ((), set()),
    ],
)  # fmt: skip
def test_only_whom_a_site_subscribes_to(make_room: Callable[..., Room], subscribe: tuple[str, ...], taken: set[str]) -> None:
    """To the process that publishes the robot's state and not to the one that draws: from the settings file. (S2-040, S2-041)"""
    room = make_room(devices=("10.0.0.5=robot-1",), subscribe=subscribe)
    for process in ("arm", "arm-2", "ui-render", "state"):
        room.say(datagram(process, process=process))
    room.step()

    assert taken == {message.process for message in room.messages()}
    assert 4 - len(taken) == room.station.report.drops.get("not_subscribed", 0)


@pytest.mark.parametrize("change", [{"subscribe": ("arm",)}, {"event_words": ("injury",)}, {"stated_priorities": ("0=5",)}])
def test_settings_that_cannot_be_read(make_room: Callable[..., Room], change: dict[str, Any]) -> None:
    """The entry is named."""
    with pytest.raises(BadSettings, match="expected"):
        make_room(**change)
