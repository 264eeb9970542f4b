"""What came out of a look through a store, for programs and for people.

A finding is something no honest box leaves behind, or what the disk does not give back. A statement is what the box itself says it does
not have: frames dropped, recording stopped or interrupted, segments deleted with a receipt. Statements are no errors.
"""

from dataclasses import dataclass, field

from firmware.core.terminal import printable


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, or (a statement) that the box says it does not have.

    segment: its name, or the file's where it is none. what: one word for programs: "altered", "missing", "reordered", "foreign",
    "unsigned", "unreadable" (the disk does not give it back); statements: "dropped", "gap", "interrupted", "deleted", "receipt", "exported", "open", "time", "start". text: for people.
    """

    segment: str
    what: str
    text: str


@dataclass(slots=True)
class Verdict:
    """What `verify` found. frames, and of these frames_hardware, which the interface itself stamped: as the sound seals count them. last_digest: of the newest seal, to compare with one kept elsewhere."""

    findings: list[Finding] = field(default_factory=list)
    statements: list[Finding] = field(default_factory=list)
    segments: int = 0
    frames: int = 0
    frames_hardware: int = 0
    bytes_wire: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    public_key: bytes | None = None
    last_digest: bytes | None = None

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return not self.findings

    def found(self, segment: str, what: str, text: str) -> None:
        self.findings.append(Finding(segment, what, text))

    def stated(self, segment: str, what: str, text: str) -> None:
        self.statements.append(Finding(segment, what, text))


def as_json(verdict: Verdict) -> dict[str, object]:
    """For `scrubjay verify --json`."""
    return {
        "ok": verdict.ok,
        "segments": verdict.segments,
        "frames": verdict.frames,
        "frames_hardware": verdict.frames_hardware,
        "bytes_wire": verdict.bytes_wire,
        "drops": verdict.drops,
        "findings": [[row.segment, row.what, row.text] for row in verdict.findings],
        "statements": [[row.segment, row.what, row.text] for row in verdict.statements],
        "public_key": verdict.public_key.hex() if verdict.public_key else None,
        "last_digest": verdict.last_digest.hex() if verdict.last_digest else None,
    }


def lines(verdict: Verdict) -> list[str]:
    """For people: the verdict, what is wrong, what the box says it does not have, what to compare."""
    lost = sum(verdict.drops.values())
    word = "verified" if verdict.ok else "NOT AS RECORDED"
    by_hardware = f" ({verdict.frames_hardware} stamped by hardware)" if verdict.frames_hardware else ""
    rows = [f"{word}: {verdict.segments} segments, {verdict.frames} frames{by_hardware}, {lost} stated as lost"]
    rows += [f"  {row.what:<12} {row.segment}  {row.text}" for row in verdict.findings]
    rows += [f"  ({row.what}) {row.segment}  {row.text}" for row in verdict.statements]
    rows = [printable(row) for row in rows]
    if verdict.public_key:
        rows.append(f"key {verdict.public_key.hex()}")
    if verdict.last_digest:
        rows.append(f"newest seal {verdict.last_digest.hex()}: compare with one kept elsewhere, a cut end does not show here")
    return rows
