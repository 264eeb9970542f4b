"""The room's network: hosts in namespaces on a switch, and its mirror port as an interface of whoever runs this.

    console ─┐
    cart    ─┤                             every frame once
    vision  ─┼─ switch (bridge, namespace) ──────────────────▶ mirror port, in the caller's namespace
    …       ─┘

Real kernel, real sockets, real programs; nothing of it is reachable from outside the machine. The mirror port has no address,
no IPv6 and no ARP, so nothing in the machine is tempted to send on it.
Two ways to mirror, the first that works is taken: `tc mirred` copies what each switch port takes in (a SPAN port: link-local
frames too, and nothing can come back in), or the mirror port is one more port of a bridge that learns nothing
(`ageing_time 0`) and so floods everything everywhere.
Names carry the process's id, everything is removed at the end, and what a killed run left is removed by the next one.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from simulator.namespaces import (
    COMMAND_S_MAX,
    CONTROL,
    NoRoom,
    batch,
    free_tag,
    remove,
    run_command,
    search_path,
    sweep,
    what_is_missing,
    write_if_there,
)

END_S_MAX = 3  # What a program gets to end by itself before it is killed.
MIRRORINGS = ("tc mirred", "flooding bridge")


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the room. number: last part of its address and of its MAC address."""

    name: str
    number: int
    what: str

    @property
    def address(self) -> str:
        """Its IPv4 address in the room's network, 10.77.0.0/24."""
        return f"10.77.0.{self.number}"

    @property
    def mac(self) -> str:
        """Locally administered, so that it is nobody's."""
        return f"02:53:4a:00:00:{self.number:02x}"


HOSTS = (
    Host("clock", 1, "PTP grandmaster"),
    Host("timea", 2, "PTP slave"),
    Host("timeb", 3, "PTP slave"),
    Host("console", 10, "surgeon console"),
    Host("cart", 11, "robot arm cart"),
    Host("vision", 12, "vision cart"),
    Host("monitor", 13, "patient monitor"),
    Host("pacs", 14, "picture archive"),
)
BROADCAST = "10.77.0.255"


class Program:
    """A program running on one host. `log` holds what it said."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def said(self) -> str:
        """Everything it wrote so far, standard output and error."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float) -> int:
        """Its exit status; raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def end(self) -> None:
        """Ask it and whatever it started to end, then insist. Twice is as good as once."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Its own process group (see Network.start): a shell's children end with the shell.
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
            try:
                self._process.wait(END_S_MAX)
                return
            except subprocess.TimeoutExpired:
                continue


