"""A session: a procedure, an exercise or a test run, with a beginning, and an end once it has one. As stored: session.cddl.

Whoever wants to know of it reads session/current and session/last, or state/session, which says in one line whether to record.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import cbor2

from drivers.clock import Monotonic, Timestamp
from drivers.disk import Disk
from firmware.core.cbor import decoded_cbor, stamp_as_list, stamp_from_list
from firmware.core.context import KINDS as CONTEXT_KINDS
from firmware.core.context import Kind as ContextKind
from firmware.core.context import is_pseudonym
from firmware.core.durable import read_or_none
from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND, iso, span

VERSION = 1
CURRENT, LAST = "session/current", "session/last"
SESSION_BYTES_MAX = 4_096
STANDING = "state/session"
# The session station says anew each 10 s how it stands; a word older than three of them is nobody's, and then everything is recorded.
STANDING_NS_MAX = 30 * SECOND
OPENED = ("event", "hand", "order")
CLOSED = (*OPENED, "time", "another")


class Kind(Enum):
    """What is going on (S2-130)."""

    PROCEDURE = "procedure"
    EXERCISE = "exercise"
    TEST = "test"


KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Session:
    """identity: 16 hexadecimal digits. opened_by, closed_by: of OPENED, of CLOSED. end: None while it is open.

    context: which visit, order, appointment or study it is, as pseudonyms, where that was said.
    """

    identity: str
    kind: Kind
    opened_by: str
    start: Timestamp
    end: Timestamp | None = None
    closed_by: str | None = None
    context: Mapping[ContextKind, str] = field(default_factory=dict)


def packed(session: Session) -> bytes:
    """As stored."""
    row: dict[int, object] = {
        0: VERSION, 1: session.identity, 2: session.kind.value, 3: session.opened_by, 4: stamp_as_list(session.start),
    }  # fmt: skip
    if session.end is not None and session.closed_by is not None:
        row |= {5: stamp_as_list(session.end), 6: session.closed_by}
    if session.context:
        row[7] = dict(session.context)
    return cbor2.dumps(row, canonical=True)


def unpacked(data: bytes) -> Session:
    """As it was packed; raises BadItem."""
    if len(data) > SESSION_BYTES_MAX:
        raise BadItem(f"expected a session of at most {SESSION_BYTES_MAX} bytes")
    row = decoded_cbor(data)
    match row:
        case {0: 1, 1: str(identity), 2: str(kind), 3: str(opened_by), 4: start} if (
            len(identity) == 16 and set(identity) <= set("0123456789abcdef") and kind in KINDS and opened_by in OPENED
            and (5 in row) == (6 in row) and (6 not in row or row[6] in CLOSED)
        ):  # fmt: skip
            end = stamp_from_list(row[5]) if 5 in row else None
            return Session(identity, KINDS[kind], opened_by, stamp_from_list(start), end, row.get(6), _context(row.get(7)))
    raise BadItem(f"expected a session of version {VERSION} (session.cddl)")


def _context(row: object) -> dict[ContextKind, str]:
    """What of it makes sense: a session is one without it, too."""
    return {kind: row[kind] for kind in CONTEXT_KINDS if is_pseudonym(row.get(kind))} if isinstance(row, dict) else {}


def read(disk: Disk, path: str) -> Session | None:
    """The one that lies there; None where there is none, or nothing that makes sense."""
    try:
        return unpacked(read_or_none(disk, path, size=SESSION_BYTES_MAX + 1) or b"")
    except BadItem:
        return None


def standing_as_stored(*, records: bool, at: Monotonic) -> bytes:
    """state/session: whether frames are to be recorded, and when that was said."""
    return json.dumps({"records": records, "monotonic_ns": at.ns}).encode()


def is_to_record(data: bytes | None, now: Monotonic) -> bool:
    """What state/session says. Only a fresh and clear no is one: recording never stops by accident."""
    try:
        row = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return True
    match row:
        case {"records": False, "monotonic_ns": int(at)}:
            return not 0 <= now.ns - at <= STANDING_NS_MAX
    return True


def lines(current: Session | None, last: Session | None, *, tai_offset_s: int) -> list[str]:
    """For people."""

    def moment(stamp: Timestamp) -> str:
        return f"{iso(stamp.tai_ns - tai_offset_s * SECOND)} ±{span(stamp.uncertainty_ns)}"

    rows = ["no session is open"]
    if current is not None:
        state = "open" if current.end is None else "closing"
        rows = [f"{state}: {current.kind.value} {current.identity}, since {moment(current.start)}, opened by {current.opened_by}"]
    if last is not None and last.end is not None:
        rows.append(
            f"last: {last.kind.value} {last.identity}, {moment(last.start)} to {moment(last.end)}, closed by {last.closed_by}"
        )
    return rows


def as_json(session: Session | None) -> dict[str, object] | None:
    """For --json."""
    if session is None:
        return None
    return {
        "session": session.identity, "kind": session.kind.value, "opened_by": session.opened_by, "start": stamp_as_list(session.start),
        "end": stamp_as_list(session.end) if session.end is not None else None, "closed_by": session.closed_by,
        "context": dict(session.context),
    }  # fmt: skip
