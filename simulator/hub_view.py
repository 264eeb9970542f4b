"""What the hub holds, read beside it: its database, opened read-only."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class HubMessage:
    """One row of the repository. Times ns TAI by the hub's and the device's clock."""

    identity: bytes
    priority: int
    kind: str
    process: str
    sequence: str | None
    text: str | None
    origin_tai_ns: int
    arrived_tai_ns: int


@dataclass(frozen=True, slots=True)
class HubEvidence:
    """How far the evidence for one command has come."""

    command: bytes
    frames: int
    parts: int
    size: int
    complete: bool


class HubView:
    """The hub's database at `path`; everything is empty while it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def messages(self, *, priority: int | None = None, kind: str | None = None) -> list[HubMessage]:
        """In the order they arrived."""
        question = (
            "select identity, priority, kind, process, sequence, text, origin_tai_ns, arrived_tai_ns from messages"
            " where (?1 is null or priority = ?1) and (?2 is null or kind = ?2) order by number"
        )
        return [HubMessage(*row) for row in self._ask(question, priority, kind)]

    def messages_by_priority(self) -> dict[int, int]:
        """How many messages of each priority; all four, also at 0."""
        return {1: 0, 2: 0, 3: 0, 4: 0} | dict(self._ask("select priority, count(*) from messages group by priority"))

    def groups_by_priority(self) -> dict[int, int]:
        """How many groups of each priority; all four, also at 0."""
        question = "select priority, count(*) from envelopes where kind = 'group' and outcome = 'committed' group by priority"
        return {1: 0, 2: 0, 3: 0, 4: 0} | dict(self._ask(question))

    def quarantined(self) -> int:
        """Envelopes the hub could not understand."""
        return sum(row[0] for row in self._ask("select count(*) from envelopes where outcome <> 'committed'"))

    def evidence(self, command: bytes) -> HubEvidence | None:
        """How far it has come; None when nothing has."""
        rows = self._ask("select command, frames, parts, bytes, complete from evidence where command = ?", command)
        return HubEvidence(rows[0][0], rows[0][1], rows[0][2], rows[0][3], bool(rows[0][4])) if rows else None

    def commands(self) -> dict[bytes, str]:
        """Each command and its state."""
        return dict(self._ask("select identity, state from commands"))

    # Any: SQLite's rows are what the question asked for.
    def _ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)) as base:
            try:
                return base.execute(question, values).fetchall()
            except sqlite3.OperationalError:
                return []  # Not made yet: the hub is just starting.


def latencies_ms(messages: list[HubMessage], published_tai_ns: Callable[[HubMessage], int | None]) -> list[float]:
    """From publication to the hub's handler, ms, sorted; messages whose moment is not known are left out."""
    known = [(message.arrived_tai_ns, published_tai_ns(message)) for message in messages]
    return sorted((arrived - published) / 1e6 for arrived, published in known if published is not None)
