"""A receipt: what stays of a segment that was deleted, so that its place in the chain of seals is accounted for.

One CBOR file a deletion in `receipts/`; format in `segment.cddl`. Receipts are a chain of their own, in the order of deletion.
Of the oldest, where there are too many, one sum stays (`receipts/sum`): which places of the chain of seals it accounts for, the seals at
their ends, and the receipt it ends with, so that both chains go on from it. What it does not keep is when each one was deleted.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cbor2

from firmware.core.cbor import decoded_record, stamp_as_list, stamp_from_list
from firmware.core.errors import BadItem
from firmware.core.signature import SIGNATURE_SIZE, is_signed_by
from firmware.core.timestamp import Timestamp

VERSION = 1
RECEIPT_BYTES_MAX = 4_096
UNREAD = bytes(32)  # in place of a digest: of a seal, or of a receipt, that was not there or that the disk did not give back
SUM = "sum"  # its file's name
SUM_BYTES_MAX = 1 << 18
RUNS_MAX = 4_096  # A run ends where a segment was pinned while its neighbours went.
_DOMAIN, _SUM_DOMAIN = b"scrubjay receipt 1", b"scrubjay receipts 1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One deletion. segment: its name. seal_digest: SHA-256 of its seal's stored bytes, or UNREAD. cause: e.g. "age", "room".

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


@dataclass(frozen=True, slots=True)
class Run:
    """Deleted segments one after the other. first, last: sequences. seal_digest: SHA-256 of the last one's seal."""

    first: int
    last: int
    seal_digest: bytes


@dataclass(frozen=True, slots=True)
class Sum:
    """What stays of the oldest receipts. number, digest: of the last of them, as in its name, and SHA-256 of its bytes.

    segments: names of the earliest and the latest it accounts for. causes: how many were deleted for which.
    """

    number: int
    digest: bytes
    segments: tuple[str, str]
    runs: tuple[Run, ...]
    causes: Mapping[str, int]
    made: Timestamp
    signature: bytes = field(default=b"", repr=False)

    def body(self) -> bytes:
        """The bytes that are signed."""
        return _SUM_DOMAIN + cbor2.dumps(_sum_map(self), canonical=True)

    def signed(self, signature: bytes) -> "Sum":
        """The same, with its signature."""
        return replace(self, signature=signature)

    def signed_by(self, public_key: bytes) -> bool:
        """Whether this key made its signature."""
        return is_signed_by(public_key, self.signature, self.body())

    def accounts_for(self, sequence: int) -> bool:
        """Whether the segment of this sequence is among them."""
        place = bisect_left(self.runs, sequence, key=lambda run: run.last)
        return place < len(self.runs) and self.runs[place].first <= sequence


def summed(former: Sum | None, rows: Sequence[Receipt], *, number: int, digest: bytes, made: Timestamp) -> Sum:
    """The sum of all, not yet signed. rows: receipts in their order, at least one; number, digest: of the last."""
    runs = [*(former.runs if former is not None else ()), *(Run(row.sequence, row.sequence, row.seal_digest) for row in rows)]
    names = sorted([*(former.segments if former is not None else ()), *(row.segment for row in rows)])
    joined: list[Run] = []
    for run in sorted(runs, key=lambda run: run.first):
        if joined and run.first == joined[-1].last + 1:
            joined[-1] = Run(joined[-1].first, run.last, run.seal_digest)
        else:
            joined.append(run)
    causes = Counter(former.causes if former is not None else {}) + Counter(row.cause for row in rows)
    return Sum(number, digest, (names[0], names[-1]), tuple(joined), dict(causes), made)


def sum_packed(made: Sum) -> bytes:
    """The sum as stored."""
    return cbor2.dumps(_sum_map(made) | {7: made.signature}, canonical=True)


def sum_unpacked(data: bytes) -> Sum:
    """A stored sum. Raises BadItem for anything `sum_packed` would not have written."""
    if len(data) > SUM_BYTES_MAX:
        raise BadItem(f"expected a sum of receipts of at most {SUM_BYTES_MAX} bytes, got {len(data)}")
    match decoded_record(data):
        case {
            0: 1, 1: int(number), 2: bytes(digest), 3: [str(first), str(last)], 4: list(rows), 5: dict(causes), 6: list(stamp), 7: bytes(signature),
        } if (
            len(signature) == SIGNATURE_SIZE and 0 < len(rows) <= RUNS_MAX
            and all(isinstance(cause, str) and type(count) is int for cause, count in causes.items())
        ):  # fmt: skip
            runs = tuple(_run(row) for row in rows)
            made = Sum(number, digest, (first, last), runs, causes, stamp_from_list(stamp), signature)
        case _:
            raise BadItem(f"expected a sum of receipts of version {VERSION} with keys 0 to 7")
    if sum_packed(made) != data:
        raise BadItem("expected a sum of receipts in deterministic CBOR and nothing beside its keys")
    return made


def packed(receipt: Receipt) -> bytes:
    """The receipt as stored."""
    return cbor2.dumps(_map(receipt) | {7: receipt.signature}, canonical=True)


def unpacked(data: bytes) -> Receipt:
    """A stored receipt. Raises BadItem for anything `packed` would not have written."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise BadItem(f"expected a receipt of at most {RECEIPT_BYTES_MAX} bytes, got {len(data)}")
    match decoded_record(data):
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


def _sum_map(made: Sum) -> dict[int, object]:
    return {
        0: VERSION, 1: made.number, 2: made.digest, 3: list(made.segments), 4: [[run.first, run.last, run.seal_digest] for run in made.runs],
        5: dict(made.causes), 6: stamp_as_list(made.made),
    }  # fmt: skip


def _run(row: object) -> Run:
    match row:
        case [int(first), int(last), bytes(seal_digest)] if 0 <= first <= last:
            return Run(first, last, seal_digest)
    raise BadItem("expected a run [first, last, digest of the last one's seal]")
