"""With hardware stamps the room is led by the interface's own clock: whether somebody keeps it is watched, said, and announced."""

import json

from firmware.clock.settings import ClockSettings
from firmware.clock.station import ClockStation
from firmware.core import clock_page, message
from firmware.core.message import Priority
from firmware.core.ptp_datasets import GrandmasterSettingsNP
from firmware.core.spool import Spool
from firmware.core.timestamp import SECOND
from simulator.board import SimulatedBoard
from simulator.daemon import SimulatedDaemon
from simulator.hardware_clock import SimulatedHardwareClock
from simulator.ptp.control import Control
from simulator.tap import SimulatedTap

OURS = bytes.fromhex("020000fffe00000a")


class Box:
    """A box whose room interface stamps by a clock of its own, as linuxptp keeps it: on TAI."""

    def __init__(self, **settings: str) -> None:
        self.control = Control(OURS)
        daemons = {"/run/scrubjay-ptp/ptp4l": SimulatedDaemon(self.control.answer)}
        self.board = SimulatedBoard(open_tap=SimulatedTap, daemons=daemons)  # type: ignore[arg-type]
        self.card = SimulatedHardwareClock(self.board.clock)
        self.board.hardware_clocks["eth2"] = self.card
        self.station = ClockStation(self.board, ClockSettings(interface="eth2", **({"time_stamping": "hardware"} | settings)))  # type: ignore[arg-type]
        self.station.start(self.board.clock.now())

    def run(self, seconds: int) -> None:
        for _ in range(seconds * 10):
            self.station.step(self.board.clock.now())
            self.board.clock.advance(SECOND // 10)

    def step_card(self, ns: int) -> None:
        self.card.shown.step(self.board.clock.timeline.tai_ns, ns)

    def said(self) -> list[message.Message]:
        inbox = Spool(self.board.disk, "inbox")
        rows = [row for name in inbox.names() for row in message.unpacked(inbox.peek(name) or b"")]
        return [row for row in rows if (row.event or "").startswith("hardware_clock")]

    def told(self) -> GrandmasterSettingsNP:
        """What ptp4l was told to announce."""
        return self.control.settings


def test_a_card_nobody_keeps_is_said_and_announced() -> None:
    """phc2sys is gone and the card 5 ms off: a P2 message, a line on the page, and the accuracy ptp4l announces is no better; kept again,
    all three are taken back. (S2-011, S2-012)"""
    box = Box()
    box.run(3)
    right = box.told().clockQuality.clockAccuracy
    box.step_card(5_000_000)
    box.run(3)
    wrong = box.told().clockQuality.clockAccuracy
    page = clock_page.lines(box.board.disk.read("state/clock"), now=box.board.clock.now())
    box.step_card(-5_000_000)
    box.run(3)

    assert [("hardware_clock_off", Priority.P2), ("hardware_clock_right", Priority.P3)] == [
        (row.event, row.priority) for row in box.said()
    ]
    assert any("interface's own clock is 5 ms ahead of TAI" in line for line in page)
    assert (0x27, 0x2B) == (right, wrong)  # within 100 µs, as the box claims of itself; within 10 ms
    assert 0x27 == box.told().clockQuality.clockAccuracy


def test_a_card_on_utc_is_37_seconds_off() -> None:
    """A card set to UTC by mistake is not "nearly right": PTP's scale is TAI. (S2-011)"""
    box = Box()
    box.step_card(-37 * SECOND)
    box.run(2)

    assert ["hardware_clock_off"] == [row.event for row in box.said()]
    assert "is 37 s behind TAI" in json.loads(box.board.disk.read("state/clock"))["hardware_clock"]


def test_a_card_that_cannot_be_read() -> None:
    """Pulled out, or forbidden: said once, and once when it is back. (S2-011)"""
    box = Box()
    box.run(2)
    box.card.is_there = False
    box.run(3)
    box.card.is_there = True
    box.run(3)
    box.station.stop(box.board.clock.now())

    assert ["hardware_clock_unread", "hardware_clock_right"] == [row.event for row in box.said()]


def test_without_hardware_stamps_nobody_looks() -> None:
    """With software stamps ptp4l serves the system's clock, and what a card shows is nobody's affair. (S2-011)"""
    box = Box(time_stamping="software")
    box.step_card(5_000_000)
    box.run(3)

    assert [] == box.said()
    assert "" == json.loads(box.board.disk.read("state/clock"))["hardware_clock"]
