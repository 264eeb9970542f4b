"""The message repository (S2-121): SQLite, write-ahead log, every commit on the disk before it returns."""

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from firmware.core.envelope import Envelope, Order
from firmware.core.errors import Trouble
from firmware.core.message import Field, Message
from firmware.core.presence import Presence
from firmware.core.topics import Topic
from firmware.hub.schema import SCHEMA

BUSY_MS = 5000  # The page's process writes a command now and then.
COMMITTED = "committed"


class RepositoryFailed(Trouble):
    """The database refused: full disk, locked for too long, damaged. Nothing of the transaction is in it; acknowledge nothing."""


@dataclass(frozen=True, slots=True)
class EvidenceState:
    """How far one command's evidence has come. parts: received in sequence; size: bytes of them."""

    command: bytes
    box: str
    parts: int = 0
    size: int = 0
    frames: int = 0
    is_complete: bool = False
    since_utc_ns: int | None = None
    until_utc_ns: int | None = None


@dataclass(frozen=True, slots=True)
class HeldPart:
    """A part that came before its turn."""

    part: int
    is_last: bool
    frames: int
    since_utc_ns: int | None
    until_utc_ns: int | None


class Repository:
    """One process's view of the database at `path`. Raises RepositoryFailed, never a bare sqlite3.Error."""

    def __init__(self, path: str) -> None:
        with _troubles(path):
            # The page's library answers in threads of its own; each has a repository of its own and uses it alone.
            self._base = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
            self._base.execute("pragma journal_mode = wal")
            self._base.execute("pragma synchronous = full")
            self._base.executescript(SCHEMA)
            # Columns of later versions; a database keeps what an earlier one wrote. Locked, for the page's process does the same.
            self._base.execute("begin immediate")
            for table, column, kind in (("boxes", "relay", "text"), ("messages", "received_tai_ns", "integer")):
                if column not in {row[1] for row in self._base.execute(f"pragma table_info({table})")}:
                    self._base.execute(f"alter table {table} add column {column} {kind}")
            self._base.execute("create index if not exists messages_by_received on messages (box, received_tai_ns)")
            self._base.execute("commit")
        self._path, self._place = path, _place(path)

    def close(self) -> None:
        """Give the database up."""
        self._base.close()

    def is_in_place(self) -> bool:
        """Whether what is written here is what the next start will find. SQLite goes on writing to a file that nobody finds any more."""
        return _place(self._path) == self._place

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable at the end."""
        with _troubles():
            self._base.execute("begin immediate")
            try:
                if not self.is_in_place():
                    raise RepositoryFailed(
                        f"expected the database {self._path} to stay while it is in use, it was removed or replaced; start the hub anew"
                    )
                yield
                self._base.execute("commit")
            except BaseException:
                # A disk that refuses has SQLite roll back by itself; whatever else it refuses to commit stays open, and all that follows fails.
                if self._base.in_transaction:
                    self._base.execute("rollback")
                raise

    @contextmanager
    def item(self) -> Iterator[None]:
        """Within a transaction: all of one item's changes or none of them, without undoing the others'."""
        self._do("savepoint item")
        try:
            yield
        except BaseException:
            self._do("rollback to item")
            raise
        finally:
            self._do("release item")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """A question of the page's; never changes anything."""
        with _troubles():
            cursor = self._base.execute(query, values)
            cursor.row_factory = sqlite3.Row
            return cursor.fetchall()

    def change(self, statement: str, *values: object) -> int:
        """A change by one of this folder's other files, within a transaction of the caller's; rows changed."""
        return self._do(statement, values).rowcount

    def _do(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        with _troubles():
            return self._base.execute(statement, values)

    # Boxes.

    def box_seen(self, topic: Topic, now_tai_ns: int) -> None:
        """Something was heard from it, on this of its topics; that is the way back to it."""
        self._do(
            "insert into boxes (name, site, relay, since_tai_ns, seen_tai_ns) values (?, ?, ?, ?, ?)"
            " on conflict (name) do update set seen_tai_ns = excluded.seen_tai_ns, site = excluded.site, relay = excluded.relay",
            (topic.box, topic.site, topic.relay, now_tai_ns, now_tai_ns),
        )

    def box_said(self, box: str, presence: Presence, now_tai_ns: int) -> bool:
        """Its birth, or its will. Returns whether it counts: the will of an earlier connection does not. Said again it changes nothing."""
        if presence.state != "online":
            row = self._do("select epoch from boxes where name = ?", (box,)).fetchone()
            if row is not None and row[0] is not None and row[0] != presence.epoch:
                return False
        if not self.has_said(box, presence):
            self._do(
                "update boxes set state = ?, epoch = ?, since_tai_ns = ? where name = ?",
                (presence.state, presence.epoch, now_tai_ns, box),
            )
        return True

    def is_known(self, box: str) -> bool:
        """Whether it was ever heard of."""
        return self._do("select 1 from boxes where name = ?", (box,)).fetchone() is not None

    def has_said(self, box: str, presence: Presence) -> bool:
        """Whether this is how it stands already."""
        row = self._do("select state, epoch from boxes where name = ?", (box,)).fetchone()
        return row is not None and tuple(row) == (presence.state, presence.epoch)

    def boxes(self) -> list[tuple[str, str]]:
        """(site, name) of all boxes ever heard of."""
        return [(row[0], row[1]) for row in self._do("select site, name from boxes order by name")]

    def routes(self) -> list[Topic]:
        """Where each of them is told what was committed: by itself, or through its relay."""
        return [
            Topic(row[1], row[0], "ack", relay=row[2]) for row in self._do("select name, site, relay from boxes order by name")
        ]

    # Envelopes and messages.

    def has_envelope(self, identity: bytes) -> bool:
        """Whether it was committed as what it is; one in quarantine was not."""
        row = self._do("select 1 from envelopes where identity = ? and outcome = ?", (identity, COMMITTED)).fetchone()
        return row is not None

    def add_envelope(self, envelope: Envelope, *, size: int, outcome: str, now_tai_ns: int) -> None:
        """What became of an envelope; a good copy replaces a bad one."""
        self._do(
            "insert into envelopes values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (identity) do update set"
            " outcome = excluded.outcome, arrived_tai_ns = excluded.arrived_tai_ns where envelopes.outcome <> 'committed'",
            (
                envelope.identity, envelope.box, envelope.kind, int(envelope.priority), envelope.first_tai_ns,
                envelope.last_tai_ns, size, now_tai_ns, outcome,
            ),
        )  # fmt: skip

    def add_messages(self, messages: Sequence[Message], *, box: str, envelope: bytes, now_tai_ns: int) -> int:
        """Returns how many were new; copies of known ones are absorbed."""
        before = self._base.total_changes
        rows = [_as_row(message, box, envelope, now_tai_ns) for message in messages]
        with _troubles():
            self._base.executemany(
                "insert or ignore into messages (identity, box, envelope, priority, severity, kind, device, process, event, sequence,"
                " origin_tai_ns, origin_uncertainty_ns, origin_source, arrived_tai_ns, text, fields, attachment_type, attachment,"
                " received_tai_ns) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        return self._base.total_changes - before

    def count(self, figure: str, by: int = 1) -> None:
        """`by` more of these, kept over restarts."""
        self._do(
            "insert into figures values (?, ?) on conflict (name) do update set count = count + excluded.count", (figure, by)
        )

    def figures(self) -> dict[str, int]:
        """All counts."""
        return dict(self._do("select name, count from figures"))

    # Commands.

    def next_counter(self, signer: str, now_tai_ns: int) -> int:
        """Above every counter this signer has used. It follows the clock, so that a lost database does not make old counters new."""
        row = self._do("select counter from counters where signer = ?", (signer,)).fetchone()
        counter = max(now_tai_ns // 1_000_000, (row[0] if row else 0) + 1)
        self._do(
            "insert into counters values (?, ?) on conflict (signer) do update set counter = excluded.counter", (signer, counter)
        )
        return counter

    def keep_counter(self, signer: str, counter: int) -> None:
        """This one was used, in a transaction that failed."""
        self._do(
            "insert into counters values (?, ?) on conflict (signer) do update set counter = max(counter, excluded.counter)",
            (signer, counter),
        )

    def add_command(self, order: Order, *, about: bytes | None, now_tai_ns: int, state: str = "waiting") -> None:
        """An order of ours, of another signer's that lies in commands/outgoing, or of a box to itself; known ones stay as they are."""
        self._do(
            "insert or ignore into commands values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?)",
            (
                order.identity, order.box, order.signer, order.deed, order.counter, order.made_tai_ns, order.expires_tai_ns,
                json.dumps(dict(order.parameters)), about, state, now_tai_ns,
            ),
        )  # fmt: skip

    def set_about(self, command: bytes, about: bytes, *, box: str) -> None:
        """Which message a box's own order is about, for one that was known before this was said."""
        self._do(
            "update commands set about = ? where identity = ? and box = ? and signer = box and about is null",
            (about, command, box),
        )

    def command_state(self, identity: bytes) -> str | None:
        """ "waiting", "sent", "accepted", "refused", "expired", "done"; None for one never heard of."""
        row = self._do("select state from commands where identity = ?", (identity,)).fetchone()
        return str(row[0]) if row else None

    def command_detail(self, identity: bytes) -> str:
        """What was said about it last."""
        row = self._do("select detail from commands where identity = ?", (identity,)).fetchone()
        return str(row[0]) if row else ""

    def set_command(self, identity: bytes, state: str, *, detail: str = "", now_tai_ns: int, box: str | None = None) -> bool:
        """Returns whether there is such a command (of this box)."""
        cursor = self._do(
            "update commands set state = ?1, detail = ?2, changed_tai_ns = ?3 where identity = ?4 and (?5 is null or box = ?5)",
            (state, detail, now_tai_ns, identity, box),
        )
        return cursor.rowcount > 0

    # Evidence.

    def evidence(self, command: bytes) -> EvidenceState | None:
        """How far it has come; None when nothing has."""
        row = self._do(
            "select command, box, parts, bytes, frames, complete, since_utc_ns, until_utc_ns from evidence where command = ?",
            (command,),
        ).fetchone()
        if row is None:
            return None
        return EvidenceState(row[0], row[1], row[2], row[3], row[4], bool(row[5]), row[6], row[7])

    def put_evidence(self, state: EvidenceState, now_tai_ns: int) -> None:
        """This is how far it has come now."""
        self._do(
            "insert or replace into evidence values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                state.command, state.box, state.parts, state.size, state.frames, int(state.is_complete),
                state.since_utc_ns, state.until_utc_ns, now_tai_ns,
            ),
        )  # fmt: skip

    def complete_evidence(self) -> list[EvidenceState]:
        """All that is complete."""
        found = [self.evidence(row[0]) for row in self._do("select command from evidence where complete").fetchall()]
        return [state for state in found if state is not None]

    def hold_part(self, command: bytes, held: HeldPart) -> None:
        """A part that came before its turn."""
        self._do(
            "insert or replace into held_parts values (?, ?, ?, ?, ?, ?)",
            (command, held.part, int(held.is_last), held.frames, held.since_utc_ns, held.until_utc_ns),
        )

    def held_parts(self, box: str) -> int:
        """How many parts of this box, of whatever commands, are held before their turn."""
        row = self._do("select count(*) from held_parts join evidence using (command) where box = ?", (box,)).fetchone()
        return int(row[0])

    def take_held_part(self, command: bytes, part: int) -> HeldPart | None:
        """The part whose turn it is, if it came before; it is held no longer."""
        row = self._do(
            "delete from held_parts where command = ? and part = ? returning part, last, frames, since_utc_ns, until_utc_ns",
            (command, part),
        ).fetchone()
        return HeldPart(row[0], bool(row[1]), row[2], row[3], row[4]) if row else None


def _as_row(message: Message, box: str, envelope: bytes, now_tai_ns: int) -> tuple[object, ...]:
    media_type, attachment = message.attachment or (None, None)
    origin = message.origin_time
    return (
        message.identity, box, envelope, int(message.priority), int(message.severity), message.kind, message.device,
        message.process, message.event, None if message.sequence is None else str(message.sequence),
        origin.tai_ns, min(origin.uncertainty_ns, (1 << 63) - 1), origin.source, now_tai_ns, message.text,
        _as_json(message.fields) if message.fields else None, media_type, attachment, message.received_time.tai_ns,
    )  # fmt: skip


def _as_json(fields: Mapping[str, Field]) -> str:
    # JSON has no infinity, and a browser would refuse the whole answer for one.
    return json.dumps(
        {name: str(value) if isinstance(value, float) and math.isinf(value) else value for name, value in fields.items()}
    )


def _place(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _troubles(path: str = "") -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        where = f"{path} " if path else ""
        # In SQLite's own words, which repeat nothing that is stored: "database or disk is full" and "file is not a database" want different hands.
        raise RepositoryFailed(
            f"expected the database {where}to obey, it answered: {problem or type(problem).__name__}"
        ) from None
