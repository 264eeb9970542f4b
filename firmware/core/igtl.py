"""OpenIGTLink as far as it tells how somebody is: STATUS messages of versions 1 to 3. Pure.

0   2  header's version   2 12  type     14 20  device name    34  8  time stamp (s, 1/2^32 s, UTC)    42  8  body size
50  8  CRC-64 (ECMA-182) of the body     58  …  body, with an extended header before the content where the header's version is not 1
The header's version is not the protocol's: versions 1 and 2 of the protocol write 1, version 3 writes 2, its drafts wrote 3.

STATUS content:  0  2  code   2  8  subcode (signed)   10 20  error name   30  …  message, zero terminated
Source: OpenIGTLink protocol, version 3, header and STATUS.
"""

import struct

from firmware.core.errors import BadItem
from firmware.core.framing import IGTL_HEADER_BYTES
from firmware.core.message import Field
from firmware.core.priority import BY_STATUS
from firmware.core.said import Said, clean_text
from firmware.core.timestamp import SECOND

NAMES = (
    "invalid", "ok", "unknown-error", "panic", "not-found", "access-denied", "busy", "time-out", "overflow", "checksum-error",
    "configuration-error", "resource-error", "unknown-instruction", "not-ready", "manual-mode", "disabled", "not-present",
    "unknown-version", "hardware-failure", "shut-down",
)  # fmt: skip
_HEADER = struct.Struct(">H12s20sIIQQ")
_STATUS = struct.Struct(">Hq20s")
_EXTENDED = struct.Struct(">HHII")
_POLYNOMIAL = 0x42F0E1EBA9EA3693  # ECMA-182


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte << 56
        for _ in range(8):
            value = (value << 1 ^ _POLYNOMIAL if value >> 63 else value << 1) & (1 << 64) - 1
        rows.append(value)
    return tuple(rows)


_CRC = _table()


def crc64(data: bytes) -> int:
    """As OpenIGTLink computes it: ECMA-182's polynomial, beginning with 0, nothing reflected."""
    value = 0
    for byte in data:
        value = (value << 8 ^ _CRC[value >> 56 ^ byte]) & (1 << 64) - 1
    return value


def decoded(data: bytes) -> Said | None:
    """What a whole message says; None for one of another type than STATUS. Raises BadItem."""
    if len(data) < IGTL_HEADER_BYTES:
        raise BadItem("expected an OpenIGTLink header of 58 bytes")
    version, kind, device, seconds, fraction, size, crc = _HEADER.unpack_from(data)
    if kind.rstrip(b"\0") != b"STATUS":
        return None
    body = data[IGTL_HEADER_BYTES:]
    if len(body) != size or crc64(body) != crc:
        raise BadItem("expected a STATUS body of its size and checksum")
    if version >= 2:
        if len(body) < _EXTENDED.size:
            raise BadItem("expected an extended header")
        header, _, metadata, texts = _EXTENDED.unpack_from(body)
        end = len(body) - metadata - texts
        if not _EXTENDED.size <= header <= end:
            raise BadItem("expected an extended header within its body")
        body = body[header:end]
    if len(body) < _STATUS.size:
        raise BadItem("expected a STATUS of at least 30 bytes")
    code, subcode, error = _STATUS.unpack_from(body)
    if code >= len(NAMES):
        raise BadItem(f"expected a STATUS code below {len(NAMES)}")
    fields: dict[str, Field] = {"igtl/code": code, "igtl/subcode": subcode}
    if name := _text(error):
        fields["igtl/error"] = name
    return Said(
        "igtl", device=_text(device) or None, process="openigtlink", severity=BY_STATUS[code], event=f"igtl/{NAMES[code]}",
        time_utc_ns=seconds * SECOND + (fraction * SECOND >> 32) if seconds else None,
        text=_text(body[_STATUS.size :]) or NAMES[code], fields=fields,
    )  # fmt: skip


def _text(data: bytes) -> str:
    return clean_text(data.partition(b"\0")[0].decode("utf-8", "replace"))
