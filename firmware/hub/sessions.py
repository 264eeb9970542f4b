"""Sessions as the boxes tell of them: open, closed, and complete when everything that was said during one is here (S2-130 … S2-132).

A box's closing message says for each device's process how many messages there were (firmware/session/account.py). When the repository
holds as many, the session is processed for the last time, and what it came to is kept with it.
"""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from firmware.core.entrance import OWN_KINDS
from firmware.core.message import Message
from firmware.core.session import KINDS
from firmware.core.timestamp import SECOND, iso
from firmware.hub.repository import Repository

STREAMS_MAX = 256
SHOWN_MAX = 100
EVENTS_MAX = 20  # in a summary, the most frequent
_IDENTITY = re.compile(r"[0-9a-f]{16}")
_INT64 = 1 << 63
Stream = tuple[str, str, int, int | None]  # device, process, messages, the last of its own numbers
Plain = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Counted:
    """span: from when to when, ns TAI. upto: the number of the last message that was counted. streams: messages by device and process."""

    span: tuple[int, int]
    upto: int
    streams: Counter[tuple[str, str]]


def take(repository: Repository, box: str, message: Message, now_tai_ns: int) -> None:
    """What a box says of one of its sessions, within the caller's transaction. What makes no sense is left out; it is in the messages."""
    fields = message.fields
    session, kind, state = fields.get("session"), fields.get("session_kind"), fields.get("state")
    start, opened_by = _moment(fields.get("start_tai_ns")), fields.get("opened_by")
    if not (isinstance(session, str) and _IDENTITY.fullmatch(session) and kind in KINDS and start is not None):
        return
    repository.change(
        "insert or ignore into sessions (box, session, kind, state, start_tai_ns, start_uncertainty_ns, opened_by, changed_tai_ns)"
        " values (?, ?, ?, 'open', ?, ?, ?, ?)",
        box, session, kind, start, _moment(fields.get("start_uncertainty_ns")) or 0, _word(opened_by), now_tai_ns,
    )  # fmt: skip
    end = _moment(fields.get("end_tai_ns"))
    if state == "closed" and end is not None:
        # Said again after a cut, and perhaps counted anew: the later word counts. One that is complete stays so.
        repository.change(
            "update sessions set state = 'closed', end_tai_ns = ?, end_uncertainty_ns = ?, closed_by = ?, streams = ?, changed_tai_ns = ?"
            " where box = ? and session = ? and state <> 'complete'",
            end, _moment(fields.get("end_uncertainty_ns")) or 0, _word(fields.get("closed_by")), json.dumps(_streams(message)), now_tai_ns,
            box, session,
        )  # fmt: skip


class Held:
    """What is here of sessions that are closed and not complete.

    Some never will be: a box that died took the rest with it. What was counted is kept, for no message is ever removed, and each look
    counts what is new: hours of a room are half a second's counting, and its box speaks every second.
    """

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], _Counted] = {}  # by box and session

    def look(self, repository: Repository, box: str, now_tai_ns: int) -> list[str]:
        """Whether closed sessions of this box are complete now, within the caller's transaction; returns those that have become so."""
        complete = []
        (newest,) = repository.rows("select coalesce(max(number), 0) as number from messages")
        for row in repository.rows("select * from sessions where box = ? and state = 'closed'", box):
            counted = self._count(repository, row, newest["number"])
            missing = _missing(counted.streams, json.loads(row["streams"]))
            state, summary = "closed", None
            if missing == 0:
                state, summary = "complete", json.dumps(_summary(repository, box, row["start_tai_ns"], row["end_tai_ns"]))
                complete.append(str(row["session"]))
                del self._counted[box, row["session"]]
            if missing != row["missing"] or complete:
                repository.change(
                    "update sessions set state = ?, missing = ?, summary = ?, changed_tai_ns = ? where box = ? and session = ?",
                    state, missing, summary, now_tai_ns, box, row["session"],
                )  # fmt: skip
        return complete

    def _count(self, repository: Repository, row: sqlite3.Row, newest: int) -> _Counted:
        key, span = (row["box"], row["session"]), (row["start_tai_ns"], row["end_tai_ns"])
        known = self._counted.get(key)
        if known is None or known.span != span:  # It may have closed again, later.
            known = _Counted(span, 0, Counter())
        # Of all by when they were received, of what is new by its number: the plus keeps SQLite from the other index.
        received = "received_tai_ns" if not known.upto else "+received_tai_ns"
        rows = repository.rows(
            f"select device, process, count(*) as count from messages where box = ? and {received} between ? and ?"
            " and number > ? and number <= ? group by device, process",
            row["box"], *span, known.upto, newest,
        )  # fmt: skip
        new = Counter({(line["device"], line["process"]): line["count"] for line in rows})
        self._counted[key] = _Counted(span, newest, known.streams + new)
        return self._counted[key]


