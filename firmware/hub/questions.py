"""What the page asks the repository, as plain values ready for JSON. Moments are UTC in ISO 8601, identities hexadecimal."""

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass

from firmware.core.request import CANCEL
from firmware.core.timestamp import MS, SECOND, iso
from firmware.hub.repository import Repository

TEXT_SHOWN_MAX = 4000  # characters of a message's text in a list
ROWS_MAX = 500
EVIDENCE_MAX = 20
_EVIDENCE = (
    "select c.*, e.parts, e.bytes, e.frames, e.complete, b.since_tai_ns as away_tai_ns from commands c"
    " left join evidence e on e.command = c.identity left join boxes b on b.name = c.box and b.state in ('lost', 'left')"
)
_MESSAGES = (
    "select m.*, (select hex(c.identity) from commands c where c.about = m.identity and c.box = m.box"
    " order by c.made_tai_ns desc limit 1) as evidence from messages m"
)
# By priority, each along its index: SQLite's own grouping reads the table itself as soon as numbers are asked for, which is 30 times as much.
_COUNT = (
    "with priorities (priority) as (values (1), (2), (3), (4)) select priority, (select count(*) from messages m"
    " where m.priority = priorities.priority and m.number > ?1 and m.number <= ?2) as count from priorities"
)
_COUNT_OF_BOX = (
    "select priority, count(*) as count from messages where box = ?3 and number > ?1 and number <= ?2 group by priority"
)
_JSON_INT_MAX = (1 << 53) - 1  # beyond it a browser rounds (RFC 8259 §6)
Plain = dict[str, object]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages. after, before: their numbers, exclusive; newest: so many of the last ones, still in order of arrival.

    priorities: any of these; none for all.
    """

    after: int = 0
    before: int | None = None
    priorities: tuple[int, ...] = ()
    box: str | None = None
    newest: int | None = None


class Counts:
    """Messages by priority; of one box, or of all. What was counted is kept, for none is ever removed: each look counts what is new.

    Of a day of twenty rooms that is a hundred million rows less, once a second for each page that is open.
    """

    def __init__(self) -> None:
        self._counted: dict[
            str | None, tuple[int, Counter[str]]
        ] = {}  # box to the last message in it; replaced whole, by any thread

    def of(self, repository: Repository, *, box: str | None = None) -> dict[str, int]:
        """As of now. Of a box that was never heard of nothing is kept: whoever asks chooses the name."""
        (newest,) = repository.rows("select coalesce(max(number), 0) as number from messages")
        after, counted = self._counted.get(box, (0, Counter[str]()))
        if after > newest["number"]:  # of a database that was lost
            after, counted = 0, Counter[str]()
        rows = repository.rows(
            _COUNT if box is None else _COUNT_OF_BOX, after, newest["number"], *(() if box is None else (box,))
        )
        counted = counted + Counter({str(row["priority"]): row["count"] for row in rows})
        if counted:
            self._counted[box] = newest["number"], counted
        return dict(counted)


def messages(repository: Repository, selection: Selection, *, tai_offset_s: int) -> list[Plain]:
    """At most ROWS_MAX of them, in order of arrival."""
    limit = min(selection.newest or ROWS_MAX, ROWS_MAX)
    direction = "desc" if selection.newest is not None else "asc"
    # Only the conditions that are asked for: with "? is null or …" SQLite uses no index.
    conditions: list[tuple[str, tuple[object, ...]]] = [("number > ?", (selection.after,))]
    if selection.before is not None:
        conditions.append(("number < ?", (selection.before,)))
    if selection.priorities:
        conditions.append((f"priority in ({', '.join('?' * len(selection.priorities))})", selection.priorities))
    if selection.box is not None:
        conditions.append(("box = ?", (selection.box,)))
    rows = repository.rows(
        f"{_MESSAGES} where {' and '.join(condition for condition, _ in conditions)} order by number {direction} limit ?",
        *(value for _, values in conditions for value in values), limit,
    )  # fmt: skip
    found = [_message(row, tai_offset_s) for row in rows]
    return found[::-1] if direction == "desc" else found


def message(repository: Repository, number: int, *, tai_offset_s: int) -> Plain | None:
    """One of them, its text whole; None where there is none of this number."""
    rows = repository.rows(f"{_MESSAGES} where number = ?", number)
    return _message(rows[0], tai_offset_s) | {"text": rows[0]["text"], "cut_from": None} if rows else None


def boxes(repository: Repository, *, tai_offset_s: int) -> list[Plain]:
    """All boxes ever heard of, by name."""
    return [
        {
            "name": row["name"], "site": row["site"], "state": row["state"],
            "since": _utc(row["since_tai_ns"], tai_offset_s), "seen": _utc(row["seen_tai_ns"], tai_offset_s),
        }
        for row in repository.rows("select * from boxes order by name")
    ]  # fmt: skip


def heard_utc_ns(repository: Repository, *, box: str, identity: bytes, tai_offset_s: int) -> int | None:
    """When the box heard a message, by the clock that stamps its frames; None when there is no such message.

    Not when it happened as its sender says, whose clock may be hours away: where nobody knows the former any more, the latter.
    """
    select = "select coalesce(received_tai_ns, origin_tai_ns) as heard_tai_ns from messages where box = ? and identity = ?"
    rows = repository.rows(select, box, identity)
    return int(rows[0]["heard_tai_ns"]) - tai_offset_s * SECOND if rows else None


def evidence(repository: Repository, command: bytes, *, tai_offset_s: int) -> Plain | None:
    """How far a request has come. away: since when its box is, while anything is still to come from it."""
    rows = repository.rows(f"{_EVIDENCE} where c.identity = ?", command)
    return _evidence(rows[0], tai_offset_s) if rows else None


def newest_evidence(repository: Repository, *, tai_offset_s: int) -> list[Plain]:
    """How far the latest requests have come, the latest first; at most EVIDENCE_MAX."""
    # An order that ends another is no request for evidence (firmware/core/request.py).
    rows = repository.rows(
        f"{_EVIDENCE} where c.deed = 'retrieval' and c.parameters not like ? order by c.made_tai_ns desc limit ?",
        f'{{"{CANCEL}":%', EVIDENCE_MAX,
    )  # fmt: skip
    return [_evidence(row, tai_offset_s) for row in rows]


def _evidence(row: sqlite3.Row, tai_offset_s: int) -> Plain:
    name = row["identity"].hex()
    parameters = json.loads(row["parameters"])
    since, until = (_moment(parameters.get(key)) for key in ("since", "until"))
    is_awaited = not row["complete"] and row["state"] not in ("refused", "expired", "cancelled")
    return {
        "command": name, "box": row["box"], "state": row["state"], "detail": row["detail"],
        "about": row["about"].hex() if row["about"] else None, "made": _utc(row["made_tai_ns"], tai_offset_s),
        "expires": _utc(row["expires_tai_ns"], tai_offset_s), "parameters": _browser_safe(parameters), "since": since, "until": until,
        "parts": row["parts"] or 0, "bytes": row["bytes"] or 0, "frames": row["frames"] or 0, "complete": bool(row["complete"]),
        "download": f"/evidence/{name}.pcapng" if row["complete"] else None,
        "away": _utc(row["away_tai_ns"], tai_offset_s) if row["away_tai_ns"] is not None and is_awaited else None,
    }  # fmt: skip


def _message(row: sqlite3.Row, tai_offset_s: int) -> Plain:
    text = row["text"]
    is_cut = text is not None and len(text) > TEXT_SHOWN_MAX
    return {
        "number": row["number"], "identity": row["identity"].hex(), "box": row["box"], "priority": row["priority"],
        "severity": row["severity"], "kind": row["kind"], "device": row["device"], "process": row["process"],
        "event": row["event"], "sequence": row["sequence"], "origin": _utc(row["origin_tai_ns"], tai_offset_s),
        "origin_source": row["origin_source"], "origin_uncertainty_ms": round(row["origin_uncertainty_ns"] / MS, 3),
        "arrived": _utc(row["arrived_tai_ns"], tai_offset_s),
        "text": f"{text[:TEXT_SHOWN_MAX]} … ({len(text)} characters)" if is_cut else text, "cut_from": len(text) if is_cut else None,
        "fields": _browser_safe(json.loads(row["fields"])) if row["fields"] else {},
        "evidence": row["evidence"].lower() if row["evidence"] else None,
    }  # fmt: skip


def _moment(utc_ns: object) -> str | None:
    return iso(utc_ns) if isinstance(utc_ns, int) and not isinstance(utc_ns, bool) and 0 <= utc_ns < 1 << 63 else None


def _browser_safe(values: dict[str, object]) -> dict[str, object]:
    return {
        name: str(value) if isinstance(value, int) and abs(value) > _JSON_INT_MAX else value for name, value in values.items()
    }


def _utc(tai_ns: int, tai_offset_s: int) -> str:
    return iso(tai_ns - tai_offset_s * SECOND)
