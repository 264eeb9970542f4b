"""`scrubjay session`: which is open, and by hand when one begins or ends."""

import argparse
import json
from collections.abc import Callable

from drivers.board import Board
from firmware.core import session
from firmware.core.session import CURRENT, KINDS, LAST
from firmware.core.session_order import Wish, order


def arguments(parser: argparse.ArgumentParser, *, root: str) -> None:
    """What follows the word."""
    deeds = parser.add_subparsers(dest="deed", required=True, metavar="WHAT")
    show = deeds.add_parser("show", help="the session that is open, and the last one")
    show.add_argument("--json", action="store_true")
    start = deeds.add_parser("start", help="one begins now; the one that is open ends")
    start.add_argument("kind", choices=tuple(KINDS))
    close = deeds.add_parser("close", help="the one that is open ends now: everything said during it is sent")
    for parser in (show, start, close):
        parser.add_argument("--root", default=root, help="directory of the store (default %(default)s)")


def run(parsed: argparse.Namespace, board: Board, *, say: Callable[[str], None]) -> int:
    """Exit status: 1 where there is no session to show or to close. Raises DiskFull or DiskFailed."""
    current, last = session.read(board.disk, CURRENT), session.read(board.disk, LAST)
    if parsed.deed == "show":
        if parsed.json:
            say(json.dumps({"current": session.as_json(current), "last": session.as_json(last)}))
        else:
            for line in session.lines(current, last, tai_offset_s=board.clock.now().tai_offset_s):
                say(line)
        return 0 if current is not None else 1
    if parsed.deed == "close" and (current is None or current.end is not None):
        say("no session is open")
        return 1
    order(board, Wish(KINDS[parsed.kind] if parsed.deed == "start" else None))
    say("said; `scrubjay session show` tells when it is so, and the role has to run for that")
    return 0
