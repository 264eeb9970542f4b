"""Ed25519 (RFC 8032), as used by seals, receipts and commands."""

SIGNATURE_SIZE = 64
PUBLIC_KEY_SIZE = 32


def is_signed_by(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` over `data` was made with the key behind `public_key`. Malformed keys and signatures are a no."""
    # Here, because who searches a store reads seals and verifies nothing: a sixth of what `find` begins with.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
