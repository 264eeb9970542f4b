"""What happens to the clocks of the room while a storm blows. Nothing here lasts: VirtualRoom.calm ends all of it."""

from collections.abc import Callable, Sequence
from random import Random

from firmware.core.timestamp import MS, SECOND
from simulator.ptp.ordinary_clock import OrdinaryClock
from simulator.ptp.virtual_clock import PPM
from simulator.ptp.virtual_room import CABLE_NS, DRIFT_PPM_MAX, VirtualRoom

HOUR_NS = 3600 * SECOND
END_OF_32_BITS_NS = (1 << 31) * SECOND  # UTC
Deed = Callable[[], None]


class ClockWeather:
    """for_a_while: begins a thing and ends it some time later, (begin, end, longest seconds)."""

    def __init__(self, room: VirtualRoom, random: Random, for_a_while: Callable[[Deed, Deed, int], None]) -> None:
        self._room = room
        self._random = random
        self._for_a_while = for_a_while

    def deeds(self) -> Sequence[tuple[Deed, int]]:
        """Each with how many seconds pass until it happens again, on the average."""
        return (
            (self._drift, 30), (self._jump, 30), (self._boot, 60), (self._bad_cable, 40), (self._lose_grandmaster, 60), (self._rogue, 80),
        )  # fmt: skip

    def _address(self) -> str:
        return self._random.choice(sorted(self._room.devices))

    def _device(self) -> OrdinaryClock:
        return self._room.devices[self._address()]

    def _drift(self) -> None:
        """A crystal gets warm."""
        self._device().clock.drift_by(self._room.utc_ns, self._random.uniform(-DRIFT_PPM_MAX, DRIFT_PPM_MAX) * PPM)

    def _jump(self) -> None:
        """Somebody sets a device's clock: a little, by an hour, to five seconds before 32 bits of seconds end."""
        device, now_ns = self._device(), self._room.utc_ns
        reads_ns = device.clock.reads(now_ns)
        to_2038_ns = END_OF_32_BITS_NS - 5 * SECOND - reads_ns
        ns = self._random.choice((300_000, -7 * MS, SECOND, -HOUR_NS, HOUR_NS, to_2038_ns))
        device.clock.step(now_ns, max(ns, -reads_ns))  # no clock shows less than nothing

    def _boot(self) -> None:
        """A device is switched off and on; its battery may be empty."""
        self._room.boot(self._address())

    def _bad_cable(self) -> None:
        """One way becomes slower than the other, or nothing passes at all."""
        place = self._room.net.place(self._address())
        slow_ns = self._random.choice((100_000, 2 * MS, 150 * MS))

        def begin() -> None:
            place.is_cut = self._random.random() < 0.3
            place.to_ns = slow_ns

        def end() -> None:
            place.is_cut, place.to_ns = False, CABLE_NS

        self._for_a_while(begin, end, 30)

    def _lose_grandmaster(self) -> None:
        """ptp4l ends, and systemd starts it again."""

        def begin() -> None:
            self._room.control.is_on = False

        def end() -> None:
            self._room.control.is_on = True

        self._for_a_while(begin, end, 20)

    def _rogue(self) -> None:
        """A better clock, it says; an hour ahead, a second behind, or off by what nobody notices."""
        ahead_ns = self._random.choice((HOUR_NS, -SECOND, 300_000))
        self._for_a_while(lambda: self._room.rogue_speaks(ahead_ns), self._room.rogue_goes, 30)
