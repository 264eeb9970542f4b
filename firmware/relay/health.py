"""What a relay says of itself, as an envelope of its own: how much it keeps, and how it stands with the outside. Pure."""

from collections.abc import Mapping

from drivers.clock import Now
from firmware.core import message
from firmware.core.envelope import Envelope, sealed_envelope
from firmware.core.message import FIELDS_MAX, Field, Message, Priority, Severity

KIND = "health"  # as the boxes' own: the hub shows both in one place


def health(name: str, figures: Mapping[str, Field], now: Now, *, items: int, size: int) -> Envelope:
    """Of the relay of this name. items, size: what it keeps for the hub, bytes; figures: the rest, the first ones where they are too many.

    Nothing in it is a foreign word, so it need not pass deidentify, which a relay does not have.
    """
    said = Message(
        device=name, process="relay", kind=KIND, priority=Priority.P4, severity=Severity.INFORMATIONAL,
        origin_time=now.timestamp, received_time=now.timestamp, text=f"{items} items kept for the hub, {size} bytes",
        fields=dict(list(figures.items())[:FIELDS_MAX]),
    )  # fmt: skip
    moment = now.timestamp.tai_ns
    return sealed_envelope(
        box=name, kind="group", priority=Priority.P4, first_tai_ns=moment, last_tai_ns=moment, content=message.packed([said])
    )
