"""What the page says beside messages and evidence: sessions, service calls, what rules have done, advice, and the rules themselves.

GET  /api/sessions           ?box=   the latest sessions, and whether all of each is here
POST /api/sessions           {"box", "do": "start" with "kind", or "close"}   an order to the box
GET  /api/calls              ?all=1  service calls that are not closed, or all
POST /api/calls/<number>     {"to": "acknowledged" or "closed", "by", "note"}
GET  /api/firings            what rules fired for lately, and what came of it
GET  /api/feedback           the latest advice given, and whether it was shown
POST /api/feedback           {"box", "advice", "device", "about", "reason", "expires_s"}   an order to the box
GET  /api/rules              the rules as text, and as the hub uses them
POST /api/rules              {"text"}    other rules, from now on
"""

import json
from collections.abc import Mapping

from drivers.board import Board
from firmware.core import advice, session_order
from firmware.core.advice import ADVICE
from firmware.core.durable import make_directory, read_or_none, replace
from firmware.core.envelope import Order
from firmware.core.errors import BadItem, BadSettings
from firmware.core.timestamp import SECOND, iso
from firmware.hub import order
from firmware.hub.repository import Repository
from firmware.hub.rules import AS_IT_COMES, RULES_BYTES_MAX, rules_of

POLICY, RULES = "policy", "rules.toml"
SHOWN_MAX = 50
SESSION_EXPIRES_S = 600  # Who says "now" does not mean in an hour.
ADVICE_EXPIRES_S_MAX = 86_400
Plain = dict[str, object]


def order_session(board: Board, repository: Repository, wish: Mapping[str, object], *, box: str) -> Order:
    """Ask a box to begin or end a session. Raises BadItem, RepositoryFailed, DiskFull or DiskFailed."""
    given = {name: wish[name] for name in ("do", "kind") if name in wish}
    parameters = session_order.as_parameters(session_order.from_parameters(_texts(given)))
    return _ordered(board, repository, box, "session", parameters, None, SESSION_EXPIRES_S)


def give_advice(board: Board, repository: Repository, wish: Mapping[str, object], *, box: str) -> Order:
    """Advise the people around a box. Raises as above."""
    said = advice.from_parameters(
        _texts({name: wish[name] for name in ("advice", "device", "about", "reason") if wish.get(name)})
    )
    expires_s = wish.get("expires_s", 300)
    if isinstance(expires_s, bool) or not isinstance(expires_s, int) or not 10 <= expires_s <= ADVICE_EXPIRES_S_MAX:
        raise BadItem(f"expected expires_s from 10 to {ADVICE_EXPIRES_S_MAX}")
    return _ordered(board, repository, box, advice.DEED, advice.as_parameters(said), said.about, expires_s)


def feedback(repository: Repository, *, tai_offset_s: int) -> list[Plain]:
    """The latest advice, the latest first."""
    rows = repository.rows("select * from commands where deed = ? order by made_tai_ns desc limit ?", advice.DEED, SHOWN_MAX)
    found = []
    for row in rows:
        parameters = json.loads(row["parameters"])
        known = str(parameters.get("advice"))
        found.append(
            {
                "command": row["identity"].hex(), "box": row["box"], "advice": known, "sentence": ADVICE.get(known, ""),
                "device": parameters.get("device"), "reason": parameters.get("reason"), "state": row["state"], "detail": row["detail"],
                "made": iso(row["made_tai_ns"] - tai_offset_s * SECOND), "expires": iso(row["expires_tai_ns"] - tai_offset_s * SECOND),
            }
        )  # fmt: skip
    return found


def firings(repository: Repository, *, tai_offset_s: int) -> list[Plain]:
    """What rules fired for, the latest first, with the message, group or session that caused it."""
    return [
        {
            "number": row["number"], "rule": row["rule"], "about": row["key"], "box": row["box"], "cause": row["cause"].hex(),
            "times": row["times"], "at": iso(row["at_tai_ns"] - tai_offset_s * SECOND), "state": row["state"], "done": json.loads(row["done"]),
        }
        for row in repository.rows("select * from firings order by number desc limit ?", SHOWN_MAX)
    ]  # fmt: skip


def rules(board: Board) -> Plain:
    """As text, and by name with what each does."""
    data = read_or_none(board.disk, f"{POLICY}/{RULES}", size=RULES_BYTES_MAX + 1)
    text = AS_IT_COMES.strip() + "\n" if data is None else data.decode("utf-8", "replace")
    try:
        known = [{"name": rule.name, "when": rule.when.words, "then": list(rule.then)} for rule in rules_of(text)]
    except BadSettings as problem:
        return {"text": text, "rules": [], "trouble": str(problem)}
    return {"text": text, "rules": known, "trouble": None}


def set_rules(board: Board, wish: Mapping[str, object]) -> Plain:
    """Other rules from now on; those that cannot be used are refused, and the former ones stay. Raises BadItem, DiskFull, DiskFailed."""
    text = wish.get("text")
    if not isinstance(text, str):
        raise BadItem("expected text: the rules")
    try:
        rules_of(text)
    except BadSettings as problem:
        raise BadItem(str(problem)) from None
    make_directory(board.disk, POLICY)
    replace(board.disk, POLICY, RULES, text.encode())
    return rules(board)


def _ordered(
    board: Board,
    repository: Repository,
    box: str,
    deed: str,
    parameters: Mapping[str, int | str | None],
    about: bytes | None,
    expires_s: int,
) -> Order:
    made = board.clock.now().timestamp.tai_ns
    return order.asked(
        board, repository, box=box, deed=deed, parameters=parameters, about=about, made_tai_ns=made,
        expires_tai_ns=made + expires_s * SECOND,
    )  # fmt: skip


def _texts(given: Mapping[str, object]) -> dict[str, int | str | None]:
    for name, value in given.items():
        if not isinstance(value, str) or len(value) > 4096:
            raise BadItem(f"expected {name} as a text")
    return {name: str(value) for name, value in given.items()}
