"""The interface's clock, real: which one by ethtool, read through /dev/ptpN (ptp(4): PTP_SYS_OFFSET, linux/ptp_clock.h).

Only read: the file is opened for reading, and what sets or steers a clock wants it open for writing.
"""

import errno
import fcntl
import os
import socket
import struct
import time

from drivers.errors import NotConnected
from drivers.hardware_clock import Comparison
from drivers.linux.ethtool import time_stamping

PTP_SYS_OFFSET, PTP_SYS_OFFSET_EXTENDED = 0x43403D05, 0xC4C03D09
SAMPLES = 5  # The narrowest counts; on a PCIe card one takes two microseconds, and one in hundreds is interrupted.
_TIME = struct.Struct("=qI4x")  # struct ptp_clock_time
_COUNT = struct.Struct("=I12x")
_OFFSET_BYTES, _EXTENDED_BYTES = _COUNT.size + 51 * _TIME.size, _COUNT.size + 25 * 3 * _TIME.size
CLOCKFD = 3  # include/linux/posix-timers.h: a file's clock
_NO_SUCH = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL)


def hardware_clock(interface: str) -> "LinuxHardwareClock | None":
    """The clock this interface stamps by; None where it has none, or where this process may not read it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        number = time_stamping(control, interface).clock
    if number is None:
        return None
    try:
        return LinuxHardwareClock(os.open(f"/dev/ptp{number}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return None


class LinuxHardwareClock:
    """descriptor: of /dev/ptpN, ours from now on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ways = [self._extended, self._offset, self._between]

    def compare(self) -> Comparison:
        while True:
            try:
                return self._ways[0]()
            except OSError as problem:
                # An old kernel or a driver without the better way says so once and for all.
                if problem.errno not in _NO_SUCH or len(self._ways) == 1:
                    raise NotConnected(f"expected the interface's clock, got {errno.errorcode.get(problem.errno or 0)}") from None
                del self._ways[0]

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _extended(self) -> Comparison:
        """The system's clock, the card's, the system's again, as near to the card's register as its driver can."""
        answer = bytearray(_EXTENDED_BYTES)
        _COUNT.pack_into(answer, 0, SAMPLES)
        fcntl.ioctl(self._descriptor, PTP_SYS_OFFSET_EXTENDED, answer)
        stamps = _stamps(answer, 3 * SAMPLES)
        return _narrowest([(stamps[at], stamps[at + 1], stamps[at + 2]) for at in range(0, 3 * SAMPLES, 3)])

    def _offset(self) -> Comparison:
        """The system's clock and the card's in turn."""
        answer = bytearray(_OFFSET_BYTES)
        _COUNT.pack_into(answer, 0, SAMPLES)
        fcntl.ioctl(self._descriptor, PTP_SYS_OFFSET, answer)
        stamps = _stamps(answer, 2 * SAMPLES + 1)
        return _narrowest([(stamps[at], stamps[at + 1], stamps[at + 2]) for at in range(0, 2 * SAMPLES, 2)])

    def _between(self) -> Comparison:
        """Two readings of the system's clock around one of the card's, from here: where there is nothing better."""
        return read_between((~self._descriptor << 3) | CLOCKFD)


def read_between(clock: int) -> Comparison:
    """Any clock of the kernel's beside CLOCK_REALTIME."""
    rows = []
    for _ in range(SAMPLES):
        before = time.clock_gettime_ns(time.CLOCK_REALTIME)
        shown = time.clock_gettime_ns(clock)
        rows.append((before, shown, time.clock_gettime_ns(time.CLOCK_REALTIME)))
    return _narrowest(rows)


def _stamps(answer: bytearray, count: int) -> list[int]:
    return [
        seconds * 1_000_000_000 + ns
        for seconds, ns in (_TIME.unpack_from(answer, _COUNT.size + place * _TIME.size) for place in range(count))
    ]


def _narrowest(rows: list[tuple[int, int, int]]) -> Comparison:
    before, shown, after = min(rows, key=lambda row: abs(row[2] - row[0]))
    return Comparison(shown, (before + after) // 2, abs(after - before) // 2 + 1)
