"""The answers: lines of text from what lies on the disk."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from drivers.board import Board
from drivers.clock import ClockState
from drivers.disk import Disk
from firmware.console.words import COMMANDS
from firmware.core import clock_page, exported, shelf, state
from firmware.core import network as networks
from firmware.core import session as sessions
from firmware.core import system as systems
from firmware.core.advice import FEEDBACK_BYTES_MAX, advisory_unpacked
from firmware.core.durable import read_or_none
from firmware.core.errors import BadItem
from firmware.core.state import columns
from firmware.core.timestamp import SECOND, iso
from firmware.core.verdict import Finding
from firmware.core.verify import verify

_ASCII = str.maketrans({"±": "+-", "µ": "u", "═": "=", "·": ".", "◀": "<", "▶": ">", "“": '"', "”": '"'})
EXPORTS, EXPORTS_MAX = "exports", 100
FEEDBACK, FEEDBACK_MAX = "feedback", 20
STATEMENTS_MAX = 1000  # of a verdict
SettingRow = tuple[str, object, object, str, str]


class Stopped(Exception):
    """The person pressed Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The reading part of a disk, which tells how far it has read: `verify` reads a whole store in one go.

    on_read: gets the bytes read so far; it may raise Stopped.
    """

    disk: Disk
    on_read: Callable[[int], None]
    total: list[int]

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        data = self.disk.read(path, offset=offset, size=size)
        self.total[0] += len(data)
        self.on_read(self.total[0])
        return data

    def list(self, path: str) -> list[str]:
        return self.disk.list(path)

    def size(self, path: str) -> int:
        return self.disk.size(path)

    def exists(self, path: str) -> bool:
        return self.disk.exists(path)


def status(board: Board) -> list[str]:
    """`show status`."""
    return state.lines(state.read_states(board.disk), now_tai_ns=board.clock.now().timestamp.tai_ns)


def segments(board: Board, on_row: Callable[[int], None]) -> list[str]:
    """`show segments`. on_row: gets how many were read so far; it may raise Stopped."""

    def counted() -> Iterator[shelf.Row]:
        for count, row in enumerate(shelf.each(board.disk), 1):
            on_row(count)
            yield row

    return list(shelf.lines(counted()))


def system(board: Board) -> list[str]:
    """`show system`: what keeps the slots (rootfs/usr/lib/scrubjay/slots) last wrote down."""
    data = read_or_none(board.disk, systems.STATE, size=systems.BYTES_MAX)
    if not data:
        return ["nothing keeps slots here: this is no image, or it has not started up yet"]
    return data.decode("ascii", errors="replace").splitlines()


def network(board: Board) -> list[str]:
    """`show network`: what networkd was given at this start, and what the ports have."""
    given, have = (read_or_none(board.disk, path, size=networks.BYTES_MAX) for path in (networks.STATE, networks.ADDRESSES))
    if given is None and have is None:
        return ["nobody says here how the ports are set: this is no image, or it has not started up yet"]
    rows = [(part or b"unknown").decode("ascii", errors="replace").splitlines() for part in (have, given)]
    return ["the ports now", *(f"  {row}" for row in rows[0]), "given at this start", *(f"  {row}" for row in rows[1])]


def recipient(board: Board) -> list[str]:
    """`show recipient`: as the slots' keeper made it at the first start."""
    data = read_or_none(board.disk, systems.RECIPIENT, size=systems.BYTES_MAX)
    if not data:
        return ["nothing keeps slots here: updates of the system cannot be encrypted to this box"]
    return data.decode("ascii", errors="replace").splitlines()


def clock(board: Board) -> list[str]:
    """`show clock`: what the clock station last said."""
    data = read_or_none(board.disk, clock_page.STATE, size=clock_page.STATE_BYTES_MAX)
    if data is None:
        return ["the clock process has not said anything yet"]
    try:
        # A terminal on a serial line knows ASCII and no more.
        return [row.translate(_ASCII) for row in clock_page.lines(data, now=board.clock.now())]
    except BadItem:
        return ["what the clock process has said does not read; it will say more in a second"]


