"""EtherCAT: process data of cyclic datagrams, as words, with no idea what they mean: that stands in a configuration we do not have.

    frame      0  2  size of what follows (11 bits) and type (4 bits from bit 12; 1: datagrams)
    datagram   0  1  command   1  1  index   2  4  address (2 + 2 or logical)   6  2  size (11 bits), bit 15: another follows
               8  2  interrupt     10  …  data     behind it  2  working counter
Process data is what logical commands carry (LRD, LWR, LRW); a word is 16 bits, little endian, and an odd byte at the end is one more.
Beside it, cyclic frames read a slave's state (register 0x0130) and distribute time (0x0910); both are samples as well. Anything else in
the frame (configuration, mailboxes) is somebody's question or answer, and the frame stays. So does one whose working counter is not what it
was: that is how a slave says that it is gone, or back, while all the data stand still; and one with another state than before. Flags among
the process data are not known for what they are: to see each of their changes, ask for the stream without error (`change`, `…=0`).
Source: ETG.1000.4; IEC 61158-4-12.

A frame is heard on its way out and on its way back, when the slaves have written into it: two senders to us, the first slave marks the
source address of the second.
"""

import struct

from firmware.core.frame import Frame
from firmware.core.streams.sample import NOTHING, VALUES_MAX, Decoded, Sample
from firmware.core.streams.states import States

ETHERTYPE = 0x88A4
DATAGRAMS_MAX = 16
_LOGICAL = {10: "LRD", 11: "LWR", 12: "LRW"}
_READS = frozenset({1, 4, 7})  # APRD, FPRD, BRD
_DISTRIBUTES = frozenset({13, 14})  # ARMW, FRMW
_AL_STATUS, _SYSTEM_TIME = 0x0130, 0x0910
_DATAGRAM = struct.Struct("<BBHHHH")


class EtherCat:
    """Remembers each stream's last working counter, and each slave's last state."""

    name = "ethercat"
    filter = f"ether proto 0x{ETHERTYPE:04x}"

    def __init__(self) -> None:
        self._states = States()

    def decode(self, frame: Frame, data: bytes, stamp_ns: int) -> Decoded:
        """See sample.Decoder."""
        at, end = frame.payload_start, frame.payload_end
        if frame.ethertype != ETHERTYPE or end - at < 2:
            return NOTHING
        head = int.from_bytes(data[at : at + 2], "little")
        at += 2
        if head >> 12 != 1 or (head & 0x7FF) > end - at:
            return NOTHING
        end = at + (head & 0x7FF)
        samples: list[Sample] = []
        whole, turned = True, False
        for _ in range(DATAGRAMS_MAX):
            if end - at < _DATAGRAM.size + 2:
                return NOTHING
            command, _, position, offset, size, _ = _DATAGRAM.unpack_from(data, at)
            start, at = at + _DATAGRAM.size, at + _DATAGRAM.size + (size & 0x7FF) + 2
            if at > end:
                return NOTHING
            sample = _sample(command, position, offset, data[start : at - 2], stamp_ns)
            if sample is None:
                whole = False
            else:
                samples.append(sample)
                # A state is said whole; of anything else only how many slaves took part.
                said = start if offset == _AL_STATUS and command in _READS else at - 2
                turned |= not self._states.as_before((frame.source_mac, command, sample.stream), data[said:at])
            if not size & 0x8000:
                return Decoded(tuple(samples), whole and not turned and at == end and bool(samples), turned)
        return Decoded(tuple(samples), turned=turned)


def _sample(command: int, position: int, offset: int, data: bytes, stamp_ns: int) -> Sample | None:
    """position, offset: the address in halves."""
    if command in _LOGICAL and 0 < len(data) <= 2 * VALUES_MAX:
        values = struct.unpack(f"<{len(data) // 2}H", data[: len(data) & ~1]) + tuple(data[len(data) & ~1 :])
        stream = f"ethercat/{_LOGICAL[command]}/0x{offset << 16 | position:08x}"
        return Sample(stream, "motion", stamp_ns, tuple(map(float, values)))
    if offset == _AL_STATUS and command in _READS and len(data) == 2:
        state = float(int.from_bytes(data, "little"))
        return Sample(f"ethercat/state/0x{position:04x}", "other", stamp_ns, (state,), ("state",))
    if offset == _SYSTEM_TIME and command in _DISTRIBUTES and len(data) in (4, 8):
        # Of 64 bits a double keeps 53: good to half a microsecond, for a clock that is distributed each millisecond.
        time_ns = float(int.from_bytes(data, "little"))
        return Sample(f"ethercat/time/0x{position:04x}", "other", stamp_ns, (time_ns,), ("time_ns",))
    return None
