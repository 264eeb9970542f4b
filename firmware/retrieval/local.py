"""Local access: what a person at the console may find, and may carry away on a stick (S2-108).

    words ─▶ Search, as for an order ─▶ [deidentify's cleaning] ─▶ hidden file on the stick ─▶ record in exports/ ─▶ its name

The record is durable before the file has its name: nothing leaves that the box does not say left. What is not wanted any more, or
does not fit, is removed again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from drivers.board import Board
from drivers.clock import Now
from drivers.disk import AppendFile, Disk
from firmware.core import exported
from firmware.core.durable import make_directory, replace
from firmware.core.envelope import Order
from firmware.core.errors import BadItem, DiskFailed, DiskFull, Missing
from firmware.core.exported import DEIDENTIFIED, RAW, WORDS_MAX, Exported
from firmware.core.message import Priority, Severity
from firmware.core.notices import Notices
from firmware.core.query import Query
from firmware.core.request import Request
from firmware.core.seal import digest
from firmware.core.sift import Sift
from firmware.core.timestamp import compact, iso, parse_utc
from firmware.core.wording import Interpreter, Wording
from firmware.retrieval.coverage import sentence
from firmware.retrieval.find import find
from firmware.retrieval.search import Found, Plan, Search

EXPORTS = "exports"
# Synced at least so often: a slow stick takes minutes for what memory took at once, and nobody could say meanwhile that he is alive, or stop.
SYNC_BYTES = 2 << 20
KIND = "export"
# What may be asked for: each word and its value, any of them again.
CRITERIA = (
    "since",
    "until",
    "host",
    "port",
    "mac",
    "proto",
    "vlan",
    "device",
    "from",
    "to",
    "kind",
    "message",
    "event",
    "contains",
    "filter",
)
HOW = ("onto", "by", "reason")  # only in `export`, each once
Clean = Callable[[bytes], Iterator[bytes]]  # one section of evidence, in pieces, as it may leave
Watch = Callable[[str], None]  # called between two pieces with how far it is; whatever it raises ends the work


@dataclass(frozen=True, slots=True)
class Policy:
    """forms: what may be carried away here, of RAW and DEIDENTIFIED; none: nothing may."""

    forms: tuple[str, ...] = (DEIDENTIFIED,)


class LocalAccess:
    """One person at a time, at the console."""

    def __init__(self, board: Board, interpreter: Interpreter, clean: Clean, policy: Policy) -> None:
        self._board = board
        self._interpreter = interpreter
        self._clean = clean
        self._policy = policy
        self._notices = Notices(board, "console")

    def start(self) -> None:
        """Make the directories."""
        make_directory(self._board.disk, EXPORTS)
        self._notices.start()

    def find(self, words: Sequence[str], watch: Watch) -> list[str]:
        """How many frames there are of what was asked for, and when. Raises BadItem."""
        given, flags = _pairs(words, CRITERIA)
        if flags:
            raise BadItem(f"expected one of {', '.join(CRITERIA)}, each with a value")
        query, sift = self._understood(given)

        def stopped() -> bool:
            watch("searching")
            return False

        found = find(
            self._board.disk, query, sift, clock=self._board.clock, sink=lambda data: None, progress=watch, is_stopped=stopped
        )
        return found.lines()

    def sticks(self) -> list[str]:
        """What is plugged in."""
        names = self._board.sticks().names()
        return [f"{name}  {self._free(name)}" for name in names] or ["no stick is plugged in, or none that can be written to"]

    def export(self, words: Sequence[str], watch: Watch) -> list[str]:
        """Write what was asked for onto a stick. Raises BadItem, and whatever `watch` raises; then nothing is on the stick."""
        given, flags = _pairs(words, (*CRITERIA, *HOW), flags=(RAW,))
        form = RAW if RAW in flags else DEIDENTIFIED
        if form not in self._policy.forms:
            allowed = ", ".join(self._policy.forms) or "nothing"
            raise BadItem(f"expected what may be carried away here: {allowed} (setting [console] export)")
        how = {name: _one(given, name) for name in HOW}
        plan = self._plan({name: values for name, values in given.items() if name not in HOW})
        try:
            stick = self._board.sticks().open(how["onto"])
        except (Missing, ValueError):
            raise BadItem(
                f"expected onto a stick that is plugged in: {', '.join(self._board.sticks().names()) or 'there is none'}"
            ) from None
        return self._carry(plan, given, how, form, stick, watch)

    def _carry(
        self, plan: Plan, given: dict[str, list[str]], how: dict[str, str], form: str, stick: Disk, watch: Watch
    ) -> list[str]:
        now, (number, previous) = self._board.clock.now(), self._next()
        name = f"scrubjay-{self._board.identity.name}-{number:04d}-{compact(now.utc_ns)}"
        hidden = f".{name}.pcapng"
        try:
            file = stick.create(hidden)
            try:
                found, size, sha256 = self._written(plan, form, file, watch)
                file.sync()
            finally:
                file.close()
            record = self._recorded(
                Exported(
                    number=number, by=how["by"], reason=how["reason"],
                    asked={word: ",".join(values) for word, values in given.items() if word not in HOW}, form=form,
                    from_utc_ns=plan.from_ns, until_utc_ns=plan.until_ns, frames=found.frames, size=size, digest=sha256,
                    stick=how["onto"], file=f"{name}.pcapng", made=now.timestamp, previous=previous,
                ),
                now,
            )  # fmt: skip
            stick.write(f"{name}.record", exported.packed(record))
            stick.write(
                f"{name}.json", json.dumps(_manifest(record, found, self._board.identity.public_key()), indent=1).encode()
            )
            for suffix in ("record", "json"):
                stick.sync(f"{name}.{suffix}")
            stick.rename(hidden, f"{name}.pcapng")
            stick.sync_dir("")
        except DiskFull:
            self._removed(stick, name)
            return ["the stick, or the box's own disk, is full; nothing was carried away"]
        except (DiskFailed, Missing) as trouble:
            self._removed(stick, name)
            return [
                "the stick does not obey, or was pulled out, or the box's own disk fails; nothing complete is on it",
                str(trouble),
            ]
        except BaseException:
            # Whoever watches has stopped it, or this process ends: no half evidence stays behind on somebody's stick.
            self._removed(stick, name)
            raise
        missing = sentence(found.holes)
        return [
            f"{found.frames} frames, {size} bytes, {form}: {name}.pcapng",
            f"SHA-256 {record.digest.hex()}, record {record.number} of exports/",
            *([f"NOT HELD: {missing}"] if missing else []),
            "the stick may be pulled out",
        ]

    def _written(self, plan: Plan, form: str, file: AppendFile, watch: Watch) -> tuple[Found, int, bytes]:
        search = Search(
            plan, self._board.disk, interface=self._board.identity.name, evidence_bytes_max=1 << 62,
            unrelated=self._interpreter.unrelated,
        )  # fmt: skip
        sha256 = hashlib.sha256()
        synced = 0
        while search.found is None:
            watch(f"{search.percent} % searched, {file.size // 1000} kB")
            for part, _ in search.work():
                for piece in [part.body] if form == RAW else self._clean(part.body):
                    sha256.update(piece)
                    for at in range(0, len(piece), SYNC_BYTES):
                        file.append([memoryview(piece)[at : at + SYNC_BYTES]])
                        if file.size - synced >= SYNC_BYTES:
                            file.sync()
                            synced = file.size
                        watch(f"{search.percent} % searched, {file.size // 1000} kB")
        return search.found, file.size, sha256.digest()

    def _next(self) -> tuple[int, bytes | None]:
        """The chain's next number, and the digest of its newest record."""
        names = [name for name in self._board.disk.list(EXPORTS) if name[:10].isdecimal()]
        if not names:
            return 1, None
        return int(names[-1].partition("-")[0]) + 1, digest(self._board.disk.read(f"{EXPORTS}/{names[-1]}"))

    def _recorded(self, record: Exported, now: Now) -> Exported:
        """Signed and durable; and a message about it, which names nobody."""
        record = record.signed(self._board.identity.sign(record.body()))
        replace(self._board.disk, EXPORTS, f"{record.number:010d}-{compact(now.utc_ns)}", exported.packed(record))
        self._notices.say(
            now, KIND, Priority.P2, Severity.NOTICE, f"evidence was carried away on a stick, {record.form}",
            fields={
                "number": record.number, "form": record.form, "frames": record.frames, "bytes": record.size,
                "sha256": record.digest.hex(),
            },
        )  # fmt: skip
        return record

    def _plan(self, given: dict[str, list[str]]) -> Plan:
        query, sift = self._understood(given)
        if query.since_utc_ns is None or query.until_utc_ns is None:
            raise BadItem("expected since and until, as 2026-11-22T10:15:00")
        made = self._board.clock.now().timestamp.tai_ns
        order = Order(bytes(16), "console", self._board.identity.name, KIND, 0, made, made, {})  # nobody's: for `Plan` alone
        return Plan(order, Request(query), query.since_utc_ns, query.until_utc_ns, query, sift)

    def _understood(self, given: dict[str, list[str]]) -> tuple[Query, Sift]:
        def some(name: str) -> tuple[str, ...]:
            return tuple(given.get(name, ()))

        message = _one(given, "message") if "message" in given else None
        if message is not None and (len(message) != 32 or not set(message.lower()) <= set("0123456789abcdef")):
            raise BadItem("expected message as 32 hexadecimal digits")
        query = Query(
            since_utc_ns=_moment(given, "since"), until_utc_ns=_moment(given, "until"), hosts=some("host"),
            ports=_numbers(given, "port"), macs=some("mac"), protocols=some("proto"), vlans=_numbers(given, "vlan"),
        )  # fmt: skip
        wording = Wording(
            devices=some("device"), senders=some("from"), receivers=some("to"), kinds=some("kind"),
            message=bytes.fromhex(message) if message is not None else None,
            event=_one(given, "event") if "event" in given else None,
            contains=_one(given, "contains") if "contains" in given else "",
            filter=_one(given, "filter") if "filter" in given else "",
        )  # fmt: skip
        if query.since_utc_ns is not None and query.until_utc_ns is not None and query.until_utc_ns < query.since_utc_ns:
            raise BadItem("expected until as a moment that is not before since")  # Exchanged, they ask for nothing, and get it.
        return self._interpreter.understood(query, wording)

    def _free(self, name: str) -> str:
        try:
            return f"{self._board.sticks().open(name).free_bytes() // 1_000_000} MB free"
        except (DiskFailed, Missing):
            return "cannot be read"

    @staticmethod
    def _removed(stick: Disk, name: str) -> None:
        for file in (f".{name}.pcapng", f"{name}.pcapng", f"{name}.record", f"{name}.json"):
            with suppress(DiskFull, DiskFailed, Missing):  # It has been pulled out, or never took the file.
                stick.remove(file)
        with suppress(DiskFull, DiskFailed, Missing):
            stick.sync_dir("")


