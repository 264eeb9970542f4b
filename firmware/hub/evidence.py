"""Evidence as it comes in: parts put together in order into one pcapng file, visible when it is whole.

Several sections one after another are one valid pcapng file (draft-ietf-opsawg-pcapng §3). The repository says how many bytes of the
hidden file count, so that a part appended twice, before and after a crash, is there once. Where the file has fewer, as beside a database
that was restored alone, the parts before are gone, and their box has been told to forget them: it begins anew with what still comes.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace

from drivers.disk import Disk
from firmware.core import durable
from firmware.core.envelope import Envelope
from firmware.core.errors import BadItem, Missing, Trouble
from firmware.core.pcapng import packets
from firmware.hub.repository import EvidenceState, HeldPart, Repository

EVIDENCE = "evidence"
HELD = "held"
PARTS_AHEAD_MAX = 256  # of one command
# Of one box, which may make up any number of commands: a part is at most 4 MiB, at most 1 GiB waits for those that are missing.
PARTS_HELD_MAX = 256
PARTS_MAX = 100_000
_READ_BYTES = 1 << 20
_MANIFEST_BYTES_MAX = 4096
_INT64 = 1 << 63


class TooFarAhead(Trouble):
    """Too many parts wait for an earlier one. Do not acknowledge it; the box sends it again."""


class Evidence:
    """The directory evidence/."""

    def __init__(self, disk: Disk, repository: Repository) -> None:
        self._disk = disk
        self._repository = repository

    def start(self) -> None:
        """Make the directories, and finish what was complete when the power went."""
        durable.make_directory(self._disk, EVIDENCE)
        durable.make_directory(self._disk, HELD)
        for state in self._repository.complete_evidence():
            self.finish(state)

    def take(self, envelope: Envelope, content: bytes, now_tai_ns: int) -> tuple[EvidenceState, int]:
        """One part, within the caller's transaction: on the disk before the transaction ends. Beside how far it has come, how many parts
        that were here before are gone.

        Raises BadItem (no evidence at all), TooFarAhead, DiskFull, DiskFailed.
        """
        command = envelope.asked_by
        if command is None:
            raise BadItem("expected the command that asked for this evidence")
        held = _as_part(envelope, content)
        state = self._repository.evidence(command) or EvidenceState(command, envelope.box)
        if state.box != envelope.box:
            raise BadItem("expected evidence from the box that was asked")
        if state.is_complete or held.part < state.parts:
            return state, 0
        gone = 0
        if held.part - state.parts > PARTS_AHEAD_MAX:
            raise TooFarAhead(f"expected part {state.parts}, got {held.part}")
        if held.part > state.parts:
            if self._repository.held_parts(envelope.box) >= PARTS_HELD_MAX:
                raise TooFarAhead(f"expected part {state.parts}, got {held.part}, and {PARTS_HELD_MAX} of this box wait already")
            durable.replace(self._disk, HELD, f"{command.hex()}-{held.part:06d}", content)
            self._repository.hold_part(command, held)
        else:
            if state.size and not self._has(state):
                gone, state = state.parts, replace(state, size=0, frames=0)
            state = self._append(state, held, content)
            while not state.is_complete and (following := self._repository.take_held_part(command, state.parts)) is not None:
                try:
                    waited = self._disk.read(f"{HELD}/{command.hex()}-{following.part:06d}")
                except Missing:
                    gone, following, waited = gone + 1, replace(following, frames=0), b""
                state = self._append(state, following, waited)
        self._repository.put_evidence(state, now_tai_ns)
        return state, gone

    def finish(self, state: EvidenceState) -> None:
        """It is complete and committed: make it visible, say what it is, and clear away. Twice is as good as once."""
        name = state.command.hex()
        hidden, visible = f"{EVIDENCE}/.{name}.pcapng", f"{EVIDENCE}/{name}.pcapng"
        if self._disk.exists(hidden):
            # Of a time before the database was lost. First, for who resumes a download goes by it (digest_of).
            with suppress(Missing):
                self._disk.remove(f"{EVIDENCE}/{name}.json")
            self._disk.rename(hidden, visible)
            self._disk.sync_dir(EVIDENCE)
        if not self._disk.exists(f"{EVIDENCE}/{name}.json") and self._disk.exists(visible):
            manifest = {
                "command": name, "box": state.box, "parts": state.parts, "bytes": state.size, "frames": state.frames,
                "since_utc_ns": state.since_utc_ns, "until_utc_ns": state.until_utc_ns, "sha256": self._digest(visible, state.size),
            }  # fmt: skip
            durable.replace(self._disk, EVIDENCE, f"{name}.json", json.dumps(manifest, indent=1).encode())
        for entry in self._disk.list(HELD):
            if entry.lstrip(".").startswith(name):
                try:
                    self._disk.remove(f"{HELD}/{entry}")
                except Missing:
                    continue

    def _has(self, state: EvidenceState) -> bool:
        try:
            return self._disk.size(f"{EVIDENCE}/.{state.command.hex()}.pcapng") >= state.size
        except Missing:
            return False

    def _append(self, state: EvidenceState, held: HeldPart, content: bytes) -> EvidenceState:
        path = f"{EVIDENCE}/.{state.command.hex()}.pcapng"
        file = self._disk.reopen(path, size=state.size) if state.size else self._disk.create(path)
        try:
            file.append([content])
            file.sync()
        finally:
            file.close()
        if not state.size:
            self._disk.sync_dir(EVIDENCE)
        return replace(
            state,
            parts=state.parts + 1,
            size=state.size + len(content),
            frames=state.frames + held.frames,
            is_complete=held.is_last,
            since_utc_ns=_least(state.since_utc_ns, held.since_utc_ns),
            until_utc_ns=_least(state.until_utc_ns, held.until_utc_ns, greatest=True),
        )

    def _digest(self, path: str, size: int) -> str:
        digest = hashlib.sha256()
        for offset in range(0, size, _READ_BYTES):
            digest.update(self._disk.read(path, offset=offset, size=min(_READ_BYTES, size - offset)))
        return digest.hexdigest()


def digest_of(disk: Disk, command: bytes, *, size: int) -> str | None:
    """SHA-256 in hexadecimal of what is visible of a command, out of its description; None where that is not there, or of other bytes."""
    data = durable.read_or_none(disk, f"{EVIDENCE}/{command.hex()}.json", size=_MANIFEST_BYTES_MAX)
    try:
        manifest = json.loads(data or b"{}")
    except ValueError:
        return None
    digest = manifest.get("sha256") if manifest.get("bytes") == size else None
    return digest if isinstance(digest, str) else None


def _as_part(envelope: Envelope, content: bytes) -> HeldPart:
    """What this part is; its frames are counted here, not believed. Raises BadItem."""
    facts = envelope.facts
    part, last = facts.get("part", 0), facts.get("last", 1)
    if not isinstance(part, int) or not 0 <= part < PARTS_MAX or last not in (0, 1):
        raise BadItem("expected the part's number and whether it is the last")
    frames = sum(1 for _ in packets(content))
    return HeldPart(part, last == 1, frames, _moment(facts.get("from_utc_ns")), _moment(facts.get("until_utc_ns")))


def _moment(fact: int | str | None) -> int | None:
    return fact if isinstance(fact, int) and abs(fact) < _INT64 else None


def _least(one: int | None, other: int | None, *, greatest: bool = False) -> int | None:
    known = [moment for moment in (one, other) if moment is not None]
    if not known:
        return None
    return max(known) if greatest else min(known)
