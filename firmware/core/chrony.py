"""What chronyd says of the clock it keeps: the tracking report of its control protocol, version 6.

    request, reply   0  1  version (6)   1  1  kind   4  2  command   … ; 104 bytes each, so that nobody can be flooded with answers
    reply            6  2  reply (5)     8  2  status, 0 good   16  4  sequence, that of the request   28 76  report
    report           0  4  reference     4 20  its address   24  2  stratum   26  2  leap   28 12  last update, UTC
                    40 36  nine numbers: correction, last offset, RMS offset, frequency, residual frequency, skew, root delay,
                           root dispersion, update interval; s and ppm, each 7 bits of exponent and 25 of coefficient, both signed
Source: chrony 4.3, candm.h and util.c; `chronyc tracking` prints the same report.
"""

import ipaddress
import struct
from dataclasses import dataclass

from firmware.core.errors import BadItem
from firmware.core.timestamp import SECOND

PACKET_SIZE = 104
_VERSION, _REQUEST, _REPLY = 6, 1, 2
_TRACKING, _TRACKING_REPLY = 33, 5
_ASKING = struct.Struct("!BBHHHI")
_ANSWERING = struct.Struct("!BBHHHHHHHIII")
_REPORT = struct.Struct("!4s16sHHHHIII9I")
_IPV4, _IPV6 = 1, 2
_UNSYNCHRONISED = 3  # LEAP_Unsynchronised
_COEFFICIENT_BITS, _EXPONENT_BITS = 25, 7


@dataclass(frozen=True, slots=True)
class Tracking:
    """How chronyd follows its source.

    reference: whom, as people write it: an address, or the name of a reference clock ("PTP"). is_synchronised: whether it has one.
    updated_utc_ns: when it last heard from it. interval_s: between the last two updates. error_ns: how far the clock may be off, by
    chrony's own rule: the correction still to come, the root dispersion, and half the root delay. leap: seconds to be inserted at
    the end of the day, 0, 1 or -1.
    """

    reference: str
    stratum: int
    is_synchronised: bool
    leap: int
    updated_utc_ns: int
    interval_s: float
    error_ns: int
    frequency_ppm: float


def tracking_request(sequence: int) -> bytes:
    """The question. sequence: 32 bits, comes back in the answer."""
    return _ASKING.pack(_VERSION, _REQUEST, 0, _TRACKING, 0, sequence & 0xFFFF_FFFF).ljust(PACKET_SIZE, b"\0")


def unpacked(data: bytes, sequence: int) -> Tracking:
    """The answer to that question. Raises BadItem for anything else."""
    if len(data) < _ANSWERING.size + _REPORT.size:
        raise BadItem(f"expected a tracking report of {PACKET_SIZE} bytes, got {len(data)}")
    version, kind, _, command, reply, status, _, _, _, echoed, _, _ = _ANSWERING.unpack_from(data)
    if (version, kind, command, reply, status) != (_VERSION, _REPLY, _TRACKING, _TRACKING_REPLY, 0):
        raise BadItem("expected a good tracking report of version 6")
    if echoed != sequence & 0xFFFF_FFFF:
        raise BadItem("expected the answer to the last question")
    reference, address, family, _, stratum, leap, high, low, ns, *numbers = _REPORT.unpack_from(data, _ANSWERING.size)
    correction, _, _, frequency, _, _, delay, dispersion, interval = map(_number, numbers)
    return Tracking(
        _reference(reference, address, family), stratum, leap != _UNSYNCHRONISED and reference != bytes(4),
        {1: 1, 2: -1}.get(leap, 0), (_signed(high) << 32 | low) * SECOND + ns, interval,
        round((abs(correction) + abs(dispersion) + abs(delay) / 2) * SECOND), frequency,
    )  # fmt: skip


def _reference(reference: bytes, address: bytes, family: int) -> str:
    if family == _IPV4:
        return str(ipaddress.IPv4Address(address[:4]))
    if family == _IPV6:
        return str(ipaddress.IPv6Address(address))
    # A reference clock's four letters, or for chronyd's own clock 127.127.1.1.
    text = reference.rstrip(b"\0")
    return text.decode("ascii") if text.isalnum() else str(ipaddress.IPv4Address(reference))


def _number(raw: int) -> float:
    exponent = _signed(raw >> _COEFFICIENT_BITS, _EXPONENT_BITS) - _COEFFICIENT_BITS
    return float(_signed(raw & ((1 << _COEFFICIENT_BITS) - 1), _COEFFICIENT_BITS) * 2.0**exponent)


def _signed(value: int, bits: int = 32) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
