"""Erase the store: a signed receipt of what is going, kept outside of it, and then the key.

pins? ─▶ receipt signed ─▶ kept as unfinished, durable ─▶ key destroyed ─▶ receipt gets its name (firmware/cli/store.py)
"""

from collections.abc import Callable
from dataclasses import dataclass

from drivers.clock import Now
from drivers.disk import Disk
from drivers.identity import Identity
from drivers.vault import Vault, VaultState
from firmware.core import receipt
from firmware.core.errors import DiskFailed, Missing, VaultShut
from firmware.core.layout import sequence_of
from firmware.core.receipt import Receipt
from firmware.core.recovery import chain_end
from firmware.core.seal import digest

SEGMENTS, RECEIPTS, PINS = "segments", "receipts", "pins"
CAUSE = "erased"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased. receipt: of the newest segment, and with it of all before; is_complete: nobody had files open."""

    receipt: Receipt
    segments: int
    is_complete: bool


def erase(disk: Disk, vault: Vault, *, identity: Identity, now: Now, confirmed: str, keep: Callable[[bytes], None]) -> Erasure:
    """Destroy the store's key. confirmed: the box's name, as a person typed it. keep: takes the packed receipt, durable on return.

    Raises VaultShut, with nothing changed: the store is not encrypted or not open, the name is another, or segments are pinned.
    """
    state = vault.state()
    if state is not VaultState.OPEN:
        raise VaultShut(f"expected an open vault, it is {state.value}; a plain store is erased by whoever erases the disk")
    if confirmed != identity.name:
        raise VaultShut(f"expected this box's name, {identity.name!r}, to confirm that everything it recorded is destroyed")
    held = [name for name in disk.list(PINS) if sequence_of(name) is not None]
    if held:
        raise VaultShut(
            f"{len(held)} segments are pinned, {held[0]} among them; unpin them first, each with a reason to answer for"
        )
    made, segments = _receipt(disk, now)
    made = made.signed(identity.sign(made.body()))
    keep(receipt.packed(made))
    return Erasure(made, segments, vault.destroy())


def _receipt(disk: Disk, now: Now) -> tuple[Receipt, int]:
    """Of the newest segment; its place in the chain of receipts is after the last one made."""
    chain = chain_end(disk, SEGMENTS, RECEIPTS)
    names = [name for name in disk.list(SEGMENTS) if sequence_of(name) is not None and not name.startswith(".")]
    newest = next((name for name in names if sequence_of(name) == chain.sequence), "")
    last = max((name for name in disk.list(RECEIPTS) if name[:1].isdecimal()), default=None)
    try:
        previous = digest(disk.read(f"{RECEIPTS}/{last}")) if last is not None else None
    except Missing:
        previous = None
    except DiskFailed:
        previous = receipt.UNREAD  # One bad place must not keep anybody from erasing what is on the disk.
    return Receipt(newest, chain.sequence, chain.digest or bytes(32), CAUSE, now.timestamp, previous), len(names)
