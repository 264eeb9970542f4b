"""SDC alerts become messages: as urgent as they are now, and honest about what is not known any more."""

from collections.abc import Callable
from typing import Any

import pytest

from drivers.errors import ListenFailed
from firmware.core.message import Priority

Room = Any  # conftest's; a fixture's class cannot be imported here

PUMP, ADDRESS = "urn:uuid:pump", "10.0.0.9"


@pytest.fixture
def ward(make_room: Callable[..., Room]) -> Room:
    """A room with one device that is heard."""
    room = make_room(sdc_address="10.0.0.1", devices=(f"{ADDRESS}=pump-1",))
    room.step()
    room.consumers[-1].join(PUMP, ADDRESS)
    room.step()
    return room


def said(room: Room) -> list[tuple[str | None, Priority, object]]:
    for _ in range(3):
        room.step(1_000)
    return [(row.event, row.priority, row.fields.get("alert/phase")) for row in room.messages()]


def test_off_unless_an_address_is_set(room: Room) -> None:
    """No consumer is started."""
    room.step()

    assert [] == room.consumers


@pytest.mark.parametrize(
    ("priority", "expected"),
    [("Hi", Priority.P1), ("Me", Priority.P2), ("Lo", Priority.P3), ("None", Priority.P4), ("Strange", Priority.P2)],
)
def test_priorities(ward: Room, priority: str, expected: Priority) -> None:
    """IEC 60601-1-8's as ours; the device is the site's name for its address. (S2-030, S2-033)"""
    ward.consumers[-1].alert(PUMP, "c1", priority=priority)
    ward.step()
    assert ("mdc/196670", expected, "start") in said(ward)
    (message,) = [row for row in ward.messages() if row.event == "mdc/196670"]

    assert ("pump-1", "sdc", "alert", "airway pressure low") == (message.device, message.process, message.kind, message.text)


def test_an_alert_that_comes_and_goes(ward: Room) -> None:
    """Each begin and each end, also when they are heard together, and in their order: the last of them is how it is now."""
    for present in (True, False, True, False, True):
        ward.consumers[-1].alert(PUMP, "c1", priority="Hi", present=present)
    said(ward)
    rows = sorted((row for row in ward.messages() if row.event == "mdc/196670"), key=lambda row: row.origin_time.tai_ns)

    assert ["start", "end", "start", "end", "start"] == [row.fields["alert/phase"] for row in rows]


def test_an_alert_that_escalates(ward: Room) -> None:
    """Its priority is what it is now: the high one is in the inbox at once, the end wakes nobody."""
    consumer = ward.consumers[-1]
    consumer.alert(PUMP, "c1", priority="Lo")
    ward.step()
    consumer.alert(PUMP, "c1", priority="Hi")
    ward.step()
    assert [("mdc/196670", Priority.P1, "escalate")] == [
        (row.event, row.priority, row.fields["alert/phase"]) for row in ward.messages() if row.priority == Priority.P1
    ]
    consumer.alert(PUMP, "c1", priority="Me")
    consumer.alert(PUMP, "c1", priority="Me", is_on=False)
    consumer.alert(PUMP, "c1", priority="Hi", present=False)
    found = said(ward)

    assert [Priority.P3, Priority.P1, Priority.P2, Priority.P2, Priority.P3] == [
        next(priority for _, priority, phase in found if phase == wanted) for wanted in ("start", "escalate", "de-escalate", "update", "end")
    ]  # fmt: skip


def test_a_device_that_goes_and_comes_back(ward: Room) -> None:
    """Silence is not health: a warning; and what is present on its return begins anew."""
    consumer = ward.consumers[-1]
    consumer.alert(PUMP, "c1", priority="Hi")
    consumer.leave(PUMP)
    ward.step(1_000)
    consumer.join(PUMP, ADDRESS)
    consumer.alert(PUMP, "c1", priority="Hi")
    found = said(ward)

    assert [("mdc/196670", Priority.P1, "start")] * 2 == [row for row in found if row[0] == "mdc/196670"]
    assert ("sdc/left", Priority.P2, None) in found


def test_a_consumer_that_ends_is_started_again(ward: Room) -> None:
    """Seconds later; its devices are lost meanwhile, and said to be."""
    ward.consumers[-1].break_off()
    waits = ward.step()
    assert (1, 1) == (ward.station.report.drops["sdc_ended"], len(ward.consumers))
    while len(ward.consumers) == 1:
        assert waits is not None and waits <= 5_000
        waits = ward.step(max(waits, 1))

    assert ("sdc/left", Priority.P2, None) in said(ward)


def test_without_the_library(make_room: Callable[..., Room]) -> None:
    """Said, tried again, and nothing else is disturbed."""
    room = make_room(sdc_address="10.0.0.1")

    def refuse(request: object) -> Any:
        raise ListenFailed("expected the package sdc11073")

    room.board.open_alerts = refuse
    room.say(b"alarm")
    room.step()

    assert (["alarm"], 1) == ([row.text for row in room.messages()], room.station.report.drops["listen_failed"])
