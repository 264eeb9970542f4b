"""What an item is called in a relay's outbox/ and sent/: by priority and time as everywhere, and then whose it is and which."""

import re
from dataclasses import dataclass

from firmware.core.envelope import Envelope
from firmware.core.release import name_of

_NAME = re.compile(r"p[1-4]-\d{20}-(?P<box>[a-z0-9][a-z0-9-]{2,62})\.(?P<identity>[0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Kept:
    """Whose envelope a file is, and its identity."""

    box: str
    identity: bytes


def kept_name(envelope: Envelope) -> str:
    """The same for the same envelope, however often it comes."""
    return name_of(envelope.priority, envelope.first_tai_ns, f"{envelope.box}.{envelope.identity.hex()}")


def kept(name: str) -> Kept | None:
    """Whose it is, by its name; None for one that is no relay's."""
    match = _NAME.fullmatch(name)
    return Kept(match["box"], bytes.fromhex(match["identity"])) if match else None
