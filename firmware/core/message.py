"""A message: something a device chose to say, with who, when, how important and what in it is sensitive.

Stored as deterministic CBOR (RFC 8949 §4.2.1); `message.cddl` beside this file is the format, golden files in tests/formats pin it.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

import cbor2

from firmware.core.cbor import INT64, cbor_head, decoded_cbor, stamp_from_list
from firmware.core.errors import BadItem
from firmware.core.timestamp import ClockState, Timestamp

VERSION = 1
BATCH_BYTES_MAX = 8 << 20  # Larger than a group's 5 MB ceiling (S2-049), small enough to hold in memory on a board.
TEXT_MAX = 262_144  # characters; four times the largest UDP datagram, so nothing a datagram can say is cut
FIELDS_MAX = 1_024
TAGS_MAX = 4_096
_TOKEN = re.compile(r"[A-Za-z0-9._:/-]{1,64}")

Field = int | float | bool | str | None


class Priority(IntEnum):
    """How soon it must leave (S2-023). 1 is first."""

    P1 = 1
    P2 = 2
    P3 = 3
    P4 = 4


class Severity(IntEnum):
    """RFC 5424 §6.2.1, table 2; every other scale is mapped to this one at the entrance."""

    EMERGENCY = 0
    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFORMATIONAL = 6
    DEBUG = 7


@dataclass(frozen=True, slots=True)
class Tag:
    """A sensitive span. path: "text", "fields/<name>" or "attachment"; start, end: characters, equal for the whole value."""

    path: str
    start: int
    end: int
    why: str


@dataclass(frozen=True, slots=True)
class Message:
    """One published message. `identity` follows from the rest and is what joins copies of it.

    device, process, kind, event: [A-Za-z0-9._:/-], 1 to 64 characters. sequence: the origin's own count, None where it has none.
    """

    device: str
    process: str
    kind: str
    priority: Priority
    severity: Severity
    origin_time: Timestamp
    received_time: Timestamp
    sequence: int | None = None
    event: str | None = None
    text: str | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    attachment: tuple[str, bytes] | None = None
    tags: tuple[Tag, ...] = ()

    @property
    def identity(self) -> bytes:
        """16 bytes, equal for two copies of one message however they came.

        The origin's time is part of it, its uncertainty is not: what we think of a clock may differ between copies. When it was
        received is not part either, nor the tags.
        """
        return _identified(self)[0]


def packed(messages: Sequence[Message]) -> bytes:
    """A batch as stored and sent."""
    return cbor_head(4, len(messages)) + b"".join(_identified(message)[1] for message in messages)


def packed_single(message: Message) -> tuple[bytes, bytes]:
    """Its identity, and the message as a batch of one: both for the work of either, for the entrance, which needs both."""
    identity, row = _identified(message)
    return identity, b"\x81" + row


def joined(singles: Sequence[bytes]) -> bytes:
    """One batch of messages that were packed one at a time; the same bytes as packing them together, without doing it again."""
    assert singles, "a batch has at least one message"
    return cbor_head(4, len(singles)) + b"".join(single[1:] for single in singles)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A message out of a batch, its identity, and the message as a batch of one: what `packed_single` gives, made while it was checked."""

    message: Message
    identity: bytes
    single: bytes


def unpacked(data: bytes) -> list[Message]:
    """A batch as it was packed. Raises BadItem saying what was expected; never anything else, whatever the bytes."""
    return [row.message for row in unpacked_rows(data)]


def unpacked_rows(data: bytes) -> list[Unpacked]:
    """`unpacked`, for who hands the messages on as they are: to pack them again would be a third of the work."""
    if len(data) > BATCH_BYTES_MAX:
        raise BadItem(f"expected a batch of at most {BATCH_BYTES_MAX} bytes, got {len(data)}")
    rows = decoded_cbor(data)
    if not isinstance(rows, list) or not rows:
        raise BadItem("expected a CBOR array of at least one message")
    return [_from_map(row) for row in rows]


