"""Who may do what on the page (S2-123): surgeons and nurses, service staff, administrators. Names and tokens are the site's settings.

    surgeon          looks; says when a session begins and ends
    service          and asks for evidence, gives advice, handles calls
    administrator    and sets the rules: the site's policy; publishes versions and rolls them out

Without any people set, whoever reaches the page may do everything; it listens on loopback alone then (reach.py).
A token is compared by its SHA-256, which is what stands in the settings; it is to be long and random (`openssl rand -hex 24`).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from firmware.core.errors import BadSettings

_ENTRY = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]{1,62}) (?P<role>surgeon|service|administrator) (?P<digest>[0-9a-f]{64})")
_HEADER_MAX = 1_024


class Role(IntEnum):
    """Each may do what those below it may."""

    SURGEON = 1
    SERVICE = 2
    ADMINISTRATOR = 3


# What changes something, by the beginning of its path; what is not listed is service's. Looking is everybody's.
CHANGES: Mapping[str, Role] = {
    "/api/sessions": Role.SURGEON, "/api/rules": Role.ADMINISTRATOR, "/api/updates": Role.ADMINISTRATOR,
    "/api/rollouts": Role.ADMINISTRATOR,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class People:
    """Role and digest by name; none: nobody is asked."""

    known: Mapping[str, tuple[Role, bytes]]

    @classmethod
    def of(cls, entries: Sequence[str]) -> "People":
        """From "NAME ROLE SHA256". Raises BadSettings, which does not repeat the digest."""
        known = {}
        for number, entry in enumerate(entries, start=1):
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise BadSettings(
                    f'[hub] people: entry {number}: expected "NAME ROLE SHA256", ROLE of surgeon, service, administrator,'
                    " and the token's SHA-256 as 64 hexadecimal digits"
                )
            known[match["name"]] = Role[match["role"].upper()], bytes.fromhex(match["digest"])
        return cls(known)

    def who(self, authorization: str) -> tuple[str, Role] | None:
        """Name and role of who asks (RFC 7617); None for nobody we know."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic" or len(encoded) > _HEADER_MAX:
            return None
        try:
            name, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return None
        role, digest = self.known.get(name, (Role.SURGEON, bytes(32)))
        # Compared in any case, and in the same time: names are not to be found out by the clock.
        is_right = hmac.compare_digest(hashlib.sha256(token.encode()).digest(), digest)
        return (name, role) if is_right and name in self.known else None

    @staticmethod
    def may(role: Role, method: str, path: str) -> bool:
        """Whether this role may ask for this."""
        if method in ("GET", "HEAD"):
            return True
        return role >= next((least for begin, least in CHANGES.items() if path.startswith(begin)), Role.SERVICE)
