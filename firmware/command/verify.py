"""Whether a command is to be carried out: the checks, in order, from the cheapest that needs no trust to the ones that need it."""

from collections.abc import Mapping

from drivers.clock import Now
from firmware.core.envelope import COMMAND_BYTES_MAX, Order, command_unpacked, order_unpacked
from firmware.core.errors import BadCommand, BadItem
from firmware.core.signature import is_signed_by
from firmware.core.timestamp import SECOND

ITEM_BYTES_MAX = COMMAND_BYTES_MAX + 256  # the order, its signature and the map around them


def signed_order(data: bytes, trusted: Mapping[str, bytes]) -> tuple[Order, bytes]:
    """The order and its bytes, once a trusted signature is found good. Raises BadCommand.

    trusted: public keys by signer's name. Whatever stands in the order is hearsay until this has returned.
    """
    if len(data) > ITEM_BYTES_MAX:
        raise BadCommand("too_large", f"expected at most {ITEM_BYTES_MAX} bytes, got {len(data)}")
    try:
        command = command_unpacked(data)
        order = order_unpacked(command.order)
    except BadItem as problem:
        raise BadCommand("not_a_command", str(problem)) from None
    key = trusted.get(order.signer)
    if key is None:
        raise BadCommand("unknown_signer", "expected a signer this board trusts")
    if not is_signed_by(key, command.signature, command.signed_bytes):
        raise BadCommand("bad_signature", "expected the named signer's signature over this order")
    return order, command.order


def check_addressee(order: Order, box: str) -> None:
    """Raises BadCommand when the order is for another box."""
    if order.box != box:
        raise BadCommand("not_for_us", "expected this board as the addressee")


def check_fresh(order: Order, now: Now, *, max_age_s: int, clock_tolerance_s: int) -> None:
    """Raises BadCommand when the order is certainly too old, expired, or made in the future.

    Certainly: beyond the tolerance and what we do not know of our own clock. A board whose clock is no good takes an order that may
    be late rather than none at all; the counter still keeps each from being carried out twice.
    """
    allowed_ns = clock_tolerance_s * SECOND + now.timestamp.uncertainty_ns
    tai_ns = now.timestamp.tai_ns
    if order.made_tai_ns - tai_ns > allowed_ns:
        raise BadCommand("from_the_future", f"made {(order.made_tai_ns - tai_ns) // SECOND} s ahead of this board's clock")
    if tai_ns - order.expires_tai_ns > allowed_ns:
        raise BadCommand("expired", f"expired {(tai_ns - order.expires_tai_ns) // SECOND} s ago by this board's clock")
    if tai_ns - order.made_tai_ns > max_age_s * SECOND + allowed_ns:
        raise BadCommand("stale", f"made {(tai_ns - order.made_tai_ns) // SECOND} s ago, at most {max_age_s} s are allowed")
