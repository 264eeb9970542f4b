"""The task devices' ordinary clock in virtual time: against our grandmaster, and asked as a box would ask it."""

import heapq
import itertools
from collections.abc import Callable
from random import Random

import pytest

from firmware.core.ptp import ALL_PORTS, Flags, MessageType, PortIdentity, PtpMessage, packed, unpacked
from firmware.core.ptp_datasets import (
    CurrentDataSet,
    ManagementId,
    PortDataSet,
    PortState,
    Refusal,
    answer,
    monitor_request,
    monitored,
    question,
    request,
)
from simulator.ptp.character import CHARACTERS, SECOND, Character, character
from simulator.ptp.device import identity_of
from simulator.ptp.grandmaster import Claim, Grandmaster
from simulator.ptp.line import Heard
from simulator.ptp.ordinary_clock import OrdinaryClock
from simulator.ptp.virtual_net import Place, VirtualNet

START_NS = 1_795_342_537_000_000_000
MASTER, DEVICE, BOX = "10.77.0.1", "10.77.0.21", "10.77.0.9"


class Hall:
    """Virtual time, a network, a grandmaster that serves the truth, a device, and a box that asks."""

    def __init__(self, kind: Character, *, tai: bool = False) -> None:
        self.now_ns = START_NS
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.net = VirtualNet(now=lambda: self.now_ns, later=self.later, random=Random(1))
        flags = Flags.PTP_TIMESCALE | Flags.UTC_OFFSET_VALID if tai else Flags(0)
        self.master = Grandmaster(
            identity=identity_of(1), line=self.net.join(Place(MASTER, lambda heard: self.master.hear(heard))),
            reads=lambda true_ns: true_ns, claim=Claim(interval_log=-2, flags=flags), true_ns=START_NS,
        )  # fmt: skip
        line = self.net.join(Place(DEVICE, lambda heard: self.device.hear(heard, self.now_ns)))
        self.device = OrdinaryClock(kind, identity=identity_of(21), line=line, random=Random(2), true_ns=START_NS)
        self.heard: list[Heard] = []
        self.box = self.net.join(Place(BOX, self.heard.append))
        self._turn(self.master.step)
        self._turn(self.device.step)

    def later(self, ns: int, deed: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_ns + ns, next(self._order), deed))

    def run(self, seconds: float) -> None:
        end = self.now_ns + round(seconds * SECOND)
        while self._events and self._events[0][0] <= end:
            self.now_ns, _, deed = heapq.heappop(self._events)
            deed()
        self.now_ns = end

    def probe(self) -> tuple[int, int] | None:
        """What a NetSync Monitor request bounds the device's offset by: nobody's frame arrives before it left."""
        self.heard.clear()
        probe = PtpMessage(MessageType.DELAY_REQ, PortIdentity(bytes(8), 1), 7, flags=Flags.UNICAST, tlvs=(monitor_request(),))
        left = self.box.send(packed(probe), to=DEVICE, event=True)
        self.run(0.01)
        rows = {unpacked(row.data).messageType: (row, unpacked(row.data)) for row in self.heard if row.source == DEVICE}
        if MessageType.DELAY_RESP not in rows or MessageType.FOLLOW_UP not in rows:
            return None
        arrived, answered = rows[MessageType.SYNC][0].stamp_ns, rows[MessageType.DELAY_RESP][1]
        assert left is not None and arrived is not None and monitored(answered) is not None
        return rows[MessageType.FOLLOW_UP][1].timestamp - arrived, answered.timestamp - left

    def asked(self, about: ManagementId) -> object:
        self.heard.clear()
        words = request(question(about), source=PortIdentity(bytes(8), 1), target=ALL_PORTS, sequence=3, domain=0)
        self.box.send(packed(words), to=None, event=False)
        self.run(0.01)
        found = [unpacked(row.data) for row in self.heard]
        return next((answer(row) for row in found if row.messageType is MessageType.MANAGEMENT), None)

    def _turn(self, step: Callable[[int], int]) -> None:
        self.later(step(self.now_ns) - self.now_ns, lambda: self._turn(step))


def test_follows_its_grandmaster() -> None:
    """From a quarter of a second off and 80 ppm slow to within 50 µs in 30 s, whatever the queues do; and says so. (S2-010, S2-012)"""
    hall = Hall(character("synchronised", offset_ns=-250_000_000, drift_ppm=-80))
    hall.run(30)
    errors = []
    for _ in range(30):
        hall.run(1)
        errors.append(abs(hall.device.clock.error_ns(hall.now_ns)))
    port = hall.asked(ManagementId.PORT_DATA_SET)

    assert max(errors) < 50_000
    assert PortState.SLAVE is hall.device.state
    assert isinstance(port, PortDataSet) and PortState.SLAVE is port.portState


