"""A session as stored, pinned by golden bytes and by its CDDL.

`python tests/formats/test_session.py` writes the file of a new version; those of an old one are never written again.
"""

from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from pycddl import Schema, ValidationError

from firmware.core.session import Kind, Session, packed, unpacked
from firmware.core.timestamp import ClockState, Timestamp

HERE = Path(__file__).parent
GOLDEN = HERE / "session-v1.cbor"
GOLDEN_CONTEXT = HERE / "session-v1-context.cbor"
CDDL = (HERE.parents[1] / "firmware" / "core" / "session.cddl").read_text()
SESSION = Session(
    "0f56dd365b39f7d1", Kind.PROCEDURE, "event",
    Timestamp(1_795_342_537_000_000_001, 50_000, "ptp", ClockState.LOCKED),
    Timestamp(1_795_349_737_000_500_000, 3_000_000, "ptp", ClockState.HOLDOVER), "hand",
)  # fmt: skip


OF_AN_ORDER = replace(SESSION, context={"order": "abcdefghijklmnop", "visit": "ponmlkjihgfedcba"})


def test_version_1_is_read() -> None:
    """Bytes written by the first version are read by this one, for ever, with what it is about and without. (S2-130)"""
    assert SESSION == unpacked(GOLDEN.read_bytes())
    assert OF_AN_ORDER == unpacked(GOLDEN_CONTEXT.read_bytes())


def test_version_1_is_written() -> None:
    """And this one writes exactly them."""
    assert GOLDEN.read_bytes() == packed(SESSION)
    assert GOLDEN_CONTEXT.read_bytes() == packed(OF_AN_ORDER)


def test_what_is_no_pseudonym_is_left_out() -> None:
    """A session is one without it, too; a number in the clear is not taken for one."""
    row = cbor2.loads(packed(OF_AN_ORDER))
    for context in (
        {"order": "99001234", "visit": "ponmlkjihgfedcba", "patient": "abcdefghijklmnop"},
        {"visit": "ponmlkjihgfedcba"},
    ):
        assert replace(SESSION, context={"visit": "ponmlkjihgfedcba"}) == unpacked(cbor2.dumps(row | {7: context}))
    assert SESSION == unpacked(cbor2.dumps(row | {7: ["order"]}))


def test_as_the_cddl_says() -> None:
    """The file is what session.cddl describes, open or closed; another kind, or a key too many, is not."""
    schema = Schema("start = session\n" + CDDL)
    schema.validate_cbor(GOLDEN.read_bytes())
    schema.validate_cbor(GOLDEN_CONTEXT.read_bytes())
    schema.validate_cbor(packed(Session(SESSION.identity, Kind.TEST, "order", SESSION.start)))
    for change in ({2: "party"}, {99: 1}):
        with pytest.raises(ValidationError):
            schema.validate_cbor(cbor2.dumps(cbor2.loads(GOLDEN.read_bytes()) | change))


if __name__ == "__main__":
    GOLDEN.write_bytes(packed(SESSION))
    GOLDEN_CONTEXT.write_bytes(packed(OF_AN_ORDER))
