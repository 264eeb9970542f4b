"""The published message that one recorded frame carries, as it was made when it was heard: so that its identity is the same."""

from collections.abc import Callable

from drivers.clock import Now
from firmware.core.entrance import Rules, message_of
from firmware.core.hearing import Hearing
from firmware.core.message import Message
from firmware.core.pcapng import Packet


def spoken_by(rules: Rules, now: Now) -> Callable[[Packet], Message | None]:
    """rules: as they are set now; a message heard under other names of devices has another identity. now: for TAI minus UTC.

    A message in several frames is that of the frame that completes it, if the search sees them all.
    """
    hearing = Hearing(rules.ports, drop=_nothing, count=_nothing)

    def spoken(packet: Packet) -> Message | None:
        if len(packet.data) < packet.wire_bytes:
            return None
        datagram = hearing.datagram(packet.data, packet.stamp_ns)
        if datagram is None:
            return None
        return message_of(
            datagram.payload, source_ip=datagram.source_ip, port=datagram.port, stamp_utc_ns=packet.stamp_ns, now=now, rules=rules,
            count=_nothing, is_altered=datagram.is_altered,
        )  # fmt: skip

    return spoken


def _nothing(name: str) -> None:
    """Intake has counted it when it was heard."""
