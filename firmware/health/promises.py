"""Which of the box's promises were seen kept since this start: what has to hold before a new system is kept for good.

Pure, and asked by `scrubjay promises`. A network that is not there today is no reason to go back to an older system: what depends
on it (a broker, a cable in the mirror port) is not asked. What was lost is not asked either; that is the seal's to say.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.clock import Monotonic, Now
from drivers.disk import Disk
from firmware.core import seal
from firmware.core.certificate import ACCOUNT_AGE_NS
from firmware.core.clock_page import STATE as CLOCK_STATE
from firmware.core.clock_page import STATE_BYTES_MAX
from firmware.core.digest import of_file
from firmware.core.durable import read_or_none
from firmware.core.errors import BadItem, Missing
from firmware.core.glance import SEAL_BYTES_MAX
from firmware.core.layout import FRAMES, INDEX, SEAL, sequence_of
from firmware.core.report import Value
from firmware.core.seal import Seal
from firmware.core.state import ProcessState

SEGMENTS = "segments"
REPORT_AGE_NS_MAX = 30_000_000_000  # A process reports every two seconds; on a box that has just started and is busy, later.
BOOT = Monotonic(0)
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Promise:
    """name: for programs. is_kept: seen, not assumed. text: what was seen instead, for people."""

    name: str
    is_kept: bool
    text: str


def promises(
    disk: Disk,
    states: Sequence[ProcessState],
    account: bytes | None,
    processes: Sequence[str],
    public_key: bytes | None,
    *,
    now: Now,
    since: Monotonic = BOOT,
) -> list[Promise]:
    """Every promise, kept or not. processes: those of the role. public_key: the box's own; a seal of another key is none of ours.

    states, account: read before now was looked at; what is younger than now is of a start before, whose clock was further.
    since: what was seen before does not count; later than the boot where all but the kernel was exchanged.
    """
    age_ns_max = now.monotonic.since(since)
    found = {state.process: state for state in states}
    recording = _gauge(found.get("capture"), "capture", "state")
    line = _gauge(found.get("console"), "console", "line")
    return [
        *(_reports(name, found.get(name), now, age_ns_max) for name in processes),
        Promise("recording", recording == "recording", f"the recorder says {recording or 'nothing'}"),
        _sealed(disk, public_key, since_tai_ns=now.timestamp.tai_ns - age_ns_max, now_tai_ns=now.timestamp.tai_ns),
        _tells_time(account, now),
        Promise("console_answers", line in ("open", "none"), f"the serial line is {line or 'not spoken of'}"),
    ]


def account_of(disk: Disk) -> bytes | None:
    """What the clock station last said."""
    return read_or_none(disk, CLOCK_STATE, size=STATE_BYTES_MAX)


def as_json(rows: Sequence[Promise]) -> dict[str, object]:
    """For `scrubjay promises --json`."""
    return {"kept": all(row.is_kept for row in rows), "promises": {row.name: [row.is_kept, row.text] for row in rows}}


def lines(rows: Sequence[Promise]) -> list[str]:
    """For people, and for the history of slots: what is not kept first."""
    return [
        f"{'kept' if row.is_kept else 'NOT KEPT':<9} {row.name}: {row.text}" for row in sorted(rows, key=lambda row: row.is_kept)
    ]


def _reports(name: str, state: ProcessState | None, now: Now, age_ns_max: int) -> Promise:
    if state is None or not state.readable:
        return Promise(f"{name}_reports", False, "has not reported yet")
    age_ns = now.timestamp.tai_ns - state.at_tai_ns
    is_of_this_start = 0 <= age_ns <= min(age_ns_max, REPORT_AGE_NS_MAX)
    return Promise(f"{name}_reports", is_of_this_start, f"reported {age_ns / 1e9:.0f} s ago")


def _sealed(disk: Disk, public_key: bytes | None, *, since_tai_ns: int, now_tai_ns: int) -> Promise:
    """One segment that was opened and sealed since then, signed with our key, with the bytes it was sealed with.

    What lies ahead of now is of a start before, when the clock was right: a box without a battery begins each in 1970.
    """
    for name in sorted(
        (row for row in disk.list(SEGMENTS) if sequence_of(row) is not None and not row.startswith(".")), reverse=True
    ):
        try:
            made = seal.unpacked(disk.read(f"{SEGMENTS}/{name}/{SEAL}", size=SEAL_BYTES_MAX + 1))
        except (Missing, BadItem):
            continue
        if made.opened.tai_ns > now_tai_ns:
            continue
        if made.opened.tai_ns < since_tai_ns:
            break  # and all that are older
        if public_key is None or not made.is_signed_by(public_key):
            return Promise("sealed", False, f"{name} has not our signature")
        if not _is_as_sealed(disk, name, made):
            return Promise("sealed", False, f"{name} is not as it was sealed")
        return Promise("sealed", True, f"{name}, {made.frames} frames")
    return Promise("sealed", False, "no segment yet since this start")


def _is_as_sealed(disk: Disk, name: str, made: Seal) -> bool:
    try:
        return (
            made.name == name
            and disk.size(f"{SEGMENTS}/{name}/{FRAMES}") == made.frames_bytes
            and _digest(disk, f"{SEGMENTS}/{name}/{FRAMES}", made.piece_bytes) == made.frames_digest
            and _digest(disk, f"{SEGMENTS}/{name}/{INDEX}", None) == made.index_digest
        )
    except Missing:
        return False


def _digest(disk: Disk, path: str, piece_bytes: int | None) -> bytes:
    digest = of_file(piece_bytes)
    for offset in range(0, disk.size(path), _PIECE):
        digest.update(disk.read(path, offset=offset, size=_PIECE))
    return digest.digest()


def _tells_time(account: bytes | None, now: Now) -> Promise:
    """However good the time is: that it is stated is the promise."""
    try:
        state = json.loads(account or b"")
        age_ns, text = now.monotonic.ns - int(state["monotonic_ns"]), f"{state['state']} by {state['source']}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return Promise("tells_time", False, "the clock station has not said how good the time is")
    return Promise("tells_time", 0 <= age_ns <= ACCOUNT_AGE_NS, f"{text}, said {age_ns / 1e9:.0f} s ago")


def _gauge(state: ProcessState | None, station: str, name: str) -> Value | None:
    stations = state.stations if state is not None else ()
    return next((row.gauges.get(name) for row in stations if row.station == station), None)
