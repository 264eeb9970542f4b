"""A room that is all about time: a grandmaster, ptp4l slaves as they are, and devices of ours whose clocks' truth is known.

    clock   ptp4l, grandmaster; the box's place        slave1…  ptp4l -s, unmodified
    d1…     our devices, each with a clock of its own; behind a slow line where its part says so

The grandmaster runs as the box configures it; slaves run with `free_running 1`, so that no clock of this machine is ever steered: they
measure and report their offset, and that is all there is to see of them.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from firmware.clock.configuration import configuration
from firmware.clock.settings import ClockSettings
from simulator.namespaces import batch, run_command
from simulator.network import Host, Network, Program
from simulator.ptp.linuxptp import ptp4l
from simulator.ptp.virtual_clock import Truth, truth

CLOCK = "clock"
PEER_FORWARDED = 1 << 0xE  # group_fwd_mask: 01-80-C2-00-00-0E
SLAVE_OFFSET = re.compile(r"master offset\s+(-?\d+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A device. kind: a name in CHARACTERS. offset_us, drift_ppm: of its clock. slow_us: extra delay of its cable towards it and back."""

    name: str
    number: int
    kind: str = "synchronised"
    offset_us: float = 0
    drift_ppm: float = 0
    slow_us: tuple[int, int] = (0, 0)


