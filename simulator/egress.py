"""The egress of a simulated machine: remembers to what it was told to shape."""

from collections.abc import Collection

from drivers.errors import EgressFailed


class SimulatedEgress:
    """interfaces: those there are. allowed: whether this process may change them."""

    def __init__(self, interfaces: Collection[str], *, allowed: bool = True) -> None:
        self._interfaces = interfaces
        self.allowed = allowed
        self._rates: dict[str, int] = {}

    def shape(self, interface: str, rate_kbit: int) -> None:
        self._check(interface)
        self._rates[interface] = rate_kbit

    def release(self, interface: str) -> None:
        self._check(interface)
        self._rates.pop(interface, None)

    def rate_kbit(self, interface: str) -> int | None:
        self._check(interface)
        return self._rates.get(interface)

    def _check(self, interface: str) -> None:
        if interface not in self._interfaces or not self.allowed:
            raise EgressFailed(f"expected an interface this process may shape, got {interface!r}")
