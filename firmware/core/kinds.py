"""Kinds of record: what a frame is about, for a person who asks for "motion" and not for a port (S2-107).

    message          a published message, on one of the ports they are published to
    motion, temperature, stream    samples that a decoder knows (core/streams), of that kind; stream is any of them
    time             PTP and NTP
    imaging          DICOM, on its registered ports
    service          names, addresses, neighbours: what evidence that may be reduced leaves out
    acknowledgement  TCP segments without contents

A frame may be of several kinds, or of none. What a decoder does not know is not guessed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from firmware.core.errors import BadItem
from firmware.core.frame import PTP, TCP, UDP, Frame, parsed
from firmware.core.pcapng import Packet
from firmware.core.streams.decoders import Decoders
from firmware.core.streams.unrelated import ACKNOWLEDGEMENT, REQUEST, Unrelated

KINDS = ("message", "motion", "temperature", "stream", "time", "imaging", "service", "acknowledgement")
# IANA: ptp-event, ptp-general, ntp; acr-nema, dicom-iscl, dicom-tls, dicom.
TIME_PORTS = (123, 319, 320)
IMAGING_PORTS = (104, 2761, 2762, 11_112)
_STREAMS = frozenset({"motion", "temperature", "stream"})


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What the index can say about some kinds: one of these ports or ethertypes; both empty, it can say nothing."""

    ports: tuple[int, ...] = ()
    protocols: tuple[str, ...] = ()


def narrowed(kinds: Sequence[str], unrelated: Unrelated) -> Narrowed:
    """Raises BadItem for a kind there is not."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise BadItem(f"expected a kind of record, one of {', '.join(KINDS)}")
    ports: set[int] = set()
    protocols: set[str] = set()
    for kind in kinds:
        if kind == "message":
            ports |= unrelated.message_ports
        elif kind == "time":
            ports |= set(TIME_PORTS)
            protocols.add("ptp")
        elif kind == "imaging":
            ports |= set(IMAGING_PORTS)
        else:
            return Narrowed()
    return Narrowed(tuple(sorted(ports)), tuple(sorted(protocols)))


def remembers(kinds: Sequence[str]) -> bool:
    """Whether what is asked for by these is told by what was heard before: only in that order are the answers right."""
    return bool(_STREAMS & set(kinds))


def asks(kinds: Sequence[str], unrelated: Unrelated) -> Callable[[Packet], bool]:
    """Whether a frame is of one of these kinds; for frames in the order heard, because decoders remember."""
    decoders = Decoders() if remembers(kinds) else None

    def question(packet: Packet) -> bool:
        try:
            frame = parsed(packet.data)
        except BadItem:
            return False
        # Decoders first and always: a name announced in this frame is needed for the next one.
        samples = decoders.decode(frame, packet.data, packet.wire_bytes, packet.stamp_ns).samples if decoders is not None else ()
        if samples and ("stream" in kinds or any(sample.kind in kinds for sample in samples)):
            return True
        return any(_is(kind, frame, packet, unrelated) for kind in kinds if kind not in _STREAMS)

    return question


def _is(kind: str, frame: Frame, packet: Packet, unrelated: Unrelated) -> bool:
    ports = {frame.source_port, frame.destination_port}
    match kind:
        case "message":
            return frame.protocol == UDP and frame.destination_port in unrelated.message_ports
        case "time":
            return frame.ethertype == PTP or (frame.protocol == UDP and bool(ports & set(TIME_PORTS)))
        case "imaging":
            return frame.protocol == TCP and bool(ports & set(IMAGING_PORTS))
    rule = unrelated.rule(frame, packet.data, packet.wire_bytes)
    return rule == (REQUEST if kind == "service" else ACKNOWLEDGEMENT)
