"""A datagram of a published message, in whichever of four forms: CBOR, JSON, syslog, plain text. FORMAT.md of intake describes them.

Used by intake, which hears them, and by deidentify, which decides whether a recorded one may leave.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from firmware.core import syslog
from firmware.core.cbor import decoded_cbor
from firmware.core.errors import BadItem
from firmware.core.message import FIELDS_MAX, Priority, Severity, is_token
from firmware.core.said import Form, Said, clean_text, flattened
from firmware.core.timestamp import parse_utc_us

VERSION = 1
OPAQUE = "application/octet-stream"
# A datagram in RFC 8949's self-described form, tag 55799, or directly a map: 0xA0 to 0xBF never begin a UTF-8 text.
_CBOR_TAG = b"\xd9\xd9\xf7"
_BOM = b"\xef\xbb\xbf"
_LEVELS_MAX = 16  # as decoded_cbor
_INT64 = 1 << 63
_NAMES = {
    "emergency": 0, "emerg": 0, "panic": 0, "fatal": 2, "alert": 1, "critical": 2, "crit": 2, "error": 3, "err": 3,
    "warning": 4, "warn": 4, "notice": 5, "event": 5, "status": 6, "informational": 6, "info": 6, "debug": 7, "trace": 7,
}  # fmt: skip


def decoded(data: bytes) -> Said:
    """What the datagram says. Never raises: what fits no form is text, what is no text is kept whole as attachment."""
    first = data.removeprefix(_BOM).lstrip(b" \t\r\n")[:1]
    try:
        if data[:3] == _CBOR_TAG or 0xA0 <= (data[0] if data else 0) <= 0xBF:
            return _from_map("cbor", decoded_cbor(data.removeprefix(_CBOR_TAG)))
        if first == b"{":
            return _from_map("json", _decoded_json(data.removeprefix(_BOM)))
        if first == b"<":
            return syslog.decoded(data.removeprefix(_BOM).lstrip(b" \t\r\n"))
    except BadItem:
        pass
    try:
        text = data.removeprefix(_BOM).rstrip(b"\x00\r\n").decode("utf-8")
    except UnicodeDecodeError:
        return Said("opaque", attachment=(OPAQUE, data), undecodable=True)
    return Said("text", text=text)


def says_each_once(data: bytes) -> bool:
    """Whether no map of a datagram in CBOR has a name twice, of which `decoded` keeps the last (RFC 8949 §5.6). JSON it does not read then."""
    is_cbor = data[:3] == _CBOR_TAG or 0xA0 <= (data[0] if data else 0) <= 0xBF
    try:
        return not is_cbor or _end(data, len(_CBOR_TAG) if data[:3] == _CBOR_TAG else 0, _LEVELS_MAX) > 0
    except (BadItem, IndexError):
        return False


def _end(data: bytes, at: int, levels: int) -> int:
    """Where the item that begins here ends. Raises BadItem where a name stands twice or it is too deep, IndexError where it is cut off."""
    major, info = data[at] >> 5, data[at] & 31
    size = 1 << info - 24 if 24 <= info <= 27 else 0
    value = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else info
    at += 1 + size
    if major in (0, 1, 7):
        return at
    if levels == 0 or (major in (2, 3) and info == 31):
        raise BadItem("expected texts in one piece, and maps in maps no deeper")
    if major in (2, 3):
        return at + value
    if major == 6:
        return _end(data, at, levels - 1)
    names: set[object] = set()
    left = value if info < 31 else len(data)
    while left and not (info == 31 and data[at] == 0xFF):
        begin, at = at, _end(data, at, levels - 1)
        if major == 5:
            name = decoded_cbor(data[begin:at])
            if not isinstance(name, str | int) or name in names:
                raise BadItem("expected each name once")
            names.add(name)
            at = _end(data, at, levels - 1)
        left -= 1
    return at + (info == 31)


def _decoded_json(data: bytes) -> object:
    try:
        # NaN and Infinity are no JSON, but what Python writes for them is common, and means "no value".
        return json.loads(data.rstrip(b"\x00"), parse_constant=lambda _: None, object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        raise BadItem("expected JSON") from None


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Raises ValueError where a name stands twice (RFC 8259 §4): what the first said would be lost, and be overlooked where it may not leave."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("expected each name once")
    return row


def _from_map(form: Form, row: object) -> Said:
    """The agreed names; everything else joins the fields, so that nothing said is lost and nothing sensitive is overlooked."""
    if not isinstance(row, dict):
        raise BadItem("expected a map")
    if row.get("version", VERSION) != VERSION:
        raise BadItem(f"expected version {VERSION}")
    said: dict[str, Any] = {}  # Any: as its reading made it
    rest: dict[object, object] = {}
    own: dict[object, object] = {}
    claimed: dict[object, object] = {}
    for name, value in row.items():
        reading = _READINGS.get(name)
        if reading is not None:
            if value is None:
                continue
            read = reading(value)
            if read is None:
                claimed[f"claimed_{name}"] = value
            else:
                said[name] = read
        elif name == "fields" and isinstance(value, Mapping):
            own |= value
        elif name != "version" and not (name == "fields" and value is None):
            rest[name] = value
    clock = said.pop("clock", None)
    if clock is not None:
        claimed["claimed_clock"] = clock
    if len(everything := rest | own | claimed) < len(rest) + len(own) + len(claimed):
        raise BadItem("expected each field once")  # What one of them hid would be overlooked.
    time = said.pop("time", None)
    if time is not None:
        said.setdefault("time_utc_ns", time)
    if not everything:
        return Said(form, **said)
    flat = flattened(everything)
    if len(flat) > FIELDS_MAX - 8:  # room for what the entrance adds
        raise BadItem(f"expected at most {FIELDS_MAX - 8} fields")
    return Said(form, fields=flat, **said)


def _text(value: object) -> str | None:
    return clean_text(value) if isinstance(value, str) else None


def _token(value: object) -> str | None:
    return value if isinstance(value, str) and is_token(value) else None


def _sequence(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INT64 else None


def _time_ns(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < _INT64 else None


def _time(value: object) -> int | None:
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        return parse_utc_us(value)
    except ValueError:
        return None


def _severity(value: object) -> Severity | None:
    if isinstance(value, str):
        value = _NAMES.get(value.strip().lower(), value)
    return Severity(value) if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 7 else None


def _priority(value: object) -> Priority | None:
    if isinstance(value, str) and len(value) <= 2:
        value = {"1": 1, "2": 2, "3": 3, "4": 4}.get(value.upper().removeprefix("P"), value)
    return Priority(value) if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4 else None


def _attachment(value: object) -> tuple[str, bytes] | None:
    """[media type, bytes], the bytes as base64 where the form has none."""
    match value:
        case [str(media_type), bytes(data)] if len(media_type) <= 128:
            return clean_text(media_type), data
        case [str(media_type), str(data)] if len(media_type) <= 128:
            try:
                return clean_text(media_type), base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                return None
    return None


_READINGS: Mapping[object, Callable[[Any], object]] = {  # Any: whatever the sender put there
    "device": _text, "process": _text, "sequence": _sequence, "severity": _severity, "priority": _priority, "kind": _token,
    "event": _token, "time_utc_ns": _time_ns, "time_tai_ns": _time_ns, "time": _time, "text": _text, "attachment": _attachment,
    "clock": _text,
}  # fmt: skip
