"""The record of what was carried away, pinned by golden bytes, by its CDDL and by a foreign reader.

`python tests/formats/test_exported.py` writes the file of a new version; those of an old one are never written again.
"""

from pathlib import Path

import pytest
from pycddl import Schema, ValidationError

from firmware.core.exported import Exported, packed, unpacked
from simulator.clock import SimulatedClock
from simulator.identity import SimulatedIdentity

HERE = Path(__file__).parent
GOLDEN = HERE / "exported-v1.cbor"
CDDL = (HERE.parents[1] / "firmware" / "core" / "segment.cddl").read_text()
IDENTITY = SimulatedIdentity()
RECORD = Exported(
    number=2, by="J. Bloggs", reason="service call 7", asked={"since": "2026-11-22T10:15", "port": "104"}, form="deidentified",
    from_utc_ns=1_795_342_500_000_000_000, until_utc_ns=1_795_342_560_000_000_000, frames=863, size=94_512, digest=bytes(range(32)),
    stick="sda1", file="scrubjay-box-1-20261122T101600Z.pcapng", made=SimulatedClock().now().timestamp, previous=bytes(32),
)  # fmt: skip
SIGNED = RECORD.signed(IDENTITY.sign(RECORD.body()))


def test_version_1_is_read() -> None:
    """A record written by version 1 reads as what it was, and its signature holds. (S2-108)"""
    row = unpacked(GOLDEN.read_bytes())

    assert SIGNED == row
    assert row.is_signed_by(IDENTITY.public_key())
    assert not unpacked(GOLDEN.read_bytes().replace(b"Bloggs", b"Bloggz")).is_signed_by(IDENTITY.public_key())


def test_version_1_is_written() -> None:
    """The same record gives the same bytes."""
    assert GOLDEN.read_bytes() == packed(SIGNED)


def test_as_the_cddl_says() -> None:
    """The file is what segment.cddl describes, and a changed type is not."""
    schema = Schema("start = exported\n" + CDDL)
    schema.validate_cbor(GOLDEN.read_bytes())
    with pytest.raises(ValidationError):
        schema.validate_cbor(GOLDEN.read_bytes().replace(b"deidentified", b"deidentifyed"))


if __name__ == "__main__":
    GOLDEN.write_bytes(packed(SIGNED))
