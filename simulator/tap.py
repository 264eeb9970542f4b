"""A simulated tap: hears what the world gives it, with as many blocks as were asked for and no more.

Frames come from the world (`hear`) or from a recording (`simulator.capture_file.frames`). A ring that is not emptied drops the
newest and counts them, as the kernel's does. For a recording in real time, with a descriptor, see `simulator/recorded_tap.py`.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pcapy

from drivers.errors import BadFilter, NotConnected, TapFailed
from drivers.hardware_clock import HardwareTrack
from drivers.tap import FRAME_ALIGNMENT, FRAME_HEADER, Block, HeardFrame, TapCounters, TapRequest, pack_block, to_utc
from simulator.hardware_clock import SimulatedHardwareClock
from simulator.recorded_tap import RecordingTap

__all__ = ["RecordingTap", "SimulatedTap"]

LINK_ETHERNET = 1
RETIRES = 2  # The kernel's timer hands a block over when it finds the same one at two of its ticks: after up to twice the time.
EARLY_NS, LATE_NS = 200_000_000, 1_000_000  # as drivers/linux/hardware_stamps.py, and from when the frames really came


class SimulatedTap:
    """One interface of the simulated world. `hear`, `break_off`, `has_carrier` and `missed` are the world's.

    store: what the keeper keeps; as long as this tap is in it, who closes it only leaves it.
    hardware: the clock the interface stamps by, where it has one and is asked to. missed: each so-manieth frame it stamps not, like a
    card whose registers were full; 0: none.
    now_ns: true time, where it passes: a block that is not full is handed over when its own is over, as late as the kernel may. Without
    it every look finds what was heard.
    """

    def __init__(
        self,
        request: TapRequest,
        *,
        store: Mapping[str, int] | None = None,
        hardware: SimulatedHardwareClock | None = None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        """Raises BadFilter."""
        self._hardware = hardware if request.hardware_stamps else None
        self._track = HardwareTrack()
        self._heard_ns: list[int] = []  # when the frames of the block being filled came
        self._refused = 0
        self.missed = 0
        self._look()
        self._request = request
        self._store: Mapping[str, int] = {} if store is None else store
        self._program = _compiled(request)
        self._ready: deque[Block] = deque()
        self._filling: list[HeardFrame] = []
        self._filling_bytes = 0
        self._filling_until_ns = 0
        self._now_ns = now_ns
        self._handed: deque[list[Block]] = deque()  # the blocks of each run
        self._is_taken_over = False
        self._sequence = 0
        self._received = 0
        self._dropped = 0
        self._told = self._told_before = 0  # of these, to this owner and those before, and to those before
        self._gone = False
        self.has_carrier = True
        self.returned = 0
        self._closed = False
        self._finished = False

    # The world's side.

    def hear(self, frames: Iterable[HeardFrame]) -> None:
        """These frames pass on the wire, in this order."""
        for frame in frames:
            if (
                self._closed
                or self._finished
                or self._gone
                or (self._program is not None and not self._program.filter(frame.data))
            ):
                continue
            kept = replace(self._stamped(frame), data=frame.data[: self._request.snap_bytes])
            size = FRAME_HEADER.size + len(kept.data) + FRAME_ALIGNMENT
            if self._filling and self._filling_bytes + size > self._request.block_bytes - 64:
                self._retire()
            if not self._filling and len(self._ready) + self._handed_count >= self._request.block_count:
                self._dropped += 1
                continue
            self._received += 1
            if not self._filling and self._now_ns is not None:
                self._filling_until_ns = self._now_ns() + self.late_ns
            self._filling.append(kept)
            self._heard_ns.append(frame.stamp_ns)
            self._filling_bytes += size

    @property
    def late_ns(self) -> int:
        """How long after its first frame a block that is not full is handed over at the latest."""
        return RETIRES * self._request.retire_ms * 1_000_000

    def break_off(self) -> None:
        """The interface goes away; what was heard before is still handed out."""
        self._gone = True

    def outlive(self) -> None:
        """Its process ended and the keeper kept it: whoever opens it next reads from the oldest block that was not released."""
        self._ready.extendleft(block for run in reversed(self._handed) for block in reversed(run))
        self._handed.clear()
        self._is_taken_over = True
        # As PACKET_STATISTICS, which forgets what it has told; of what came before only what is still here is the next one's.
        self._received = sum(block.frame_count for block in self._ready) + len(self._filling)
        self._told_before = self._told

    # The contract.

    @property
    def request(self) -> TapRequest:
        return self._request

    @property
    def link_type(self) -> int:
        return LINK_ETHERNET

    @property
    def title(self) -> str:
        request = self._request
        return f"ring/{request.interface}/{zlib.crc32(f'{request.snap_bytes} {request.filter}'.encode()):08x}"

    @property
    def is_taken_over(self) -> bool:
        return self._is_taken_over

    @property
    def stamps_itself(self) -> bool:
        return self._hardware is not None

    def fileno(self) -> int:
        return -1

    def next(self, most: int = 1) -> Block | None:
        if self._is_over() and len(self._ready) < most:
            self._retire()
        if self._ready:
            run = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
            self._handed.append(run)
            return run[0] if len(run) == 1 else self._joined(run)
        if self._gone and not self._filling:
            raise TapFailed(f"expected interface {self._request.interface!r}, it went away")
        return None

    def is_filling(self) -> bool:
        return bool(self._filling) and not self._is_over()

    def ready_count(self) -> int:
        return len(self._ready) + self._is_over()

    def release(self, block: Block) -> None:
        assert self._handed and self._handed[0][0].handle == block.handle, "blocks are released in the order handed out"
        self._handed.popleft()

    def counters(self) -> TapCounters:
        self._told = self._dropped
        dropped = {"ring_full": self._dropped - self._told_before}
        return TapCounters(self._received, dropped, self.has_carrier, self._refused, self.returned)

    def catch_up(self) -> None:
        """Waited for, in no time of the world's."""
        if self._filling:
            self._retire()

    def finish(self) -> None:
        self._finished = True
        self.catch_up()

    def close(self) -> None:
        if self.title in self._store:
            return
        self._closed = True
        self._ready.clear()
        self._filling.clear()

    @property
    def _handed_count(self) -> int:
        return sum(map(len, self._handed))

    def _joined(self, run: list[Block]) -> Block:
        stride = max(
            self._request.block_bytes, *(len(block.data) for block in run)
        )  # a frame may be longer than a block should be
        data = b"".join(bytes(block.data).ljust(stride, b"\0") for block in run)
        return Block(memoryview(data), run[0].sequence, sum(block.frame_count for block in run), run[0].handle, stride)

    def _is_over(self) -> bool:
        """Whether the block being filled has frames, and its time is over."""
        return bool(self._filling) and (self._now_ns is None or self._now_ns() >= self._filling_until_ns)

    def _retire(self) -> None:
        data = bytearray(pack_block(self._filling, sequence=self._sequence))
        if self._hardware is not None:
            self._look()
            earliest_ns, latest_ns = max(0, min(self._heard_ns) - EARLY_NS), max(self._heard_ns) + LATE_NS
            self._refused += to_utc(data, self._track.translation, earliest_ns=earliest_ns, latest_ns=latest_ns)[1]
        self._ready.append(Block(memoryview(data).toreadonly(), self._sequence, len(self._filling), self._sequence))
        self._sequence += 1
        self._filling, self._filling_bytes = [], 0
        self._heard_ns.clear()

    def _stamped(self, frame: HeardFrame) -> HeardFrame:
        """As the card hands it on."""
        if self._hardware is None or (self.missed and self._received % self.missed == 0):
            return frame
        return replace(frame, stamp_ns=self._hardware.stamp(frame.stamp_ns), is_hardware=True)

    def _look(self) -> None:
        if self._hardware is not None:
            try:
                self._track.take(self._hardware.compare())
            except NotConnected:
                pass  # gone with its interface; what came before is translated by what was known


def _compiled(request: TapRequest) -> "pcapy.BPFProgram | None":
    if not request.filter:
        return None
    try:
        return pcapy.compile(pcapy.DLT_EN10MB, request.snap_bytes, request.filter, 1, 0xFFFFFFFF)
    except pcapy.PcapError as problem:
        raise BadFilter(f"expected a pcap-filter(7) expression: {problem}") from None
