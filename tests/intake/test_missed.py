"""Whatever keeps intake from hearing or writing is owed, so that recall can read it back. (S2-034)"""

from collections.abc import Callable
from typing import Any

from drivers.errors import TapFailed
from drivers.tap import RETURN_S
from firmware.core import missed
from firmware.core.missed import Missed
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from firmware.intake.station import IntakeStation
from simulator.disk import Failing

Room = Any  # conftest's; a fixture's class cannot be imported here


def debts(room: Room) -> list[Missed]:
    spool = Spool(room.board.disk, missed.MISSED)
    rows = [missed.unpacked(spool.peek(name) or b"") for name in spool.names()]
    return rows[1:]  # The first is what every first life owes.


def reborn(room: Room, after_s: int) -> None:
    """Killed, and started again so much later."""
    room.taps[-1].close()
    room.board.clock.advance(after_s * SECOND)
    room.station = IntakeStation(room.board, room.settings)
    room.station.start(room.board.clock.now())
    room.step()


def test_a_killed_intake_owes_the_time_since_its_mark(room: Room) -> None:
    """From the last mark, 5 s before its end at most, to its next life. (S2-034)"""
    for _ in range(4):
        room.say(b"x")
        room.step(2_000)
    end = room.board.clock.now().utc_ns
    reborn(room, 60)
    (debt,) = debts(room)

    assert end - 9 * SECOND < debt.from_utc_ns <= end
    assert end + 60 * SECOND <= debt.until_utc_ns < end + 62 * SECOND


def test_what_waits_to_be_written_is_behind_the_mark(make_room: Callable[..., Room]) -> None:
    """Killed with messages in memory, it owes from the first of them."""
    room = make_room(p4_batch_ms=60_000)
    first = room.board.clock.now().utc_ns
    for _ in range(10):
        room.say(b"waits", port=47004)
        room.step(2_000)
    reborn(room, 1)

    assert debts(room)[0].from_utc_ns <= first


def test_what_lies_in_the_ring_is_behind_the_mark(room: Room, make_frame: Callable[..., bytes]) -> None:
    """Killed while the ring was full of what it had not come to, it owes that too, however long it had lain there."""
    room.step()
    stamp = room.board.clock.now().utc_ns
    room.board.clock.advance(8 * SECOND)
    room.hear(*(make_frame(b"%d" % number) for number in range(5_000)), stamp_utc_ns=stamp)
    assert 0 == room.step()
    reborn(room, 1)

    assert debts(room)[-1].from_utc_ns <= stamp


def test_a_stopped_intake_owes_the_pause(room: Room) -> None:
    """An update ends it politely; what passed meanwhile is owed as well."""
    room.say(b"x")
    room.step(2_000)
    room.station.stop(room.board.clock.now())
    end = room.board.clock.now().utc_ns
    reborn(room, 20)
    (debt,) = debts(room)

    assert end - 3 * SECOND <= debt.from_utc_ns <= end
    assert debt.until_utc_ns >= end + 20 * SECOND


def test_an_interface_that_was_gone(room: Room) -> None:
    """The recorder listens by another tap, which may have come back sooner."""
    room.say(b"x")
    room.step()
    lost = room.board.clock.now().utc_ns
    room.taps[-1].break_off()
    honest, room.board.open_tap = room.board.open_tap, refuse
    for _ in range(10):
        room.step(1_000)
    assert [] == debts(room)
    room.board.open_tap = honest
    room.step(1_000)
    (debt,) = debts(room)

    assert ("tap_failed", True) == (debt.cause, debt.from_utc_ns <= lost and debt.until_utc_ns >= lost + 11 * SECOND)


def refuse(request: object) -> Any:
    raise TapFailed("expected an interface")


def test_one_interface_of_several_that_is_there_again(room: Room) -> None:
    """The others were heard all the time; of this one the recorder may have heard seconds more than we. Once for each return. (S2-034)"""
    room.say(b"x")
    room.step(2_000)
    room.taps[-1].returned = 1
    back = room.board.clock.now().utc_ns
    room.step(0)
    for _ in range(4):
        room.say(b"y")
        room.step(2_000)
    (debt,) = debts(room)

    assert ("tap_failed", True) == (debt.cause, debt.from_utc_ns <= back - RETURN_S * SECOND and debt.until_utc_ns >= back)


def test_what_the_ring_had_no_room_for(room: Room) -> None:
    """The recorder's ring is sixteen times as large."""
    room.say(b"x")
    room.step()
    room.say(*(b"x" * 9_000 for _ in range(4_000)), port=47004)
    for _ in range(20):
        room.step(1_000)

    assert "ring_full" in {debt.cause for debt in debts(room)}


def test_what_a_full_disk_cost(make_room: Callable[..., Room]) -> None:
    """Messages dropped from memory are owed; the debt is written when there is room again, before the mark moves."""
    room = make_room(backlog_count=5)
    room.step()
    room.board.disk.failing = Failing.READ_ONLY
    begin = room.board.clock.now().utc_ns
    for number in range(10):
        room.say(b"%d" % number)
        room.step(1_000)
    end = room.board.clock.now().utc_ns
    assert 5 == room.station.report.drops["disk_failed"]
    room.board.disk.failing = Failing.NOT
    for _ in range(3):
        room.step(3_000)

    assert any(debt.from_utc_ns <= begin + 5 * SECOND and debt.until_utc_ns >= end - SECOND for debt in debts(room))


def test_a_damaged_mark_is_a_first_life(room: Room) -> None:
    """Counted, and an hour is looked at."""
    room.step()
    room.board.disk.write("intake/mark", b"\xff")
    reborn(room, 5)
    (debt,) = debts(room)

    assert (1, True) == (room.station.report.drops["bad_mark"], debt.until_utc_ns - debt.from_utc_ns >= 3600 * SECOND)
