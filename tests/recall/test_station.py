"""Recall: what intake missed and the recorder has is in the inbox, once, by the same rules."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet import fragment as cut
from scapy.layers.l2 import Ether

from drivers.tap import HeardFrame
from firmware.core.message import Priority
from firmware.core.timestamp import SECOND
from firmware.intake.publisher import datagram
from firmware.retrieval.sums import sum_up
from simulator.disk import Failing, PowerCut
from simulator.parrots import heard
from simulator.written_store import frame

Past = Any  # conftest's; a fixture's class cannot be imported here


def saying(past: Past, ago_s: float, text: str, *, port: int = 47001) -> HeardFrame:
    """Somebody published this so long ago."""
    return frame(past.utc_ns - int(ago_s * SECOND), port=port, payload=text.encode())


def test_what_was_missed_is_read_back(past: Past) -> None:
    """Messages of the stretch, no others, and no other traffic; by the ports they came to, alarms first. (S2-034, S2-035)"""
    past.recorded(
        [saying(past, 90, "before"), saying(past, 50, "debug", port=47004), saying(past, 49, "not ours", port=5004)],
        [saying(past, 40, "alarm"), saying(past, 5, "after")],
    )
    past.miss(past.utc_ns - 60 * SECOND, past.utc_ns - 30 * SECOND)
    past.work()

    assert {"debug": Priority.P4, "alarm": Priority.P1} == {m.text: m.priority for item in past.items() for m in item}
    assert [] == past.board.disk.list("missed")


def test_it_is_the_same_message(past: Past) -> None:
    """A second copy has the identity of the first: what was heard and written after all is one message at the hub. (S2-035)"""
    from firmware.core.entrance import message_of
    from firmware.intake.rules import rules_of

    stamp = past.utc_ns - 40 * SECOND
    payload = datagram("x", process="arm", sequence=4, severity="warning", fields={"t": 4.5})
    past.recorded([frame(stamp, payload=payload, source="10.0.0.5")])
    past.miss(stamp, stamp)
    past.work()
    live = message_of(
        payload, source_ip=bytes([10, 0, 0, 5]), port=47001, stamp_utc_ns=stamp, now=past.board.clock.now(),
        rules=rules_of(past.settings), count=lambda name: None,
    )  # fmt: skip

    assert [live.identity] == [message.identity for item in past.items() for message in item]


def test_of_a_large_store_only_what_may_answer_is_opened(past: Past) -> None:
    """The summary, which retrieval keeps beside it, excludes the rest: not the seals of years for each time intake was started anew."""
    for number in range(6):
        past.recorded([saying(past, 0, f"segment {number}")])
        past.board.clock.advance(60 * SECOND)
    sum_up(past.board.disk, progress=lambda done, of: None)
    opened: set[str] = set()
    read = past.board.disk.read

    def watched(path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        opened.update(part for part in path.split("/") if part[:1] == "2")
        return read(path, offset=offset, size=size)

    past.board.disk.read = watched
    past.miss(past.utc_ns - 130 * SECOND, past.utc_ns - 110 * SECOND)
    past.work()

    assert ["segment 4"] == past.texts()
    assert 1 == len(opened)


def test_it_waits_until_the_recorder_has_written(past: Past) -> None:
    """The end of a stretch is on the disk a second after it passed; asked too soon it would not be found."""
    now = past.board.clock.now()
    past.miss(past.utc_ns - SECOND, past.utc_ns)

    assert 3 * SECOND == past.station.step(now).since(now.monotonic)
    past.recorded([saying(past, 0.5, "late")])
    past.work()
    assert ["late"] == past.texts()


def test_copies_at_the_edges(past: Past) -> None:
    """A message with a count and no time arrives in two copies: whichever intake heard, recall leaves the other alone."""
    first, last = past.utc_ns - 60 * SECOND, past.utc_ns - 30 * SECOND
    for number, stamps in enumerate(
        ((first - 1000, first + 1000), (last - 1000, last + 1000), (first + SECOND, first + SECOND + 1000))
    ):
        past.recorded([frame(stamp, payload=datagram("twice", sequence=number)) for stamp in stamps])
    past.miss(first, last)
    past.work()

    assert [2] == [message.sequence for item in past.items() for message in item]


def test_a_count_that_begins_anew(past: Past) -> None:
    """A process that was started again within the stretch says the same under the same number: another message, not a copy."""
    stamps = [past.utc_ns - int(ago_s * SECOND) for ago_s in (50, 49.9, 40)]
    past.recorded([frame(stamp, payload=datagram("torque limit", sequence=1)) for stamp in stamps])
    past.miss(past.utc_ns - 60 * SECOND, past.utc_ns - 30 * SECOND)
    past.work()

    assert ["torque limit"] * 2 == past.texts()


def test_fragmented_messages(past: Past) -> None:
    """A later fragment has no port to be found by, and is found."""
    body = datagram("x" * 8_000, sequence=1)
    parts = cut(IP(src="10.0.0.5", id=7) / UDP(sport=1, dport=47001) / body, fragsize=1_480)
    stamp = past.utc_ns - 40 * SECOND
    past.recorded([heard(bytes(Ether() / part), stamp + n) for n, part in enumerate(parts)] + [saying(past, 39, "whole")])
    past.miss(stamp, stamp + 2 * SECOND)
    past.work()

    assert {8_000, 5} == {len(text or "") for text in past.texts()}


def test_only_whom_intake_listens_to(make_past: Callable[..., Past]) -> None:
    """The subscription holds for both copies. (S2-041)"""
    past = make_past(subscribe=("!* ui*", "* *"))
    stamp = past.utc_ns - 40 * SECOND
    past.recorded([frame(stamp + n, payload=datagram(name, process=name)) for n, name in enumerate(("state", "ui-render"))])
    past.miss(stamp, stamp + SECOND)
    past.work()

    assert ["state"] == past.texts()


def test_poison_and_damage(past: Past) -> None:
    """What is no stretch goes to quarantine; a segment that cannot be read is passed over."""
    past.recorded([saying(past, 40, "here")])
    past.board.disk.write("missed/poison", b"\xff")
    past.miss(0, past.utc_ns)
    past.work()

    assert (["here"], ["poison", "poison.reason"]) == (past.texts(), past.board.disk.list("quarantine/missed"))


@pytest.mark.parametrize("failing", [Failing.READ_ONLY, None])
def test_a_disk_that_takes_nothing(past: Past, failing: Failing | None) -> None:
    """What was found waits in memory, the stretch in missed/; then all is there once."""
    past.recorded([saying(past, 40, str(n)) for n in range(30)])
    past.miss(past.utc_ns - 60 * SECOND, past.utc_ns)
    past.board.clock.advance(3 * SECOND)
    past.station.step(past.board.clock.now())
    if failing is None:
        past.board.disk.fill(leave_bytes=0)
    else:
        past.board.disk.failing = failing
    past.board.clock.advance(3 * SECOND)
    for _ in range(3):
        past.station.step(past.board.clock.now())
    assert 0 == len(past.texts())
    past.board.disk.failing = Failing.NOT
    past.board.disk.fill(leave_bytes=1 << 20)
    past.board.clock.advance(SECOND)
    past.work()

    assert sorted(str(n) for n in range(30)) == sorted(text or "" for text in past.texts())


def test_power_lost_before_each_disk_operation(make_past: Callable[..., Past]) -> None:
    """Cut anywhere, started again: every message of the stretch is in the inbox, and copies have one identity."""
    operation = 0
    while True:
        past = make_past()
        past.recorded([saying(past, 40, "a"), saying(past, 39, "b", port=47004)])
        past.miss(past.utc_ns - 60 * SECOND, past.utc_ns)
        past.board.clock.advance(4 * SECOND)
        reached = _cut_at(past, past.board.disk.operations + operation)
        if reached:
            past.board.disk.power_cut(Random(operation))
            past.board.clock.restart()
            past.boot()
            past.work()
        messages = [message for item in past.items() for message in item]

        assert {"a", "b"} == {message.text for message in messages}, f"cut before operation {operation}"
        assert 2 == len({message.identity for message in messages})
        assert [] == [name for name in past.board.disk.list("missed") if not name.startswith(".")]
        if not reached:
            break
        operation += 1

    assert operation > 6


def _cut_at(past: Past, operation: int) -> bool:
    def before(number: int, what: str, path: str) -> None:
        if number == operation:
            raise PowerCut

    past.board.disk.before = before
    try:
        past.work()
    except PowerCut:
        return True
    finally:
        past.board.disk.before = None
    return False
