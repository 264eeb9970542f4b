"""The devices of the room, what is known of each clock, how, and since when."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from firmware.clock.interval import Interval, OffsetTrack
from firmware.clock.news import News, notice, warning
from firmware.clock.probe import Exchange
from firmware.core.certificate import DEVICES_MAX, DeviceOffset, Method, strongest
from firmware.core.ptp_datasets import CurrentDataSet, PortState
from firmware.core.timestamp import SECOND, Monotonic, Now, span

MEASURED_AGE_NS = 60 * SECOND  # An interval of a minute ago is 6 ms wider; a claim of now is more use, and called a claim.
FORGET_NS = 3600 * SECOND  # A device nobody configured, an hour after its last word.
# One of which nothing was ever known but its presence, where its place is wanted: whoever speaks under many names would otherwise keep
# out every device that comes later. One that takes part in PTP is heard every few seconds.
STRANGER_NS = 60 * SECOND
_AT_ONCE = Monotonic(0)


@dataclass(slots=True)
class Device:
    """One clock. address: IP, or MAC where it speaks PTP over Ethernet. heard_at: None when never.

    exchange, asked: what is under way by NetSync Monitor and by NTP. missed: probes without an answer since the last one.
    """

    address: str
    since: Monotonic
    is_configured: bool = False
    heard_at: Monotonic | None = None
    clock: bytes = b""
    tracks: dict[Method, OffsetTrack] = field(default_factory=dict)
    reported: tuple[CurrentDataSet, Monotonic] | None = None
    port_state: PortState = PortState.UNKNOWN
    exchange: Exchange | None = None
    asked: Exchange | None = None
    exchange_at: Monotonic = _AT_ONCE
    probe_at: Monotonic = _AT_ONCE
    ask_at: Monotonic = _AT_ONCE
    cookie: int = 0
    more: int = 0  # probes of this burst still to come
    missed: int = 0
    answered: int = 0
    is_silent: bool = False
    is_off: bool = False

    def offsets(self, now: Now, *, claim_ns: int) -> Iterator[DeviceOffset]:
        """All that is known, each for the moment it was measured, claimed or heard. claim_ns: how long a claim is repeated."""
        moment = now.monotonic

        def box_time(then: Monotonic) -> int:
            return now.timestamp.tai_ns - moment.since(then)

        for method, track in self.tracks.items():
            then = track.measured_at
            interval = None if then is None else track.at(then)
            if interval is not None and then is not None and moment.since(then) <= MEASURED_AGE_NS:
                yield DeviceOffset(self.address, method, interval.low_ns, interval.high_ns, box_time(then))
        if self.reported is not None and moment.since(self.reported[1]) <= claim_ns and self.port_state is PortState.SLAVE:
            offset_ns = self.reported[0].offsetFromMaster >> 16
            yield DeviceOffset(self.address, Method.REPORTED, offset_ns, offset_ns, box_time(self.reported[1]))
        yield DeviceOffset(self.address, Method.PRESENT, None, None, box_time(self.heard_at or self.since))

    def forget(self) -> None:
        """What was measured may be about another clock than the one that is there now."""
        for track in self.tracks.values():
            track.forget()

    def measured(self, method: Method, low_ns: int, high_ns: int, at: Monotonic, *, believed_ns: int = 0) -> list[News]:
        """One measurement, and what is new by it. at: when its answer came. believed_ns: as OffsetTrack.measure."""
        track = self.tracks.setdefault(method, OffsetTrack())
        jumped_ns = track.measure(Interval(low_ns, high_ns, at), believed_ns=believed_ns)
        if not jumped_ns:
            return []
        way = "forward" if jumped_ns > 0 else "back"
        text = f"the clock of device {self.address} jumped {way} by at least {span(abs(jumped_ns))}"
        return [warning("device_jumped", text, device=self.address, jumped_ns=jumped_ns)]


class Devices:
    """A bounded table: those configured always have their place."""

    def __init__(self, configured: Sequence[str]) -> None:
        # As frames are told to come from: IPv6 has many spellings of one address.
        self._configured = tuple(str(ip_address(address)) for address in configured[:DEVICES_MAX])
        self._rows: dict[str, Device] = {}
        self.overflow = 0  # words of devices there was no place for

    def start(self, now: Monotonic) -> None:
        """Those configured are there from the beginning, heard or not."""
        for address in self._configured:
            self._rows.setdefault(address, Device(address, now, is_configured=True))

    def __iter__(self) -> Iterator[Device]:
        return iter(self._rows.values())

    def known(self, address: str) -> Device | None:
        """Only if it is known."""
        return self._rows.get(address)

    def heard(self, address: str, now: Monotonic) -> Device | None:
        """It said something; None when there is no place for it."""
        device = self._rows.get(address)
        if device is None:
            if len(self._rows) >= DEVICES_MAX and not self._made_room(now):
                self.overflow += 1
                return None
            device = self._rows[address] = Device(address, now)
        device.heard_at = now
        return device

    def box_stepped(self) -> None:
        """The box's own clock jumped: what was measured, and what is being measured, was about another clock."""
        for device in self:
            device.exchange = device.asked = None
            device.forget()

    def strongest(self, now: Now, *, claim_ns: int) -> list[DeviceOffset]:
        """One line a device, in the order of their addresses."""
        rows = [strongest(device.offsets(now, claim_ns=claim_ns)) for device in self]
        return sorted((row for row in rows if row is not None), key=lambda row: row.device)

    def news(self, now: Now, *, silent_ns: int, off_ns: int, offsets: Mapping[str, DeviceOffset]) -> list[News]:
        """Who fell silent, who came back; whose clock is certainly off, and whose certainly is not any more."""
        found: list[News] = []
        for device in self:
            is_silent = now.monotonic.since(device.heard_at or device.since) > silent_ns
            if is_silent != device.is_silent:
                device.is_silent = is_silent
                found.append(_silence(device, silent_ns))
            offset = offsets.get(device.address)
            if offset is None or not offset.method.is_measured or offset.low_ns is None or offset.high_ns is None:
                continue
            nearest = max(0, offset.low_ns, -offset.high_ns)
            if nearest > off_ns and not device.is_off:
                device.is_off = True
                text = f"the clock of device {device.address} is off by at least {span(nearest)}"
                found.append(warning("device_off", text, device=device.address, low_ns=offset.low_ns, high_ns=offset.high_ns))
            elif device.is_off and (offset.furthest_ns or 0) <= off_ns:
                device.is_off = False
                found.append(notice("device_right", f"the clock of device {device.address} is right again: {offset.words()}", device=device.address))  # fmt: skip
        return found

    def _made_room(self, now: Monotonic) -> bool:
        """The longest silent one that nobody configured goes, if it has been silent for long; first of those that never said a thing."""
        others = [row for row in self if not row.is_configured]
        strangers = [row for row in others if not row.tracks and row.reported is None]
        for rows, enough_ns in ((strangers, STRANGER_NS), (others, FORGET_NS)):
            oldest = min(rows, key=lambda row: row.heard_at or row.since, default=None)
            if oldest is not None and now.since(oldest.heard_at or oldest.since) >= enough_ns:
                del self._rows[oldest.address]
                return True
        return False


def _silence(device: Device, silent_ns: int) -> News:
    if not device.is_silent:
        return notice("device_back", f"device {device.address} is heard again on the room interface", device=device.address)
    text = f"device {device.address} has not been heard on the room interface for {span(silent_ns)}"
    return warning("device_silent", text, device=device.address)
