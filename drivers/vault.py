"""The vault: whether the store lies encrypted on its disk, and the one key whose end is the end of all of it.

Whoever reads the store through an open vault sees plain files and knows nothing of it: encrypting is the file system's business.
What it does not hide: how many files there are, how long, and when they were written.
"""

from enum import Enum
from typing import Protocol


class VaultState(Enum):
    """plain: not encrypted. locked: encrypted, and the key is not here. open: encrypted, and read like any other."""

    PLAIN = "plain"
    LOCKED = "locked"
    OPEN = "open"


class Vault(Protocol):
    """The encryption of one store."""

    def state(self) -> VaultState:
        """As it is now. A store that is not there yet is plain."""
        ...

    def open(self) -> None:
        """Let the store be read; an empty one becomes encrypted from now on. Opening twice is as good as once.

        Raises VaultShut: there is no key, or it is another store's, or the store already holds plain files.
        """
        ...

    def destroy(self) -> bool:
        """Destroy the key: nothing under it can be read again, by anybody. Returns whether that is so at once;

        False: somebody still has files open, and what the machine remembers of them ends with its next start.
        """
        ...
