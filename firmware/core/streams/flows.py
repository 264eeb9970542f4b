"""TCP payload in its order, direction by direction: for decoders of messages longer or shorter than a segment. Small and bounded.

A mirror port on one network hears segments in order. What it hears twice is passed over; where one is missing, the flow begins anew.
Nothing is held back to wait for what may come: a decoder that looks on must not need the memory of one that takes part.
"""

from dataclasses import dataclass

from firmware.core.frame import TCP, Frame

FLOWS_MAX = 256
HELD_MAX = 65_536  # bytes of one unfinished message; longer ones are pictures
_HALF = 1 << 31
_WRAP = 0xFFFFFFFF
_FIN_RST = 1 | 4

Key = tuple[bytes, bytes, int, int]


@dataclass(slots=True)
class Flow:
    """One direction. held: begin of a message whose end has not come. skip: bytes still to pass over. synced: whether we know where
    messages begin."""

    next_sequence: int
    held: bytes = b""
    skip: int = 0
    synced: bool = False


class Flows:
    """The last FLOWS_MAX directions of TCP connections."""

    def __init__(self) -> None:
        self._flows: dict[Key, Flow] = {}

    def add(self, frame: Frame, data: bytes) -> tuple[Flow, bytes] | None:
        """The flow and what is new in this segment; None where nothing is, or for what is no TCP segment."""
        if frame.protocol != TCP or frame.source_port is None or frame.destination_port is None:
            return None
        key = (frame.source_ip, frame.destination_ip, frame.source_port, frame.destination_port)
        at = frame.transport_start
        sequence = int.from_bytes(data[at + 4 : at + 8], "big")
        if data[at + 13] & 2:  # SYN takes a number itself
            self._put(key, Flow((sequence + 1) & _WRAP, synced=True))
            return None
        payload = data[frame.payload_start : frame.payload_end]
        flow = self._flows.get(key)
        if data[at + 13] & _FIN_RST:
            # The port's next connection may begin at any number: were its SYN not heard, all of it would seem to be behind, and heard before.
            self._flows.pop(key, None)
            flow = flow or Flow(sequence)
        if not payload:
            return None
        if flow is None:
            flow = self._put(key, Flow(sequence))
        behind = (flow.next_sequence - sequence) & _WRAP
        if 0 < behind < _HALF:
            payload = payload[behind:]
            if not payload:
                return None
        elif behind:
            flow.held, flow.skip, flow.synced = b"", 0, False
            flow.next_sequence = sequence
        flow.next_sequence = (flow.next_sequence + len(payload)) & _WRAP
        return flow, payload

    def _put(self, key: Key, flow: Flow) -> Flow:
        self._flows.pop(key, None)
        if len(self._flows) >= FLOWS_MAX:
            del self._flows[next(iter(self._flows))]
        self._flows[key] = flow
        return flow
