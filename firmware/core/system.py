"""The operating system's two slots, as their keeper (rootfs/usr/lib/scrubjay/slots) last wrote them down. Pure.

state/system    lines of ASCII, replaced whole:
                slot A runs 1.1, confirmed
                slot B holds 1.0, confirmed
                2026-11-26T08:00:00Z slot A: 1.1 is kept: every promise was seen kept 340 s after the start
                …                                                the history, oldest first

Its words come from bundles in part: whatever does not read as this is no line of it.
"""

import re
from dataclasses import dataclass

from firmware.core.versions import is_version

STATE = "state/system"
RECIPIENT = "state/recipient.pem"  # for which a bundle may be encrypted (tools/bundle.sh --for)
BYTES_MAX = 16_384
LINES_MAX = 100
KEPT, REFUSED, GIVEN_UP = "kept", "refused", "given up"
_RUNS = re.compile(r"slot (?P<slot>[AB]) runs (?P<version>\S{1,63}), (?P<trial>confirmed|on trial)")
_HOLDS = re.compile(r"slot [AB] holds (?P<what>[ -~]{1,200})")
_ROW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ slot [AB]: (?P<words>[ -~]{1,300})")
_FATE = re.compile(r"(?P<version>\S{1,63}) is (?P<fate>kept|refused|given up): ")


@dataclass(frozen=True, slots=True)
class System:
    """slot: "A" or "B", which runs. is_confirmed: whether its promises were seen kept. other: what the other slot holds, in words.

    history: its lines, oldest first.
    """

    slot: str
    version: str
    is_confirmed: bool
    other: str
    history: tuple[str, ...]


def unpacked(data: bytes) -> System | None:
    """None where it does not read, as on a machine without slots, whose file is empty or not there."""
    lines = data[:BYTES_MAX].decode("ascii", "replace").splitlines()[:LINES_MAX]
    runs, holds = (pattern.fullmatch(line) for pattern, line in zip((_RUNS, _HOLDS), [*lines, "", ""][:2], strict=True))
    if runs is None or holds is None or not is_version(runs["version"]):
        return None
    history = tuple(line for line in lines[2:] if _ROW.fullmatch(line))
    return System(runs["slot"], runs["version"], runs["trial"] == "confirmed", holds["what"], history)


def words_of(line: str) -> str:
    """What a line of the history says, without its time and slot."""
    row = _ROW.fullmatch(line)
    return row["words"] if row is not None else ""


def fate_of(line: str) -> tuple[str, str] | None:
    """The version a line of the history decides about, and how: KEPT, REFUSED or GIVEN_UP; None of other lines."""
    found = _FATE.match(words_of(line))
    if found is None or not is_version(found["version"]):
        return None
    return found["version"], found["fate"]