def listed(repository: Repository, *, box: str | None = None, tai_offset_s: int) -> list[Plain]:
    """For the page: the latest sessions, the latest first; at most SHOWN_MAX."""
    where, values = ("", ()) if box is None else (" where box = ?", (box,))
    rows = repository.rows(f"select * from sessions{where} order by start_tai_ns desc limit ?", *values, SHOWN_MAX)
    return [
        {
            "box": row["box"], "session": row["session"], "kind": row["kind"], "state": row["state"],
            "start": iso(row["start_tai_ns"] - tai_offset_s * SECOND), "start_uncertainty_ms": row["start_uncertainty_ns"] / 1e6,
            "end": None if row["end_tai_ns"] is None else iso(row["end_tai_ns"] - tai_offset_s * SECOND),
            "opened_by": row["opened_by"], "closed_by": row["closed_by"], "missing": row["missing"],
            "messages": sum(stream[2] for stream in json.loads(row["streams"])),
            "summary": json.loads(row["summary"]) if row["summary"] else None,
        }
        for row in rows
    ]  # fmt: skip


def _missing(held: Mapping[tuple[str, str], int], streams: list[Stream]) -> int:
    return sum(max(0, count - held.get((device, process), 0)) for device, process, count, _ in streams)


def _summary(repository: Repository, box: str, start: int, end: int) -> Plain:
    """What it came to: messages by priority, the events, and the evidence."""
    span = (box, start, end)
    where = "where box = ? and received_tai_ns between ? and ?"
    priorities = repository.rows(f"select priority, count(*) as count from messages {where} group by priority", *span)
    own = ", ".join("?" * len(OWN_KINDS))  # What the box says of its own work is no event of the session's.
    events = repository.rows(
        f"select event, count(*) as count from messages {where} and event is not null and kind not in ({own})"
        " group by event order by count(*) desc, event limit ?",
        *span, *sorted(OWN_KINDS), EVENTS_MAX,
    )  # fmt: skip
    (slices,) = repository.rows(f"select count(*) as count from messages {where} and kind = 'slice'", *span)
    return {
        "priorities": {str(row["priority"]): row["count"] for row in priorities},
        "events": {row["event"]: row["count"] for row in events},
        "slices": slices["count"],
    }


def _streams(message: Message) -> list[Stream]:
    """As the box counted; a row that makes no sense, or from which something was taken out, counts for nothing."""
    found: list[Stream] = []
    for number in range(STREAMS_MAX):
        text = message.fields.get(f"stream.{number}")
        if not isinstance(text, str):
            break
        words = text.split(" ")
        if len(words) == 4 and _is_count(words[2]) and len(words[2]) <= 12 and (words[3] == "-" or _is_count(words[3])):
            found.append((words[0], words[1], int(words[2]), None if words[3] == "-" else int(words[3])))
    return found


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= 20


def _moment(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64 else None


def _word(value: object) -> str:
    return value[:16] if isinstance(value, str) else "unknown"
