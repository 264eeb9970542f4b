"""A long body compressed a slice a step, so that an alarm never waits for a codec; and what this machine has measured of its codecs."""

from dataclasses import dataclass, field

from drivers.board import Board
from drivers.clock import Clock
from drivers.disk import Disk
from firmware.core import compression
from firmware.core.compression import SPEEDS, Choice, Codec, Conditions, Packer, Policy
from firmware.core.durable import read_or_none
from firmware.core.envelope import UNKNOWN
from firmware.core.errors import DiskFailed
from firmware.core.state import STATE_BYTES_MAX, from_json
from firmware.core.timestamp import SECOND

SLICE_S = 0.01  # Work of one step, as far as the codec's speed is known.
SLICE_BYTES_MIN = 16_384
SMALL_BYTES = 65_536  # Below it the slowest codec needs a tenth of a second at most, and is not chosen anyway.
RATE_EVERY_NS = 10 * SECOND  # The uplink's own mean is over as long.


@dataclass(slots=True)
class Packing:
    """One body on its way through a codec."""

    content: bytes
    choice: Choice
    packer: Packer
    at: int = 0
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """What has come of it."""
        return b"".join(self.pieces)


class Packers:
    """Chooses and works. Conditions are what the uplink says about the link and what this process has seen of its codecs."""

    def __init__(self, board: Board, *, policy: Policy, share: float) -> None:
        self._disk: Disk = board.disk
        self._clock: Clock = board.clock
        self._policy = policy
        self._share = share
        self._speeds: dict[Codec, float] = dict(SPEEDS)
        self._rate_bytes_per_s = UNKNOWN.rate_bytes_per_s
        self._asked_ns: int | None = None

    def begin(self, content: bytes, *, is_small_group: bool, is_urgent: bool) -> Packing:
        """Choose for this one. is_urgent: a group of P1 or P2, which waits for no slow codec whatever the link."""
        if is_urgent and len(content) > compression.SMALL_BYTES:
            choice = Choice("deflate", "urgent: no slow codec")
        else:
            choice = compression.chosen(content, self._conditions(), is_small_group=is_small_group)
        return self._with(content, choice)

    def step(self, packing: Packing) -> Packing | None:
        """One slice. None when it is all done; another when a policy was missed and a stronger codec has to try."""
        codec = packing.choice.codec
        size = max(SLICE_BYTES_MIN, int(self._speeds.get(codec, 1e9) * SLICE_S))
        piece = packing.content[packing.at : packing.at + size]
        began = self._clock.now().monotonic
        packing.pieces.append(packing.packer.compress(piece))
        packing.at += len(piece)
        is_all = packing.at >= len(packing.content)
        if is_all:
            packing.pieces.append(packing.packer.flush())
        took_ns = self._clock.now().monotonic.since(began)
        if took_ns > 0 and codec in self._speeds and len(piece) >= SLICE_BYTES_MIN:
            self._speeds[codec] += (len(piece) * SECOND / took_ns - self._speeds[codec]) / 16
        if not is_all:
            return packing
        missed = not compression.is_met(self._policy, raw_size=len(packing.content), size=sum(map(len, packing.pieces)))
        following = compression.stronger(codec) if missed and packing.choice.probe >= compression.COMPRESSIBLE_MIN else None
        if following is None:
            return None
        return self._with(
            packing.content, Choice(following, f"{packing.choice.reason}; {codec} did not do", packing.choice.probe)
        )

    def _with(self, content: bytes, choice: Choice) -> Packing:
        return Packing(content, choice, compression.packer(choice.codec, has_dictionary=choice.has_dictionary, size=len(content)))

    def _conditions(self) -> Conditions:
        now_ns = self._clock.now().monotonic.ns
        if self._asked_ns is None or now_ns - self._asked_ns >= RATE_EVERY_NS:
            self._asked_ns = now_ns
            self._rate_bytes_per_s = self._rate() or self._rate_bytes_per_s
        return Conditions(self._rate_bytes_per_s, self._share, self._speeds, self._policy)

    def _rate(self) -> float:
        """What the uplink last measured, bytes/s; 0 while it has measured nothing."""
        try:
            data = read_or_none(self._disk, "state/uplink.json", size=STATE_BYTES_MAX)
        except DiskFailed:
            return 0.0
        stations = from_json("uplink", data).stations if data is not None else ()
        rate = next((station.gauges.get("rate_bytes_per_s") for station in stations if station.station == "uplink"), 0)
        return float(rate) if isinstance(rate, int | float) else 0.0
