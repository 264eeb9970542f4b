"""An edition: a version as it is offered to boxes, signed by who made it. Which bundles there are of it, for whom, and when.

{0: 1, 1: edition, as the bytes that were signed, 2: Ed25519 over "scrubjay edition 1" and them}
edition = {0: 1, 1: version, 2: number, 3: board, 4: channel, 5: kind, 6: [from, until: ns TAI], 7: signer, 8: [+ bundle]}
bundle = [SHA-256, size, base / null]

It travels in an order, so it is short. A box takes the smallest bundle whose base it has. firmware/core/edition.cddl describes it.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import cbor2

from firmware.core.cbor import decoded_cbor
from firmware.core.download import DIGEST_SIZE, DOWNLOAD_BYTES_MAX, Wish
from firmware.core.envelope import is_name
from firmware.core.errors import BadItem
from firmware.core.signature import SIGNATURE_SIZE, is_signed_by
from firmware.core.versions import IMAGE, is_version

VERSION = 1
SIGNED_PREFIX = b"scrubjay edition 1"
EDITION_BYTES_MAX = 3_000  # base64 of it is a parameter of an order (envelope.py: at most 4,096 characters)
BUNDLES_MAX = 16
KINDS = ("application", "system")
Kind = Literal["application", "system"]
_INT63 = 1 << 63


@dataclass(frozen=True, slots=True)
class Offered:
    """One bundle of it. base: the version whose files it uses again; None: it is whole."""

    digest: bytes
    size: int
    base: str | None

    @property
    def wish(self) -> Wish:
        """The file."""
        return Wish(self.digest, self.size)


@dataclass(frozen=True, slots=True)
class Edition:
    """number: grows from version to version; a box takes none at or below what was official on it. board: what it runs on.

    kind: "application", bundles of firmware/update/bundle.py; "system", RAUC's, for the other slot. from_tai_ns, until_tai_ns: when it
    may be taken.
    """

    version: str
    number: int
    board: str
    channel: str
    kind: Kind
    from_tai_ns: int
    until_tai_ns: int
    signer: str
    bundles: tuple[Offered, ...]

    def for_base(self, has: Callable[[str], bool]) -> list[Offered]:
        """What can be used where these versions are, the smallest first."""
        fitting = [bundle for bundle in self.bundles if bundle.base is None or has(bundle.base)]
        return sorted(fitting, key=lambda bundle: bundle.size)


def signed(edition: Edition, sign: Callable[[bytes], bytes]) -> bytes:
    """As it is published. Raises BadItem when it is too long to travel in an order."""
    data = edition_packed(edition)
    edition_unpacked(data)
    whole = cbor2.dumps({0: VERSION, 1: data, 2: sign(SIGNED_PREFIX + data)}, canonical=True)
    if len(whole) > EDITION_BYTES_MAX:
        raise BadItem(f"expected an edition of at most {EDITION_BYTES_MAX} bytes, got {len(whole)}: fewer bundles")
    return whole


def opened(data: bytes, trusted: Mapping[str, bytes]) -> Edition:
    """The edition, once a trusted signature was found good. Raises BadItem."""
    edition, signed_bytes, signature = read(data)
    key = trusted.get(edition.signer)
    if key is None:
        raise BadItem("expected a signer this machine trusts")
    if not is_signed_by(key, signature, SIGNED_PREFIX + signed_bytes):
        raise BadItem("expected the named signer's signature over this edition")
    return edition


def read(data: bytes) -> tuple[Edition, bytes, bytes]:
    """What it says, the bytes that are said to be signed, and the signature; it is not looked at. Raises BadItem."""
    if len(data) <= EDITION_BYTES_MAX:
        match decoded_cbor(data):
            case {0: 1, 1: bytes(signed_bytes), 2: bytes(signature)} if len(signature) == SIGNATURE_SIZE:
                return edition_unpacked(signed_bytes), signed_bytes, signature
    raise BadItem(f"expected an edition of version {VERSION}, signed (edition.cddl)")


def as_text(data: bytes) -> str:
    """As it stands in an order."""
    return base64.b64encode(data).decode()


def from_text(text: object) -> bytes:
    """Raises BadItem."""
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raise BadItem("expected an edition in base64") from None


def edition_packed(edition: Edition) -> bytes:
    """The bytes to sign."""
    return cbor2.dumps(
        {
            0: VERSION, 1: edition.version, 2: edition.number, 3: edition.board, 4: edition.channel, 5: edition.kind,
            6: [edition.from_tai_ns, edition.until_tai_ns], 7: edition.signer,
            8: [[bundle.digest, bundle.size, bundle.base] for bundle in edition.bundles],
        },
        canonical=True,
    )  # fmt: skip


def edition_unpacked(data: bytes) -> Edition:
    """Raises BadItem. Says nothing about who signed it."""
    match decoded_cbor(data):
        case {
            0: 1, 1: str(version), 2: int(number), 3: str(board), 4: str(channel), 5: ("application" | "system") as kind,
            6: [int(from_ns), int(until_ns)], 7: str(signer), 8: [*rows],
        } if (
            is_version(version) and 0 < number < _INT63 and 0 < len(board) <= 128 and is_name(channel) and is_name(signer)
            and abs(from_ns) < _INT63 and abs(until_ns) < _INT63 and 0 < len(rows) <= BUNDLES_MAX
        ):  # fmt: skip
            bundles = tuple(_offered(row) for row in rows)
            if len({bundle.digest for bundle in bundles}) == len(bundles):
                return Edition(version, number, board, channel, kind, from_ns, until_ns, signer, bundles)
    raise BadItem(f"expected an edition of version {VERSION} (edition.cddl)")


def _offered(row: object) -> Offered:
    match row:
        case [bytes(digest), int(size), (str() | None) as base] if (
            len(digest) == DIGEST_SIZE
            and type(size) is int
            and 0 < size <= DOWNLOAD_BYTES_MAX
            and (base is None or base == IMAGE or is_version(base))
        ):
            return Offered(digest, size, base)
    raise BadItem("expected a bundle as [digest, size, base]")
