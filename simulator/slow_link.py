"""A slow link between two network namespaces: a rate, one queue that ends, a delay. For where the kernel has no netem.

    python -m simulator.slow_link NAMESPACE NAMESPACE --kbit 2000 --queue 262144 --delay-ms 20

A tun device `slow` at either end, 10.79.0.1 and 10.79.0.2; packets are taken from the one, wait their turn at the rate, travel, and are put
into the other. Both directions alike. It says `up` when it is, and at the end what it carried, as JSON.
"""

import argparse
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from simulator.namespaces import run_command

ADDRESSES = ("10.79.0.1", "10.79.0.2")
DEVICE = "slow"
PACKET_BYTES_MAX = 2048
PACKETS_A_TURN = 64
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


@dataclass(slots=True)
class Way:
    """One direction. Times are s of the monotonic clock; rate bytes/s."""

    source: int
    target: int
    rate: float
    queue_bytes_max: int
    delay_s: float
    carried_bytes: int = 0
    dropped: int = 0
    _queue: deque[bytes] = field(default_factory=deque)
    _queued_bytes: int = 0
    _free_s: float = 0.0
    _travelling: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, now_s: float) -> None:
        """Whatever has come in, as far as there is room."""
        for _ in range(PACKETS_A_TURN):
            try:
                packet = os.read(self.source, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            if not self._queue and self._free_s < now_s:
                self._free_s = now_s
            if self._queued_bytes + len(packet) > self.queue_bytes_max:
                self.dropped += 1
                continue
            self._queue.append(packet)
            self._queued_bytes += len(packet)

    def turn(self, now_s: float) -> float | None:
        """Send on what is due; returns when the next is."""
        while self._queue and self._free_s <= now_s:
            packet = self._queue.popleft()
            self._queued_bytes -= len(packet)
            self._free_s += len(packet) / self.rate
            self._travelling.append((self._free_s + self.delay_s, packet))
        while self._travelling and self._travelling[0][0] <= now_s:
            packet = self._travelling.popleft()[1]
            self.carried_bytes += len(packet)
            try:
                os.write(self.target, packet)
            except OSError:
                self.dropped += 1
        due = [self._free_s] if self._queue else []
        due += [self._travelling[0][0]] if self._travelling else []
        return min(due, default=None)


def enter(namespace: str) -> None:
    """This thread's sockets and devices are of that namespace from now on."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")
    finally:
        os.close(descriptor)


def _tun(namespace: str, address: str) -> int:
    """A tun device in there; the descriptor serves from anywhere."""
    made: list[int] = []

    def make() -> None:
        enter(namespace)
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        made.append(descriptor)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    for line in (f"addr add {address}/24 dev {DEVICE}", f"link set {DEVICE} mtu 1500 txqueuelen 500 up"):
        run_command(["ip", "-n", namespace, *line.split()])
    return made[0]


def main() -> None:
    """Carry packets until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("namespaces", nargs=2)
    parser.add_argument("--kbit", type=float, required=True)
    parser.add_argument("--queue", type=int, default=262_144)
    parser.add_argument("--delay-ms", type=float, default=20.0)
    a = parser.parse_args()
    one, other = (_tun(namespace, address) for namespace, address in zip(a.namespaces, ADDRESSES, strict=True))
    ways = [Way(source, target, a.kbit * 125, a.queue, a.delay_ms / 1e3) for source, target in ((one, other), (other, one))]
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))  # The link is not what is measured.
    except OSError:
        pass
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    _say("up")
    while not ending.is_set():
        dues = [due for way in ways if (due := way.turn(time.monotonic())) is not None]
        wait_s = max(0.0, min(dues) - time.monotonic()) if dues else 0.2
        ready, _, _ = select.select([one, other], [], [], min(wait_s, 0.2))
        for way in ways:
            if way.source in ready:
                way.take(time.monotonic())
    _say(json.dumps([{"carried_bytes": way.carried_bytes, "dropped": way.dropped} for way in ways]))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
