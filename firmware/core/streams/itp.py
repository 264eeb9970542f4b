"""ITP, the Interoperable Telesurgery Protocol, as the RAVEN II speaks it: packed structures over UDP, about a thousand a second.

Console to robot, 124 bytes:
      0  4  sequence            4  4  packet type         8  4  version
     12 24  increments of position, µm: x left, x right, y left, y right, z left, z right
     36 64  orientation, doubles: Qx left, Qx right, Qy left, … Qw right
    100  8  buttons left, right       108  8  grasp left, right, -32768 to 32767
    116  4  surgeon engaged           120  4  checksum
Robot to console, 52 bytes:
      0  4  sequence     4  4  last sequence    8  4  packet type    12  4  version
     16 24  forces: x left, x right, y left, …      40  4  run level    44  4  joint limits, a bit each    48  4  checksum
Little endian, as its machines write it.
Source: uw-biorobotics/raven2 include/itp_teleoperation.h.

Buttons, the surgeon's engagement, the run level and the joint limits are states: a frame where one of them, the packet's type or its
version is not what it was stays.

Increments do not add up to the way any more when some are left out: sampling by change keeps the motion's shape, sampling at a rate
keeps only glimpses of its speed.
"""

import struct

from firmware.core.frame import UDP, Frame
from firmware.core.streams.sample import NOTHING, Decoded, Sample
from firmware.core.streams.states import States

PORT = 36_000
_CONSOLE = struct.Struct("<12x6i8d5i4x")
_ROBOT = struct.Struct("<16x6iiI4x")
# Type and version, then what of the values is a state.
_CONSOLE_STATES = struct.Struct("<4x8s88x8s8x4s4x")
_ROBOT_STATES = struct.Struct("<8x8s24x8s4x")
_UNIT_MAX = 1.001
_SIDES = ("left", "right")


def _both(names: str) -> tuple[str, ...]:
    return tuple(f"{name}.{side}" for name in names.split() for side in _SIDES)


CONSOLE_NAMES = (*_both("delx dely delz Qx Qy Qz Qw buttonstate grasp"), "surgeon_mode")
ROBOT_NAMES = (*_both("fx fy fz"), "runlevel", "jointflags")


class Itp:
    """Both directions, told apart by their sizes."""

    name = "itp"
    filter = f"udp port {PORT}"

    def __init__(self) -> None:
        self._states = States()

    def decode(self, frame: Frame, data: bytes, stamp_ns: int) -> Decoded:
        """See sample.Decoder."""
        if frame.protocol != UDP or PORT not in (frame.source_port, frame.destination_port):
            return NOTHING
        size = frame.payload_end - frame.payload_start
        if size == _CONSOLE.size:
            values = _CONSOLE.unpack_from(data, frame.payload_start)
            # Whoever else uses the port: parts of a unit quaternion are never above 1, and other things read as one rarely below.
            if not all(-_UNIT_MAX <= part <= _UNIT_MAX for part in values[6:14]):
                return NOTHING
            return self._said("itp/console", CONSOLE_NAMES, values, _CONSOLE_STATES, frame, data, stamp_ns)
        if size == _ROBOT.size:
            values = _ROBOT.unpack_from(data, frame.payload_start)
            return self._said("itp/robot", ROBOT_NAMES, values, _ROBOT_STATES, frame, data, stamp_ns)
        return NOTHING

    def _said(
        self,
        stream: str,
        names: tuple[str, ...],
        values: tuple[float, ...],
        states: struct.Struct,
        frame: Frame,
        data: bytes,
        stamp_ns: int,
    ) -> Decoded:
        key = (stream, frame.vlans, frame.source_ip, frame.destination_ip, frame.source_port, frame.destination_port)
        is_as_before = self._states.as_before(key, b"".join(states.unpack_from(data, frame.payload_start)))
        return Decoded(
            (Sample(stream, "motion", stamp_ns, tuple(map(float, values)), names),), whole=is_as_before, turned=not is_as_before
        )
