"""One device floods with alarms: every other device's alarm is heard and leaves before the rest of the flood, and nothing is lost."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import Monotonic
from firmware.core.message import Priority, unpacked
from firmware.core.spool import FLOOD_ITEMS
from firmware.intake.backlog import FLOOD, LANES, Backlog, Waiting

Room = Any  # conftest's; a fixture's class cannot be imported here


def test_a_flood_goes_behind_everybody_elses_alarms(make_room: Callable[..., Room]) -> None:
    """What is above a device's allowance is counted and kept in items of its own, sorted behind the others. (S2-029)"""
    room = make_room(alarms_at_once=10)
    room.say(*(b"flood %d" % number for number in range(300)))
    room.say(b"the one that matters", source="10.0.0.9")
    room.step()
    room.step(250)
    names = [name for name in room.board.disk.list("inbox") if not name.startswith(".")]
    first = [row.text for row in unpacked(room.board.disk.read(f"inbox/{names[0]}"))]

    assert "the one that matters" in first and 11 == len(first)
    assert all(name.startswith(FLOOD_ITEMS) for name in names[1:])
    assert (290, 301) == (room.station.report.counts["flood"], len(room.messages()))
    assert {Priority.P1} == {row.priority for row in room.messages()}


def test_an_allowance_fills_again(make_room: Callable[..., Room]) -> None:
    """Twenty a second for ever is no flood."""
    room = make_room(alarms_at_once=5, alarms_per_s=20)
    for number in range(100):
        room.say(b"alarm %d" % number)
        room.step(50)

    assert 0 == room.station.report.counts.get("flood", 0)


def test_when_memory_is_short_the_flood_goes_first_and_is_owed(make_room: Callable[..., Room]) -> None:
    """The flooding device pays with its newest; the recorder has them, and recall will read them back."""
    room = make_room(alarms_at_once=2, backlog_count=50)
    room.step()
    room.board.disk.fill(leave_bytes=0)
    for number in range(100):
        room.say(b"flood %d" % number)
        room.say(b"debug %d" % number, port=47004, source="10.0.0.9") if number < 30 else None
        room.step()
    room.board.disk.fill(leave_bytes=1 << 20)
    for _ in range(4):
        room.step(3_000)
    texts = [row.text or "" for row in room.messages()]

    assert 30 == sum(text.startswith("debug") for text in texts)
    assert ["flood 0", "flood 1"] == [text for text in texts if text in ("flood 0", "flood 1")]
    assert room.station.report.drops["disk_full"] == 80
    assert room.station.report.counts["missed"] >= 2


@given(
    st.lists(st.tuples(st.sampled_from(LANES), st.sampled_from("abc"), st.integers(1, 400)), max_size=60),
    st.integers(1, 20), st.integers(1, 30),
)  # fmt: skip
def test_a_backlog_neither_loses_nor_invents(rows: list[tuple[int, str, int]], batch_count: int, count_max: int) -> None:
    """Whatever comes in: what was added is written or dropped, once; each device in its order; ceilings hold; counts are right."""
    backlog = Backlog(wait_ns=dict.fromkeys(LANES, 0), batch_count=batch_count, count_max=count_max, bytes_max=4_000)
    added = [Waiting(bytes([number]) + bytes(size), device, number) for number, (_, device, size) in enumerate(rows)]
    for (lane, _, _), waiting in zip(rows, added, strict=True):
        backlog.add(lane, waiting, Monotonic(0))
    dropped = backlog.trim()
    assert backlog.count <= count_max and backlog.size <= 4_000
    written: list[tuple[int, Waiting]] = []
    while chosen := backlog.batches(Monotonic(0)):
        lanes = [lane for lane, _ in chosen]
        assert lanes == sorted(lanes)
        for lane, batch in chosen:
            assert 0 < len(batch) <= batch_count
            backlog.written(lane, batch, Monotonic(0))
            written += [(lane, waiting) for waiting in batch]

    assert sorted(waiting.stamp_utc_ns or 0 for waiting in [*dropped, *(waiting for _, waiting in written)]) == list(
        range(len(rows))
    )
    for lane in LANES:
        for device in "abc":
            numbers = [waiting.stamp_utc_ns for at, waiting in written if at == lane and waiting.device == device]
            assert numbers == sorted(numbers, key=lambda number: number or 0)
    assert (0, 0, None) == (backlog.count, backlog.size, backlog.pending_utc_ns())


def test_no_device_is_dropped_for_anothers_flood() -> None:
    """The one that has most waiting loses its newest, until it has no more than the others."""
    backlog = Backlog(wait_ns=dict.fromkeys(LANES, 0), batch_count=10, count_max=20, bytes_max=1 << 20)
    for device, count in (("quiet", 5), ("loud", 100), ("normal", 8)):
        for number in range(count):
            backlog.add(FLOOD, Waiting(b"%d" % number, device), Monotonic(0))

    assert {"loud": 93} == Counter(row.device for row in backlog.trim())
    assert {"quiet": 4, "loud": 3, "normal": 3} == Counter(row.device for row in backlog.batch(FLOOD))
