"""Who this board is, and whose commands it takes. The private key never leaves the driver."""

from collections.abc import Mapping
from typing import Protocol


class Identity(Protocol):
    """The board's name and Ed25519 key (RFC 8032). On the box a TPM or a sealed file, on a laptop a file of mode 0600."""

    @property
    def name(self) -> str:
        """The board's name, [a-z0-9][a-z0-9-]{2,62}; one level of the MQTT topics."""
        ...

    @property
    def site(self) -> str:
        """The site's name, same form."""
        ...

    def public_key(self) -> bytes:
        """32 bytes."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        ...

    def trusted(self) -> Mapping[str, bytes]:
        """Public keys (32 bytes) whose commands are taken, by the signer's name. Read afresh at each call: a key can be revoked."""
        ...

    def entropy(self, size: int) -> bytes:
        """Unpredictable bytes; from the seed in the simulator. The firmware has no other randomness."""
        ...
