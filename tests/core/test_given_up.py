"""An order that ended its process again and again: whoever waits for an answer hears of it before it is out of the way."""

from firmware.core.envelope import Order, order_packed
from firmware.core.given_up import say_given_up
from firmware.core.message import unpacked
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.spool import Spool
from simulator.board import SimulatedBoard


def test_said_first_and_only_of_what_is_spent() -> None:
    """Two of three have had their attempts, one of them makes no sense: one notice, and what `take` comes to then is the third. (S2-109)"""
    board, report = SimulatedBoard(), Report("feedback")
    orders, notices = Spool(board.disk, "orders"), Notices(board, "feedback")
    orders.start(report.drop)
    notices.start()
    order = Order(bytes(range(16)), "hub-1", "box-1", "feedback", 1, 5, 6, {})
    board.disk.write("orders/a~4", b"nonsense")
    board.disk.write("orders/b~4", order_packed(order))
    board.disk.write("orders/c", b"fresh")
    say_given_up(orders, notices, report, board.clock.now())

    said = [row for name in board.disk.list("inbox") for row in unpacked(board.disk.read(f"inbox/{name}"))]
    assert [("refused", "too_many_attempts", order.identity.hex())] == [
        tuple(row.fields[name] for name in ("result", "cause", "command")) for row in said
    ]
    item = orders.take()
    assert item is not None
    assert ("c", 1) == (item.name, item.attempt)
    assert {"too_many_attempts": 1} == report.drops
