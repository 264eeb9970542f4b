"""A release item: what may be considered for leaving, still with everything in it. Written to release/, read by deidentify only.

The file is deterministic CBOR: {0: 1, 1: kind, 2: priority, 3: [first, last] ns TAI, 4: body, ? 5: the command that asked, ? 6: facts}.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import cbor2

from firmware.core.cbor import decoded_cbor
from firmware.core.errors import BadItem
from firmware.core.message import Priority

VERSION = 1
Kind = Literal["group", "evidence"]
KINDS: tuple[Kind, ...] = ("group", "evidence")
BODY_BYTES_MAX = 16 << 20  # Twice a batch's ceiling; evidence comes in parts of 4 MiB.
FACTS_MAX = 64
_UINT64 = 1 << 64
_NAME_NS_MAX = 10**20 - 1  # 20 digits: year 5138; later stamps (a lying clock) sort last instead of breaking the name.


@dataclass(frozen=True, slots=True)
class Release:
    """A group (body: message batch) or one part of evidence (body: one pcapng section).

    first_tai_ns, last_tai_ns: what is inside. asked_by: identity of the command, 16 bytes. facts: small figures about it.
    """

    kind: Kind
    priority: Priority
    first_tai_ns: int
    last_tai_ns: int
    body: bytes
    asked_by: bytes | None = None
    facts: Mapping[str, int | str] = field(default_factory=dict)


def name_of(priority: Priority, first_tai_ns: int, suffix: str) -> str:
    """The item's name in release/ and outbox/: names sort by priority, then by time (S2-060).

    suffix: what only this writer can choose, [A-Za-z0-9._:+-], at most 100 characters.
    """
    return f"p{int(priority)}-{min(max(first_tai_ns, 0), _NAME_NS_MAX):020d}-{suffix}"


def packed(release: Release) -> bytes:
    """The item as stored."""
    row: dict[int, object] = {
        0: VERSION,
        1: release.kind,
        2: int(release.priority),
        3: [release.first_tai_ns, release.last_tai_ns],
        4: release.body,
    }
    if release.asked_by is not None:
        row[5] = release.asked_by
    if release.facts:
        row[6] = dict(release.facts)
    return cbor2.dumps(row, canonical=True)


def unpacked(data: bytes) -> Release:
    """The item as it was packed; raises BadItem."""
    if len(data) > BODY_BYTES_MAX + 65_536:
        raise BadItem(f"expected a release item of at most {BODY_BYTES_MAX} bytes, got {len(data)}")
    row = decoded_cbor(data)
    match row:
        case {0: 1, 1: ("group" | "evidence") as kind, 2: int(priority), 3: [int(first), int(last)], 4: bytes(body)} if (
            1 <= priority <= 4
        ):
            return Release(
                kind=kind, priority=Priority(priority), first_tai_ns=first, last_tai_ns=last, body=body,
                asked_by=checked_identity(row.get(5)), facts=checked_facts(row.get(6, {})),
            )  # fmt: skip
    raise BadItem(f"expected a release item of version {VERSION} with kind, priority, times and body")


def checked_identity(value: object) -> bytes | None:
    """16 bytes or nothing; raises BadItem."""
    if value is None or (isinstance(value, bytes) and len(value) == 16):
        return value
    raise BadItem("expected an identity of 16 bytes")


def checked_facts(value: object) -> dict[str, int | str]:
    """A small map of figures; raises BadItem."""
    if not isinstance(value, dict) or len(value) > FACTS_MAX:
        raise BadItem(f"expected facts as a map of at most {FACTS_MAX} entries")
    for key, fact in value.items():
        if not isinstance(key, str) or len(key) > 64 or not is_figure(fact, characters_max=1024):
            raise BadItem("expected facts with short names and integer or short text values")
    return value


def is_figure(value: object, *, characters_max: int) -> bool:
    """Whether this is an integer of CBOR's own (RFC 8949 §3.1) or a text of at most so many characters.

    An integer is not asked for its digits: it may have a million (§3.4.3), and Python writes none of more than 4,300.
    """
    return -_UINT64 <= value < _UINT64 if isinstance(value, int) else isinstance(value, str) and len(value) <= characters_max
