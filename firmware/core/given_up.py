"""An order that ended its process again and again: given up, and said so first, for whoever waits for an answer."""

from drivers.clock import Now
from firmware.core.envelope import COMMAND_BYTES_MAX, order_unpacked
from firmware.core.errors import BadItem
from firmware.core.message import Priority, Severity
from firmware.core.notices import Notices
from firmware.core.report import Report
from firmware.core.spool import Spool


def say_given_up(orders: Spool, notices: Notices, report: Report, now: Now) -> None:
    """Before `take`: of the orders that it will move to quarantine. Raises DiskFull or DiskFailed, and then nothing is taken.

    Said first: a disk that fills, or a kill, between the two would leave the hub waiting for ever (as retrieval, storm seed 6).
    """
    for name in orders.names():
        if not orders.is_spent(name):
            return  # `take` comes to no other before this one.
        try:
            order = order_unpacked(orders.peek(name, size=COMMAND_BYTES_MAX + 1) or b"")
        except BadItem:
            continue  # Nobody waits for it.
        notices.say(
            now, "command-result", Priority.P3, Severity.WARNING, "order given up: this process ended at it again and again",
            fields={"command": order.identity.hex(), "result": "refused", "cause": "too_many_attempts"},
            event=f"cmd-{order.identity.hex()}", origin_ns=order.made_tai_ns,
        )  # fmt: skip
        report.drop("too_many_attempts")
