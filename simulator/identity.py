"""An identity that follows from a seed."""

import hashlib
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class SimulatedIdentity:
    """Name, key and entropy, all from the seed. `trust` and `revoke` are the world's."""

    def __init__(self, *, name: str = "box-1", site: str = "site-1", seed: int = 1) -> None:
        self._name = name
        self._site = site
        self._secret = f"{seed}/{name}/{site}".encode()
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"key " + self._secret).digest())
        self._drawn = 0
        self._trusted: dict[str, bytes] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def site(self) -> str:
        return self._site

    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def trusted(self) -> Mapping[str, bytes]:
        return dict(self._trusted)

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(b"entropy %d " % self._drawn + self._secret).digest(size)

    def trust(self, signer: str, public_key: bytes) -> None:
        """This signer's commands are taken from now on."""
        self._trusted[signer] = public_key

    def revoke(self, signer: str) -> None:
        """And no longer."""
        self._trusted.pop(signer, None)
