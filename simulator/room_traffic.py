"""What runs on a host of the room where no third-party program does: robot commands, published messages, a socket that listens.

    python -m simulator.room_traffic robot   --role console --to 10.77.0.11 --hz 1000 --seconds 20
    python -m simulator.room_traffic sink    --port 514 --seconds 20
    python -m simulator.room_traffic publish --device cart --to 10.77.0.255 --seconds 20

The robot's frames have the layout of the Interoperable Teleoperation Protocol (UDP port 36000, little endian, packed), as the
RAVEN II's published header describes it; the motion in them is a slow circle, invented.
"""

import argparse
import json
import math
import select
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import CLOCK_REALTIME, clock_gettime_ns, monotonic_ns
from typing import IO

from firmware.intake.publisher import PORTS, Publisher
from simulator.ptp.virtual_clock import Stretch, stretch, whole_lines
from simulator.room_patients import PATIENTS

ITP_PORT = 36000
# sequence, type, version | increments x, y, z of both arms, µm | quaternions x, y, z, w of both arms | buttons, grasp, pedal, checksum
COMMAND = struct.Struct("<3I6i8d2i2i2i")
# sequence, last sequence heard, type, version | forces x, y, z of both arms | run level, joint flags, checksum
ANSWER = struct.Struct("<4I6iiIi")
assert (COMMAND.size, ANSWER.size) == (124, 52)


@dataclass(frozen=True, slots=True)
class Beat:
    """One thing to do again and again. every_ns: how often; a beat that was missed is not made up for."""

    every_ns: int
    act: Callable[[int], None]


def keep_time(beats: Sequence[Beat], *, seconds: float, sockets: Sequence[socket.socket] = ()) -> None:
    """Act at each beat until `seconds` are over; meanwhile throw away what the sockets receive."""
    start = monotonic_ns()
    counts = [0] * len(beats)
    due = [start] * len(beats)
    while (now := monotonic_ns()) - start < seconds * 1e9:
        for position, beat in enumerate(beats):
            if now >= due[position]:
                beat.act(counts[position])
                counts[position] += 1
                # From the beat that was due and not from now, or the rate would drift by every delay.
                due[position] = max(due[position] + beat.every_ns, now - beat.every_ns)
        wait_ns = max(0, min(due, default=now + 200_000_000) - monotonic_ns())
        for ready in select.select(sockets, [], [], wait_ns / 1e9)[0]:
            ready.recv(65_535)


class DeviceTime:
    """What the clock of this device shows: the process that keeps it writes each of its changes down, and the last one says all.

    Until it has been switched on, and without a file, this kernel's time.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._stretch: Stretch | None = None

    def utc_ns(self) -> int:
        """Now, as this device has it."""
        if self._file is None and self._path is not None and self._path.exists():
            self._file = self._path.open()
        if self._file is not None:
            for row in whole_lines(self._file):
                self._stretch = stretch(row)
        now_ns = clock_gettime_ns(CLOCK_REALTIME)
        return now_ns if self._stretch is None else self._stretch.reads(now_ns)


def robot_command(number: int) -> bytes:
    """Frame `number` from console to arm: both hands on a slow circle, pedal down."""
    angle = number / 500
    steps = [
        round(20 * math.cos(angle)),
        round(-20 * math.cos(angle)),
        round(20 * math.sin(angle)),
        round(20 * math.sin(angle)),
        0,
        0,
    ]
    turn = (math.sin(angle / 2), 0.0, 0.0, math.cos(angle / 2))
    quaternions = [part for part in turn for _ in range(2)]
    grasp = round(20_000 * math.sin(angle / 3))
    numbers = [number & 0xFFFFFFFF, 0, 0, *steps, *quaternions, 0, 0, grasp, -grasp, 1]
    return COMMAND.pack(*numbers, (sum(steps) + number) & 0x7FFFFFFF)


def robot_answer(number: int) -> bytes:
    """Frame `number` from arm to console: forces in phase with the motion, run level 3."""
    force = round(300 * math.sin(number / 500))
    return ANSWER.pack(
        number & 0xFFFFFFFF, number & 0xFFFFFFFF, 0, 0, force, -force, force, -force, 0, 0, 3, 0, number & 0x7FFFFFFF
    )


def _robot(a: argparse.Namespace) -> None:
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.bind(("", ITP_PORT))
    frame = robot_command if a.role == "console" else robot_answer
    _patient(line)
    keep_time(
        [Beat(1_000_000_000 // a.hz, lambda number: _send(line, frame(number), a.to, ITP_PORT))],
        seconds=a.seconds,
        sockets=[line],
    )


def _publish(a: argparse.Namespace) -> None:
    """A cart that speaks CBOR through our publisher, or a monitor whose maker wrote his own: JSON and plain text."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        utc_ns = DeviceTime(a.clock).utc_ns
        beats = _cart(line, a.to, utc_ns, quiet=a.quiet) if a.device == "cart" else _monitor(line, a.to, utc_ns)
        keep_time(beats, seconds=a.seconds)


