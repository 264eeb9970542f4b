"""The command station: what is carried out, what is not, and that the power does not change the answer."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from drivers.clock import ClockState
from firmware.command.journal import WINDOW
from firmware.command.settings import CommandSettings
from firmware.core.envelope import Command, command_packed, order_packed, order_unpacked
from firmware.core.message import Priority
from firmware.core.timestamp import SECOND
from simulator.disk import Failing, PowerCut
from simulator.identity import SimulatedIdentity

Desk = Any  # tests/command/conftest.py


def test_good_order_is_handed_on_as_signed_and_reported(desk: Desk) -> None:
    """A signed, fresh order for this box reaches its deed's directory byte for byte, and the hub hears "accepted" (S2-107, S2-109)."""
    order = desk.order()
    desk.send_order(order)
    desk.work()

    assert [f"cmd-{order.identity.hex()}"] == desk.verified()
    data = desk.board.disk.read(f"commands/verified/retrieval/cmd-{order.identity.hex()}")
    assert order == order_unpacked(data)
    (said,) = desk.said()
    assert ("command-result", Priority.P3, "accepted") == (said.kind, said.priority, said.fields["result"])
    assert order.identity.hex() == said.fields["command"]
    assert [] == desk.board.disk.list("commands/received")


def test_every_bad_order_is_refused_for_its_own_cause(desk: Desk) -> None:
    """Each way to be wrong has its cause, counted, kept with the item, and told to the hub."""
    now_ns = desk.board.clock.now().timestamp.tai_ns
    stranger = SimulatedIdentity(name="stranger", seed=9)
    desk.send(b"\x00" * 100_000)
    desk.send(b"not cbor at all")
    desk.send(desk.signed(desk.order(signer="stranger"), by=stranger))
    desk.send(desk.signed(desk.order(), by=stranger))
    desk.send(desk.signed(desk.order(box="box-2")))
    desk.send(desk.signed(desk.order(expires_tai_ns=now_ns - 400 * SECOND)))
    desk.send(desk.signed(desk.order(made_tai_ns=now_ns - 90_000 * SECOND)))
    desk.send(desk.signed(desk.order(made_tai_ns=now_ns + 400 * SECOND, expires_tai_ns=now_ns + 800 * SECOND)))
    desk.send(desk.signed(desk.order(deed="self-destruct")))
    desk.work()

    causes = {
        "too_large", "not_a_command", "unknown_signer", "bad_signature", "not_for_us", "expired", "stale",
        "from_the_future", "unknown_deed",
    }  # fmt: skip
    assert dict.fromkeys(causes, 1) == desk.refusals()
    assert [] == desk.verified()
    assert causes == {row.fields["cause"] for row in desk.said()}
    assert {Priority.P2} == {row.priority for row in desk.said() if row.fields["cause"] == "bad_signature"}
    reasons = [name for name in desk.board.disk.list("commands/refused") if name.endswith(".reason")]
    assert 9 == len(reasons)
    assert 9 == len(desk.board.disk.list("commands/refused")) - len(reasons)


def test_a_number_nobody_can_write_stops_no_other_order(desk: Desk) -> None:
    """Whoever reaches the topic may send an unsigned order with an integer of a million digits: it is refused like any other nonsense."""
    desk.send(command_packed(Command(order_packed(desk.order(parameters={"since": 1 << 40_000})), bytes(64))))
    good = desk.order()
    desk.send_order(good)
    desk.work()

    assert [f"cmd-{good.identity.hex()}"] == desk.verified()
    assert {"not_a_command": 1} == desk.refusals()


def test_refusals_repeat_nothing_foreign(desk: Desk) -> None:
    """A forged order's words appear in no message, reason or report."""
    forged = desk.order(signer="hub-1", deed="john-doe", parameters={"patient": "John Doe"})
    desk.send(desk.signed(forged, by=SimulatedIdentity(seed=9)))
    desk.work()

    reason = next(name for name in desk.board.disk.list("commands/refused") if name.endswith(".reason"))
    everything = str(desk.said()) + str(desk.refusals()) + desk.board.disk.read(f"commands/refused/{reason}").decode()
    assert "john" not in everything.lower()


def test_changed_order_is_a_bad_signature(desk: Desk) -> None:
    """One bit of the order or the signature changed, and it is not the signer's any more; the counter stays unused."""
    data = bytearray(desk.signed(desk.order()))
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        desk.send(bytes(changed))
    desk.work()

    assert [] == desk.verified()
    assert {"bad_signature", "not_a_command", "unknown_signer"} >= set(desk.refusals()) - {"notice_withheld"}
    assert not desk.board.disk.exists("commands/counters/hub-1")


def test_replayed_order_is_refused(desk: Desk) -> None:
    """A counter that was used by another order, or lies below the window, is refused, whatever else the order says (S2-109)."""
    desk.send_order(desk.order(counter=10))
    desk.work()
    desk.send_order(desk.order(counter=10, number=1))
    desk.work()

    assert {"replayed": 1} == desk.refusals()
    for counter in range(11, 10 + WINDOW):
        desk.send_order(desk.order(counter=counter))
    desk.work()
    desk.send_order(desk.order(counter=9))
    desk.work()

    assert {"replayed": 2} == desk.refusals()
    assert WINDOW == len(desk.verified())


