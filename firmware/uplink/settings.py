"""How to reach a broker, and how much may be on its way at once."""

from dataclasses import dataclass

from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    brokers: tuple[str, ...] = setting(("127.0.0.1:1883",), 'Brokers as "host:port", tried in this order.')
    ca: str = setting("", "Certificate authority of the brokers (PEM file); empty: no TLS, for loopback only.")
    certificate: str = setting("", "This box's certificate (PEM file); empty: none.")
    key: str = setting("", "The key of that certificate (PEM file).")
    keepalive_s: int = setting(20, "A silent connection is noticed after one and a half times this.", low=1, high=3600)
    window: int = setting(32, "Items on their way at once that the hub has not acknowledged.", low=4, high=1000)
    chunk_bytes: int = setting(
        65_536, "Longer items go in pieces of this size, so that an alarm waits for one piece at most.", low=1024, high=262_144
    )
    bulk_window: int = setting(4, "Pieces on their way at once that the hub has not acknowledged.", low=1, high=64)
    acknowledge_s_max: int = setting(20, "An item the hub has not acknowledged by then is sent again.", low=1, high=3600)
    backoff_s_max: int = setting(
        120, "Longest wait between two attempts to connect; each is drawn between 0 and a doubling limit.", low=1, high=3600
    )
