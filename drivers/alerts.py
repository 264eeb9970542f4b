"""Alerts of medical devices by IEEE 11073 SDC: a consumer that finds devices, subscribes to their alerts and asks for nothing else.

It never calls a device's operations: the box is advisory. What a device says is a claim, and is cut to a bounded length here.
"""

from dataclasses import dataclass
from typing import Protocol

TEXT_MAX = 4_096  # characters of any text of a device that is handed on


@dataclass(frozen=True, slots=True)
class AlertRequest:
    """Where to look for devices. address: the box's own on the room interface. devices: endpoint references, empty for all found.

    certificate, key, ca: PEM files for TLS, which IHE SDPi demands; None for a laboratory without.
    """

    address: str
    devices: tuple[str, ...] = ()
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """A device was found and its alerts are heard from now on. device: its endpoint reference. address: its IP address."""

    device: str
    address: str


@dataclass(frozen=True, slots=True)
class Left:
    """A device has gone, or no longer answers. What it alerts now nobody here knows."""

    device: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert condition as it is now, said when it was met and at each change.

    handle: its name in the device. code: as the device codes it, mostly of IEEE 11073-10101. priority: as it is now, "None", "Lo",
    "Me" or "Hi"; a device may escalate. kind: "Phy", "Tec" or "Oth". present: whether the condition holds. is_on: False while the
    device does not check it. since_utc_ns: when it was determined, by the device's clock.
    """

    device: str
    address: str
    handle: str
    code: str
    text: str
    priority: str
    kind: str
    present: bool
    is_on: bool
    since_utc_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The consumer as a whole has ended; open another."""

    reason: str


AlertEvent = Joined | Left | Alert | Ended


class Alerts(Protocol):
    """One consumer. Every call returns at once."""

    def fileno(self) -> int:
        """Readable when `events` has something; -1 where there is none (simulator)."""
        ...

    def events(self) -> list[AlertEvent]:
        """What happened since the last call, in order; at most some 64 KiB of it."""
        ...

    def close(self) -> None:
        """Leave: subscriptions end. Twice is as good as once."""
        ...
