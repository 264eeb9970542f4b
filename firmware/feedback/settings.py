"""The section [feedback] of scrubjay.toml."""

from dataclasses import dataclass
from ipaddress import ip_address

from firmware.core.errors import BadSettings
from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class FeedbackSettings:
    """Whether advice is published in the room, and where. It is shown on the box in any case."""

    publish: bool = setting(
        False, "Publish advice in the room. The site decides that; the format is in firmware/core/feedback.cddl."
    )
    interface: str = setting("eth1", "Room interface to publish on.")
    address: str = setting("239.255.83.74", "Multicast group, or one device's address.")
    port: int = setting(47005, "UDP port.", low=1, high=65_535)
    kept_max: int = setting(100, "Pieces of advice kept to be shown; the oldest go.", low=1, high=1_000)

    def __post_init__(self) -> None:
        if self.publish and not _is_address(self.address):
            raise BadSettings(
                f'[feedback] address: expected a multicast group or an address, such as "239.255.83.74", got {self.address!r}'
            )


def _is_address(text: str) -> bool:
    """Half an address is one to the kernel, "239.255.83" 239.255.0.83: the hub would hear that a room was told that was not."""
    try:
        return not ip_address(text).is_unspecified
    except ValueError:
        return False