class TimeRoom:
    """For as long as the `with` block lasts. directory: logs, truth files and ptp4l's sockets. Raises NoRoom with what is missing.

    transport, delay_mechanism: of everybody, as in ClockSettings. With P2P there is room for one device: to ptp4l, two answers of peers to
    one question are a fault of the cable. log_announce: 1 as on the box; three and more of these intervals pass until anybody leads, is
    followed or is given up, and who waits for that again and again, as tests do, makes them shorter.
    """

    def __init__(
        self,
        directory: Path,
        parts: Sequence[Part],
        *,
        slave_count: int = 1,
        transport: str = "UDPv4",
        delay_mechanism: str = "E2E",
        log_announce: int = 1,
    ) -> None:
        self.directory = directory
        self._log_announce = log_announce
        self.transport, self.delay_mechanism = transport, delay_mechanism
        self.parts = {part.name: part for part in parts}
        self.slaves = [f"slave{number}" for number in range(1, slave_count + 1)]
        hosts = [Host(CLOCK, 1, "grandmaster, the box"), *(Host(name, 2 + at, "slave") for at, name in enumerate(self.slaves))]
        hosts += [Host("stranger", 250, "whoever came in")]
        hosts += [Host(part.name, part.number, part.kind) for part in parts]
        self.network = Network(directory, hosts=hosts)
        self.programs: dict[str, Program] = {}

    def __enter__(self) -> "TimeRoom":
        self.network.__enter__()
        if self.delay_mechanism == "P2P":
            # A bridge keeps what is for peers to itself, as it must; this one stands for a cable.
            batch(self.network.namespace("switch"), [f"link set bridge type bridge group_fwd_mask {PEER_FORWARDED}"])
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.network.close()

    def start(self) -> None:
        """Everybody."""
        self.start_grandmaster()
        for name in self.slaves:
            self._start(name, f"ptp4l-{name}", self.slave(name))
        for part in self.parts.values():
            self.start_device(part)

    def slave(self, name: str) -> list[str]:
        """The command of a ptp4l slave on this host."""
        return ptp4l(self.network, name, priority1=200, slave=True, transport=self.transport, log_announce=self._log_announce)

    def start_grandmaster(self) -> None:
        """ptp4l as the box configures it, one that yields to nobody; again, when it was lost."""
        settings = ClockSettings(
            interface="eth0", priority1=10, yields=False, ptp4l=str(self.control_socket), transport=self.transport,
            delay_mechanism=self.delay_mechanism,
        )  # fmt: skip
        file = self.directory / "ptp4l-clock.cfg"
        file.write_text(configuration("ptp4l", settings))
        self._start(CLOCK, "ptp4l-clock", ["ptp4l", "-m", "-f", str(file), f"--logAnnounceInterval={self._log_announce}"])

    @property
    def control_socket(self) -> Path:
        """The grandmaster's."""
        return self.directory / "ptp4l-clock"

    def start_box(self, root: Path, *more: str) -> Program:
        """The box's clock process beside the grandmaster, as `scrubjay run box` starts it. more: further arguments.

        What it knows is in state/clock below its root.
        """
        root.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "firmware.cli", "run", "box", "--process=clock", f"--root={root}", "--set=clock.interface=eth0",
            f"--set=clock.transport={self.transport}", "--set=clock.yields=false", f"--set=clock.ptp4l={self.control_socket}", "--set=clock.chronyd=", *more,
        ]  # fmt: skip
        self._start(CLOCK, "box-clock", command)
        return self.programs["box-clock"]

    def lose_grandmaster(self) -> None:
        """Its program ends without a word."""
        self.programs["ptp4l-clock"].end()

    def start_device(self, part: Part) -> None:
        """This one, behind its cable."""
        place = part.name if part.slow_us == (0, 0) else self._slow_line(part)
        arguments = [
            "--number", str(part.number), "--character", part.kind, "--offset-us", str(part.offset_us), "--drift-ppm", str(part.drift_ppm),
            "--truth", str(self._truth_file(part.name)), "--transport", self.transport, "--delay", self.delay_mechanism,
        ]  # fmt: skip
        self._start(place, part.name, [sys.executable, "-m", "simulator.ptp.device", *arguments])

    def truth(self, name: str) -> Truth:
        """How wrong this device's clock has been so far."""
        return truth(self._truth_file(name).read_text())

    def is_born(self, name: str) -> bool:
        """Whether this device's clock runs."""
        file = self._truth_file(name)
        return file.exists() and file.read_bytes().endswith(b"\n")

    def address(self, name: str) -> str:
        """Where a host is reached."""
        return self.network.hosts[name].address

    def slave_offsets_ns(self, name: str) -> list[int]:
        """What a ptp4l slave has said about its offset, once for each Sync or once a second."""
        return [int(found) for found in SLAVE_OFFSET.findall(self.programs[f"ptp4l-{name}"].said())]

    def _truth_file(self, name: str) -> Path:
        return self.directory / f"{name}.truth"

    def _start(self, host: str, name: str, command: Sequence[str]) -> None:
        self.programs[name] = self.network.start(host, name, command)

    def _slow_line(self, part: Part) -> str:
        """Its host becomes a cable, and the device moves to the cable's other end; the namespace it is in then."""
        outer, inner = self.network.namespace(part.name), self.network.namespace(f"{part.name}in")
        host = self.network.hosts[part.name]
        run_command(["ip", "netns", "add", inner])
        run_command(f"ip link add eth0 netns {inner} address {host.mac} type veth peer name eth1 netns {outer}".split())
        # Nothing of the cable's own host may be heard: no address, no ARP, no multicast membership, no IPv6.
        self.network.run(part.name, ["sh", "-c", "for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$each; done"])
        batch(outer, ["addr flush dev eth0", "link set eth0 arp off address 02:53:4a:01:00:01", "link set eth1 arp off up"])
        batch(inner, ["link set lo up", f"addr add {host.address}/24 broadcast 10.77.0.255 dev eth0", "link set eth0 up"])
        for namespace, end in ((inner, "eth0"), (outer, "eth1"), (outer, "eth0")):
            # A checksum left for a card to compute would be carried as it is, and thrown away at the other end.
            self.network.no_offloads(namespace, end)
        to_us, from_us = part.slow_us
        arguments = ["--near", "eth0", "--far", "eth1", "--to-far-us", str(to_us), "--to-near-us", str(from_us)]
        self._start(part.name, f"line-{part.name}", [sys.executable, "-m", "simulator.ptp.slow_line", *arguments])
        return f"{part.name}in"
