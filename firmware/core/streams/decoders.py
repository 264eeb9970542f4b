"""The table of decoders, and one of each at work. DECODERS.md says how to add one."""

from collections.abc import Callable, Mapping, Sequence

from firmware.core.frame import Frame
from firmware.core.streams.ethercat import EtherCat
from firmware.core.streams.itp import Itp
from firmware.core.streams.openigtlink import OpenIgtLink
from firmware.core.streams.rtps import Rtps
from firmware.core.streams.sample import NOTHING, Decoded, Decoder

# In the order asked; the quickest to say no first. A frame belongs to the first that knows it.
DECODERS: Mapping[str, Callable[[], Decoder]] = {"ethercat": EtherCat, "itp": Itp, "openigtlink": OpenIgtLink, "rtps": Rtps}


class Decoders:
    """Some of them, or all, with what they remember."""

    def __init__(self, names: Sequence[str] = tuple(DECODERS)) -> None:
        """names: of DECODERS."""
        self._decoders = [make() for name, make in DECODERS.items() if name in names]

    def decode(self, frame: Frame, data: bytes, wire_bytes: int, stamp_ns: int) -> Decoded:
        """What the frame says; NOTHING for a fragment, for what was cut short, and for what does not hold together."""
        if frame.trouble is not None or frame.fragment is not None or len(data) < wire_bytes:
            return NOTHING
        for decoder in self._decoders:
            decoded = decoder.decode(frame, data, stamp_ns)
            if decoded is not NOTHING:
                return decoded
        return NOTHING


def tap_filter(names: Sequence[str]) -> str:
    """The pcap-filter(7) expression for these decoders' frames, bare or in one or two VLAN tags."""
    wanted = " or ".join(f"({make().filter})" for name, make in DECODERS.items() if name in names)
    return f"({wanted}) or (vlan and ({wanted})) or (vlan and ({wanted}))"