def _manifest(record: Exported, found: Found, public_key: bytes) -> dict[str, object]:
    """For people and their programs; the record beside it is what is signed."""
    return {
        "file": record.file, "sha256": record.digest.hex(), "bytes": record.size, "frames": record.frames, "form": record.form,
        "since": iso(record.from_utc_ns), "until": iso(record.until_utc_ns), "asked": dict(record.asked), "number": record.number,
        "by": record.by, "reason": record.reason, "not_held": sentence(found.holes), "damaged": found.damaged,
        "record_sha256": digest(exported.packed(record)).hex(), "public_key": public_key.hex(),
    }  # fmt: skip


def _pairs(words: Sequence[str], names: Sequence[str], *, flags: Sequence[str] = ()) -> tuple[dict[str, list[str]], set[str]]:
    """Names and their values, in the order typed; and words that stand alone. Raises BadItem."""
    given: dict[str, list[str]] = {}
    alone: set[str] = set()
    rest = iter(words)
    for word in rest:
        name = word.lower()
        if name in flags:
            alone.add(name)
            continue
        if name not in names:
            raise BadItem(f"expected one of {', '.join((*names, *flags))}")
        value = next(rest, None)
        if not value or len(value) > WORDS_MAX:
            raise BadItem(f"expected after {name} a value of at most {WORDS_MAX} characters")
        given.setdefault(name, []).append(value)
    return given, alone


def _one(given: dict[str, list[str]], name: str) -> str:
    values = given.get(name, [])
    if len(values) != 1:
        raise BadItem(f"expected {name} once, with a value")
    return values[0]


def _numbers(given: dict[str, list[str]], name: str) -> tuple[int, ...]:
    if not all(value.isascii() and value.isdecimal() for value in given.get(name, [])):
        raise BadItem(f"expected {name} as a number")
    return tuple(int(value) for value in given.get(name, []))


def _moment(given: dict[str, list[str]], name: str) -> int | None:
    if name not in given:
        return None
    try:
        return parse_utc(_one(given, name))
    except ValueError:
        raise BadItem(f"expected {name} as 2026-11-22T10:15:00") from None