def test_overtaken_order_is_carried_out_all_the_same(desk: Desk) -> None:
    """The broker lost the first and delivered the second; the hub sends the first again, and it counts (storm seeds 94, 159)."""
    first, second = desk.order(), desk.order()
    desk.send_order(second)
    desk.work()
    desk.send_order(first)
    desk.work()
    for order in (first, second, first):
        desk.send_order(order)
        desk.work()

    assert {f"cmd-{order.identity.hex()}" for order in (first, second)} == set(desk.verified())
    assert {} == desk.refusals()
    assert {"accepted": 2, "repeats": 3} == desk.station.report.counts


def test_order_interrupted_is_finished_though_another_came_in_between(desk: Desk) -> None:
    """Journalled, and then no room to hand it on: an earlier order that arrives meanwhile does not make it forgotten."""
    first, second = desk.order(), desk.order()
    desk.send_order(second)
    room = desk.board.disk.capacity_bytes

    def fill(number: int, what: str, path: str) -> None:
        if path.startswith("commands/verified/"):
            desk.board.disk.fill(leave_bytes=0)

    desk.board.disk.before = fill
    desk.station.step(desk.board.clock.now())
    desk.board.disk.before = None
    desk.board.disk.capacity_bytes = room

    assert [] == desk.verified()
    desk.send_order(first)
    desk.board.clock.advance(5 * SECOND)
    desk.work()
    assert {f"cmd-{order.identity.hex()}" for order in (first, second)} == set(desk.verified())
    assert {"disk_full": 1} == desk.refusals()


def test_same_command_twice_is_carried_out_once(desk: Desk) -> None:
    """A broker that delivers twice, late and out of order, costs nothing: accepted commands are known by identity."""
    first, second = desk.order(), desk.order()
    for order in (first, second):
        desk.send_order(order)
    desk.work()
    for name in desk.verified():
        desk.board.disk.remove(f"commands/verified/retrieval/{name}")
    for order in (first, second, first):
        desk.send_order(order)
        desk.work()

    assert [] == desk.verified()
    assert {} == desk.refusals()
    assert {"accepted": 2, "repeats": 3} == desk.station.report.counts


def test_orders_that_wait_together_are_taken_in_order_of_their_counters(desk: Desk) -> None:
    """Twenty orders received while the process was away are all accepted, though their names are in no order."""
    orders = [desk.order() for _ in range(20)]
    for order in orders:
        desk.send_order(order)
    desk.work()

    assert {f"cmd-{order.identity.hex()}" for order in orders} == set(desk.verified())
    assert {} == desk.refusals()


def test_revoked_key_is_a_stranger_at_once(desk: Desk) -> None:
    """A key taken from the trusted ones is refused from the next order on, without a restart."""
    desk.board.identity.revoke("hub-1")
    desk.send_order(desk.order())
    desk.work()

    assert {"unknown_signer": 1} == desk.refusals()


def test_box_with_a_bad_clock_still_takes_fresh_orders(desk: Desk) -> None:
    """A clock off by a day that says so loses no order; the counter still stops a replay. One that claims to be right refuses."""
    clock = desk.board.clock
    made = clock.now().timestamp.tai_ns
    clock.step(-90_000 * SECOND)
    clock.state, clock.source, clock.uncertainty_ns = ClockState.FREE, "rtc", 100_000 * SECOND
    desk.send_order(desk.order(made_tai_ns=made, expires_tai_ns=made + 3600 * SECOND))
    desk.work()
    clock.uncertainty_ns = 0
    desk.send_order(desk.order(made_tai_ns=made, expires_tai_ns=made + 3600 * SECOND))
    desk.work()

    assert 1 == len(desk.verified())
    assert {"from_the_future": 1} == desk.refusals()


@pytest.mark.parametrize("late_s", [299, 301])
def test_expiry_has_the_edge_it_says(desk: Desk, late_s: int) -> None:
    """Within the tolerance an order just expired is taken, beyond it is not."""
    desk.board.clock.uncertainty_ns = 0
    now_ns = desk.board.clock.now().timestamp.tai_ns
    desk.send_order(desk.order(expires_tai_ns=now_ns - late_s * SECOND))
    desk.work()

    assert (1 if late_s < 300 else 0) == len(desk.verified())


def test_flood_of_forged_orders_is_bounded(desk: Desk) -> None:
    """Forged orders cost a bounded number of messages and of kept items; beyond that they are counts."""
    desk.settings = CommandSettings(refused_items_max=10, notices_per_minute=5)
    desk.boot()
    stranger = SimulatedIdentity(seed=9)
    for _ in range(50):
        desk.send(desk.signed(desk.order(), by=stranger))
    desk.work()

    assert {"bad_signature": 50, "notice_withheld": 45} == desk.refusals()
    assert 5 == len(desk.said())
    assert 20 == len(desk.board.disk.list("commands/refused"))


