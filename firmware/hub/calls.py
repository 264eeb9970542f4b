"""Service calls (S2-123, S2-124): opened by a rule, acknowledged and closed by people. One a rule and whose messages, as long as it is open."""

import sqlite3

from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND, iso
from firmware.hub.repository import Repository

STATES = ("open", "acknowledged", "closed")
SHOWN_MAX = 200
NOTE_MAX, BY_MAX = 500, 64
Plain = dict[str, object]


def open_call(repository: Repository, rule: str, key: str, box: str, text: str, now_tai_ns: int) -> int:
    """Its number; one that is still open has happened once more. Within the caller's transaction."""
    found = repository.rows("select number from calls where rule = ? and key = ? and state <> 'closed'", rule, key)
    if found:
        number = int(found[0]["number"])
        repository.change("update calls set times = times + 1, last_tai_ns = ? where number = ?", now_tai_ns, number)
        return number
    repository.change(
        "insert into calls (rule, key, box, text, state, opened_tai_ns, last_tai_ns, changed_tai_ns) values (?, ?, ?, ?, 'open', ?, ?, ?)",
        rule, key, box, text, now_tai_ns, now_tai_ns, now_tai_ns,
    )  # fmt: skip
    repository.count("calls_opened")
    return int(repository.rows("select max(number) as number from calls")[0]["number"])


def change(
    repository: Repository, number: int, *, to: str, by: str, note: str, now_tai_ns: int, tai_offset_s: int
) -> Plain | None:
    """Somebody acknowledges or closes it; the call as it is then, None where there is no such call. Raises BadItem.

    A closed call stays closed: what happens again opens another. One that is acknowledged is so by whoever was first: of two who
    are both told yes, both drive there.
    """
    if to not in STATES[1:] or not _is_line(by, BY_MAX) or not (note == "" or _is_line(note, NOTE_MAX)):
        raise BadItem(f"expected to as acknowledged or closed, by as a name, and note as a line of at most {NOTE_MAX} characters")
    with repository.transaction():
        rows = repository.rows("select * from calls where number = ?", number)
        if not rows:
            return None
        if rows[0]["state"] == "closed":
            raise BadItem("expected a call that is not closed")
        if to == rows[0]["state"] and by != rows[0]["by"]:
            raise BadItem(f"expected a call that is not acknowledged yet, {rows[0]['by']} has")
        repository.change(
            "update calls set state = ?, by = ?, note = case when ? = '' then note else ? end, changed_tai_ns = ? where number = ?",
            to, by, note, note, now_tai_ns, number,
        )  # fmt: skip
        (row,) = repository.rows("select * from calls where number = ?", number)
    return _plain(row, tai_offset_s)


def listed(repository: Repository, *, tai_offset_s: int, everything: bool = False) -> list[Plain]:
    """Those that are not closed, or all; the latest first, at most SHOWN_MAX."""
    where = "" if everything else " where state <> 'closed'"
    rows = repository.rows(f"select * from calls{where} order by number desc limit ?", SHOWN_MAX)
    return [_plain(row, tai_offset_s) for row in rows]


def _plain(row: sqlite3.Row, tai_offset_s: int) -> Plain:
    def moment(tai_ns: int) -> str:
        return iso(tai_ns - tai_offset_s * SECOND)

    return {
        "number": row["number"], "rule": row["rule"], "about": row["key"], "box": row["box"], "text": row["text"], "state": row["state"],
        "times": row["times"], "opened": moment(row["opened_tai_ns"]), "last": moment(row["last_tai_ns"]),
        "changed": moment(row["changed_tai_ns"]), "by": row["by"], "note": row["note"],
    }  # fmt: skip


def _is_line(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text.isprintable()
