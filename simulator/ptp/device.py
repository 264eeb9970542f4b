"""A task device's clock as a process on a host of the room, over real sockets (UDP, or Ethernet alone) and with the kernel's stamps.

    python -m simulator.ptp.device --interface eth0 --number 21 --character free --offset-us 300 --drift-ppm 15 --truth d21.truth

Every change of its clock is a line in the truth file, so that a judge knows afterwards how wrong it was at any moment.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from time import CLOCK_REALTIME, clock_gettime_ns

from simulator.ptp.character import CHARACTERS, character
from simulator.ptp.ethernet import Ethernet
from simulator.ptp.ordinary_clock import OrdinaryClock
from simulator.ptp.sockets import Sockets
from simulator.ptp.virtual_clock import Stretch, line


def identity_of(number: int) -> bytes:
    """The clockIdentity of the room's host with this number: made of its MAC as IEEE EUI-64 is (§7.5.2.2.2)."""
    return bytes((2, 0x53, 0x4A, 0xFF, 0xFE, 0, 0, number))


def run(clock: OrdinaryClock, line: Sockets | Ethernet, *, until_ns: int | None = None) -> None:
    """Serve and follow, until then or for ever. True time is this kernel's clock."""
    due_ns = 0
    while until_ns is None or clock_gettime_ns(CLOCK_REALTIME) < until_ns:
        now_ns = clock_gettime_ns(CLOCK_REALTIME)
        if now_ns >= due_ns:
            due_ns = clock.step(now_ns)
        for heard in line.hear(due_ns - clock_gettime_ns(CLOCK_REALTIME)):
            clock.hear(heard, clock_gettime_ns(CLOCK_REALTIME))


def main(arguments: Sequence[str] | None = None) -> int:
    """Until ended."""
    parser = argparse.ArgumentParser(prog="simulator.ptp.device", description="A task device with a clock of its own.")
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--number", type=int, required=True, help="the host's: last part of its address")
    parser.add_argument("--character", choices=sorted(CHARACTERS), default="synchronised")
    parser.add_argument("--offset-us", type=float, default=0, help="how far ahead its clock starts")
    parser.add_argument("--drift-ppm", type=float, default=0, help="what its crystal gains, parts per million")
    parser.add_argument("--domain", type=int, default=0)
    parser.add_argument("--transport", choices=("UDPv4", "L2"), default="UDPv4")
    parser.add_argument(
        "--delay", choices=("E2E", "P2P"), default="E2E", help="end to end, or to the peer at the cable's other end"
    )
    parser.add_argument("--truth", type=Path, help="file for the truth about its clock")
    a = parser.parse_args(arguments)
    kind = character(a.character, offset_ns=round(a.offset_us * 1000), drift_ppm=a.drift_ppm)
    try:
        with Ethernet(a.interface) if a.transport == "L2" else Sockets(a.interface) as sockets:
            clock = OrdinaryClock(
                kind, identity=identity_of(a.number), line=sockets, random=Random(a.number), domain=a.domain,
                true_ns=clock_gettime_ns(CLOCK_REALTIME), asks_peer=a.delay == "P2P",
                changed=_written(a.truth),
            )  # fmt: skip
            run(clock, sockets)
    except KeyboardInterrupt:
        return 130
    return 0


def _written(path: Path | None) -> Callable[[Stretch], None] | None:
    """Each line is in the file when the clock has changed: whoever is killed leaves a whole truth."""
    if path is None:
        return None
    file = path.open("a", buffering=1)

    def told(stretch: Stretch) -> None:
        file.write(line(stretch))

    return told


if __name__ == "__main__":
    raise SystemExit(main())
