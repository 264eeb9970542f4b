"""The operating system's slots: told to whoever runs the box, and given what was ordered for them. Taking a system in, changing to it,
keeping it and leaving it again is their keeper's work (/usr/lib/scrubjay/slots): it runs where this process may not, and outlives it.

    updates/system/<version>.raucb    a bundle, complete       ┐
    updates/system/<version>.back     back, from this version  ┴─▶ slots ─▶ state/system ─▶ told
"""

from collections.abc import Mapping

import cbor2

from drivers.board import Board
from drivers.clock import Monotonic, Now
from firmware.core import durable, system
from firmware.core.cbor import decoded_cbor
from firmware.core.errors import BadItem, DiskFailed
from firmware.core.message import Field, Severity
from firmware.core.system import System
from firmware.core.timestamp import SECOND
from firmware.update.ledger import UPDATES, Ledger

SYSTEM = f"{UPDATES}/system"
TOLD = "told"
TOLD_BYTES_MAX = 1024
LOOK_NS = 10 * SECOND  # The file changes some few times in the life of a system.
_OUTCOMES = {system.KEPT: "official", system.REFUSED: "refused", system.GIVEN_UP: "taken back"}
_SEVERITIES = {system.REFUSED: Severity.WARNING, system.GIVEN_UP: Severity.ERROR}


class SystemSlots:
    """updates/told: the last line of the slots' history that was told."""

    def __init__(self, board: Board, ledger: Ledger) -> None:
        self._board = board
        self._ledger = ledger
        self._system: System | None = None
        self._told: str | None = None
        self._due = Monotonic(0)

    def start(self) -> None:
        """Where the last life ended."""
        durable.make_directory(self._board.disk, SYSTEM)
        self._told = self._read_told()
        self._system = self._read()
        if self._told is None and self._system is not None:
            self._keep_told(self._system.history[-1] if self._system.history else "")
        self._ledger.beside = self._fields()

    def look(self, now: Now) -> None:
        """Tell what is new. Raises DiskFull, DiskFailed."""
        if now.monotonic < self._due:
            return
        self._due = now.monotonic.after(LOOK_NS)
        found = self._read()
        if found is None or (found == self._system and found.history[-1:] in ((), (self._told,))):
            return
        is_other = self._system is None or (found.version, found.is_confirmed, found.other) != (
            self._system.version, self._system.is_confirmed, self._system.other,
        )  # fmt: skip
        self._system = found
        self._ledger.beside = self._fields()
        rows = self._untold(found)
        for row in rows:
            fate = system.fate_of(row)
            version, outcome = (fate[0], _OUTCOMES[fate[1]]) if fate is not None else (None, "")
            severity = _SEVERITIES.get(fate[1], Severity.NOTICE) if fate is not None else Severity.NOTICE
            self._ledger.say(now, f"the system: {system.words_of(row)}", severity, version=version, outcome=outcome)
            self._keep_told(row)
        if is_other and not rows:
            state = "confirmed" if found.is_confirmed else "on trial"
            self._ledger.say(now, f"the system {found.version} runs in slot {found.slot}, {state}", Severity.INFORMATIONAL)

    def next_wish(self) -> Monotonic:
        """When to look again: also where there is nothing yet, for on a first start the slots' keeper comes later than we do."""
        return self._due

    def runs(self, version: str) -> bool:
        """Whether that is the system at work."""
        return self._system is not None and self._system.version == version

    def check(self, version: str) -> None:
        """Raises BadItem where the keeper would not take it: before it is fetched, and not after."""
        rows = self._system.history if self._system is not None else ()
        if (version, system.GIVEN_UP) in map(system.fate_of, rows):
            raise BadItem(f"expected a system that was not given up here, {version} was")

    def go_back(self, version: object) -> None:
        """To the system before, from this version only. Raises BadItem with the reason why not; DiskFull, DiskFailed."""
        found = self._read()
        if found is None:
            raise BadItem("expected a box with two slots, this one has no system to go back to")
        if version != found.version:
            raise BadItem(f"expected the system {version} to run here, it is {found.version}")
        durable.replace(self._board.disk, SYSTEM, f"{found.version}.back", b"")

    def _read_told(self) -> str | None:
        """None: as on a new box, how it stands is told, and what comes from now on."""
        try:
            data = durable.read_or_none(self._board.disk, f"{UPDATES}/{TOLD}", size=TOLD_BYTES_MAX)
            match None if data is None else decoded_cbor(data):
                case {0: 1, 1: str(line)}:
                    return line
        except (BadItem, DiskFailed):
            return None  # What was told is with the hub; that some of it is not told twice is all that is lost.
        return None

    def _read(self) -> System | None:
        data = durable.read_or_none(self._board.disk, system.STATE, size=system.BYTES_MAX)
        return None if data is None else system.unpacked(data)

    def _untold(self, found: System) -> tuple[str, ...]:
        """Those after the last one that was told. Where that is no more among them all are: so many came meanwhile."""
        rows = found.history
        places = [place for place, row in enumerate(rows) if row == self._told]
        return rows[places[-1] + 1 :] if places else rows

    def _keep_told(self, line: str) -> None:
        durable.replace(self._board.disk, UPDATES, TOLD, cbor2.dumps({0: 1, 1: line}, canonical=True))
        self._told = line

    def _fields(self) -> Mapping[str, Field]:
        """Of every message about versions."""
        found = self._system
        if found is None:
            return {}
        return {"system": found.version, "system_state": "confirmed" if found.is_confirmed else "on trial", "slot": found.slot, "other_slot": found.other}  # fmt: skip
