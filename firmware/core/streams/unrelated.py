"""Frames that say nothing about what a robot did, by their headers (S2-097, S2-103). Pure; in doubt a frame is related."""

from dataclasses import dataclass

from firmware.core.frame import ARP, IGMP, LLDP, TCP, UDP, Frame

ACKNOWLEDGEMENT, REQUEST, REPORTED = "acknowledgement", "request", "reported"
_SYN_FIN_RST = 0b111
_SPANNING_TREE = bytes.fromhex("0180c2000000")


@dataclass(frozen=True, slots=True)
class Unrelated:
    """request_ports: UDP and TCP ports of network services. request_ethertypes: the same for what is not IP.

    message_ports: UDP ports whose datagrams intake has made messages of, which travel on their own.
    """

    request_ports: frozenset[int] = frozenset()
    request_ethertypes: frozenset[int] = frozenset({ARP, LLDP})
    message_ports: frozenset[int] = frozenset()

    def rule(self, frame: Frame, data: bytes, wire_bytes: int) -> str | None:
        """Why this frame may be left out; None where it may not. data: the frame as captured."""
        if frame.trouble is not None or frame.fragment is not None:
            return None
        if frame.protocol is None:
            is_request = frame.ethertype in self.request_ethertypes or frame.destination_mac == _SPANNING_TREE
            return REQUEST if is_request else None
        if frame.protocol == IGMP:
            return REQUEST
        if frame.protocol == TCP and len(data) >= wire_bytes and frame.payload_start == frame.payload_end:
            return None if data[frame.transport_start + 13] & _SYN_FIN_RST else ACKNOWLEDGEMENT
        if frame.protocol == UDP and frame.destination_port in self.message_ports:
            return REPORTED
        if frame.source_port in self.request_ports or frame.destination_port in self.request_ports:
            return REQUEST
        return None
