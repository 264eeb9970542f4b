"""The section [feedback] of scrubjay.toml."""

from dataclasses import dataclass

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
