"""What `scrubjay session` answers: which is open, and by hand that one begins or ends. The role has to run for the latter."""

import json

from drivers.board import Board
from drivers.disk import Disk
from firmware.core import session
from firmware.core.session import CURRENT, LAST, Kind
from firmware.core.session_order import Wish, order


def shown(disk: Disk, *, tai_offset_s: int, as_json: bool) -> tuple[int, str]:
    """Exit status, 1 where none is open, and what to print."""
    current, last = session.read(disk, CURRENT), session.read(disk, LAST)
    if as_json:
        text = json.dumps({"current": session.as_json(current), "last": session.as_json(last)})
    else:
        text = "\n".join(session.lines(current, last, tai_offset_s=tai_offset_s))
    return (0 if current is not None else 1), text


def said(board: Board, kind: Kind | None) -> tuple[int, str]:
    """kind: what begins now; None: what is open ends. Exit status, 1 where nothing is open to be ended. Raises DiskFull, DiskFailed."""
    current = session.read(board.disk, CURRENT)
    if kind is None and (current is None or current.end is not None):
        return 1, "no session is open"
    order(board, Wish(kind))
    return 0, "said; `scrubjay session show` tells when it is so"
