"""What an interface can stamp, and asking it to (ethtool(8), linux/net_tstamp.h). For the network namespace of the caller."""

import ctypes
import errno
import fcntl
import socket
import struct
from dataclasses import dataclass
from typing import Any

SIOCETHTOOL, ETHTOOL_GET_TS_INFO = 0x8946, 0x41
SIOCSHWTSTAMP, SIOCGHWTSTAMP = 0x89B0, 0x89B1
HARDWARE_RECEIVES = 1 << 2 | 1 << 6  # SOF_TIMESTAMPING_RX_HARDWARE, _RAW_HARDWARE
FILTER_ALL = 1  # HWTSTAMP_FILTER_ALL, and its place among the filters a driver offers
NO_CLOCK = 0xFFFFFFFF  # phc_index -1
_TIMES = struct.Struct("=11I")  # struct ethtool_ts_info
_CONFIG = struct.Struct("=iii")  # struct hwtstamp_config: flags, tx_type, rx_filter


@dataclass(frozen=True, slots=True)
class TimeStamping:
    """receives: whether it stamps some frames it hears; all_frames: whether it can stamp every one. clock: N of its /dev/ptpN."""

    receives: bool = False
    all_frames: bool = False
    clock: int | None = None


def time_stamping(control: socket.socket, interface: str) -> TimeStamping:
    """What its driver says of it; nothing where there is none, or where it does not say. control: any socket."""
    return stamping_of(ethtool(control, interface, ETHTOOL_GET_TS_INFO, _TIMES))


def stamping_of(answer: tuple[int, ...] | None) -> TimeStamping:
    """The same, from the driver's answer."""
    if answer is None:
        return TimeStamping()
    receives = answer[1] & HARDWARE_RECEIVES == HARDWARE_RECEIVES
    clock = answer[2] if answer[2] != NO_CLOCK else None
    return TimeStamping(receives, receives and bool(answer[7] & 1 << FILTER_ALL), clock)


def stamps_all(control: socket.socket, interface: str) -> bool:
    """Ask it to stamp every frame it hears; whether it does. Asking needs CAP_NET_ADMIN, so it is first looked whether somebody did.

    How it stamps what it sends is left as it was: ptp4l may be at work on the same interface.
    """
    try:
        flags, sends, receives = _configured(control, interface, SIOCGHWTSTAMP, (0, 0, 0))
        if receives != FILTER_ALL:
            receives = _configured(control, interface, SIOCSHWTSTAMP, (flags, sends, FILTER_ALL))[2]
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ERANGE, errno.EINVAL, errno.ENODEV):
            raise
        return False
    return receives == FILTER_ALL


def _configured(control: socket.socket, interface: str, command: int, row: tuple[int, int, int]) -> tuple[int, int, int]:
    config = ctypes.create_string_buffer(_CONFIG.pack(*row), _CONFIG.size)
    fcntl.ioctl(control, command, struct.pack("=16sQ16x", interface.encode()[:15], ctypes.addressof(config)))
    flags, sends, receives = _CONFIG.unpack(config.raw)
    return flags, sends, receives


def ethtool(control: socket.socket, name: str, command: int, layout: struct.Struct) -> tuple[Any, ...] | None:
    """The kernel's answer as this structure, of which the first word is the command (Any: as the layout says); None where there is none."""
    answer = ctypes.create_string_buffer(layout.size)
    struct.pack_into("=I", answer, 0, command)
    request = struct.pack("=16sQ16x", name.encode()[:15], ctypes.addressof(answer))
    try:
        fcntl.ioctl(control, SIOCETHTOOL, request)
    except OSError:
        return None
    return layout.unpack(answer.raw)
