"""NTP as far as asking a device for its time: a client's question, a server's answer (RFC 5905 §7.3).

    0  1  leap, version, mode   1  1  stratum   2  1  poll   3  1  precision   4  4  root delay   8  4  root dispersion
   12  4  reference   16  8  its time   24  8  origin   32  8  receive   40  8  transmit; all times in s and 2^-32 s since 1900
The question's transmit time is a random number: the answer returns it, and who did not hear the question cannot answer it.
"""

import struct
from dataclasses import dataclass

from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND

PORT = 123
SIZE = 48
_PACKET = struct.Struct("!BBbbII4sQQQQ")
_CLIENT, _SERVER = 3, 4
_VERSION = 4
_UNSYNCHRONISED = 3
_STRATUM_MAX = 15  # 0 is "do not know" on the wire, and so is 16 by the letter
# What stands for the reference where the stratum is 0 and the times are a clock's all the same: one that follows nobody (yet). Anything else
# there is a kiss o' death (§7.4), an answer without the time: ntpd fills both times with the question's own number.
_UNSET = frozenset({bytes(4), b"INIT", b"STEP"})
EPOCH_S = 2_208_988_800  # from 1900 to 1970
ERA_NS = (1 << 32) * SECOND  # 136 years; the second era begins in 2036


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer. cookie: what the question carried. received_ns, sent_ns: by the server's clock, UTC ns.

    is_synchronised: whether the server believes its own clock.
    """

    cookie: int
    received_ns: int
    sent_ns: int
    stratum: int
    is_synchronised: bool


def query(cookie: int) -> bytes:
    """The question. cookie: 64 random bits, not 0."""
    return _PACKET.pack(_VERSION << 3 | _CLIENT, 0, 0, 0, 0, 0, bytes(4), 0, 0, 0, cookie)


def unpacked(data: bytes, *, near_utc_ns: int) -> Answer:
    """A server's answer; its times are taken to be within 68 years of `near_utc_ns`. Raises BadItem for anything else, a refusal as well."""
    if len(data) < SIZE:
        raise BadItem(f"expected an NTP packet of at least {SIZE} bytes, got {len(data)}")
    head, stratum, _, _, _, _, reference, _, origin, receive, transmit = _PACKET.unpack_from(data)
    if head & 7 != _SERVER or not receive or not transmit:
        raise BadItem("expected an NTP server's answer with both its times")
    if stratum == 0 and reference not in _UNSET:
        raise BadItem("expected an NTP server's time, got that it gives none")
    is_synchronised = head >> 6 != _UNSYNCHRONISED and 0 < stratum <= _STRATUM_MAX
    return Answer(origin, _near(receive, near_utc_ns), _near(transmit, near_utc_ns), stratum, is_synchronised)


def packed(answer: Answer) -> bytes:
    """The same as a server sends it; what the simulator's devices use."""
    head = (0 if answer.is_synchronised else _UNSYNCHRONISED) << 6 | _VERSION << 3 | _SERVER
    return _PACKET.pack(
        head, answer.stratum, 0, 0, 0, 0, bytes(4), 0, answer.cookie, _raw(answer.received_ns), _raw(answer.sent_ns)
    )


def _near(raw: int, near_ns: int) -> int:
    """64 bits say which moment of an era, not of which."""
    ns = (raw >> 32) * SECOND + ((raw & 0xFFFF_FFFF) * SECOND >> 32) - EPOCH_S * SECOND
    return ns + (near_ns - ns + ERA_NS // 2) // ERA_NS * ERA_NS


def _raw(utc_ns: int) -> int:
    seconds, ns = divmod(utc_ns + EPOCH_S * SECOND, SECOND)
    return (seconds & 0xFFFF_FFFF) << 32 | -(-(ns << 32) // SECOND)  # rounded up: reading rounds down