def test_free_running_clock_drifts_as_its_crystal_does() -> None:
    """Started 300 µs ahead and 15 ppm fast it is 1.2 ms ahead after a minute, and knows it within its path's delay."""
    hall = Hall(character("free", offset_ns=300_000, drift_ppm=15))
    hall.run(60)
    found = hall.asked(ManagementId.CURRENT_DATA_SET)

    assert 1_200_000 == pytest.approx(hall.device.clock.error_ns(hall.now_ns), abs=1_000)
    assert isinstance(found, CurrentDataSet)
    assert 1_200_000 == pytest.approx(found.offsetFromMaster / 65_536, abs=60_000)


@pytest.mark.parametrize("name", sorted(set(CHARACTERS) - {"silent", "unmonitored"}))
def test_a_probe_bounds_the_truth(name: str) -> None:
    """Whatever kind of clock it is and whatever it says of itself, its error lies between the two bounds of each probe."""
    hall = Hall(character(name, offset_ns=5_000_000, drift_ppm=40))
    for _ in range(40):
        hall.run(0.7)
        before = hall.device.clock.error_ns(hall.now_ns)
        bounds = hall.probe()
        after = hall.device.clock.error_ns(hall.now_ns)

        assert bounds is not None
        assert bounds[0] <= max(before, after) and min(before, after) <= bounds[1]
        assert bounds[1] - bounds[0] <= 4 * 10_000 + 2 * 40_000 + 1_000  # both cables both ways, and both queues


def test_lying_clock_claims_40_ns() -> None:
    """It says 40 ns of itself whatever it is."""
    hall = Hall(character("lying", offset_ns=9_000_000, drift_ppm=0))
    hall.run(10)
    found = hall.asked(ManagementId.CURRENT_DATA_SET)

    assert isinstance(found, CurrentDataSet)
    assert 40 == found.offsetFromMaster / 65_536
    assert 9_000_000 == hall.device.clock.error_ns(hall.now_ns)


def test_jumping_clock_jumps_and_comes_back() -> None:
    """Every ten seconds it is 7 ms wrong, and its servo brings it back."""
    hall = Hall(character("jumping", offset_ns=0, drift_ppm=0))
    errors = []
    for _ in range(400):
        hall.run(0.1)
        errors.append(abs(hall.device.clock.error_ns(hall.now_ns)))

    assert max(errors) > 6_000_000
    assert min(errors[-50:]) < 100_000


def test_silent_clock_says_nothing_any_more() -> None:
    """After ten seconds it answers nobody."""
    hall = Hall(character("silent", offset_ns=0, drift_ppm=0))
    hall.run(9)
    early = hall.probe()
    hall.run(2)

    assert early is not None
    assert (None, None) == (hall.probe(), hall.asked(ManagementId.CURRENT_DATA_SET))


def test_clock_of_1970() -> None:
    """A board with an empty battery says 1970, in a probe and in what it publishes."""
    hall = Hall(character("1970", offset_ns=0, drift_ppm=0))
    hall.run(5)

    assert 0 <= hall.device.utc_ns(hall.now_ns) < 60 * SECOND
    assert hall.probe() is not None


def test_unmonitored_clock_only_reports() -> None:
    """Most PTP devices know nothing of NetSync Monitor: no measurement, but a word of their own."""
    hall = Hall(character("unmonitored", offset_ns=0, drift_ppm=0))
    hall.run(5)

    assert hall.probe() is None
    assert isinstance(hall.asked(ManagementId.CURRENT_DATA_SET), CurrentDataSet)
    assert isinstance(hall.asked(ManagementId.PORT_STATS_NP), Refusal)


def test_lost_grandmaster_is_noticed() -> None:
    """Three Announce intervals after the last word it listens for another one, and goes on with what its servo has learnt."""
    hall = Hall(character("synchronised", offset_ns=1_000_000, drift_ppm=40))
    hall.run(40)
    hall.master.is_on = False
    hall.run(3)
    state = hall.device.state
    hall.run(60)

    assert PortState.LISTENING is state
    assert abs(hall.device.clock.error_ns(hall.now_ns)) < 1_000_000  # of 2.4 ms that 40 ppm would be


def test_published_time_is_utc_when_the_master_serves_tai() -> None:
    """A grandmaster on PTP's scale serves TAI; what the device publishes is 37 s behind it."""
    hall = Hall(character("synchronised", offset_ns=0, drift_ppm=0), tai=True)
    hall.run(20)

    assert -37 * SECOND == pytest.approx(hall.device.utc_ns(hall.now_ns) - hall.now_ns, abs=100_000)
