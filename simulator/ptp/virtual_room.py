"""The room's time in the storm: a grandmaster that serves the box's clock, task devices that follow it as well as they can, and the truth.

    box's clock ──▶ grandmaster ──┐                       ┌──▶ the wire, so that it is recorded and heard
                                  ├── virtual network ────┤
    devices, each its own clock ──┘                       └──▶ each other

True time is UTC here, as the box's kernel stamps frames; ptp4l with software stamps serves UTC as well, and says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Protocol

from drivers.asker import Asker
from firmware.clock.interval import WANDER_PPM
from firmware.core.certificate import DRIFT_PPM
from firmware.core.ptp import EVENT_PORT, GENERAL_PORT, Flags
from simulator.asker import SimulatedAsker
from simulator.clock import TAI_OFFSET_S, SimulatedClock
from simulator.parrots import TALKERS, Device, datagram
from simulator.ptp.character import CHARACTERS, SECOND, Character
from simulator.ptp.control import Control
from simulator.ptp.device import identity_of
from simulator.ptp.grandmaster import Claim, Grandmaster
from simulator.ptp.line import GROUP, Heard
from simulator.ptp.ordinary_clock import OrdinaryClock
from simulator.ptp.virtual_clock import PPM
from simulator.ptp.virtual_net import Place, VirtualLine, VirtualNet

BOX = Device("box", 1)
ROGUE = Device("rogue", 66)
LOG_INTERVAL = 0  # one Sync a second: what is to be shown shows, and a storm is minutes long
DRIFT_PPM_MAX = 50.0  # of a crystal as it is sold; two of them differ by twice that, which is what the box allows for
# Kinds of clock, and how often: a room has more good ones than bad.
KINDS = {"synchronised": 6, "free": 2, "lying": 1, "jumping": 1, "1970": 1, "unmonitored": 1}
CABLE_NS = 10_000
EVEN_NS = 40 * SECOND  # as far back as the box's knowledge of a rate goes: sixteen probes, two seconds apart here
STEP_NS = 1_000  # what one adjustment of a rate cannot do
TAI_NS = TAI_OFFSET_S * SECOND


@dataclass(frozen=True, slots=True)
class TrueOffset:
    """A device's clock minus the box's, ns, at some moment. What a box may take for granted about it, in the time before:

    steady_s: how long it has neither been set, nor switched on, nor led by a master that was. even: whether its rate has stayed within
    what the box allows for (interval.py: DRIFT_PPM, and WANDER_PPM between one second and the next).
    """

    ns: int
    steady_s: float
    is_even: bool


class Later(Protocol):
    """What a world offers (simulator/world.py)."""

    @property
    def now_ns(self) -> int: ...

    def later(self, ns: int, deed: Callable[[], None]) -> None: ...


class VirtualRoom:
    """Everybody in it but the box. clock: the box's; is_on: whether the box, and so ptp4l, runs.

    wire: where each frame is heard, and whether on the box's room interface too, which does not hear what the box sends.
    """

    def __init__(
        self,
        world: Later,
        clock: SimulatedClock,
        *,
        random: Random,
        wire: Callable[[Sequence[bytes], bool], None],
        is_on: Callable[[], bool],
    ) -> None:
        self._world = world
        self._clock = clock
        self._random = random
        self._wire = wire
        self._is_on = is_on
        self.net = VirtualNet(now=lambda: self.utc_ns, later=world.later, random=random)
        self.net.tapped = self._passed
        self._by_address = {device.ip: device for device in (BOX, ROGUE, *TALKERS)}
        self._settings = [
            (self.utc_ns, clock.offset_ns, self._ahead_ns())
        ]  # of the box's clock: since when, TAI ahead, UTC ahead
        self._master_line = self.net.join(Place(BOX.ip, lambda heard: self.master.hear(heard)))
        self.master = self._grandmaster(BOX, self._master_line, self._ahead_ns, Claim(interval_log=LOG_INTERVAL))
        self.control = Control(identity_of(BOX.number))  # of ptp4l, which can end while the box goes on
        self.rogue: Grandmaster | None = None
        self.devices: dict[str, OrdinaryClock] = {}
        self._switched: dict[str, list[tuple[int, OrdinaryClock]]] = {}  # each life of a device's clock, and since when
        self._lines: dict[str, VirtualLine] = {}
        for device in TALKERS:
            self._lines[device.ip] = self.net.join(Place(device.ip, self._hearing(device.ip)))
            self.boot(device.ip)
        self._turn(self._master_step)
        for device in TALKERS:
            self._turn(self._device_step(device.ip))

    @property
    def utc_ns(self) -> int:
        """True time."""
        return self._world.now_ns - TAI_NS

    def clock_of(self, device: Device) -> int:
        """What a device writes into what it publishes now."""
        return self.devices[device.ip].utc_ns(self.utc_ns)

    def asker(self, interface: str) -> Asker:
        """For the box's clock process: what it asks goes into the room."""
        return SimulatedAsker(self._clock, self._asked)

    def box_was_set(self) -> None:
        """The box's clock has another offset from now on, or its UTC has."""
        self._settings.append((self.utc_ns, self._clock.offset_ns, self._ahead_ns()))

    def _ahead_ns(self) -> int:
        """How far the UTC of the box's clock, which stamps frames and is served, is ahead of ours. We know of no leap second."""
        return self._clock.offset_ns - (self._clock.tai_offset_s - TAI_OFFSET_S) * SECOND

    def boot(self, address: str, kind: Character | None = None) -> None:
        """A device is switched on (again), with a clock of some kind."""
        random = self._random
        if kind is None:
            name = random.choices(list(KINDS), list(KINDS.values()))[0]
            base = CHARACTERS[name]
            kind = Character(
                offset_ns=round(random.gauss(0, 20_000_000)), drift_ppm=random.uniform(-DRIFT_PPM_MAX, DRIFT_PPM_MAX),
                follows=base.follows, claims_ns=base.claims_ns, jump_ns=base.jump_ns, jump_every_s=base.jump_every_s,
                in_1970=base.in_1970, monitored=base.monitored,
            )  # fmt: skip
        life = OrdinaryClock(
            kind, identity=identity_of(self._by_address[address].number), line=self._lines[address],
            random=random, true_ns=self.utc_ns,
        )  # fmt: skip
        self.devices[address] = life
        self._switched.setdefault(address, []).append((self.utc_ns, life))

    def rogue_speaks(self, ahead_ns: int) -> None:
        """A better clock, it says, that is this far ahead."""
        line = self.net.join(Place(ROGUE.ip, lambda heard: None if self.rogue is None else self.rogue.hear(heard)))
        self.rogue = self._grandmaster(ROGUE, line, lambda: ahead_ns, Claim(priority1=1, interval_log=LOG_INTERVAL))
        self._turn(self._rogue_step(self.rogue))

    def ptp4l(self, data: bytes) -> Sequence[bytes]:
        """What ptp4l answers on its control socket; what it is told there of its quality it announces."""
        if not self._is_on():
            return ()
        said, told = self.control.answer(data), self.control.settings
        self.master.claim = replace(
            self.master.claim, quality=told.clockQuality, flags=Flags(told.flags), utc_offset_s=told.currentUtcOffset
        )
        return said

    def calm(self) -> None:
        """Nobody means ill any more, and nothing jumps."""
        self.rogue = None
        self.control.is_on = True
        for device in self.devices.values():
            device.calm()
        for address in self._lines:
            place = self.net.place(address)
            place.to_ns = place.from_ns = CABLE_NS
            place.is_cut = False

    def rogue_goes(self) -> None:
        """It is unplugged."""
        self.rogue = None

    def true_offsets(self, address: str, box_tai_ns: int) -> Sequence[TrueOffset]:
        """The truth at the moments at which the box's clock showed this; none when it never did.

        More than one when the box's clock was set back and showed it twice.
        """
        found = []
        set_ns = self._settings[0][0]
        for at, (since_ns, offset_ns, ahead_ns) in enumerate(self._settings):
            if at and offset_ns != self._settings[at - 1][1]:
                set_ns = since_ns  # A leap second is no such excuse: whoever keeps TAI knows of it in that moment.
            until_ns = self._settings[at + 1][0] if at + 1 < len(self._settings) else self.utc_ns + SECOND
            moment_ns = box_tai_ns - TAI_NS - offset_ns
            lives = [(born_ns, life) for born_ns, life in self._switched.get(address, ()) if born_ns <= moment_ns]
            if since_ns <= moment_ns < until_ns and lives:
                born_ns, life = lives[-1]
                rows = life.clock.stretches(moment_ns - EVEN_NS, moment_ns)
                gains = [row.gain for row in rows]
                is_even = max(map(abs, gains)) <= DRIFT_PPM * PPM and max(gains) - min(gains) <= WANDER_PPM * PPM
                steps = [
                    row.since_ns for before, row in pairwise(rows) if abs(before.reads(row.since_ns) - row.reads_ns) > STEP_NS
                ]
                # No further back than was looked: what was set before that is not seen (storm seed 751).
                steady_ns = moment_ns - max([born_ns, set_ns, moment_ns - EVEN_NS, *steps])
                found.append(TrueOffset(life.utc_ns(moment_ns) - moment_ns - ahead_ns, steady_ns / SECOND, is_even))
        return found

    def _grandmaster(self, device: Device, line: VirtualLine, ahead_ns: Callable[[], int], claim: Claim) -> Grandmaster:
        return Grandmaster(
            identity=identity_of(device.number),
            line=line,
            reads=lambda true_ns: true_ns + ahead_ns(),
            claim=claim,
            true_ns=self.utc_ns,
        )

    def _asked(self, data: bytes, address: str, port: int) -> None:
        self._master_line.send(data, to=None if address == GROUP else address, event=port == EVENT_PORT)

    def _passed(self, source: str, to: str | None, data: bytes, event: bool) -> None:
        frame = datagram(self._by_address[source], to or GROUP, EVENT_PORT if event else GENERAL_PORT, data)
        self._wire([frame], source != BOX.ip and to in (None, BOX.ip))

    def _hearing(self, address: str) -> Callable[[Heard], None]:
        return lambda heard: self.devices[address].hear(heard, self.utc_ns)

    def _turn(self, step: Callable[[int], int | None]) -> None:
        """Again and again, until it wants no more."""
        due_ns = step(self.utc_ns)
        if due_ns is not None:
            self._world.later(max(0, due_ns - self.utc_ns), lambda: self._turn(step))

    def _master_step(self, true_ns: int) -> int:
        self.master.is_on = self._is_on() and self.control.is_on
        return self.master.step(true_ns)

    def _rogue_step(self, rogue: Grandmaster) -> Callable[[int], int | None]:
        return lambda true_ns: rogue.step(true_ns) if self.rogue is rogue else None

    def _device_step(self, address: str) -> Callable[[int], int]:
        return lambda true_ns: self.devices[address].step(true_ns)
