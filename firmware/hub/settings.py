"""The section [hub] of scrubjay.toml."""

from dataclasses import dataclass

from firmware.core.connection import check_files
from firmware.core.settings import setting


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Where the hub hears, what it keeps, and where its page is."""

    brokers: tuple[str, ...] = setting(("127.0.0.1:1883",), 'Brokers as "host:port"; the hub listens at all of them at once.')
    relays: tuple[str, ...] = setting((), 'Relays whose word is taken for other boxes of their site, as "site/relay".')
    ca: str = setting("", "Certificate authority of the brokers (PEM file); empty: no TLS, for loopback only.")
    certificate: str = setting("", "The hub's certificate (PEM file); empty: none.")
    key: str = setting("", "The key of that certificate (PEM file).")
    keepalive_s: int = setting(20, "A silent connection is noticed after one and a half times this.", low=1, high=3600)
    backoff_s_max: int = setting(10, "Longest wait between two attempts to connect to one broker.", low=1, high=3600)
    database: str = setting("hub.sqlite", "The database: a name in the store, or a path of this machine.")
    incoming_per_box: int = setting(
        8, "Long items of one box being received at once; the one untouched longest gives way.", low=1, high=1000
    )
    quarantine_items_max: int = setting(
        1000, "What could not be understood is kept with its reason, up to so many.", low=0, high=1_000_000
    )
    # A minute: an order lost with a broker costs no more, and a box that is away answers its broker's "nobody listens" cheaply.
    resend_s: int = setting(60, "A command without an answer is published again after this.", low=1, high=86_400)
    command_expires_s: int = setting(3600, "A command nobody has answered by then is given up.", low=10, high=604_800)
    update_hours: tuple[str, ...] = setting(
        (), 'When a site may be sent versions, UTC: "SITE HH:MM-HH:MM". A site of which nothing is said: at any time.'
    )
    update_expires_s: int = setting(
        86_400, "An order to take a version that a box has not answered by then is made anew.", low=60, high=604_800
    )
    rollout_phases: tuple[str, ...] = setting(
        ("1", "10%", "50%", "all"),
        'Whom a version is offered to, one phase after the other, as "3", "10%" or "all" of its boxes.',
    )
    rollout_soak_s: int = setting(3600, "How long a box has to be well with it before it counts as good.", low=0, high=2_592_000)
    rollout_limit_s: int = setting(
        259_200, "A box that has not become official by then counts as an error.", low=10, high=31_536_000
    )
    rollout_success_percent: int = setting(90, "So many of a phase have to be good before the next begins.", low=1, high=100)
    rollout_errors_percent: int = setting(5, "More errors than this halt the roll-out.", low=0, high=100)
    rollout_priority: int = setting(2, "Priority of the message that says a roll-out was halted.", low=1, high=4)
    page_host: str = setting(
        "127.0.0.1", "Address the page listens on; one that others reach only with page_certificate and people."
    )
    page_port: int = setting(8470, "Port the page listens on; 0 chooses a free one.", low=0, high=65_535)
    page_certificate: str = setting(
        "", "The page's certificate, and what certifies it (PEM file); empty: no TLS, for loopback only."
    )
    page_key: str = setting("", "The key of that certificate (PEM file).")
    people: tuple[str, ...] = setting(
        (), 'Who may use the page: "NAME surgeon|service|administrator SHA256-OF-TOKEN". Empty: whoever reaches it.'
    )
    page_names: tuple[str, ...] = setting((), "Further host names under which browsers may ask for the page.")

    def __post_init__(self) -> None:
        check_files("hub", ca=self.ca, certificate=self.certificate, key=self.key)