def session(board: Board) -> list[str]:
    """`show session`."""
    found = sessions.lines(
        sessions.read(board.disk, sessions.CURRENT), sessions.read(board.disk, sessions.LAST),
        tai_offset_s=board.clock.now().tai_offset_s,
    )  # fmt: skip
    return [row.translate(_ASCII) for row in found]


def feedback(board: Board) -> list[str]:
    """`show feedback`: what is advised and not too old, the latest first."""
    now, rows = board.clock.now(), []
    for name in board.disk.list(FEEDBACK)[::-1][:FEEDBACK_MAX]:
        try:
            advisory = advisory_unpacked(read_or_none(board.disk, f"{FEEDBACK}/{name}", size=FEEDBACK_BYTES_MAX + 1) or b"")
        except BadItem:
            continue
        is_over, is_free = advisory.expires_tai_ns < now.timestamp.tai_ns, now.timestamp.state is ClockState.FREE
        if is_over and not is_free:
            continue
        # As the feedback station has it, and has told the hub: by a clock that is not set nobody's advice is too old.
        note = " (perhaps over: this box has no clock)" if is_over else ""
        made = iso(advisory.made_tai_ns - now.tai_offset_s * SECOND)
        rows.append(f"{made}  {advisory.given_by}: {advisory.sentence}{note}".translate(_ASCII))
    return rows or ["nothing is advised now"]


def exports(board: Board) -> list[str]:
    """`show exports`, the latest first."""
    rows = [("number", "when (UTC)", "who", "why", "frames", "form", "file")]
    for name in board.disk.list(EXPORTS)[::-1][:EXPORTS_MAX]:
        try:
            row = exported.unpacked(read_or_none(board.disk, f"{EXPORTS}/{name}", size=exported.EXPORTED_BYTES_MAX + 1) or b"")
        except BadItem:
            rows.append((name, "", "", "UNREADABLE", "", "", ""))
            continue
        rows.append((str(row.number), name.partition("-")[2], row.by, row.reason, str(row.frames), row.form, row.file))
    return columns(rows) if len(rows) > 1 else ["nothing was carried away from here"]


def identity(board: Board) -> list[str]:
    """`show identity`."""
    me = board.identity
    return columns([("name", me.name), ("site", me.site), ("public key", me.public_key().hex())])


def settings(rows: Sequence[SettingRow]) -> list[str]:
    """`show settings`; rows as `firmware.core.settings.Settings.rows`."""
    if not rows:
        return ["this process was not told the settings"]
    # The value last: some are longer than a row, and would push where they come from out of sight.
    return columns([(name, origin or "default", repr(value)) for name, value, _, origin, _ in rows])


def help_lines() -> list[str]:
    """`help`."""
    rows = [(" ".join(path), meaning) for path, meaning in COMMANDS.items()]
    return [*columns(rows), "  words may be cut short; ? helps, tab completes, COMMAND | include TEXT shows only lines with TEXT"]


def verdict(board: Board, on_read: Callable[[int], None]) -> list[str]:
    """`verify`. Raises Stopped when `on_read` does."""
    # A cast because verify takes a whole disk and reads only; Watched has what it reads with.
    found = verify(cast(Disk, Watched(board.disk, on_read, [0])), public_key=board.identity.public_key())
    rows = [f"FOUND {finding.segment}: {finding.what}: {finding.text}" for finding in found.findings[:STATEMENTS_MAX]]
    rows += _left_out("FOUND", found.findings[STATEMENTS_MAX:])
    # The newest, for who stands at the box asks about what has just happened; of years on a free clock each segment has one.
    rows += _left_out(" ", found.statements[:-STATEMENTS_MAX])
    rows += [f"  {said.segment}: {said.what}: {said.text}" for said in found.statements[-STATEMENTS_MAX:]]
    answer = "everything is as it was sealed" if found.ok else f"{len(found.findings)} findings"
    return [*(row.translate(_ASCII) for row in rows), f"{found.segments} segments, {found.frames} frames: {answer}"]


def _left_out(mark: str, rows: Sequence[Finding]) -> list[str]:
    """That there are more than a serial line is for, and of which kinds."""
    kinds = ", ".join(f"{count} {what}" for what, count in sorted(Counter(row.what for row in rows).items()))
    return [f"{mark} {len(rows)} more not shown here ({kinds}): `scrubjay verify` on a copy says them all"] if rows else []
