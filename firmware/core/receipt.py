"""A receipt: what stays of a segment that was deleted, so that its place in the chain of seals is accounted for.

One CBOR file a deletion in `receipts/`; format in `segment.cddl`. Receipts are a chain of their own, in the order of deletion.
"""

from dataclasses import dataclass, field, replace

import cbor2

from firmware.core.errors import BadItem
from firmware.core.message import decoded_cbor, stamp_as_list, stamp_from_list
from firmware.core.signature import SIGNATURE_SIZE, is_signed_by
from firmware.core.timestamp import Timestamp

VERSION = 1
RECEIPT_BYTES_MAX = 4_096
_DOMAIN = b"scrubjay receipt 1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One deletion. segment: its name. seal_digest: SHA-256 of its seal's stored bytes. cause: e.g. "age", "room".

    previous: SHA-256 of the stored bytes of the receipt made before this one, None at the first.
    """

    segment: str
    sequence: int
    seal_digest: bytes
    cause: str
    made: Timestamp
    previous: bytes | None
    signature: bytes = field(default=b"", repr=False)

    def body(self) -> bytes:
        """The bytes that are signed."""
        return _DOMAIN + cbor2.dumps(_map(self), canonical=True)

    def signed(self, signature: bytes) -> "Receipt":
        """The same, with its signature: `receipt.signed(identity.sign(receipt.body()))`."""
        return replace(self, signature=signature)

    def signed_by(self, public_key: bytes) -> bool:
        """Whether this key made its signature."""
        return is_signed_by(public_key, self.signature, self.body())


def packed(receipt: Receipt) -> bytes:
    """The receipt as stored."""
    return cbor2.dumps(_map(receipt) | {7: receipt.signature}, canonical=True)


def unpacked(data: bytes) -> Receipt:
    """A stored receipt. Raises BadItem for anything `packed` would not have written."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise BadItem(f"expected a receipt of at most {RECEIPT_BYTES_MAX} bytes, got {len(data)}")
    match decoded_cbor(data):
        case {
            0: 1, 1: str(segment), 2: int(sequence), 3: bytes(seal_digest), 4: str(cause), 5: list(stamp),
            6: (bytes() | None) as previous, 7: bytes(signature),
        } if len(signature) == SIGNATURE_SIZE:  # fmt: skip
            receipt = Receipt(segment, sequence, seal_digest, cause, stamp_from_list(stamp), previous, signature)
        case _:
            raise BadItem(f"expected a receipt of version {VERSION} with keys 0 to 7")
    if packed(receipt) != data:
        raise BadItem("expected a receipt in deterministic CBOR and nothing beside its keys")
    return receipt


def _map(receipt: Receipt) -> dict[int, object]:
    return {
        0: VERSION, 1: receipt.segment, 2: receipt.sequence, 3: receipt.seal_digest, 4: receipt.cause,
        5: stamp_as_list(receipt.made), 6: receipt.previous,
    }  # fmt: skip
