"""The section [relay] of scrubjay.toml. The way outside is [uplink]'s."""

from dataclasses import dataclass

from firmware.core.connection import check_files
from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Where a relay hears the boxes of its house, and how much it keeps for them."""

    brokers: tuple[str, ...] = setting(
        ("127.0.0.1:1883",), 'Brokers in the house as "host:port"; the relay listens at all of them.'
    )
    ca: str = setting("", "Certificate authority of these brokers (PEM file); empty: no TLS.")
    certificate: str = setting("", "The relay's certificate towards the house (PEM file); empty: none.")
    key: str = setting("", "The key of that certificate (PEM file).")
    keepalive_s: int = setting(20, "A silent connection is noticed after one and a half times this.", low=1, high=3600)
    backoff_s_max: int = setting(10, "Longest wait between two attempts to connect to one broker.", low=1, high=3600)
    incoming_per_box: int = setting(
        8, "Long items of one box being received at once; the one untouched longest gives way.", low=1, high=1000
    )
    keep_bytes_max: int = setting(
        16 << 30, "Room for what the hub does not have yet; beyond it the boxes keep theirs.", low=1 << 20, high=1 << 50
    )
    keep_items_max: int = setting(200_000, "Items kept for the hub; likewise.", low=100, high=10_000_000)
    downloads_bytes_max: int = setting(
        1 << 30,
        "Room for files that boxes of the house are to have; beyond it the one asked for longest ago goes.",
        low=1 << 20,
        high=1 << 50,
    )
    health_s: int = setting(60, "How often the relay's own figures are sent to the hub.", low=1, high=86_400)

    def __post_init__(self) -> None:
        check_files("relay", ca=self.ca, certificate=self.certificate, key=self.key)
