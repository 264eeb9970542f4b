"""Flushes, and copies for those who wait for certain messages."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from firmware.core.message import unpacked
from firmware.core.spool import Spool
from firmware.group.station import GroupStation
from simulator.disk import Failing, PowerCut

Gate = Any  # conftest's; a fixture's class cannot be imported here


def test_a_flush_closes_what_is_open_and_what_waits(make_gate: Callable[..., Gate]) -> None:
    """Everything that was in the inbox when it was asked for is in a published group when the flush is settled, and nothing goes
    twice. (S2-130)"""
    gate = make_gate()
    gate.put([gate.message("open", 3)])
    gate.step()
    gate.put([gate.message(f"waits {number}", 4) for number in range(30)])
    Spool(gate.disk, "flush").publish("session-1", b"")
    gate.step()

    assert 31 == sum(len(texts) for texts in gate.texts())
    assert [] == gate.names("flush")
    assert [] == gate.names("inbox")
    assert {"flush", "count"} == {release.facts["closed_by"] for release in gate.releases().values()}

    gate.step(after_s=900)
    assert 31 == sum(len(texts) for texts in gate.texts())


def test_power_lost_in_a_flush(make_gate: Callable[..., Gate]) -> None:
    """Before each of its operations: when the flush is gone, the messages are in published groups."""
    for doomed in range(80):
        gate = make_gate()
        gate.put([gate.message("open", 3), gate.message("too", 2)])
        Spool(gate.disk, "flush").publish("session-1", b"")
        first = gate.disk.operations

        def before(number: int, what: str, path: str, at: int = first + doomed) -> None:
            if number == at:
                raise PowerCut

        gate.disk.before = before
        try:
            gate.step()
            finished = True
        except PowerCut:
            finished = False
        gate.disk.before = None
        gate.disk.power_cut(Random(doomed))
        gate.restart()
        gate.step()

        assert {"open", "too"} == {text for texts in gate.texts() for text in texts}
        assert [] == gate.names("flush")
        if finished:
            return
    raise AssertionError("expected an end to the operations")


def test_a_poison_in_the_way_of_a_flush_does_not_spin(make_gate: Callable[..., Gate]) -> None:
    """An item not even quarantine can take now holds the flush up, not the station: it looks again a second later."""
    gate = make_gate()
    gate.disk.write("inbox/poison~4", b"x")
    Spool(gate.disk, "flush").publish("session-1", b"")
    gate.disk.failing = Failing.READ_ONLY
    assert gate.step() is not None
    gate.disk.failing = Failing.NOT
    gate.step(after_s=2)

    assert [] == gate.names("flush")


def test_those_who_wait_for_certain_messages_get_copies(make_gate: Callable[..., Gate]) -> None:
    """Once for the same messages, before they are grouped; a thousand that nobody takes are enough, and the rest is counted."""
    gate = make_gate()
    gate.station = GroupStation(gate.board, gate.settings, noticed={"slice": lambda message: message.text == "this"})
    gate.station.start(gate.clock.now())
    gate.put([gate.message("this", 3), gate.message("that", 3)])
    gate.step()
    (name,) = gate.names("noticed/slice")
    assert ["this"] == [message.text for message in unpacked(gate.disk.read(f"noticed/slice/{name}"))]

    again = GroupStation(gate.board, gate.settings, noticed={"slice": lambda message: message.text == "this"})
    again.start(gate.clock.now())
    again.step(gate.clock.now())
    assert [name] == gate.names("noticed/slice")

    for number in range(1_000):
        gate.disk.write(f"noticed/slice/x{number}", b"")
    gate.put([gate.message("this", 3)])
    gate.step()
    assert 1 == gate.station.report.drops["noticed_full_slice"]
    assert [] == gate.names("quarantine/inbox")


def test_what_is_noticed_can_be_read(make_gate: Callable[..., Gate]) -> None:
    """However much comes in one step: each item in noticed/ is a batch that its reader takes. (S2-106)"""
    gate = make_gate()
    gate.station = GroupStation(gate.board, gate.settings, noticed={"slice": lambda message: message.device == "monitor"})
    gate.station.start(gate.clock.now())
    for number in range(6):
        large = replace(gate.message(f"alert {number}", device="monitor"), attachment=("application/hl7-v2", bytes(3 << 19)))
        gate.put([large])
    gate.step()
    read = [unpacked(gate.disk.read(f"noticed/slice/{name}")) for name in gate.names("noticed/slice")]

    assert [f"alert {number}" for number in range(6)] == sorted(str(message.text) for messages in read for message in messages)
