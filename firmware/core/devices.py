"""Names of devices: what people say, and the addresses frames carry. Pure.

One entry an address, as settings give them: "10.0.0.5=robot-1", "02:53:4a:00:00:0b=robot-1"; a device may have several.
"""

import ipaddress
from collections.abc import Sequence

from firmware.core.errors import BadItem

KNOWN_SAID_MAX = 16


class Devices:
    """The table. Entries that are none are left to whoever owns the setting; case does not count."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, str] = {}
        for entry in entries:
            address, _, name = (part.strip() for part in entry.partition("="))
            if name and is_address(address):
                self._names[name.lower()] = name
                self._addresses[name.lower()] = (*self._addresses.get(name.lower(), ()), *spelled(address))

    def addresses(self, word: str) -> tuple[str, ...]:
        """IP and MAC addresses of a device, by its name; an address stands for itself. Raises BadItem naming the devices there are."""
        if is_address(word):
            return spelled(word)
        found = self._addresses.get(word.lower())
        if found is None:
            raise BadItem(f"expected the name of a device or an address; {self._known()}")
        return found

    def _known(self) -> str:
        names = sorted(self._names.values())
        if not names:
            return "no device has a name here (setting [intake] devices)"
        more = f" and {len(names) - KNOWN_SAID_MAX} more" if len(names) > KNOWN_SAID_MAX else ""
        return f"known are {', '.join(names[:KNOWN_SAID_MAX])}{more}"


def spelled(address: str) -> tuple[str, ...]:
    """An address, as frames may carry it: ::ffff:10.0.0.5 is how a program with one socket for both families writes 10.0.0.5 into its log
    (RFC 4291 §2.5.5.2), and hardly ever what was on the wire."""
    try:
        mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return (address,)
    return (address,) if mapped is None else (address, str(mapped))


def is_address(word: str) -> bool:
    """Whether this is an IP or a MAC address."""
    if is_mac(word):
        return True
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def is_mac(word: str) -> bool:
    """Whether this is a MAC address, as aa:bb:cc:dd:ee:ff or with dashes."""
    parts = word.replace("-", ":").split(":")
    return len(parts) == 6 and all(len(part) == 2 and set(part) <= set("0123456789abcdefABCDEF") for part in parts)
