"""What left the box by hand: who took it, why, what it was, when. Signed, and a chain of its own, as receipts are.

One CBOR file in `exports/`; format in `segment.cddl`. A copy lies beside the evidence, so that whoever gets it knows where it is from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import cbor2

from firmware.core.cbor import decoded_record, stamp_as_list, stamp_from_list
from firmware.core.errors import BadItem
from firmware.core.signature import SIGNATURE_SIZE, is_signed_by
from firmware.core.timestamp import Timestamp

VERSION = 1
EXPORTED_BYTES_MAX = 16_384
WORDS_MAX = 200  # characters of a name or a reason
RAW, DEIDENTIFIED = "raw", "deidentified"
_DOMAIN = b"scrubjay exported 1"


@dataclass(frozen=True, slots=True)
class Exported:
    """by, reason, asked: as typed. form: RAW or DEIDENTIFIED. digest: SHA-256 of the file. previous: of the record before, None at the first."""

    number: int
    by: str
    reason: str
    asked: Mapping[str, str]
    form: str
    from_utc_ns: int
    until_utc_ns: int
    frames: int
    size: int
    digest: bytes
    stick: str
    file: str
    made: Timestamp
    previous: bytes | None
    signature: bytes = field(default=b"", repr=False)

    def body(self) -> bytes:
        """The bytes that are signed."""
        return _DOMAIN + cbor2.dumps(_map(self), canonical=True)

    def signed(self, signature: bytes) -> "Exported":
        """The same, with its signature."""
        return replace(self, signature=signature)

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether this key made its signature."""
        return is_signed_by(public_key, self.signature, self.body())


def packed(row: Exported) -> bytes:
    """As stored."""
    return cbor2.dumps(_map(row) | {14: row.signature}, canonical=True)


def unpacked(data: bytes) -> Exported:
    """A stored record. Raises BadItem for anything `packed` would not have written."""
    if len(data) > EXPORTED_BYTES_MAX:
        raise BadItem(f"expected a record of an export of at most {EXPORTED_BYTES_MAX} bytes, got {len(data)}")
    match decoded_record(data):
        case {
            0: 1, 1: int(number), 2: str(by), 3: str(reason), 4: dict(asked), 5: str(form), 6: [int(since), int(until)],
            7: int(frames), 8: int(size), 9: bytes(digest), 10: str(stick), 11: str(file), 12: list(stamp),
            13: (bytes() | None) as previous, 14: bytes(signature),
        } if len(signature) == SIGNATURE_SIZE and all(isinstance(word, str) for pair in asked.items() for word in pair):  # fmt: skip
            row = Exported(
                number, by, reason, asked, form, since, until, frames, size, digest, stick, file, stamp_from_list(stamp), previous,
                signature,
            )  # fmt: skip
        case _:
            raise BadItem(f"expected a record of an export of version {VERSION} with keys 0 to 14")
    if packed(row) != data:
        raise BadItem("expected a record of an export in deterministic CBOR and nothing beside its keys")
    return row


def _map(row: Exported) -> dict[int, object]:
    return {
        0: VERSION, 1: row.number, 2: row.by, 3: row.reason, 4: dict(row.asked), 5: row.form, 6: [row.from_utc_ns, row.until_utc_ns],
        7: row.frames, 8: row.size, 9: row.digest, 10: row.stick, 11: row.file, 12: stamp_as_list(row.made), 13: row.previous,
    }  # fmt: skip
