"""Feedback as the room gets it, pinned by golden bytes and by its CDDL.

`python tests/formats/test_feedback.py` writes the file of a new version; those of an old one are never written again.
"""

from pathlib import Path

import cbor2
import pytest
from pycddl import Schema, ValidationError

from firmware.core.advice import (
    SIGNED_PREFIX,
    Advice,
    Advisory,
    advisory_packed,
    advisory_unpacked,
    feedback_packed,
    feedback_unpacked,
)
from firmware.core.signature import is_signed_by
from simulator.identity import SimulatedIdentity

HERE = Path(__file__).parent
GOLDEN = HERE / "feedback-v1.cbor"
CDDL = (HERE.parents[1] / "firmware" / "core" / "feedback.cddl").read_text()
IDENTITY = SimulatedIdentity()
ADVISORY = Advisory(
    bytes(range(16)), "box-1", "hub-1", "replace-tool", Advice("replace-tool", "arm-2", reason="third failure today").sentence(),
    1_795_342_537_000_000_000, 1_795_342_837_000_000_000, "arm-2", bytes(range(16, 32)),
)  # fmt: skip
SIGNED = feedback_packed(advisory_packed(ADVISORY), IDENTITY.sign(SIGNED_PREFIX + advisory_packed(ADVISORY)))


def test_version_1_is_read() -> None:
    """Bytes published by the first version are read by this one, and their signature holds. (S2-124)"""
    signed, signature = feedback_unpacked(GOLDEN.read_bytes())

    assert ADVISORY == advisory_unpacked(signed)
    assert is_signed_by(IDENTITY.public_key(), signature, SIGNED_PREFIX + signed)


def test_version_1_is_written() -> None:
    """And this one publishes exactly them."""
    assert GOLDEN.read_bytes() == SIGNED


def test_as_the_cddl_says() -> None:
    """Both layers are what feedback.cddl describes; another advice, or a key too many, is not."""
    Schema("start = feedback\n" + CDDL).validate_cbor(GOLDEN.read_bytes())
    schema, data = Schema("start = advisory\n" + CDDL), advisory_packed(ADVISORY)
    schema.validate_cbor(data)
    for change in ({3: "stop"}, {99: 1}):
        with pytest.raises(ValidationError):
            schema.validate_cbor(cbor2.dumps(cbor2.loads(data) | change))


if __name__ == "__main__":
    GOLDEN.write_bytes(SIGNED)
