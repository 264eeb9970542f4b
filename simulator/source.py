"""Where the demo's frames come from: a real room of network namespaces, or the recording of one."""

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import CLOCK_REALTIME, clock_gettime_ns
from typing import Protocol

import cbor2

from firmware.intake.publisher import PORTS
from simulator.capture_file import frames
from simulator.hub_view import HubMessage
from simulator.network import BROADCAST
from simulator.ptp.virtual_clock import truth
from simulator.recorded_tap import Recording, rebased
from simulator.room import CLOCKS, Room

TAI_MINUS_UTC_NS = 37_000_000_000  # since 2017
LEAD_NS = 100_000_000  # Between the word that a recording starts and its first frame; its listeners look every 20 ms.
ALARM = "arm 2 stopped: instrument lost (published by the demo)"


class Source(Protocol):
    """Something to listen to."""

    def settings(self) -> Mapping[str, Mapping[str, object]]:
        """What the box must be told to hear it."""
        ...

    def elsewhere(self) -> Mapping[str, Sequence[str]]:
        """Which of the box's processes run in the room itself, and by what command."""
        ...

    def describe(self) -> list[str]:
        """What it is, in lines for people."""
        ...

    def start(self) -> None:
        """From now on frames come."""
        ...

    def alarm(self) -> str:
        """See to it that an alarm is published; its text."""
        ...

    def published_tai_ns(self, message: HubMessage) -> int | None:
        """When a message was published by this machine's clock, as the hub's arrival is measured; None when not known."""
        ...

    def silence(self) -> None:
        """No more frames come."""
        ...

    def heard(self) -> tuple[int, int] | None:
        """(frames that came out of the mirror port so far, frames that were sent into it); None where there is no such port."""
        ...


class RoomSource:
    """A room; enter it first."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def settings(self) -> Mapping[str, Mapping[str, object]]:
        return {
            "capture": {"interface": self._room.mirror},
            "intake": {"interface": self._room.mirror},
            "clock": {"interface": "eth0", "ptp4l": str(self._room.ptp4l_socket), "chronyd": ""},
        }

    def elsewhere(self) -> Mapping[str, Sequence[str]]:
        """The clock process needs an interface with an address in the room, and the grandmaster beside it; the mirror port has neither."""
        return {"clock": ["ip", "netns", "exec", self._room.network.namespace("clock")]}

    def describe(self) -> list[str]:
        room = self._room
        lines = [
            f"{len(room.network.hosts)} hosts in network namespaces, mirrored by {room.network.mirroring} to {room.mirror}",
            f"talking: {', '.join(sorted(room.programs))}",
        ]
        if room.missing:
            lines.append(f"not installed, so silent: {', '.join(room.missing)}")
        return lines

    def start(self) -> None:
        self._room.start()

    def devices(self) -> Mapping[str, str]:
        """The hosts by address."""
        return {host.address: name for name, host in self._room.network.hosts.items()}

    def true_offsets_ns(self) -> Mapping[str, Callable[[int], int]]:
        """How far each task device's clock was ahead of this machine's, at a UTC moment."""
        files = {host: self._room.truth_file(host) for host, *_ in CLOCKS}
        return {host: truth(file.read_text()).error_ns for host, file in files.items() if file.exists()}

    def alarm(self) -> str:
        arguments = ["publish", ALARM, "--priority", "1", "--severity", "3", "--event", "tool-failure", "--to", BROADCAST]
        self._room.network.run("cart", [sys.executable, "-m", "firmware.cli", *arguments])
        return ALARM

    def published_tai_ns(self, message: HubMessage) -> int | None:
        return message.origin_tai_ns

    def silence(self) -> None:
        self._room.fall_silent()

    def heard(self) -> tuple[int, int] | None:
        return self._room.mirror_counts()


class RecordingSource:
    """A recording, heard through the simulated tap of `capture` and `intake` as soon as both listen.

    go: a file not yet there, absolute, that will tell them. why: why there is no room.
    """

    def __init__(self, path: Path, *, speed: float | None, go: Path, why: str) -> None:
        self.recording = Recording(path.resolve(), speed, go.resolve())
        self.frame_count = sum(1 for _ in frames(path))
        self.until_utc_ns = 1 << 62
        self._go = go
        self._why = why
        self._published: dict[tuple[int, str, str], int] = {}

    def ended(self) -> bool:
        """Whether the moment of its last frame is over."""
        return clock_gettime_ns(CLOCK_REALTIME) > self.until_utc_ns

    def settings(self) -> Mapping[str, Mapping[str, object]]:
        return {"board": {"tap": str(self.recording)}}

    def elsewhere(self) -> Mapping[str, Sequence[str]]:
        return {}

    def describe(self) -> list[str]:
        pace = "as fast as it is taken" if self.recording.speed is None else f"at {self.recording.speed:g} times its pace"
        return [self._why, f"replaying {self.recording.path.name}, {self.frame_count} frames, {pace} through the simulated tap"]

    def start(self) -> None:
        start = clock_gettime_ns(CLOCK_REALTIME) + (LEAD_NS if self.recording.speed is not None else 0)
        rows = list(rebased(frames(self.recording.path), speed=self.recording.speed, start_utc_ns=start))
        self.until_utc_ns = max((row.stamp_ns for row in rows), default=start)
        self._published = {key: row.stamp_ns + TAI_MINUS_UTC_NS for row in rows if (key := _said(row.data)) is not None}
        hidden = self._go.with_name(f".{self._go.name}")
        hidden.write_text(str(start))
        hidden.rename(self._go)

    def alarm(self) -> str:
        return min((key for key in self._published if key[0] == 1), key=lambda key: self._published[key], default=(1, "", ""))[2]

    def published_tai_ns(self, message: HubMessage) -> int | None:
        return self._published.get((message.priority, message.sequence or "", message.text or ""))

    def silence(self) -> None:
        """It ends by itself."""

    def heard(self) -> tuple[int, int] | None:
        return None


def is_priority_1(frame: bytes) -> bool:
    """Whether this frame was sent to the port of the first priority; its payload may have been removed."""
    if not _is_udp(frame):
        return False
    start = 14 + (frame[14] & 15) * 4
    return frame[start + 2 : start + 4] == PORTS[0].to_bytes(2)


def _said(frame: bytes) -> tuple[int, str, str] | None:
    """(priority, sequence, text) of a frame that carries a message of our own publisher; None for any other."""
    if not _is_udp(frame):
        return None
    start = 14 + (frame[14] & 15) * 4
    port, size = struct.unpack_from("!2xHH", frame, start)
    if port not in PORTS:
        return None
    try:
        row = cbor2.loads(frame[start + 8 : start + size])
        return PORTS.index(port) + 1, str(row["sequence"]), str(row.get("text") or "")
    except (cbor2.CBORError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_udp(frame: bytes) -> bool:
    """Whether a UDP header is in it, behind IPv4 alone: a recording may hold any bytes, cut anywhere."""
    return frame[12:14] == b"\x08\x00" and frame[23:24] == b"\x11" and len(frame) >= 14 + (frame[14] & 15) * 4 + 8
