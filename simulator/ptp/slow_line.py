"""A line between two interfaces that is slower one way than the other: the asymmetry no slave can see, in user space.

    switch ── near ═══▶ far ── device          python -m simulator.ptp.slow_line --near eth0 --far eth1 --to-far-us 400 --to-near-us 0

Frames are carried as they are, in order, each after its delay. tc netem does the same where the kernel has it; many have not.
What it adds of its own, some tens of microseconds either way, is a real delay like any other, and part of the truth.
"""

import argparse
import os
import select
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

ETH_P_ALL = 3
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_IGNORE_OUTGOING, PACKET_MR_PROMISC = 263, 1, 23, 1
FRAME_BYTES_MAX = 65_535
WAITING_MAX = 10_000  # frames on the line at once; those that do not fit are lost, as on any line
# Looked at the clock itself for the rest: select(2) wakes some tens of microseconds late, which would be a delay nobody asked for.
SPIN_NS = 60_000


@dataclass(slots=True)
class Direction:
    """One way of the line. delay_ns: how long each frame is kept."""

    source: socket.socket
    destination: socket.socket
    delay_ns: int
    waiting: deque[tuple[int, bytes]] = field(default_factory=deque)
    carried: int = 0
    lost: int = 0

    def take(self) -> None:
        """A frame came in at this end."""
        data = self.source.recv(FRAME_BYTES_MAX)
        if len(self.waiting) < WAITING_MAX:
            self.waiting.append((monotonic_ns() + self.delay_ns, data))
        else:
            self.lost += 1

    def give(self, now_ns: int) -> None:
        """What is due leaves at the other end."""
        while self.waiting and self.waiting[0][0] <= now_ns:
            data = self.waiting.popleft()[1]
            try:
                self.destination.send(data)
                self.carried += 1
            except OSError:
                self.lost += 1  # the interface is down, or its queue full


def carry(directions: Sequence[Direction]) -> None:
    """Until interrupted."""
    by_socket = {direction.source: direction for direction in directions}
    while True:
        now_ns = monotonic_ns()
        for direction in directions:
            direction.give(now_ns)
        due = [direction.waiting[0][0] for direction in directions if direction.waiting]
        wait_s = None if not due else max(0, min(due) - SPIN_NS - monotonic_ns()) / 1e9
        for ready in select.select(list(by_socket), [], [], wait_s)[0]:
            by_socket[ready].take()


def hurry() -> bool:
    """A cable waits for nobody: before every ordinary program of this machine, where that is allowed. Whether it is."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return False
    return True


def end_of(interface: str) -> socket.socket:
    """Hears every frame that arrives at this interface, and sends frames as they are."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)  # or every frame would be carried back at once
    end.bind((interface, ETH_P_ALL))
    index = socket.if_nametoindex(interface)
    request = index.to_bytes(4, "little") + PACKET_MR_PROMISC.to_bytes(2, "little") + bytes(10)
    end.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
    return end


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry until ended."""
    parser = argparse.ArgumentParser(prog="simulator.ptp.slow_line", description="A line slower one way than the other.")
    parser.add_argument("--near", required=True)
    parser.add_argument("--far", required=True)
    parser.add_argument("--to-far-us", type=int, default=0)
    parser.add_argument("--to-near-us", type=int, default=0)
    a = parser.parse_args(arguments)
    hurry()
    with end_of(a.near) as near, end_of(a.far) as far:
        try:
            carry((Direction(near, far, a.to_far_us * 1000), Direction(far, near, a.to_near_us * 1000)))
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
