"""The storm's room: everybody's clock, what passes on the wire, and the truth about each clock at any moment of the box's."""

import heapq
import itertools
from collections.abc import Callable, Sequence
from random import Random

from firmware.core.frame import parsed
from firmware.core.ptp import MessageType, unpacked
from simulator.clock import SimulatedClock, Timeline
from simulator.parrots import CONSOLE, TALKERS
from simulator.ptp.character import SECOND, character
from simulator.ptp.virtual_room import BOX, TAI_NS, VirtualRoom


class Hall:
    """A world with nothing in it but time."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.clock = SimulatedClock(self.timeline)
        self.passed: list[tuple[bytes, bool]] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.room = VirtualRoom(self, self.clock, random=Random(3), wire=self._wire, is_on=lambda: True)

    @property
    def now_ns(self) -> int:
        return self.timeline.tai_ns

    def later(self, ns: int, deed: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_ns + ns, next(self._order), deed))

    def run(self, seconds: float) -> None:
        end = self.now_ns + round(seconds * SECOND)
        while self._events[0][0] <= end:
            at, _, deed = heapq.heappop(self._events)
            self.timeline.advance(at - self.now_ns)
            deed()
        self.timeline.advance(end - self.now_ns)

    def truths(self, tai_ns: int) -> list[int]:
        """What the console's clock was really off, in ms, when the box showed this."""
        return [round(true.ns / 1e6) for true in self.room.true_offsets(CONSOLE.ip, tai_ns)]

    def _wire(self, frames: Sequence[bytes], into_room: bool) -> None:
        self.passed += [(frame, into_room) for frame in frames]


def test_devices_follow_the_box() -> None:
    """A device is where the box's clock is, also when that is 300 ms wrong; its messages have its own time. (S2-014)"""
    hall = Hall()
    hall.room.boot(CONSOLE.ip, character("synchronised", offset_ns=5_000_000, drift_ppm=20))
    hall.clock.step(300_000_000)
    hall.room.box_was_set()
    hall.run(40)

    assert [0] == hall.truths(hall.clock.now().timestamp.tai_ns)
    assert 300 == round((hall.room.clock_of(CONSOLE) - (hall.now_ns - TAI_NS)) / 1e6)


def test_a_time_shown_twice_has_two_truths() -> None:
    """The box's clock is set back by 7 s: for 7 s it shows what it has shown, and both moments may be meant. Set forward: some never were."""
    hall = Hall()
    hall.room.boot(CONSOLE.ip, character("free", offset_ns=0, drift_ppm=0))
    hall.run(10)
    hall.clock.step(-7 * SECOND)
    hall.room.box_was_set()
    hall.run(3)
    twice = hall.clock.now().timestamp.tai_ns
    hall.run(1)
    hall.clock.step(3600 * SECOND)
    hall.room.box_was_set()
    hall.run(1)

    assert [0, 7_000] == hall.truths(twice)
    assert [] == hall.truths(twice + 60 * SECOND)
    assert [7_000 - 3_600_000] == hall.truths(hall.clock.now().timestamp.tai_ns)


def test_a_leap_second_is_in_utc_only() -> None:
    """TAI goes on; the UTC the box stamps by is a second behind, so a device that was right is a second ahead until it follows."""
    hall = Hall()
    hall.room.boot(CONSOLE.ip, character("free", offset_ns=0, drift_ppm=0))
    hall.run(5)
    before = hall.clock.now()
    hall.run(1)
    hall.clock.leap()
    hall.room.box_was_set()
    hall.run(1)
    after = hall.clock.now()

    assert (2 * SECOND, SECOND) == (after.timestamp.tai_ns - before.timestamp.tai_ns, after.utc_ns - before.utc_ns)
    assert ([0], [1_000]) == (hall.truths(before.timestamp.tai_ns), hall.truths(after.timestamp.tai_ns))


def test_what_may_be_taken_for_granted() -> None:
    """A clock that was set is steady again from then on; one that is steered hard is not even."""
    hall = Hall()
    hall.room.boot(CONSOLE.ip, character("free", offset_ns=0, drift_ppm=10))
    hall.run(60)
    clock = hall.room.devices[CONSOLE.ip].clock
    calm = hall.room.true_offsets(CONSOLE.ip, hall.now_ns)[0]
    clock.step(hall.room.utc_ns, 400_000)
    clock.adjust(hall.room.utc_ns, -150e-6)
    hall.run(2)
    steered = hall.room.true_offsets(CONSOLE.ip, hall.now_ns)[0]

    assert (True, True) == (calm.is_even, calm.steady_s > 39)
    assert (False, 2.0) == (steered.is_even, round(steered.steady_s, 3))


def test_all_of_it_passes_the_wire() -> None:
    """Every datagram is a whole frame on the mirror port; the room interface hears everybody but the box, and no talk of others."""
    hall = Hall()
    hall.room.asker("room").ask(b"\x0d\x02", CONSOLE.ip, 320)
    hall.run(20)
    frames = [(parsed(frame), frame, into_room) for frame, into_room in hall.passed]
    payloads = [frame[head.payload_start : head.payload_end] for head, frame, _ in frames]
    kinds = {unpacked(data).messageType for data in payloads if data != b"\x0d\x02"}
    from_box = [into_room for head, _, into_room in frames if bytes(map(int, BOX.ip.split("."))) == head.source_ip]
    others = [into_room for head, _, into_room in frames if bytes(map(int, BOX.ip.split("."))) != head.source_ip]

    assert all(head.trouble is None for head, _, _ in frames)
    assert {MessageType.ANNOUNCE, MessageType.SYNC, MessageType.FOLLOW_UP, MessageType.DELAY_REQ, MessageType.DELAY_RESP} == kinds
    assert from_box and not any(from_box)
    assert others and all(others)
    assert len(TALKERS) == len({head.source_ip for head, _, _ in frames}) - 1
