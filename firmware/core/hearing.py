"""From frames to datagrams on the message ports, whether they come from a ring or from a segment."""

from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from firmware.core.checksum import transport_holds
from firmware.core.errors import BadItem
from firmware.core.fragments import Reassembler
from firmware.core.frame import TO_THE_RECEIVER, UDP, Frame, behind_headers, parsed

UDP_SIZE = 8


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram to a message port. source_ip: 4 or 16 bytes. is_altered: its checksum is wrong, it is not what was sent."""

    source_ip: bytes
    port: int
    payload: bytes
    is_altered: bool


class Hearing:
    """Headers, fragments and checksums. drop: told the cause of each frame that is no good; count: of each oddity.

    is_live: frames are heard when they come, and not out of a recording.
    """

    def __init__(
        self, ports: Container[int], *, drop: Callable[[str], None], count: Callable[[str], None], is_live: bool = False
    ) -> None:
        self._ports = ports
        self._drop = drop
        self._count = count
        self._reassembler = Reassembler(drop, passes_over_copies=is_live)

    def datagram(self, data: bytes, stamp_ns: int) -> Datagram | None:
        """What this frame completes, None for nothing."""
        try:
            frame = parsed(data)
        except BadItem:
            self._drop("bad_frame")
            return None
        if frame.trouble is not None:
            self._drop(f"bad_{frame.trouble}")
            return None
        fragment = frame.fragment
        if fragment is None:
            return self._checked(frame, data[frame.transport_start : frame.payload_end]) if frame.protocol == UDP else None
        if fragment.following != UDP and fragment.following not in TO_THE_RECEIVER:
            return None
        whole = self._reassembler.add(frame, data[fragment.start : frame.payload_end], stamp_ns)
        if whole is None:
            return None
        protocol, at = behind_headers(whole, fragment.following)
        if protocol != UDP:
            return None
        whole = whole[at:]
        length = int.from_bytes(whole[4:6], "big")
        if not UDP_SIZE <= length <= len(whole):
            self._drop("bad_udp")
            return None
        return self._checked(replace(frame, protocol=UDP, destination_port=int.from_bytes(whole[2:4], "big")), whole[:length])

    def _checked(self, frame: Frame, datagram: bytes) -> Datagram | None:
        port = frame.destination_port
        if port is None or port not in self._ports:
            return None
        if len(datagram) <= UDP_SIZE:
            self._drop("empty")
            return None
        is_altered = transport_holds(frame, datagram) is False
        if is_altered:
            self._count("bad_checksum")
        return Datagram(frame.source_ip, port, datagram[UDP_SIZE:], is_altered)