class Network:
    """The namespaces, the switch and the mirror port, for as long as the `with` block lasts.

    directory: where programs write their logs. mirroring: one of MIRRORINGS, or None for the first that works here.
    hosts: who is in it.
    mirror: the interface to listen to, in the caller's namespace. Raises NoRoom with what is missing.
    """

    def __init__(self, directory: Path, *, mirroring: str | None = None, hosts: Sequence[Host] = HOSTS) -> None:
        assert mirroring is None or mirroring in MIRRORINGS
        self.directory = directory
        self.mirroring = mirroring or ""
        self.hosts = {host.name: host for host in hosts}
        self._tag = ""
        self._programs: list[Program] = []
        self._log_files: list[IO[bytes]] = []

    @property
    def mirror(self) -> str:
        return f"{self._tag}m"

    @property
    def control(self) -> Path:
        """Where its programs have their control sockets, wherever `directory` is."""
        return CONTROL / self._tag

    def namespace(self, host: str) -> str:
        """The name `ip netns` knows a host, or "switch", by."""
        return f"{self._tag}-{host}"

    def __enter__(self) -> "Network":
        missing = what_is_missing()
        if missing is not None:
            raise NoRoom(missing)
        sweep()
        self._tag = free_tag()
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self.control.mkdir(mode=0o700, exist_ok=True)
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self, host: str, name: str, command: Sequence[str]) -> Program:
        """Run a command on a host until the room closes; its output goes to `directory/<name>.log`."""
        log = self.directory / f"{name}.log"
        file = log.open("ab")
        self._log_files.append(file)
        process = subprocess.Popen(
            self._on(host, command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env={**os.environ, "PATH": search_path()},
            start_new_session=True,
        )
        program = Program(name, process, log)
        self._programs.append(program)
        return program

    def run(self, host: str, command: Sequence[str], *, timeout_s: float = COMMAND_S_MAX) -> str:
        """Run a command on a host, in `directory`, to its end; returns its output. Raises NoRoom when it fails."""
        return run_command(self._on(host, command), timeout_s=timeout_s, where=self.directory)

    def no_offloads(self, namespace: str | None, interface: str) -> None:
        """Real checksums and no frame larger than the wire allows. A feature this kernel cannot turn off stays as it is."""
        if shutil.which("ethtool", path=search_path()) is None:
            return
        where = [] if namespace is None else ["ip", "netns", "exec", namespace]
        for feature in ("tx", "rx", "tso", "gso", "gro", "sg"):
            try:
                run_command([*where, "ethtool", "-K", interface, feature, "off"])
            except NoRoom:
                continue

    def close(self) -> None:
        """End every program by its process id and remove everything. Twice is as good as once."""
        for program in reversed(self._programs):
            program.end()
        self._programs.clear()
        for file in self._log_files:
            file.close()
        self._log_files.clear()
        if self._tag:
            remove(self._tag)
            self._tag = ""

    def _on(self, host: str, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace(host), *command]

    def _build(self) -> None:
        switch = self.namespace("switch")
        for name in ("switch", *self.hosts):
            run_command(["ip", "netns", "add", self.namespace(name)])
        self._silence("switch")
        batch(switch, ["link add bridge type bridge ageing_time 0 mcast_snooping 0 stp_state 0", "link set bridge up"])
        for host in self.hosts.values():
            run_command(
                f"ip link add eth0 netns {self.namespace(host.name)} address {host.mac}"
                f" type veth peer name {host.name} netns {switch}".split()
            )
            batch(
                self.namespace(host.name),
                # No default route: looking up a name (dcmtk does, of every peer) then fails at once instead of after ten seconds.
                ["link set lo up", f"addr add {host.address}/24 broadcast {BROADCAST} dev eth0", "link set eth0 up"],
            )
            batch(switch, [f"link set {host.name} master bridge up"])
            self.no_offloads(self.namespace(host.name), "eth0")
        self._build_mirror(switch)

    def _build_mirror(self, switch: str) -> None:
        """The mirror port: up, deaf and dumb before anything can be sent on it."""
        run_command(["ip", "link", "add", self.mirror, "type", "veth", "peer", "name", "mirror", "netns", switch])
        write_if_there(Path(f"/proc/sys/net/ipv6/conf/{self.mirror}/disable_ipv6"), "1")
        run_command(["ip", "link", "set", self.mirror, "addrgenmode", "none", "arp", "off", "multicast", "off", "up"])
        batch(switch, ["link set mirror up"])
        self.no_offloads(None, self.mirror)
        if self.mirroring != MIRRORINGS[1] and self._mirror_by_tc(switch):
            self.mirroring = MIRRORINGS[0]
        elif self.mirroring == MIRRORINGS[0]:
            raise NoRoom("this kernel has no tc mirred action for a clsact qdisc")
        else:
            batch(switch, ["link set mirror master bridge"])
            self.mirroring = MIRRORINGS[1]

    def _mirror_by_tc(self, switch: str) -> bool:
        """Whether the kernel could be told to copy what every port takes in. u32 matching nothing matches all frames."""
        for host in self.hosts:
            match = ["protocol", "all", "prio", "1", "u32", "match", "u32", "0", "0"]
            action = ["action", "mirred", "egress", "mirror", "dev", "mirror"]
            try:
                run_command(["tc", "-n", switch, "qdisc", "add", "dev", host, "clsact"])
                run_command(["tc", "-n", switch, "filter", "add", "dev", host, "ingress", *match, *action])
            except NoRoom:
                return False
        return True

    def _silence(self, host: str) -> None:
        """No IPv6 of the switch's own, so that every frame of the room is a host's."""
        setting = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"
        script = "".join(f"[ ! -e {p} ] || echo 1 > {p};" for p in (setting.format("all"), setting.format("default")))
        self.run(host, ["sh", "-c", script])
