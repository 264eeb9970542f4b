"""How to reach a broker or a relay, when, and how much may be on its way at once."""

from dataclasses import dataclass

from firmware.core.connection import check_files
from firmware.core.errors import BadSettings
from firmware.core.settings import setting

DAY_MIN = 1440
EGRESS_KBIT_MIN = 8
ROUTES = ("direct", "relay", "either")


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    brokers: tuple[str, ...] = setting(("127.0.0.1:1883",), 'Brokers outside as "host:port", tried in this order.')
    relays: tuple[str, ...] = setting((), 'Brokers of relays in the house as "host:port", tried in this order.')
    route: str = setting(
        "direct",
        '"direct": to the brokers. "relay": to the relays and never outside. "either": to the relays first, then outside.',
        choices=ROUTES,
    )
    ca: str = setting("", "Certificate authority of the brokers (PEM file); empty: no TLS, for loopback only.")
    certificate: str = setting("", "This box's certificate (PEM file); empty: none.")
    key: str = setting("", "The key of that certificate (PEM file).")
    keepalive_s: int = setting(20, "A silent connection is noticed after one and a half times this.", low=1, high=3600)
    open_every_min: int = setting(
        0, "Minutes from one connection window to the next, counted from midnight UTC; 0: always connected.", low=0, high=1440
    )
    open_min: int = setting(20, "Minutes each connection window lasts.", low=1, high=1440)
    open_offset_min: int = setting(0, "Minutes after midnight UTC at which a connection window begins.", low=0, high=1439)
    window: int = setting(32, "Items on their way at once that the hub has not acknowledged.", low=4, high=1000)
    chunk_bytes: int = setting(
        65_536, "Longest piece of a long item; on a slow link they are 4096 bytes.", low=1024, high=262_144
    )
    bulk_window: int = setting(
        32, "A long item may be sent so many times chunk_bytes beyond what the hub said it has.", low=1, high=1000
    )
    acknowledge_s_max: int = setting(20, "An item the hub has not acknowledged by then is sent again.", low=1, high=3600)
    backoff_s_max: int = setting(
        120, "Longest wait between two attempts to connect; each is drawn between 0 and a doubling limit.", low=1, high=3600
    )
    outbox_bytes_max: int = setting(
        4 << 30,
        "Room for what waits to be sent; beyond it the least important, oldest goes, and is counted.",
        low=1 << 20,
        high=1 << 50,
    )
    outbox_items_max: int = setting(200_000, "Items that may wait to be sent; likewise.", low=100, high=10_000_000)

    download_reserve_mb: int = setting(
        64, "A file this machine is to have is not fetched where less than this would be left on the disk.", low=0, high=1 << 20
    )

    egress_interface: str = setting("", "Interface towards the outside whose queue this machine owns; empty: it does not.")
    egress_kbit: int = setting(
        0, "What may leave through it, kbit/s; 95 % of what the line is known to carry. 0: not shaped.", low=0, high=10_000_000
    )

    def __post_init__(self) -> None:
        check_files("uplink", ca=self.ca, certificate=self.certificate, key=self.key)
        if self.route != "direct" and not self.relays:
            raise BadSettings(f'[uplink] relays: expected at least one host:port, because route is "{self.route}"')
        if self.egress_kbit and (self.egress_kbit < EGRESS_KBIT_MIN or not self.egress_interface):
            raise BadSettings(
                f"[uplink] egress_kbit: expected an egress_interface, and at least {EGRESS_KBIT_MIN}, got {self.egress_kbit}"
            )
        if self.open_every_min and (DAY_MIN % self.open_every_min or self.open_offset_min >= self.open_every_min):
            # Otherwise nobody could say without a table when it opens on a given day.
            raise BadSettings(
                f"[uplink] open_every_min: expected a part of the {DAY_MIN} minutes of a day, and open_offset_min below it, "
                f"got {self.open_every_min} and {self.open_offset_min}"
            )
        if 0 < self.open_every_min < self.open_min:
            # The site has said when it is to be connected, and would be always: most easily with open_min left as it is.
            raise BadSettings(
                f"[uplink] open_min: expected at most the {self.open_every_min} minutes of open_every_min, got {self.open_min}"
            )

    def peers(self) -> tuple[str, ...]:
        """Whom to try, in this order. With the route "relay" nobody outside is ever among them."""
        return {"direct": self.brokers, "relay": self.relays, "either": (*self.relays, *self.brokers)}[self.route]
