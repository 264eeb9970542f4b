"""Editions, and what crosses the broker for a file that comes down: pinned by golden bytes and by their CDDL.

`python tests/formats/test_edition.py` writes the file of a new version; those of an old one are never written again.
"""

from pathlib import Path

import cbor2
import pytest
from pycddl import Schema, ValidationError

from firmware.core.download import (
    Piece,
    Want,
    Wish,
    piece_packed,
    piece_unpacked,
    want_packed,
    want_unpacked,
    wish_packed,
    wish_unpacked,
)
from firmware.core.edition import Edition, Offered, edition_packed, opened, signed
from firmware.update.record import Pursuit, pursuit_packed, pursuit_unpacked
from simulator.identity import SimulatedIdentity

HERE = Path(__file__).parent
GOLDEN = {name: HERE / f"{name}-v1.cbor" for name in ("edition", "wish", "want", "piece", "pursuit")}
CORE = HERE.parents[1] / "firmware" / "core"
EDITION_RULES = (CORE / "edition.cddl").read_text()
UPDATE_RULES = (HERE.parents[1] / "firmware" / "update" / "update.cddl").read_text()
WIRE_RULES = (CORE / "envelope.cddl").read_text()
VENDOR = SimulatedIdentity(name="vendor")
EDITION = Edition(
    "2.4.1", 18, "linux-x86_64-cpython-311", "stable", "application", 1_795_342_537_000_000_000, 1_803_118_537_000_000_000, "vendor",
    (Offered(bytes(range(32)), 700_000, None), Offered(bytes(range(32, 64)), 1234, "2.4.0"), Offered(bytes(range(64, 96)), 99, "image")),
)  # fmt: skip
WISH = Wish(bytes(range(32)), 700_000)
WRITTEN = {
    "edition": signed(EDITION, VENDOR.sign),
    "wish": wish_packed(WISH),
    "want": want_packed(Want(WISH, 65_536, 16_384)),
    "piece": piece_packed(Piece(WISH, 65_536, bytes(range(200)))),
    "pursuit": pursuit_packed(Pursuit(signed(EDITION, VENDOR.sign), EDITION, (bytes(range(32, 64)),))),
}


def test_version_1_is_read() -> None:
    """What the first version wrote reads as what it was. (S1-03)"""
    read = {name: path.read_bytes() for name, path in GOLDEN.items()}

    assert EDITION == opened(read["edition"], {"vendor": VENDOR.public_key()})
    assert WISH == wish_unpacked(read["wish"])
    assert Want(WISH, 65_536, 16_384) == want_unpacked(read["want"])
    assert Piece(WISH, 65_536, bytes(range(200))) == piece_unpacked(read["piece"])
    assert Pursuit(read["edition"], EDITION, (bytes(range(32, 64)),)) == pursuit_unpacked(read["pursuit"])


def test_version_1_is_written() -> None:
    """And this one writes exactly that."""
    assert WRITTEN == {name: path.read_bytes() for name, path in GOLDEN.items()}


def test_the_cddl_says_so() -> None:
    """Somebody else's reader finds what is written as described, and not what is not."""
    Schema("start = signed-edition\n" + EDITION_RULES).validate_cbor(WRITTEN["edition"])
    edition = Schema("start = edition\n" + EDITION_RULES)
    edition.validate_cbor(edition_packed(EDITION))
    with pytest.raises(ValidationError):
        edition.validate_cbor(cbor2.dumps(cbor2.loads(edition_packed(EDITION)) | {5: "firmware"}))
    Schema("start = pursuit\n" + UPDATE_RULES).validate_cbor(WRITTEN["pursuit"])
    for name in ("wish", "want", "piece"):
        schema = Schema(f"start = {name}\n" + WIRE_RULES)
        schema.validate_cbor(WRITTEN[name])
        with pytest.raises(ValidationError):
            schema.validate_cbor(cbor2.dumps(cbor2.loads(WRITTEN[name]) | {1: bytes(31)}))


if __name__ == "__main__":
    for name, path in GOLDEN.items():
        path.write_bytes(WRITTEN[name])
