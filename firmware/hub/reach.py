"""Where the page may listen. On loopback it may as it comes; where others reach it, over TLS alone, and for people the site has named.

A token crosses the network as it is, and whoever may order evidence may have the room's frames sent: neither is for who reads along.
"""

import ssl
from ipaddress import ip_address

from firmware.core.errors import BadSettings
from firmware.hub.people import People
from firmware.hub.settings import HubSettings


def check_page(settings: HubSettings) -> None:
    """Raises BadSettings saying what is missing for the address given. Looks at no file."""
    people = People.of(settings.people)
    if bool(settings.page_certificate) != bool(settings.page_key):
        raise BadSettings("[hub] page_certificate, page_key: expected both or neither")
    if is_loopback(settings.page_host):
        return
    if not settings.page_certificate:
        raise BadSettings(
            f"[hub] page_host: expected a loopback address (127.0.0.1) while there is no page_certificate, got {settings.page_host!r};"
            " set page_certificate and page_key, or put a server with TLS before it on this machine"
        )
    if not people.known:
        raise BadSettings(
            f"[hub] page_host: expected a loopback address (127.0.0.1) while people is empty, got {settings.page_host!r};"
            " whoever reached it could do everything"
        )


def check_certificate(settings: HubSettings) -> None:
    """Raises BadSettings where the page's certificate or its key cannot be used."""
    if not settings.page_certificate:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.page_certificate, settings.page_key, _no_pass_phrase)
    except (OSError, ValueError) as trouble:  # Of which an SSLError is one.
        raise BadSettings(
            "[hub] page_certificate, page_key: expected a certificate and its key as PEM files that can be read here:"
            f" {getattr(trouble, 'strerror', None) or getattr(trouble, 'reason', None) or trouble}"
        ) from None


def _no_pass_phrase() -> str:
    """In place of OpenSSL's question at the terminal, for which a server has nobody."""
    raise ValueError("the key has a pass phrase")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name is one that has to be looked up, but for the one every machine has."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
