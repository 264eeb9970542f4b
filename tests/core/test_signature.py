"""Signatures, against the vectors of RFC 8032 and against bytes that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.core.signature import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, is_signed_by
from simulator.identity import SimulatedIdentity

# RFC 8032 §7.1, TEST 2: one byte.
KEY = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
DATA = bytes.fromhex("72")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_the_vector_of_the_rfc() -> None:
    """Somebody else's signature is taken."""
    assert is_signed_by(KEY, SIGNATURE, DATA)


@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_one_bit_is_enough(position: int) -> None:
    """Changed signature, changed data, changed key: no."""
    changed = bytearray(SIGNATURE)
    changed[position] ^= 1

    assert not is_signed_by(KEY, bytes(changed), DATA)
    assert not is_signed_by(KEY, SIGNATURE, DATA + b"\0")
    assert not is_signed_by(SimulatedIdentity().public_key(), SIGNATURE, DATA)


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=20))
def test_anything_else_is_a_no(key: bytes, signature: bytes, data: bytes) -> None:
    """Keys and signatures of any bytes and any size are refused, never an exception."""
    assert is_signed_by(key, signature, data) is False


def test_sizes() -> None:
    """What the formats reserve is what comes."""
    identity = SimulatedIdentity()

    assert (PUBLIC_KEY_SIZE, SIGNATURE_SIZE) == (len(identity.public_key()), len(identity.sign(b"")))