def is_token(value: object) -> bool:
    """Whether this may be a device, process, kind or event name."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _identified(message: Message) -> tuple[bytes, bytes]:
    """Identity and map, in the bytes `cbor2.dumps(…, canonical=True)` gives.

    Put together by hand, because ten thousand a second pass here and what identity covers would otherwise be encoded twice: a
    third of the time at the entrance. The keys are small integers, so ascending is canonical; fields, whose order is not so
    simple, are left to cbor2. tests/core/test_message.py holds both forms against each other.
    """
    who = b"\x02" + _word(message.device) + b"\x03" + _word(message.process)
    count = 6
    if message.sequence is not None:
        count += 1
        who += b"\x04" + cbor_head(0, message.sequence)
    who += b"\x05" + _word(message.kind) + bytes((6, message.priority, 7, message.severity))
    if message.event is not None:
        count += 1
        who += b"\x08" + _word(message.event)
    what = b""
    if message.text is not None:
        count += 1
        text = message.text.encode()
        what = b"\x0b" + cbor_head(3, len(text)) + text
    if message.fields:
        count += 1
        what += b"\x0c" + cbor2.dumps(dict(message.fields), canonical=True)
    if message.attachment is not None:
        count += 1
        media_type, data = message.attachment
        what += b"\x0d\x82" + _word(media_type) + cbor_head(2, len(data)) + data
    identity = hashlib.sha256(cbor_head(5, count) + who + b"\x09" + _integer(message.origin_time.tai_ns) + what).digest()[:16]
    row = who + b"\x09" + _stamp(message.origin_time) + b"\x0a" + _stamp(message.received_time) + what
    if message.tags:
        count += 1
        row += b"\x0e" + cbor2.dumps([[tag.path, tag.start, tag.end, tag.why] for tag in message.tags], canonical=True)
    return identity, cbor_head(5, count + 3) + bytes((0, VERSION, 1)) + b"\x50" + identity + row


@lru_cache(1024)  # of few clocks, and what we think of a clock seldom changes
def stamp_tail(uncertainty_ns: int, source: str, state: ClockState) -> bytes:
    """What stands behind the moment in a packed stamp: the same for many messages (turnstile.py)."""
    return cbor_head(0, uncertainty_ns) + _word(source) + _word(state.value)


def _stamp(stamp: Timestamp) -> bytes:
    return b"\x84" + _integer(stamp.tai_ns) + stamp_tail(stamp.uncertainty_ns, stamp.source, stamp.state)


def _integer(value: int) -> bytes:
    return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)


@lru_cache(1024)  # names of devices, processes and events; a publisher that never repeats one costs what it would without
def _word(text: str) -> bytes:
    data = text.encode()
    return cbor_head(3, len(data)) + data


def _from_map(row: object) -> Unpacked:
    if not isinstance(row, dict) or row.get(0) != VERSION:
        raise BadItem(f"expected a message of version {VERSION}")
    for key, name in ((2, "device"), (3, "process"), (5, "kind")):
        if not is_token(row.get(key)):
            raise BadItem(f"expected {name} (key {key}) of 1 to 64 characters [A-Za-z0-9._:/-]")
    event, sequence, text = row.get(8), row.get(4), row.get(11)
    if event is not None and not is_token(event):
        raise BadItem("expected event (key 8) of 1 to 64 characters [A-Za-z0-9._:/-]")
    if sequence is not None and not (_is_int(sequence) and 0 <= sequence < INT64 * 2):
        raise BadItem("expected sequence (key 4) as an unsigned integer of 64 bits")
    if text is not None and not (isinstance(text, str) and len(text) <= TEXT_MAX):
        raise BadItem(f"expected text (key 11) of at most {TEXT_MAX} characters")
    if not _is_int(row.get(6)) or row[6] not in (1, 2, 3, 4):
        raise BadItem("expected priority (key 6) 1 to 4")
    if not _is_int(row.get(7)) or not 0 <= row[7] <= 7:
        raise BadItem("expected severity (key 7) 0 to 7")
    message = Message(
        device=row[2], process=row[3], kind=row[5], priority=Priority(row[6]), severity=Severity(row[7]),
        origin_time=stamp_from_list(row.get(9)), received_time=stamp_from_list(row.get(10)),
        sequence=sequence, event=event, text=text, fields=checked_fields(row.get(12, {})),
        attachment=_attachment(row.get(13)), tags=_tags(row.get(14, [])),
    )  # fmt: skip
    identity, again = _identified(message)
    if row.get(1) != identity:
        raise BadItem("expected the identity (key 1) that follows from the rest")
    return Unpacked(message, identity, b"\x81" + again)


def checked_fields(value: object) -> dict[str, Field]:
    """Fields from foreign data; raises BadItem naming what was expected, never the value."""
    if not isinstance(value, dict) or len(value) > FIELDS_MAX:
        raise BadItem(f"expected fields as a map of at most {FIELDS_MAX} entries")
    for name, entry in value.items():
        if not isinstance(name, str) or not 0 < len(name) <= 256:
            raise BadItem("expected field names of 1 to 256 characters")
        if isinstance(entry, str):
            if len(entry) > TEXT_MAX:
                raise BadItem(f"expected field values of at most {TEXT_MAX} characters")
        elif isinstance(entry, float):
            if math.isnan(entry):
                raise BadItem("expected numbers in fields, got not-a-number")
        elif isinstance(entry, int):
            if abs(entry) >= INT64:
                raise BadItem("expected integers of at most 63 bits in fields")
        elif entry is not None:
            raise BadItem("expected numbers, texts, true, false or null in fields")
    return value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _attachment(value: object) -> tuple[str, bytes] | None:
    match value:
        case None:
            return None
        case [str(media_type), bytes(data)] if len(media_type) <= 128:
            return media_type, data
    raise BadItem("expected attachment (key 13) as [media type, bytes]")


def _tags(value: object) -> tuple[Tag, ...]:
    if not isinstance(value, list) or len(value) > TAGS_MAX:
        raise BadItem(f"expected tags (key 14) as an array of at most {TAGS_MAX}")
    tags = []
    for row in value:
        match row:
            case [str(path), int(start), int(end), str(why)] if 0 <= start <= end and len(path) <= 300 and len(why) <= 16:
                tags.append(Tag(path, start, end, why))
            case _:
                raise BadItem("expected a tag [path, start, end, why] with start no later than end")
    return tuple(tags)