def test_full_disk_makes_the_order_wait_and_uses_up_no_attempts(desk: Desk) -> None:
    """A disk that is full for an hour loses no order."""
    order = desk.order()
    desk.send_order(order)
    room = desk.board.disk.capacity_bytes
    desk.board.disk.fill(leave_bytes=0)
    for _ in range(50):
        for _ in range(3):  # Its own bell rings, and others wake the process: no reason to try again.
            wish = desk.station.step(desk.board.clock.now())
            assert wish is not None and wish > desk.board.clock.now().monotonic
        desk.board.clock.advance(wish.since(desk.board.clock.now().monotonic))
    desk.board.disk.capacity_bytes = room
    desk.work()

    assert [f"cmd-{order.identity.hex()}"] == desk.verified()
    assert {"disk_full": 50} == desk.refusals()


def test_failing_disk_is_survived(desk: Desk) -> None:
    """A disk that refuses for a while costs nothing but the while."""
    desk.send_order(desk.order())
    desk.board.disk.failing = Failing.READ_ONLY
    desk.station.step(desk.board.clock.now())
    desk.board.disk.failing = Failing.NOT
    desk.board.clock.advance(5_000_000_000)
    desk.work()

    assert 1 == len(desk.verified())


def test_unreadable_journal_refuses_rather_than_forgets(desk: Desk) -> None:
    """Without its counter a signer's old orders would all be new again."""
    desk.send_order(desk.order())
    desk.work()
    desk.board.disk.write("commands/counters/hub-1", b"garbage")
    desk.send_order(desk.order())
    desk.work()

    assert {"journal_unreadable": 1} == desk.refusals()


@pytest.mark.parametrize("seed", range(3))
def test_power_lost_at_any_operation(make_desk: Callable[[], Desk], seed: int) -> None:
    """Wherever the power goes, each order is handed on, never more than once known as new, and no replay gets through afterwards."""
    cut_at = 0
    while True:
        desk = make_desk()
        orders = [desk.order() for _ in range(2)]
        old = desk.signed(replace(orders[0], identity=bytes(16)))
        for order in orders:
            desk.send_order(order)
        if not _work_until_cut(desk, cut_at):
            assert cut_at > 20
            return
        desk.board.disk.power_cut(Random(f"{seed}/{cut_at}"))
        desk.board.clock.advance(SECOND)
        desk.boot()
        desk.work()
        for order in orders:  # the broker was not acknowledged, or thinks so
            desk.send_order(order)
        desk.send(old)
        desk.work()

        names = {f"cmd-{order.identity.hex()}" for order in orders}
        assert names == set(desk.verified()), f"cut before operation {cut_at}"
        for name in names:
            assert order_unpacked(desk.board.disk.read(f"commands/verified/retrieval/{name}")) in orders
        assert {"replayed"} == set(desk.refusals())
        accepted = [row for row in desk.said() if row.fields["result"] == "accepted"]
        assert 2 == len({row.identity for row in accepted}), f"cut before operation {cut_at}"
        cut_at += 1


def test_power_lost_while_orders_overtake_each_other(make_desk: Callable[[], Desk]) -> None:
    """Third, first, second; the power goes before any operation: each is handed on in the end, and each is new only once."""
    cut_at = 0
    while True:
        desk = make_desk()
        orders = [desk.order() for _ in range(3)]
        arriving = [orders[2], orders[0], orders[1]]
        old = desk.signed(replace(orders[1], identity=bytes(16)))
        first = desk.board.disk.operations
        desk.board.disk.before = lambda number, what, path, last=first + cut_at: _cut(number == last)
        try:
            for order in arriving:
                desk.send_order(order)
                desk.work()
        except PowerCut:
            pass
        else:
            assert cut_at > 40
            return
        desk.board.disk.before = None
        desk.board.disk.power_cut(Random(str(cut_at)))
        desk.board.clock.advance(SECOND)
        desk.boot()
        for order in arriving:
            desk.send_order(order)
            desk.work()
        desk.send(old)
        desk.work()

        assert {f"cmd-{order.identity.hex()}" for order in orders} == set(desk.verified()), f"cut before operation {cut_at}"
        assert {"replayed": 1} == desk.refusals()
        for name in desk.verified():  # carried out and gone: none of them comes back
            desk.board.disk.remove(f"commands/verified/retrieval/{name}")
        for order in arriving:
            desk.send_order(order)
            desk.work()
        assert [] == desk.verified(), f"cut before operation {cut_at}"
        accepted = {row.identity for row in desk.said() if row.fields["result"] == "accepted"}
        assert 3 == len(accepted), f"cut before operation {cut_at}"
        cut_at += 1


def _cut(is_now: bool) -> None:
    if is_now:
        raise PowerCut


def _work_until_cut(desk: Desk, cut_at: int) -> bool:
    first = desk.board.disk.operations

    def cut(number: int, what: str, path: str) -> None:
        if number - first == cut_at:
            raise PowerCut

    desk.board.disk.before = cut
    try:
        desk.work()
    except PowerCut:
        return True
    finally:
        desk.board.disk.before = None
    return False
