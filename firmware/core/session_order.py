"""An order that begins or ends a session: the hub's, or a person's at the box, which is one in the box's own name.

Parameters (envelope.cddl, order key 6):

    do      "start" or "close"
    kind    with "start": "procedure", "exercise" or "test"
"""

from collections.abc import Mapping
from dataclasses import dataclass

from drivers.board import Board
from firmware.core.envelope import Order, order_packed
from firmware.core.errors import BadItem, Missing
from firmware.core.session import KINDS, Kind
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND

ORDERS = "commands/verified/session"
EXPIRES_NS = 3600 * SECOND  # Said by somebody who stands there: an hour later he did it again, or does not want it any more.


@dataclass(frozen=True, slots=True)
class Wish:
    """kind: what to start; None: to close."""

    kind: Kind | None


def as_parameters(wish: Wish) -> dict[str, int | str | None]:
    """The parameters of an order that asks for this."""
    return {"do": "close"} if wish.kind is None else {"do": "start", "kind": wish.kind.value}


def from_parameters(parameters: Mapping[str, int | str | None]) -> Wish:
    """Raises BadItem naming what was expected, never what came."""
    do, kind = parameters.get("do"), parameters.get("kind")
    if do == "close" and set(parameters) == {"do"}:
        return Wish(None)
    if do == "start" and set(parameters) == {"do", "kind"} and isinstance(kind, str) and kind in KINDS:
        return Wish(KINDS[kind])
    raise BadItem(f"expected do=close, or do=start with a kind of {', '.join(KINDS)}")


def order(board: Board, wish: Wish) -> bytes:
    """Ask the session station on this machine; the order's identity. Raises DiskFull, DiskFailed, or Missing: nobody would hear it."""
    identity, now = board.identity.entropy(16), board.clock.now()
    made, me = now.timestamp.tai_ns, board.identity.name
    asked = Order(identity, me, me, "session", 0, made, made + EXPIRES_NS, as_parameters(wish))
    try:
        Spool(board.disk, ORDERS).publish(f"cmd-{identity.hex()}", order_packed(asked))
    except Missing:
        raise Missing("nobody takes orders of sessions here: the box does not run, or has not started up yet") from None
    return identity
