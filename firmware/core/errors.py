"""Troubles of our own making a caller can do something about; the world's are in `drivers/errors.py` and named again here."""

from drivers.errors import (
    BadFilter,
    DiskFailed,
    DiskFull,
    ListenFailed,
    Missing,
    NotAllowed,
    NotConnected,
    OutletClosed,
    TapFailed,
    TooLarge,
    Trouble,
    Unreachable,
    VaultShut,
)

__all__ = [
    "BadCommand",
    "BadFilter",
    "BadItem",
    "BadSettings",
    "Corrupt",
    "DiskFailed",
    "DiskFull",
    "ListenFailed",
    "Missing",
    "NotAllowed",
    "NotConnected",
    "OutletClosed",
    "TapFailed",
    "TooLarge",
    "Trouble",
    "Unreachable",
    "VaultShut",
]


class BadItem(Trouble):
    """These bytes are not what they should be. Quarantine them with this reason; trying again will not help."""


class BadSettings(Trouble):
    """A settings file cannot be used. Nothing was changed; correct the named line."""


class BadCommand(Trouble):
    """A command is not to be carried out: not signed by a trusted key, not for us, stale or seen before. `cause` is the counter's name."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Corrupt(Trouble):
    """A stored file does not hold what its seal or index says. Name the file; believe the frames, not the index."""
