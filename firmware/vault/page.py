"""What `scrubjay vault` says, for people and for programs."""

from drivers.vault import Vault, VaultState
from firmware.core.timestamp import SECOND, Now, iso
from firmware.vault.erase import Erasure

_MEANING = {
    VaultState.PLAIN: "not encrypted: who has the disk reads it",
    VaultState.LOCKED: "encrypted, and locked: the key is not here, or was destroyed",
    VaultState.OPEN: "encrypted, and open on this machine",
}


def status(vault: Vault) -> dict[str, str]:
    """How the store stands."""
    state = vault.state()
    return {"vault": state.value, "meaning": _MEANING[state]}


def erased(erasure: Erasure, now: Now, *, public_key: bytes, kept: str) -> dict[str, str]:
    """What was done, to be written down by whoever did it."""
    rest = (
        "nothing of it can be read any more"
        if erasure.is_complete
        else "somebody has files open: restart the machine to end that"
    )
    return {
        "erased": iso(now.timestamp.tai_ns - now.tai_offset_s * SECOND),
        "segments": str(erasure.segments),
        "newest": erasure.receipt.segment or "none",
        "newest_seal": erasure.receipt.seal_digest.hex(),
        "key": public_key.hex(),
        "receipt": kept,
        "state": rest,
    }
