"""The box's end of the virtual network: a tap that hears every datagram as a frame, and an asker that sends into it."""

import ipaddress
import struct
from collections.abc import Callable, Collection

from drivers.tap import HeardFrame, TapRequest
from firmware.core.ptp import EVENT_PORT, GENERAL_PORT, HEADER_SIZE, MessageType
from simulator.asker import SimulatedAsker
from simulator.clock import TAI_OFFSET_S, SimulatedClock
from simulator.ptp.line import GROUP, Heard
from simulator.ptp.virtual_net import Place, VirtualNet
from simulator.tap import SimulatedTap

SECOND = 1_000_000_000
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")


class BoxEnd:
    """address: the box's on the room interface. The network's true time is UTC. rings: called when something was heard.

    own: where the box's own ptp4l speaks from; a tap does not hear what its own machine sends.
    """

    def __init__(
        self,
        net: VirtualNet,
        address: str,
        clock: SimulatedClock,
        *,
        own: Collection[str] = (),
        rings: Callable[[], None] = lambda: None,
    ) -> None:
        self._own = own
        self._address = address
        self._clock = clock
        self._rings = rings
        self._tap: SimulatedTap | None = None
        self._line = net.join(Place(address, self._hear))
        self.asked = 0
        self.unreachable: set[str] = set()  # where the interface cannot send to

    def open_tap(self, request: TapRequest) -> SimulatedTap:
        """As a board's `open_tap`."""
        self._tap = SimulatedTap(request)
        return self._tap

    def make_asker(self, interface: str) -> SimulatedAsker:
        """As a board's `make_asker`."""
        return SimulatedAsker(self._clock, self._send, unreachable=self.unreachable)

    def hear_frame(self, data: bytes) -> None:
        """Any frame at all, now."""
        if self._tap is not None:
            self._tap.hear([HeardFrame(self._clock.now().utc_ns, data, len(data))])
            self._rings()

    def _send(self, data: bytes, address: str, port: int) -> None:
        self.asked += 1
        if port in (EVENT_PORT, GENERAL_PORT):  # nobody in this network speaks NTP
            self._line.send(data, to=None if address == GROUP else address, event=port == EVENT_PORT)

    def _hear(self, heard: Heard) -> None:
        if self._tap is None or heard.source in self._own:
            return
        # Stamped by the box's clock, as wrong as it is: the world's true time is only its maker's.
        true_ns = heard.stamp_ns if heard.stamp_ns is not None else self._clock.timeline.tai_ns - TAI_OFFSET_S * SECOND
        frame = udp_frame(heard.data, source=heard.source, destination=self._address)
        leapt_ns = (self._clock.tai_offset_s - TAI_OFFSET_S) * SECOND
        self._tap.hear([HeardFrame(true_ns + self._clock.offset_ns - leapt_ns, frame, len(frame))])
        self._rings()


def udp_frame(data: bytes, *, source: str, destination: str) -> bytes:
    """An Ethernet frame with this PTP message over UDP/IPv4, to the port its type goes to."""
    is_event = len(data) >= HEADER_SIZE and data[0] & 15 <= MessageType.PDELAY_RESP
    port = EVENT_PORT if is_event else GENERAL_PORT
    ends = ipaddress.IPv4Address(source).packed, ipaddress.IPv4Address(destination).packed
    udp = _UDP.pack(port, port, 8 + len(data), 0) + data
    head = _IPV4.pack(0x45, 0, 20 + len(udp), 0, 0, 1, 17, 0, *ends)
    return bytes.fromhex("02000000000a") + b"\x02\x53" + ends[0] + b"\x08\x00" + head + udp
