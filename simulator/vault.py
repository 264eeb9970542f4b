"""A vault around a simulated disk: without its key every operation fails, as for a file system that has been locked."""

from drivers.errors import VaultShut
from drivers.vault import VaultState
from simulator.disk import Failing, SimulatedDisk


class SimulatedVault:
    """key: what the box has; store_key: what the disk is encrypted with, None while it is plain. Both are the world's to change."""

    def __init__(self, disk: SimulatedDisk, key: bytes | None = b"k") -> None:
        self._disk = disk
        self.key = key
        self.store_key: bytes | None = None
        self.is_open = False
        self.is_busy = False  # somebody has files open

    def state(self) -> VaultState:
        if self.store_key is None:
            return VaultState.PLAIN
        return VaultState.OPEN if self.is_open else VaultState.LOCKED

    def open(self) -> None:
        if self.key is None:
            raise VaultShut("expected the store's key, there is none")
        if self.store_key is None:
            if self._disk.list(""):
                raise VaultShut("expected an encrypted store or an empty directory; this one holds plain files, which stay plain")
            self.store_key = self.key
        if self.store_key != self.key:
            raise VaultShut("expected the key of this store, this is another's")
        self.is_open = True
        self._disk.failing = Failing.NOT

    def destroy(self) -> bool:
        self.key = None
        if self.store_key is None:
            return True
        self.is_open = False
        if not self.is_busy:
            self._disk.failing = Failing.GONE
        return not self.is_busy
