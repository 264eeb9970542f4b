"""What is to last of an update: where it stands, which versions were refused, the history of every switch, and what is being
fetched. Pure.

updates/standing    CBOR, replaced whole: `Standing`
updates/history     one JSON object a line, oldest first: `Switch`
updates/edition     CBOR, replaced whole; while something is being fetched: `Pursuit`
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import cbor2

from firmware.core.cbor import decoded_cbor
from firmware.core.edition import Edition, read
from firmware.core.errors import BadItem
from firmware.core.versions import IMAGE, is_version

STANDING_BYTES_MAX = 65_536
PURSUIT_BYTES_MAX = 1 << 14
HISTORY_ROWS_MAX = 1_000
HISTORY_BYTES_MAX = 1 << 20
REFUSED_MAX = 100
REASON_BYTES_MAX = 500  # A hundred of them, with the longest names, leave room for the rest of what stands.


class Phase(Enum):
    """Where the version in hand stands."""

    IDLE = "idle"
    TRIAL = "trial"  # copied, marked test, being tried or about to be
    SWITCHING = "switching"  # one process after the other becomes official
    RETURNING = "returning"  # one after the other becomes what it was before


@dataclass(frozen=True, slots=True)
class Standing:
    """phase: of `version`. official: what all processes are, or were before this switch; previous: to go back to; None: nothing is.

    counter: the highest that ever became official; a bundle below it is refused. trials: begun of this version. cause: why it returns.
    refused: version to the reason; not tried again by itself. counters: of the copies that are there. guarded_ns: since when, TAI,
    the version is official everywhere but in the update process itself; 0: everywhere or nowhere.
    """

    phase: Phase = Phase.IDLE
    version: str | None = None
    official: str = IMAGE
    previous: str | None = None
    counter: int = 0
    trials: int = 0
    cause: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    guarded_ns: int = 0

    def refusing(self, version: str, reason: str) -> "Standing":
        """It stays test, with the reason; the oldest refusal is forgotten when there are many."""
        reason = reason.encode()[:REASON_BYTES_MAX].decode("utf-8", "ignore")
        rows = {**self.refused, version: reason}
        return replace(self, refused=dict(list(rows.items())[-REFUSED_MAX:]))


@dataclass(frozen=True, slots=True)
class Switch:
    """One process changed its version, or was to. cause: in words of ours."""

    at: str
    process: str
    former: str
    version: str
    cause: str


def packed(standing: Standing) -> bytes:
    """As stored."""
    return cbor2.dumps(
        {
            0: 1, 1: standing.phase.value, 2: standing.version, 3: standing.official, 4: standing.previous, 5: standing.counter,
            6: standing.trials, 7: standing.cause, 8: dict(standing.refused), 9: dict(standing.counters), 10: standing.guarded_ns,
        },
        canonical=True,
    )  # fmt: skip


def unpacked(data: bytes) -> Standing:
    """Raises BadItem."""
    match decoded_cbor(data):
        case {
            0: 1, 1: str(phase), 2: (str() | None) as version, 3: str(official), 4: (str() | None) as previous, 5: int(counter),
            6: int(trials), 7: str(cause), 8: dict(refused), 9: dict(counters), 10: int(guarded_ns),
        } if phase in {entry.value for entry in Phase} and all(
            name is None or name == IMAGE or is_version(name) for name in (version, official, previous)
        ):  # fmt: skip
            return Standing(Phase(phase), version, official, previous, counter, trials, cause, refused, counters, guarded_ns)
    raise BadItem("expected the standing of updates, version 1")


@dataclass(frozen=True, slots=True)
class Pursuit:
    """An edition that is being fetched. data: as it was signed; tried: bundles of it that could not be used."""

    data: bytes
    edition: Edition
    tried: tuple[bytes, ...] = ()


def pursuit_packed(pursuit: Pursuit) -> bytes:
    """As stored."""
    return cbor2.dumps({0: 1, 1: pursuit.data, 2: list(pursuit.tried)}, canonical=True)


def pursuit_unpacked(data: bytes) -> Pursuit:
    """Raises BadItem. Its signature was looked at before it was stored."""
    match decoded_cbor(data):
        case {0: 1, 1: bytes(signed), 2: [*tried]} if all(isinstance(digest, bytes) for digest in tried):
            return Pursuit(signed, read(signed)[0], tuple(tried))
    raise BadItem("expected an edition that is being fetched, version 1")


def with_row(history: bytes, row: Switch) -> bytes:
    """The history with one more line; beyond its bounds the oldest go."""
    line = json.dumps(
        {"at": row.at, "process": row.process, "from": row.former, "to": row.version, "cause": row.cause}, ensure_ascii=False
    )
    lines = [*history.decode("utf-8", "replace").splitlines(), line][-HISTORY_ROWS_MAX:]
    return ("\n".join(lines) + "\n").encode()


def rows_of(history: bytes) -> Sequence[Switch]:
    """Its rows; lines that are none are passed over."""
    rows = []
    for line in history.decode("utf-8", "replace").splitlines():
        try:
            row = json.loads(line)
            rows.append(Switch(row["at"], row["process"], row["from"], row["to"], row["cause"]))
        except (ValueError, KeyError, TypeError):
            continue
    return rows
