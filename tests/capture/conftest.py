"""A recorder on a simulated board, driven step by step."""

import struct
from collections.abc import Callable

import pytest

from drivers.errors import TapFailed
from drivers.tap import HeardFrame, Tap, TapRequest
from firmware.capture.settings import CaptureSettings
from firmware.capture.station import CaptureStation
from firmware.core import message, pcapng
from firmware.core.seal import Seal
from firmware.core.spool import Spool
from firmware.core.store import Query, Store
from firmware.core.verdict import Verdict
from firmware.core.verify import verify
from simulator.board import SimulatedBoard
from simulator.hardware_clock import SimulatedHardwareClock
from simulator.tap import SimulatedTap

MS, SECOND = 1_000_000, 1_000_000_000


def frame(number: int, size: int = 80) -> bytes:
    """Its number in the last eight bytes."""
    head = bytes.fromhex("020000000001 020000000002 0800 4500004200000000401100000a0000010a000002 2710 0068 0000 0000")
    return head + bytes(size - len(head) - 8) + struct.pack(">Q", number)


class Recorder:
    """The station, its board and its tap; what the world does and what can be seen from outside.

    card: the clock by which the interface stamps, when it is opened next; None for one that has none.
    """

    def __init__(self, *, card_ahead_ns: int | None = None, **settings: int | str) -> None:
        self.board = SimulatedBoard(open_tap=self._open)
        self.clock, self.disk = self.board.clock, self.board.disk
        self.settings = CaptureSettings(**settings)  # type: ignore[arg-type]
        self.tap: SimulatedTap | None = None
        self.card = None if card_ahead_ns is None else SimulatedHardwareClock(self.clock, offset_ns=card_ahead_ns, drift_ppm=30)
        self.interface = True
        self.sent = 0
        self.boot()

    def _open(self, request: TapRequest) -> Tap:
        if not self.interface:
            raise TapFailed("expected an interface, it is gone")
        self.tap = SimulatedTap(request, hardware=self.card)
        return self.tap

    def boot(self) -> None:
        """A new process."""
        self.station = CaptureStation(self.board, self.settings)
        self.station.start(self.clock.now())

    def hear(self, count: int = 1, *, stamp_ns: int | None = None, size: int = 80) -> None:
        """Frames on the wire now, or with these stamps."""
        assert self.tap is not None
        first = self.clock.now().utc_ns if stamp_ns is None else stamp_ns
        self.tap.hear([HeardFrame(first + n, frame(self.sent + n, size), size) for n in range(count)])
        self.sent += count

    def step(self) -> int:
        """Steps until it has nothing more to do at once; returns how many."""
        for count in range(1, 10_000):
            now = self.clock.now()
            if self.station.step(now) != now.monotonic:
                return count
        raise AssertionError("expected the station to come to rest")

    def run(self, seconds: float, *, every_ms: int = 100, rate: int = 1) -> None:
        """Time passes; `rate` frames are heard in each tick."""
        for _ in range(int(seconds * 1000 / every_ms)):
            if rate and self.interface:
                self.hear(rate)
            self.step()
            self.clock.advance(every_ms * MS)

    def stop(self) -> None:
        self.state_before_stop = self.station.report.gauges["state"]
        self.station.stop(self.clock.now())

    def seals(self) -> list[Seal]:
        store = Store(self.disk)
        return [made for name in store.names() if (made := store.segment(name).seal()) is not None]

    def numbers(self) -> list[int]:
        """Of every frame that can be found, in order."""
        data = b"".join(hit.blocks for hit in Store(self.disk).search(Query()))
        section = pcapng.section_header() + pcapng.interface("x")
        return [struct.unpack(">Q", packet.data[-8:])[0] for packet in pcapng.packets(section + data)]

    def verify(self) -> Verdict:
        return verify(self.disk, "segments", self.board.identity.public_key())

    def said(self) -> list[str | None]:
        """Events of the notices in inbox/."""
        spool = Spool(self.disk, "inbox")
        return [row.event for name in spool.names() for row in message.unpacked(self.disk.read(f"inbox/{name}"))]

    @property
    def drops(self) -> dict[str, int]:
        return self.station.report.drops


@pytest.fixture
def make_recorder() -> Callable[..., Recorder]:
    return Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
