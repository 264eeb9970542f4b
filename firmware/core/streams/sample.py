"""What a decoder makes of a frame: samples, and whether they are all that is in it."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from firmware.core.frame import Frame

Kind = Literal["motion", "temperature", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VALUES_MAX = 256  # of one sample; what has more is a picture or a file, not a measurement
NAME_MAX = 200  # characters of a stream's name


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one moment.

    stream: "<decoder>/<what the sender calls it>", foreign text, printable, at most NAME_MAX characters; one sender's streams differ in it.
    stamp_ns: when the frame was heard, UTC; what senders claim about time is theirs. values: at most VALUES_MAX, in the sender's unit.
    names: one for each value, or none where the protocol names them nowhere. Foreign text as well.
    source: what tells apart, beside addresses and ports, who says this and of what: samples of another source are another stream's, whatever
    it is called. Only for comparing.
    """

    stream: str
    kind: Kind
    stamp_ns: int
    values: tuple[float, ...]
    names: tuple[str, ...] = ()
    source: bytes = b""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one frame says.

    whole: the samples are everything in it that anybody could miss; only then may the frame be left out when they are.
    turned: a state in it is another than before (states.py): then its samples are not for leaving out, and it is not whole.
    housekeeping: it carries nothing but acknowledgements and announcements of the protocol itself (S2-097: ACK and NAK).
    """

    samples: tuple[Sample, ...] = ()
    whole: bool = False
    turned: bool = False
    housekeeping: bool = False


NOTHING = Decoded()
HOUSEKEEPING = Decoded(housekeeping=True)


class Decoder(Protocol):
    """One protocol. May remember what it needs (a topic's name, the begin of a message), within limits of its own.

    name: first part of its streams' names, and how settings call it. filter: pcap-filter(7) expression that lets all of it pass.
    """

    name: str
    filter: str

    def decode(self, frame: Frame, data: bytes, stamp_ns: int) -> Decoded:
        """What the frame says, NOTHING where it is not of this protocol or does not hold together. Never raises.

        frame: its headers, which hold together and are of no fragment. data: the whole frame, from the Ethernet header on, as long as it
        was on the wire. stamp_ns: UTC. Frames come in the order heard.
        """
        ...


def name_of(*parts: str) -> str:
    """A stream's name out of foreign parts: what cannot be printed becomes "?", what is too long ends early."""
    return "".join(sign if sign.isprintable() else "?" for sign in "/".join(parts)[:NAME_MAX])