def _cart(line: socket.socket, to: str, utc_ns: Callable[[], int], *, quiet: bool) -> list[Beat]:
    cart = Publisher(
        lambda data, address: _send(line, data, *address),
        host=to,
        process="arm-2",
        clock_utc_ns=utc_ns,
        clock="ptp",
    )
    patient = PATIENTS[0]

    def alarm(number: int) -> None:
        fields: dict[str, float | str] = {"torque_nm": 4.2, "limit_nm": 4.0, "patient_id": patient.identity}
        cart.publish(1, f"joint 2 stopped ({number})", severity="error", event="tool-failure", fields=fields)

    def warning(number: int) -> None:
        text = f"near the limit while working on #phi {patient.spoken} #end, torque {3.5 + number % 5 / 10:.1f} N m"
        cart.publish(2, text, severity="warning", event="near-limit", fields={"torque_nm": 3.5 + number % 5 / 10})

    def debug(number: int) -> None:
        cart.publish(
            4, None, severity="debug", fields={"arm/temperature_c": 36.0 + number % 16 / 16, "loop_us": 950 + number % 90}
        )

    beats = [Beat(500_000_000, warning), Beat(20_000_000, debug)]
    return beats if quiet else [Beat(2_000_000_000, alarm), *beats]


def _monitor(line: socket.socket, to: str, utc_ns: Callable[[], int]) -> list[Beat]:
    first, second = PATIENTS

    def status(number: int) -> None:
        row = {
            "process": "vitals",
            "severity": "info",
            "time_utc_ns": utc_ns(),
            "text": "vital signs",
            "patient_name": second.spoken,
            "spo2": 97 - number % 3,
        }
        _send(line, json.dumps(row, ensure_ascii=number % 2 == 0).encode(), to, PORTS[2])

    def note(number: int) -> None:
        # Every other one in the encoding that Chinese devices write, which is not UTF-8 and says so nowhere.
        text = f"alarm limits set for #phi {first.spoken} {first.identity}"
        _send(line, text.encode("gb18030" if number % 2 else "utf-8"), to, PORTS[3])

    return [Beat(200_000_000, status), Beat(1_000_000_000, note)]


def _sink(a: argparse.Namespace) -> None:
    lines = []
    for port in a.port:
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.bind(("", port))
        lines.append(line)
    keep_time([], seconds=a.seconds, sockets=lines)


def _patient(line: socket.socket) -> None:
    """Never wait for the line, and take its errors as the next frame's problem: a robot sends whether or not anybody hears."""
    line.setblocking(False)


def _send(line: socket.socket, data: bytes, address: str, port: int) -> None:
    try:
        line.sendto(data, (address, port))
    except (ConnectionRefusedError, BlockingIOError):
        return  # The peer is not up yet, or the queue is full; the next frame is due in a moment.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the three until its seconds are over."""
    parser = argparse.ArgumentParser(prog="simulator.room_traffic", description="Traffic of the simulated room.")
    verbs = parser.add_subparsers(required=True)
    robot = verbs.add_parser("robot", help="commands or answers at a fixed rate")
    robot.add_argument("--role", choices=("console", "arm"), required=True)
    robot.add_argument("--to", required=True)
    robot.add_argument("--hz", type=int, default=1000)
    robot.set_defaults(work=_robot)
    sink = verbs.add_parser("sink", help="listen on UDP ports and throw away")
    sink.add_argument("--port", type=int, action="append", required=True)
    sink.set_defaults(work=_sink)
    publish = verbs.add_parser("publish", help="alarms, warnings, status and debug messages, some with a patient's name in them")
    publish.add_argument("--device", choices=("cart", "monitor"), required=True)
    publish.add_argument("--to", required=True)
    publish.add_argument("--clock", type=Path, help="the truth file of this host's clock; without it the kernel's time")
    publish.add_argument("--quiet", action="store_true", help="no alarms")
    publish.set_defaults(work=_publish)
    for verb in (robot, sink, publish):
        verb.add_argument("--seconds", type=float, default=600)
    a = parser.parse_args(arguments)
    try:
        a.work(a)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
